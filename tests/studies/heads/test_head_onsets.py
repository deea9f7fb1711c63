"""Heads over checkpoints: planted trainings, slow references, untrained models of both sources."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from planted_heads import BOOTSTRAP, SETTINGS
from zscope.models.attention_view_tensor import TensorView
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.heads.asked.model import AskedModel
from zscope.studies.heads.behaviours import Behaviour, loss_piece
from zscope.studies.heads.detector import Vocabulary
from zscope.studies.heads.onsets.followed import Followed, Following, spread_steps
from zscope.studies.heads.onsets.measuring import Scoring, effect_rows, random_sets, score_rows
from zscope.studies.heads.onsets.order import order_rows
from zscope.studies.heads.onsets.times import OnsetRule, median_rows, onset_rows
from zscope.studies.heads.streams import Stream

N, SEQ, VOCAB = 24, 20, 8
HOW = Scoring(SETTINGS, 20, 7, BOOTSTRAP)
RULE = OnsetRule(share=1 / 3, excess=0.1, consecutive=2)
LEAST = 1e-4
STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
# How sharply the heads look for their own token, and how much of it the first of them writes.
SHARP = dict(zip(STEPS, (0, 0.1, 4, 8, 8, 8, 8, 8), strict=True))
WRITTEN = dict(zip(STEPS, (0, 0, 0, 0.01, 0.1, 2, 9, 9), strict=True))


# --- a planted training --------------------------------------------------------------------------


def planted(sharp: float, written: float) -> TensorTransformer:
    """Four heads in one layer. Of the first two each looks at its own token's places, as sharply as
    is said; the first writes what it sees, and head `silent` nothing. The others look anywhere."""
    d_head = 2 * (VOCAB + 1)
    shape = TensorConfig(
        d_vocab=VOCAB, n_ctx=SEQ, n_layers=1, n_heads=4, d_model=VOCAB, d_head=d_head,
        attention="softmax", rope_base=1e60,
    )  # fmt: skip
    model = TensorTransformer(shape).eval().requires_grad_(False)
    one_hot = torch.zeros(d_head, VOCAB)
    one_hot[1 : VOCAB + 1] = torch.eye(VOCAB)  # of pairs that RoPE hardly turns
    attn = model.blocks[0].attn
    for p in model.parameters():
        p.zero_()
    model.tok_embed.weight.copy_(torch.eye(VOCAB))
    model.head.weight.copy_(torch.eye(VOCAB))
    for head in range(4):
        at = slice(head * d_head, (head + 1) * d_head)
        attn.q1.weight[at] = (sharp if head < 2 else 0) * one_hot
        attn.k1.weight[at] = d_head**0.5 * one_hot
        attn.v.weight[at] = one_hot
        if head == 0:
            attn.o.weight[:, at] = written * one_hot.T
    return model


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    """Tokens that come twice in a row, each pair drawn at random."""
    draws = torch.Generator().manual_seed(5)
    return torch.randint(VOCAB, (N, SEQ // 2), generator=draws).repeat_interleave(2, 1)


def asked(model: TensorTransformer, ids: torch.Tensor) -> AskedModel:
    vocabulary = Vocabulary(running_text=True, random_tokens=VOCAB)
    classes = ids % 2
    streams = {"text": (Stream("text", ids, {}, classes, ("even", "odd")),)}
    return AskedModel("m", TensorView(model), False, vocabulary, streams)


def behaviours(ids: torch.Tensor) -> dict[str, Behaviour]:
    """The second token of each pair, whose least loss is given, and the first, whose is not."""
    text, second = Stream("text", ids), torch.zeros_like(ids, dtype=torch.bool)
    second[:, 1::2] = True
    first = ~second
    first[:, 0] = False
    least = np.where(second.numpy(), LEAST, np.nan)
    return {
        "second": Behaviour("second", (loss_piece(text, second, least),)),
        "first": Behaviour("first", (loss_piece(text, first),)),
    }


def follows(*heads: Followed, detector: str = "duplicate") -> Following:
    return Following(detector, "text", heads, "second", "first")


def rows_at(step, ids, follow, sets, make=planted) -> list[dict]:
    model = asked(make(SHARP[step], WRITTEN[step]), ids)
    rows = [*score_rows(model, [follow], HOW)]
    rows += effect_rows(model.view, behaviours(ids), [follow], sets, BOOTSTRAP)
    return [{"subject": "s", "model": "m", "step": step, **row} for row in rows]


def training(ids, *heads, make=planted) -> pd.DataFrame:
    follow = follows(*(Followed(h, None, None) for h in heads))
    sets = random_sets([follow], 4, 3, 0)
    return pd.DataFrame([r for s in STEPS for r in rows_at(s, ids, follow, sets, make)])


@pytest.fixture(scope="module")
def trained(ids):
    return training(ids, (0, 0))


def onsets_of(checkpoints) -> dict[str, int | None]:
    return {row["quantity"]: row["onset"] for row in onset_rows(checkpoints, RULE)}


def test_the_pattern_comes_before_its_effect_and_the_effect_before_the_behaviour(trained):
    """Sharp from step 2 on, written from 16 on, and the loss below a tenth from 32 on."""
    assert onsets_of(trained) == {"pattern": 2, "effect": 16, "behaviour": 32}


def test_a_head_that_never_matters_has_a_pattern_and_no_effect(ids):
    found = onsets_of(training(ids, (0, 1)))
    assert found == {"pattern": 2, "effect": None, "behaviour": 32}


def test_a_pattern_of_several_heads_is_there_when_their_mean_is(ids):
    """Half of it is there when the first head has its own: more than a third, less than 0.6."""

    def late(sharp: float, written: float) -> TensorTransformer:
        model = planted(sharp, written)
        if written < 0.1:  # the second head is late
            model.blocks[0].attn.q1.weight[2 * (VOCAB + 1) : 4 * (VOCAB + 1)] = 0
        return model

    assert onsets_of(training(ids, (0, 0), make=late))["pattern"] == 2
    both = training(ids, (0, 0), (0, 1), make=late)
    when = [
        next(iter(onset_rows(both, OnsetRule(share, 0.1, 2))))["onset"] for share in (0.333, 0.6)
    ]
    assert when == [2, 8]


def test_a_model_in_which_no_head_is_named_is_censored_in_all_but_the_behaviour(ids):
    found = training(ids)
    assert set(found["metric"]) == {"excess"}
    assert onsets_of(found) == {"pattern": None, "effect": None, "behaviour": 32}
    assert {row["heads"] for row in onset_rows(found, RULE)} == {""}


def test_a_score_is_beside_those_of_the_other_heads_of_the_layer(trained):
    scores = trained[trained["metric"] == "score"]
    assert set(scores["chosen_by"]) == {"named", "other"}
    last = scores[scores["step"] == STEPS[-1]].set_index("heads")
    assert list(last.index) == ["L0H0", "L0H1", "L0H2", "L0H3"]
    assert last.loc["L0H1", "value"] == pytest.approx(last.loc["L0H0", "value"], abs=1e-6)
    assert last.loc[["L0H2", "L0H3"], "value"].abs().max() < 0.1 < last.loc["L0H0", "value"]
    assert set(last["like"]) == {"", "L0H0"}


def test_scores_and_effects_do_not_depend_on_what_is_measured_beside_them(ids):
    """Of one head among several, in batches of any size, and in a class, against each alone."""
    model = asked(planted(8, 3), ids)
    several = follows(
        Followed((0, 0), None, None), Followed((0, 1), "odd", None), Followed((0, 2), "even", None)
    )
    rows = pd.DataFrame(score_rows(model, [several], HOW))
    for one in several.heads:
        how = Scoring(SETTINGS, 20, N, BOOTSTRAP)
        alone = next(r for r in score_rows(model, [follows(one)], how) if not r["like"])
        same = rows[(rows["chosen_by"] == "named") & (rows["heads"] == f"L0H{one.head[1]}")]
        for column in ("value", "ci_low", "ci_high", "null"):
            assert same[column].iloc[0] == pytest.approx(alone[column], abs=1e-6)
    others = rows[rows["chosen_by"] == "other"]
    assert set(others["heads"]) == {"L0H3"}
    assert set(others["like"]) == {"L0H0", "L0H1", "L0H2"}
    follow = follows(Followed((0, 0), None, None))
    sets = random_sets([follow], 4, 3, 0)
    assert sorted(sets["duplicate"]) == [((0, 1),), ((0, 2),), ((0, 3),)]
    assert random_sets([follow], 4, 0, 0) == {"duplicate": []}
    two = [follow, follows(Followed((0, 1), None, None), detector="previous")]
    sets |= {"previous": []}
    together = list(effect_rows(model.view, behaviours(ids), two, sets, BOOTSTRAP))
    alone = list(effect_rows(model.view, behaviours(ids), two[:1], sets, BOOTSTRAP))
    of_first = [r for r in together if r["detector"] == "duplicate"]
    assert len(of_first) == len(alone) == 6
    for mine, other in zip(of_first, alone, strict=True):
        assert mine == {
            k: v if isinstance(v, str | None) else pytest.approx(v) for k, v in other.items()
        }


def test_effects_and_excess_are_those_of_runs_of_an_edited_model(ids):
    model = planted(8, 3)
    follow = follows(Followed((0, 0), None, None))
    rows = pd.DataFrame(
        effect_rows(TensorView(model), behaviours(ids), [follow], {"duplicate": []}, BOOTSTRAP)
    ).set_index("metric")
    z = model.blocks[0].attn.z(model.blocks[0].attn.project(model.tok_embed(ids)))
    d_head = model.config.d_head
    edited = z.clone()
    edited[..., :d_head] = z[..., :d_head].mean((0, 1))
    logits = [model.head(model.tok_embed(ids) + model.blocks[0].attn.o(x)) for x in (z, edited)]
    for metric, places in (("effect", range(1, SEQ, 2)), ("effect_on_control", range(2, SEQ, 2))):
        clean, ablated = (
            np.mean([-x.log_softmax(-1)[b, t - 1, ids[b, t]] for b in range(N) for t in places])
            for x in logits
        )
        assert rows.loc[metric, "value"] == pytest.approx(ablated - clean, abs=1e-5)
        if metric == "effect":
            assert rows.loc["excess", "value"] == pytest.approx(clean - LEAST, abs=1e-5)
    assert (rows["n"] == N).all()


# --- onsets of curves ----------------------------------------------------------------------------


def curve(values, low=None, metric="effect", by="set", heads="L0H0") -> pd.DataFrame:
    """A quantity at steps 0, 1, 2, ..."""
    values = np.array(values, dtype=float)
    low = values - 0.1 if low is None else np.array(low, dtype=float)
    frame = pd.DataFrame({"step": STEPS[: len(values)], "value": values, "ci_low": low})
    names = {"subject": "s", "model": "m", "detector": "d", "metric": metric}
    return frame.assign(**names, chosen_by=by, heads=heads)


def test_an_onset_is_the_first_of_two_checkpoints_past_a_share_of_the_last_value():
    rows = curve([0, 0.9, 0, 0.2, 0.5, 0.6, 0.9])
    (_, effect) = onset_rows(rows, RULE)
    assert (effect["onset"], effect["last_step"]) == (8, 32)
    assert effect["threshold"] == pytest.approx(0.3)


def test_an_effect_whose_last_interval_holds_zero_never_sets_in():
    rows = curve([0, 0.2, 0.5, 0.6, 0.9], low=[0, 0.1, 0.4, 0.5, -0.1])
    (_, effect) = onset_rows(rows, RULE)
    assert (effect["onset"], effect["threshold"]) == (None, None)


def test_a_behaviour_is_there_below_a_share_of_its_first_excess():
    rows = curve([3, 2, 0.2, 1, 0.29, 0.2], metric="excess", by="model", heads="")
    behaviour = list(onset_rows(rows, RULE))[-1]
    assert (behaviour["quantity"], behaviour["onset"]) == ("behaviour", 8)
    assert behaviour["threshold"] == pytest.approx(0.3)


# --- which steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [2, 3, 5, 8])
def test_steps_are_spread_as_evenly_as_the_best_choice_nearly(most):
    """First and last always; the largest gap is near that of the best of all choices."""
    steps = (0, 1, 2, 3, 4, 6, 9, 14, 20, 40, 41, 100)

    def largest(chosen) -> float:
        return float(np.diff(np.log1p(chosen)).max())  # a hundredth of the last step is 1

    found = spread_steps(steps, most)
    assert (found[0], found[-1], len(found)) == (0, 100, most)
    assert set(found) <= set(steps)
    best = min(largest((0, *inner, 100)) for inner in combinations(steps[1:-1], most - 2))
    assert largest(found) <= 1.5 * best
    assert spread_steps(steps, 99) == steps
    assert spread_steps((0, 5), 2) == (0, 5)


def test_few_of_the_steps_are_of_the_first_hundredth():
    doublings = (0, *(2**i for i in range(15)))
    found = spread_steps(doublings, 9)
    assert found[1] >= 2**14 / 200
    assert found[-6:] == tuple(2**i for i in range(9, 15))


# --- medians and order ---------------------------------------------------------------------------


def made_up(times: list[tuple], heads: str = "L0H0", detector: str = "induction") -> pd.DataFrame:
    """Of each model when pattern, effect and behaviour set in."""
    rows = [
        {
            **{"subject": "s", "model": f"m{i}", "detector": detector, "heads": heads},
            **{"quantity": quantity, "onset": onset, "last_step": 100, "threshold": 1.0},
        }
        for i, of_model in enumerate(times)
        for quantity, onset in zip(("pattern", "effect", "behaviour"), of_model, strict=True)
    ]
    return pd.DataFrame(rows).astype({"onset": "Int64"})


order_of = partial(order_rows, alpha=0.05, level=0.95)


def test_eight_models_in_the_same_order_show_it_and_five_cannot():
    eight = list(order_of(made_up([(10, 20, 20 + i) for i in range(8)])))
    first, second = eight
    assert (first["first"], first["second"], first["later"], first["n"]) == (
        "pattern", "effect", 8, 8,
    )  # fmt: skip
    assert first["p"] == pytest.approx(2 * binom.cdf(0, 8, 0.5))
    assert first["p_holm"] == pytest.approx(2 * first["p"])  # of two rows
    assert (first["median"], first["verdict"]) == (10, "yes")
    # One pair at one checkpoint says nothing.
    assert (second["later"], second["earlier"]) == (7, 0)
    assert second["p"] == pytest.approx(2 * binom.cdf(0, 7, 0.5))
    five = list(order_of(made_up([(10, 20, 30)] * 5)))
    assert {row["verdict"] for row in five} == {"cannot be told"}
    assert five[0]["least_p"] == pytest.approx(2 * 2 * binom.cdf(0, 5, 0.5))


def test_an_order_that_is_a_coins_is_seldom_a_yes():
    """12 models, 200 times: each quantity sets in at a random time."""
    rng = np.random.default_rng(0)
    words = [
        row["verdict"]
        for _ in range(200)
        for row in order_of(made_up([tuple(rng.permutation(9)[:3]) for _ in range(12)]))
    ]
    assert set(words) == {"yes", "no"}
    assert words.count("yes") <= 0.05 * len(words)


def test_the_other_order_is_a_no():
    found = list(order_of(made_up([(20, 10, 30)] * 8)))
    assert [row["verdict"] for row in found] == ["no", "yes"]
    assert found[0]["median"] == -10
    assert found[0]["p_holm"] < 0.05  # it is tested, and goes the other way


def test_what_never_came_is_later_than_what_did():
    rows = list(order_of(made_up([(10, None, None), (None, 20, 30), (None, None, None)])))
    assert [(r["later"], r["earlier"], r["n"]) for r in rows] == [(1, 1, 3), (1, 0, 3)]
    assert rows[0]["median"] is None


def test_models_in_which_no_head_is_named_are_not_in_the_order_but_in_the_medians():
    without = made_up([(None, None, 50)] * 3, heads="").assign(
        model=["x"] * 3 + ["y"] * 3 + ["z"] * 3
    )
    both = pd.concat([made_up([(10, 20, 30)] * 2), without], ignore_index=True)
    assert {row["n"] for row in order_of(both)} == {2}
    medians = {row["quantity"]: row for row in median_rows(both, BOOTSTRAP)}
    assert medians["pattern"]["median"] is None  # three of five never
    assert (medians["pattern"]["n"], medians["pattern"]["n_censored"]) == (5, 3)
    assert medians["behaviour"]["median"] == 50
    assert list(order_of(without)) == []
