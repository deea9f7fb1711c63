"""Linear algebra of the study: subspaces, ranks, activations, linear maps."""
