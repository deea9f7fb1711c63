"""Tables to figures, one module a figure, one style; nothing here imports torch."""
