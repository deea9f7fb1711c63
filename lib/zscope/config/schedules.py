"""Steps of a training at which something is done."""

from __future__ import annotations

import itertools
from collections.abc import Iterator


def log_spaced(per_doubling: int) -> Iterator[int]:
    """1, and from there `per_doubling` steps between a step and its double; each once."""
    last = 0
    for i in itertools.count():
        step = round(2 ** (i / per_doubling))
        if step > last:
            yield step
            last = step


def spaced_evaluations(steps: int, every: int, per_doubling: int) -> tuple[int, ...]:
    """0, log-spaced steps while they are less than `every` apart, then its multiples, and `steps`.

    An onset is known to the distance of two evaluations, so that early ones, which come after few
    steps, need evaluations close together. per_doubling 0: multiples alone.
    """
    early = [0]
    for step in log_spaced(per_doubling) if per_doubling else ():
        if step - early[-1] >= every:
            break
        early.append(step)
    regular = range(every, steps, every)
    return tuple(
        sorted({*(s for s in early if s < steps), *(s for s in regular if s > early[-1]), steps})
    )
