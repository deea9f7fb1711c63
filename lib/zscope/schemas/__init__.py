"""The schema of every Parquet table, a module a study: its tables are named after it."""
