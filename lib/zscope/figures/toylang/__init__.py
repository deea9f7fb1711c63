"""Figures of the toy language study."""
