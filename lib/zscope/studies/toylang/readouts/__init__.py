"""What is read from the weights of a tensor transformer alone."""
