"""The probes of checkpoints: one module each, listed in registry.py."""
