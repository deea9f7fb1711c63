"""What a verdict needs, once for all studies: docs/verdicts.md. No torch.

A verdict is declared before the run, as comparisons that a study names. Each comparison has its
null, matched to what is done; the null's draws are its units, beside the examples. What could not
have been found at this size is never answered by "no".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from zscope.stats import sign_flip_test

Answer: TypeAlias = Literal["yes", "partial", "no", "cannot be told", "varies between trainings"]
UNKNOWN: Answer = "cannot be told"
VARIES: Answer = "varies between trainings"
LEAST_DRAWS = 40
"""Fewer draws make no null, and no band: two of 41 is the largest rank with p < 0.05."""
POWER = 0.8

# scipy takes half a second to import, so the functions that need it import it themselves.


class DrawTest(NamedTuple):
    """Where a value lies among the draws of its null.

    hits: draws that lie as far as the value, or farther; ties count against it.
    """

    hits: int
    draws: int

    @property
    def p(self) -> float:
        """(1 + hits) / (1 + draws), one-sided (Phipson and Smyth 2010)."""
        return (1 + self.hits) / (1 + self.draws)

    @property
    def least(self) -> float:
        """The smallest p that so many draws allow."""
        return least_rank_p(self.draws)


def least_rank_p(draws: int) -> float:
    """The p of a value that no draw of its null reaches."""
    return 1 / (1 + draws)


def draw_test(
    value: float, draws: Float[np.ndarray, " draws"], side: Literal["above", "below"] = "above"
) -> DrawTest:
    """Rank of a value among draws of its null. Raises ValueError for NaN."""
    null = np.asarray(draws, dtype=np.float64)
    if np.isnan(value) or np.isnan(null).any():
        raise ValueError("NaN among the value and the draws of its null")
    sign = 1 if side == "above" else -1
    # Rates that are equal in exact arithmetic must count as ties.
    hits = int(np.sum(sign * null >= sign * value - 1e-12))
    return DrawTest(hits, len(null))


def p_over_ranks(ranks: Iterable[tuple[int, int]]) -> tuple[float, float]:
    """p of the ranks of several trainings together, and the smallest that so many draws allow.

    ranks: (hits, draws) of each, where hits lie as far as its value, or farther. If each value is
    like any draw of its null, its hits are uniform on 0 to its draws, independently between
    trainings. p is the exact chance of a sum of hits that is at most the observed one.
    """
    ranks = list(ranks)
    total: Float[np.ndarray, " sum"] = np.ones(1)
    for _, draws in ranks:
        total = np.convolve(total, np.full(1 + draws, 1 / (1 + draws)))
    return float(total[: 1 + sum(hits for hits, _ in ranks)].sum()), float(total[0])


def least_paired_p(
    second: Float[np.ndarray, " n"],
    side: Literal["above", "below"],
    *,
    steps: int,
    clusters: Sequence[str] | None = None,
) -> float:
    """Smallest p of the paired test against rates `second` (each 0 to 1, in 1/steps), whatever the
    first space did: all ones for "above", all zeros for "below"."""
    second = np.asarray(second, dtype=np.float64)
    extreme = 1 - second if side == "above" else -second
    return sign_flip_test(extreme, steps=steps, clusters=clusters)


def special(
    effect: float, p: float, least_p: float, draws: DrawTest | None, alpha: float
) -> Answer:
    """Whether an effect is there, by a paired test over examples and the rank among draws: both.

    effect: in the declared direction (positive: as declared). p, least_p: of the paired test, and
    its smallest possible one. draws: of the null; None: the comparison is with one fixed thing.

    yes needs both tests below alpha. A comparison that could not have reached alpha, or has fewer
    than LEAST_DRAWS draws, cannot be told. Both tests have to pass, so neither is corrected for the
    other (intersection-union test, Berger 1982).
    """
    if np.isnan([effect, p, least_p]).any():
        return UNKNOWN
    if draws is not None and (draws.draws < LEAST_DRAWS or draws.least >= alpha):
        return UNKNOWN
    if least_p >= alpha:
        return UNKNOWN
    return yes(effect > 0 and p < alpha and (draws is None or draws.p < alpha))


def at_least(low: float, high: float, bound: float) -> Answer:
    """Whether a rate, given by its interval, is at least a declared bound (non-inferiority).

    Cannot be told while the interval contains the bound, or is unknown.
    """
    if np.isnan([low, high]).any():
        return UNKNOWN
    return "yes" if low >= bound else "no" if high < bound else UNKNOWN


def all_of(parts: Iterable[Answer]) -> Answer:
    """yes if every part is; no if any part is; else it cannot be told."""
    answers = list(parts)
    if "no" in answers:
        return "no"
    return "yes" if answers and all(answer == "yes" for answer in answers) else UNKNOWN


def any_of(parts: Iterable[Answer]) -> Answer:
    """yes if any part is; no if every part is; else it cannot be told."""
    answers = list(parts)
    if "yes" in answers:
        return "yes"
    return "no" if answers and all(answer == "no" for answer in answers) else UNKNOWN


def graded(full: Answer, half: Answer) -> Answer:
    """yes if the whole rule is met, partial if its declared half is, else what the half says.

    partial is claimed even if the whole rule cannot be told: that much was seen.
    """
    if full == "yes":
        return "yes"
    return "partial" if half == "yes" else half


def graded_if_told(full: Answer, half: Answer) -> Answer:
    """`graded` where the half has a weaker control: alone it claims nothing while the stronger
    control cannot be told."""
    return UNKNOWN if full == UNKNOWN else graded(full, half)


def yes(holds: object) -> Answer:
    """A rule that is met or not."""
    return "yes" if holds else "no"


def over_trainings(answers: Sequence[Answer]) -> Answer:
    """One word for several trainings: theirs if they agree, else that it varies.

    A training whose answer cannot be told does not speak against the others, but leaves the whole
    untold. Raises ValueError without trainings.
    """
    if not answers:
        raise ValueError("no trainings to take a verdict over")
    told = {answer for answer in answers if answer != UNKNOWN}
    if len(told) > 1:
        return VARIES
    return answers[0] if len(set(answers)) == 1 else UNKNOWN


def tally(answers: Sequence[Answer]) -> str:
    """How many trainings say what: "yes 2, no 1", the commonest first."""
    return ", ".join(f"{word} {n}" for word, n in Counter(answers).most_common())


def detectable(
    sd: float,
    n: int,
    alpha: float,
    draws: Float[np.ndarray, " draws"] | None = None,
    comparisons: int = 1,
) -> float:
    """The effect that would have been found with probability POWER (normal approximation).

    sd: of the paired differences of n examples. alpha is divided by the comparisons that are
    corrected for. With draws, the value must also rank among them: the effect is then measured from
    their mean. Where no example differs (sd 0), enough of them must begin to: each does so with the
    effect's probability, and all in one direction. inf if too few draws, or examples, allow no p
    below alpha; NaN for n below 2.
    """
    from scipy.special import ndtri

    if n < 2 or np.isnan(sd):
        return float("nan")
    level = alpha / comparisons
    error = sd / n**0.5
    found = (ndtri(1 - level / 2) + ndtri(POWER)) * error if sd > 0 else _from_nothing(n, level)
    if draws is None:
        return float(found)
    null = np.sort(np.asarray(draws, dtype=np.float64))[::-1]
    # The most draws that may reach the value: (1 + hits) / (1 + draws) < level.
    allowed = int(np.ceil(level * (1 + len(null)))) - 2
    if allowed < 0:
        return float("inf")
    by_rank = null[allowed] - null.mean() + ndtri(POWER) * error
    return float(max(found, by_rank))


def detectable_beyond(reach: float, low: float, high: float, level: float) -> float:
    """The effect that would have lain outside a null's band with probability POWER.

    reach: from the null's mean to the end of its band. low, high: the value's own interval, of that
    level (normal approximation); NaN: the value is exact.
    """
    from scipy.special import ndtri

    width = 0.0 if np.isnan(high - low) else high - low
    return float(reach + ndtri(POWER) * width / (2 * ndtri((1 + level) / 2)))


def _from_nothing(n: int, level: float) -> float:
    """The probability with which each of n examples must change for a sign-flip p below level."""
    from scipy.special import betaincinv

    needed = int(np.floor(1 - np.log2(level))) + 1  # 2^(1 - needed) < level
    return float(betaincinv(needed, n - needed + 1, POWER)) if needed <= n else float("inf")
