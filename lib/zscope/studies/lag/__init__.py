"""When does a transformer start to use a selector that was there from step 0, and why so late?"""
