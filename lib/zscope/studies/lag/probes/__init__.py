"""What is measured on a checkpoint: one module per probe, registered in registry.py."""
