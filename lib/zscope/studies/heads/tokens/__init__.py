"""Sequences of ids that detectors are asked on. A text is encoded once; nothing is decoded and
encoded again, for that is not the identity."""
