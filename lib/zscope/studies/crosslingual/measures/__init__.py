"""Measurements that need no forward pass: tensors in, tidy rows out."""
