"""What a head does, part by part: of its layer's write, to later patterns, and to single tokens."""
