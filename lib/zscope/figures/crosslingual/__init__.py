"""Figures of the cross-lingual study: a module a figure, from the tables of all its models."""
