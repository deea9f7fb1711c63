"""The heads study: which attention head does what, by its pattern, its weights and its effect."""
