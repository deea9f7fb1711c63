"""Readouts of a tensor transformer's weights, without data; ablations and exact patches."""
