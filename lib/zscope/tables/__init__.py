"""Parquet tables: their schemas, and reading and writing them."""
