"""What the toy language study asks of a model: tested by its claims, drawn in its figures."""

from __future__ import annotations

EXCESS_OF_ALL = 0.01  # nats, mean over all tokens
EXCESS = 0.05  # nats, on every primitive; what is below it is not needed
DIRECT_R = 0.95  # of names x verbs in the weights with the truth
FIRST = 10  # triples of the rule search that every skip rule should be among, and all be true
EXACT_PATCHING = 1e-8  # nats from running the patched model


def excess_target(primitive: str) -> float:
    """Largest excess, in nats, of a primitive or of "all"."""
    return EXCESS_OF_ALL if primitive == "all" else EXCESS
