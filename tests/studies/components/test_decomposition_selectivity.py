"""Choosing components, drawing others like them, and the words on both: made-up effects whose
answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from decomposed import BOOTSTRAP, decomposition_of, evaluation, small_model
from zscope.models.tensor_heads import head_name
from zscope.studies.components.decomposition.config import SelectivityConfig
from zscope.studies.components.decomposition.descriptions import oriented
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.selectivity import (
    CHOSEN,
    IN_HEAD,
    NOT_TESTED,
    ONE_HEAD,
    RANDOM,
    Pool,
    Rule,
    _tests,
    chosen_components,
    measure_effects,
    without,
)
from zscope.studies.components.decomposition.summary import (
    best_match,
    similarity_rows,
    verdict_rows,
)
from zscope.verdicts import UNKNOWN

pytestmark = pytest.mark.numerics
CONFIG = SelectivityConfig(flips=400)


@pytest.fixture(scope="module")
def run():
    return Run(decomposition_of(small_model(dtype=torch.float32)), evaluation(24))


def planted_importances(run, primitive="bigram"):
    """A run in which component 0.q1/2 is important on one primitive, and 0.k1/1 everywhere."""
    g = torch.zeros_like(run.g)
    on = torch.from_numpy(run.on(primitive))
    g[:, :-1, 0, 2] = on.float() * 0.9
    g[:, :, 1, 1] = 0.9
    other = Run(run.decomposition, run.evaluation)
    other.__dict__["g"] = g
    return other


def test_a_component_is_chosen_for_the_primitive_that_it_is_important_on(run):
    planted = planted_importances(run)
    rule = Rule("strict", 0.3, 8)
    assert chosen_components(planted, "bigram", rule) == {(0, 2)}
    assert chosen_components(planted, "category", rule) == set()
    assert chosen_components(planted, "bigram", Rule("strict", 0.95, 8)) == set()


def test_random_sets_are_of_the_same_matrices_alive_and_no_chosen_component(run):
    pool = Pool.of(run, oriented(run))
    alive = {(int(r), int(c)) for r, c in zip(*np.nonzero(pool.alive), strict=True)}
    chosen = set(sorted(alive)[::7])
    rng = np.random.default_rng(0)
    drawn = [pool.draw(chosen, rng) for _ in range(20)]
    for some in drawn:
        assert some <= alive - chosen
        assert sorted(r for r, _ in some) == sorted(r for r, _ in chosen)
    assert len({frozenset(some) for some in drawn}) > 10


def test_random_sets_are_matched_in_importance_and_norm():
    rng = np.random.default_rng(0)
    features = rng.normal(0, 2, (1, 60, 2))
    pool = Pool(np.ones((1, 60), dtype=bool), features)
    for c in range(5):
        chosen = {(0, c)}
        draws = [next(iter(pool.draw(chosen, rng)))[1] for _ in range(60)]
        far = np.linalg.norm(features[0, draws] - features[0, c], axis=1).mean()
        typical = np.linalg.norm(features[0] - features[0, c], axis=1).mean()
        assert far < 0.75 * typical


def made_up(run, on_it, elsewhere, draws, rng):
    """Rises of a set, noisy, with these means on bigrams and elsewhere."""
    mask = run.on("bigram")
    noise = 0.05 * rng.standard_normal((draws, *mask.shape))
    return np.where(mask, on_it, elsewhere) + noise


@pytest.mark.parametrize(
    ("on_it", "elsewhere", "random_on_it", "word"),
    [
        (0.6, 0.0, 0.05, "yes"),
        (0.6, 0.6, 0.05, "no"),
        (0.05, 0.0, 0.05, "no"),
        (0.3, 0.0, 0.6, "no"),
    ],
)
def test_found_needs_a_larger_effect_than_random_sets_and_the_largest_on_its_own(
    run, on_it, elsewhere, random_on_it, word
):
    rng = np.random.default_rng(1)
    rise = made_up(run, on_it, elsewhere, 1, rng)[0]
    null = list(made_up(run, random_on_it, 0.0, 40, rng))
    found = _tests(run, rise, null, "bigram", "category", CONFIG, 0)
    assert found["found"] == word
    assert found["effect"] == pytest.approx(on_it - random_on_it, abs=0.03)
    assert found["selectivity"] == pytest.approx(on_it - elsewhere, abs=0.03)


def test_a_set_like_its_random_ones_is_rarely_found(run):
    """Every set, chosen or random, has a rise of its own on every primitive: nothing is special."""
    rng = np.random.default_rng(0)
    config = SelectivityConfig(flips=100)

    def rise():
        made = 0.05 * rng.standard_normal(run.excess.shape)
        for name in run.primitives:
            made += run.on(name) * abs(rng.normal(0, 0.1))
        return made

    words = []
    for i in range(1000):
        sets = [rise() for _ in range(41)]
        found = _tests(run, sets[0], sets[1:], "bigram", "category", config, i)
        words.append(found["found"])
    assert set(words) <= {"yes", "no"}
    # A rank of 40 draws allows two in 41, and chance three standard errors of as many simulations.
    rate = 2 / 41
    assert words.count("yes") / 1000 <= rate + 3 * (rate * (1 - rate) / 1000) ** 0.5
    assert words.count("yes") > 0


def test_too_few_random_sets_or_no_components_cannot_be_told(run):
    rng = np.random.default_rng(1)
    rise, null = made_up(run, 0.6, 0.0, 1, rng)[0], list(made_up(run, 0.0, 0.0, 39, rng))
    assert _tests(run, rise, null, "bigram", "category", CONFIG, 0)["found"] == UNKNOWN
    assert _tests(run, None, [], "bigram", None, CONFIG, 0)["found"] == UNKNOWN
    assert NOT_TESTED["draws"] == 0


def test_rows_are_of_the_chosen_the_random_and_every_head(run):
    config = SelectivityConfig(
        importance=0.2, lift=1.05, loose_importance=0.1, loose_lift=1.01, draws=2, flips=100
    )
    other = Run(run.decomposition, evaluation(8, seed=9))
    effects = measure_effects(run, other, oriented(run), config, 0)
    frame = pd.DataFrame(effects.rises)
    assert set(frame["set"]) == {CHOSEN, IN_HEAD, RANDOM, ONE_HEAD}
    assert frame[frame["set"] == ONE_HEAD]["head"].nunique() == 4
    tests = pd.DataFrame(effects.tests)
    assert len(tests) == 2 * len(run.primitives)
    some = tests[tests["components"] > 0].iloc[0]
    rule = Rule(some["rule"], config.importance, config.lift)
    if some["rule"] == "strict":
        chosen = chosen_components(run, some["chosen_for"], rule)
        of = frame[(frame["set"] == CHOSEN) & (frame["rule"] == "strict")]
        row = of[(of["chosen_for"] == some["chosen_for"]) & (of["primitive"] == "all")].iloc[0]
        want = other.evaluation.excess(without(other, chosen)).mean() - other.excess.mean()
        assert row["value"] == pytest.approx(want, abs=1e-6)
        of = frame[(frame["set"] == IN_HEAD) & (frame["chosen_for"] == some["chosen_for"])]
        of = of[(of["rule"] == "strict") & (of["primitive"] == "all")].set_index("head")["value"]
        assert len(of) in (2, 4)
        for layer, head in np.ndindex(2, 2):
            if (name := head_name(layer, head)) in of.index:
                alone = without(other, chosen, (layer, head))
                want = other.evaluation.excess(alone).mean() - other.excess.mean()
                assert of[name] == pytest.approx(want, abs=1e-6)


def test_verdicts_are_over_all_decompositions():
    tests = pd.DataFrame(
        [
            {"model": "m", "rule": "strict", "chosen_for": p, "seed": s, "found": word}
            for p, words in {
                "skip": ("yes", "yes", "yes"),
                "bigram": ("no", "no", "no"),
                "novel": ("yes", "no", "yes"),
                "quote": ("yes", UNKNOWN, "yes"),
            }.items()
            for s, word in enumerate(words)
        ]
    )
    words = {row["primitive"]: row["verdict"] for row in verdict_rows(tests)}
    assert words == {
        "skip": "found",
        "bigram": "not found",
        "novel": "varies between trainings",
        "quote": UNKNOWN,
    }


def test_the_same_components_in_another_order_are_alike_and_random_ones_are_not():
    rng = np.random.default_rng(0)
    reads, writes = rng.standard_normal((10, 20)), rng.standard_normal((10, 30))
    order = rng.permutation(10)
    same = (reads, writes), (-2 * reads[order], writes[order])
    assert best_match(*same) == pytest.approx(1)
    assert best_match(same[0], (reads[:0], writes[:0])) == 0
    other = rng.standard_normal((10, 20)), rng.standard_normal((10, 30))
    rows = list(similarity_rows({0: {"W": same[0]}, 1: {"W": other}}, BOOTSTRAP, rng))
    assert [(r["first"], r["second"]) for r in rows] == [(0, 1), (1, 0)]
    for row in rows:
        assert row["null_low"] - 0.05 < row["value"] < row["null_high"] + 0.05
