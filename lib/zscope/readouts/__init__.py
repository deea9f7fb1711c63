"""What is read from a tensor transformer's weights alone."""
