"""The generated problems that models are measured on: no two ask for the same sum."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from zscope.core.errors import DataError
from zscope.studies.crosslingual.problems.parallel import (
    CATEGORIES,
    Problem,
    operand_tuples,
    word,
)

LEAST = 6
"""Problems of a category, so that other problems of it can be told apart from a translation."""
LOG = logging.getLogger(__name__)


def category_sizes(n: int) -> dict[str, int]:
    """How many of `n` measured problems each category gets: as evenly as its held-out tuples allow.

    Categories with fewer than LEAST held-out tuples of operands are left out, and so are those with
    the fewest where `n` is too small for LEAST of each. Raises DataError for an `n` below LEAST or
    above the number of tuples.
    """
    available = {name: len(operand_tuples(name, True)) for name in CATEGORIES}
    usable = sorted((c for c in available if available[c] >= LEAST), key=lambda c: -available[c])
    most = sum(available[c] for c in usable)
    if not LEAST <= n <= most:
        raise DataError(
            f"crosslingual.problems.n: {n} problems without the same operands twice cannot be "
            f"made: give {LEAST} to {most}"
        )
    return fill_evenly(n, {name: available[name] for name in usable[: n // LEAST]})


def fill_evenly(n: int, available: Mapping[str, int]) -> dict[str, int]:
    """`n` split over categories as evenly as these sizes allow, the first ones getting more.

    Raises ValueError if there are fewer than `n`.
    """
    if n > sum(available.values()):
        raise ValueError(f"{n} of {sum(available.values())}")
    sizes = dict.fromkeys(available, 0)
    left = n
    while left:
        for name in [c for c in sizes if sizes[c] < available[c]][:left]:
            sizes[name] += 1
            left -= 1
    return sizes


def measured_problems(n: int, seed: int) -> list[Problem]:
    """`n` held-out problems, shuffled, each with a category and operands of its own.

    `category_sizes` are of each category, which raises DataError. Problem i depends on `n` too.
    """
    sizes = category_sizes(n)
    LOG.info(
        "%s problems per category; without %s",
        ", ".join(f"{name}: {size}" for name, size in sizes.items()),
        ", ".join(sorted(CATEGORIES.keys() - sizes)) or "none",
    )
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))  # `generate` has 0 and 1
    drawn: list[tuple[str, tuple[int, ...]]] = []
    for name, size in sizes.items():
        possible = operand_tuples(name, True)
        chosen = rng.choice(len(possible), size=size, replace=False)
        drawn += [(name, possible[i]) for i in chosen]
    problems = []
    for i, j in enumerate(rng.permutation(len(drawn))):
        name, operands = drawn[j]
        problems.append(word(f"measured-{seed}-{i}", name, operands, True, rng))
    return problems
