"""Measurements of the cross-lingual study that need no forward pass: tensors in, tidy rows out."""
