"""Correct-letter heads: is the answer's letter found by its label or by its place?"""
