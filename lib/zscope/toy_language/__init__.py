"""The toy language: its words, exact conditionals, generator and true rules."""
