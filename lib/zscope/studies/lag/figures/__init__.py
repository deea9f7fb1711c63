"""The figures of the lag study, one module each."""
