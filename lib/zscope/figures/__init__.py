"""Drawing tables as figures, all in one style. Nothing here imports torch."""
