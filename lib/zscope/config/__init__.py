"""Every key of the configuration: its type, default, unit, bounds and one-line meaning."""
