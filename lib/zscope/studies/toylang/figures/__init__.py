"""The figures of the toy language study, one module each."""
