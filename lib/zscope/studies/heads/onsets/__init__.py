"""When heads get their pattern, when the behaviour needs them, and when it is there."""
