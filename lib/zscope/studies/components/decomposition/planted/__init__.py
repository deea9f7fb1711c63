"""Targets whose components are known."""
