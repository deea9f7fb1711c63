"""The figures of the cross-lingual study, one module each."""
