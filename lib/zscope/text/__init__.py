"""Texts that more than one study feeds to models, and the loss of a model on them."""
