"""Does a dictionary find what is there, and what the untrained model does not give? By group.

Declared: the best single latent, chosen on one half of the sequences, F1 on the other, mean over
the labels of a group and over dictionary seeds.

found           above the untrained twin's dictionaries (sequences' outcomes exchanged between the
                two), and above random dictionaries of as many latents and codes (rank); both below
                alpha
not found       it could have been, and was not
cannot be told  a probe of the whole stream gives no more of the group than one of the twin's, or
                the tests could not reach alpha at this size
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from zscope.core.provenance import derive_seed
from zscope.studies.components.dictionaries.feature_scores import Halves, Reading, group_f1
from zscope.studies.components.dictionaries.resampling import Resampling
from zscope.studies.components.dictionaries.sparse_probes import Counts, f1_of
from zscope.studies.components.dictionaries.tables import ALL_MODELS
from zscope.studies.components.words import WORDS
from zscope.tables.schema import Row
from zscope.verdicts import UNKNOWN, Answer, detectable, draw_test, over_trainings, special

EXCHANGES = 1000


def verdict_rows(
    dictionary: Sequence[Reading],
    untrained: Sequence[Reading],
    random: Sequence[Reading],
    probes: tuple[Reading, Reading],
    halves: Halves,
    resampling: Resampling,
    alpha: float,
) -> list[Row]:
    """A row per group of one model. probes: of the trained stream, and of the twin's."""
    rows = []
    for group, members in halves.groups().items():
        ours, theirs = (_mean_f1(r, members, resampling) for r in (dictionary, untrained))
        drawn = ours[1] - theirs[1]
        low, high = np.nanquantile(drawn, resampling.bootstrap.tails)
        effect = ours[0] - theirs[0]
        p, least = exchange_p(
            [r.counts for r in dictionary],
            [r.counts for r in untrained],
            members,
            derive_seed(resampling.bootstrap.seed, f"exchanges {group}"),
        )
        null = np.array([r.counts.f1[members].mean() for r in random])
        ranked = draw_test(ours[0], null)
        ceiling = [group_f1(probe, members, resampling) for probe in probes]
        more = np.nanquantile(ceiling[0][1] - ceiling[1][1], resampling.bootstrap.tails)
        there = bool(more[0] > 0)
        answer = special(effect, p, least, ranked, alpha) if there else UNKNOWN
        sequences = halves.sequences
        rows.append(
            {
                **{"group": group, "verdict": WORDS[answer]},
                **{"value": effect, "ci_low": float(low), "ci_high": float(high)},
                **{"f1": ours[0], "untrained": theirs[0], "random": float(null.mean())},
                **{"probe": ceiling[0][0], "probe_untrained": ceiling[1][0], "there": there},
                **{"p": p, "p_least": least, "rank_p": ranked.p, "draws": ranked.draws},
                "detectable": detectable(
                    float(np.nanstd(drawn, ddof=1)) * sequences**0.5, sequences, alpha
                ),
                **{"labels": len(members), "n": sequences},
            }
        )
    return rows


def over_models(rows: Sequence[Row]) -> list[Row]:
    """The common word of all trainings, by group; the values are their means."""
    answers: dict[str, list[Answer]] = {}
    back = {word: answer for answer, word in WORDS.items()}
    for row in rows:
        answers.setdefault(row["group"], []).append(back[row["verdict"]])
    found = []
    for group, words in answers.items():
        of = [row for row in rows if row["group"] == group]
        mean = {
            name: float(np.mean([row[name] for row in of]))
            for name in ("value", "f1", "untrained", "random", "probe", "probe_untrained")
        }
        nothing = dict.fromkeys(("ci_low", "ci_high", "p", "p_least", "rank_p", "detectable"), None)
        found.append(
            {
                **{"model": ALL_MODELS, "group": group, "verdict": WORDS[over_trainings(words)]},
                **mean,
                **nothing,
                **{"there": all(row["there"] for row in of), "draws": of[0]["draws"]},
                **{"labels": of[0]["labels"], "n": len(of)},
            }
        )
    return found


def _mean_f1(
    readings: Sequence[Reading], members: Int[np.ndarray, " member"], resampling: Resampling
) -> tuple[float, Float[np.ndarray, " resamples"]]:
    found = [group_f1(r, members, resampling) for r in readings]
    return float(np.mean([v for v, _ in found])), np.mean([drawn for _, drawn in found], axis=0)


def exchange_p(
    ours: Sequence[Counts],
    theirs: Sequence[Counts],
    members: Int[np.ndarray, " member"],
    seed: int,
) -> tuple[float, float]:
    """Two-sided p of the difference of mean F1 when the two outcomes of every sequence may be
    exchanged, and the smallest p that there could be.

    All dictionaries' outcomes of a sequence are exchanged together, for they read the same tokens.
    Sequences without a label of the group, and without a word on one, change nothing.
    """
    a, b = (_stacked(counts, members) for counts in (ours, theirs))
    moves = int((np.abs(a).sum((0, 2, 3)) + np.abs(b).sum((0, 2, 3)) > 0).sum())
    rng = np.random.default_rng(seed)
    signs = rng.integers(2, size=(EXCHANGES, a.shape[1]), dtype=np.int8).astype(np.float64)
    observed = abs(_difference(a.sum(1), b.sum(1)))
    total, extra = b.sum(1), a - b
    moved = np.einsum("rs,dsmc->rdmc", signs, extra, optimize=True)
    drawn = np.abs(_difference(total + moved, a.sum(1) - moved))
    hits = int((drawn >= observed - 1e-12).sum())
    return (1 + hits) / (1 + EXCHANGES), max(1 / (1 + EXCHANGES), 2.0 ** (1 - moves))


def _stacked(
    counts: Sequence[Counts], members: Int[np.ndarray, " member"]
) -> Float[np.ndarray, "dictionary sequence member 3"]:
    return np.array([np.stack([c.hits, c.said, c.there], -1)[:, members] for c in counts])


def _difference(
    a: Float[np.ndarray, "*r dictionary member 3"], b: Float[np.ndarray, "*r dictionary member 3"]
) -> Float[np.ndarray, "*r"]:
    """Mean F1 of a less that of b, over labels and dictionaries."""
    f1 = [f1_of(x[..., 0], x[..., 1], x[..., 2]) for x in (a, b)]
    return np.nanmean(f1[0] - f1[1], axis=(-2, -1))
