"""What is fed in."""
