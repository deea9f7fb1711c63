"""Parameter decomposition, scored against planted components and the toy language."""
