"""Experiment C: ARD-MMD and the contrast that replaces it."""
