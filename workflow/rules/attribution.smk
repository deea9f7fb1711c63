# Attribution patching: exhaustive and estimated effects of every node -> scores -> figures.
