"""Parallel arithmetic problems, their tokenizer, and reading answers."""
