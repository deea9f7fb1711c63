"""What all configurations share: sections, common keys, sizes, and messages about mistakes."""
