"""The heads study: which attention head does what, and does the behaviour need it?"""
