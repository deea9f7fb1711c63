"""What did a model learn, when, and where is it in its weights?"""
