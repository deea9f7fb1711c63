"""What is measured on a model: one module a probe, registered in registry.py."""
