# Sparse dictionaries: planted data, and activations of models -> dictionaries -> scores -> figures.
