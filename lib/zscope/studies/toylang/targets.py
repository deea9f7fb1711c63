"""Thresholds of the toy language study: its claims test them, its figures draw them."""

from __future__ import annotations

EXCESS_OF_ALL = 0.01  # nats, mean over all tokens
EXCESS = 0.05  # nats, on every primitive; a smaller one does not matter
DIRECT_KL = EXCESS  # nats from the true bigrams to those in the weights, as for every excess
# The same for the onset: a tenth of what an untrained model of 65 tokens has (3.4 nats), as the
# excess of an onset in behaviour is a tenth of its first value.
DIRECT_KL_ONSET = 0.3
FIRST = 10  # triples of the rule search: every skip rule is among them, and all are true
EXACT_PATCHING = 1e-8  # nats between exact patching and running the patched model


def excess_target(primitive: str) -> float:
    """Largest excess, in nats, of a primitive or of "all"."""
    return EXCESS_OF_ALL if primitive == "all" else EXCESS
