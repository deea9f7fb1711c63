"""The studies, one folder each. No study imports another."""
