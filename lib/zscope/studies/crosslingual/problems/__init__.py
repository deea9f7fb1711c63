"""Parallel problems, the tokenizer of the generated ones, and reading answers."""
