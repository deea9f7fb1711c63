"""Controlled experiments on a trained model, each with its exact truth."""
