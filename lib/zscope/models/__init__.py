"""What is studied."""
