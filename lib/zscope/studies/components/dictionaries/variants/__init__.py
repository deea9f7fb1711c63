"""The kinds of sparse dictionaries, one module each: `kind.py` says what each has to define."""
