"""Sparse dictionaries, scored against planted features and the toy language."""
