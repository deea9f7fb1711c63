"""Harms of a model against loops over tokens, and ablations against runs of an edited model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from zscope.config.base import Bootstrap
from zscope.models.attention_view_tensor import TensorView
from zscope.models.tensor_heads import ReplacedHeads
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.heads.ablating import Ablated, Screen, ablation_rows, screen
from zscope.studies.heads.asked.model import AskedModel
from zscope.studies.heads.asked.rows import rows_stream
from zscope.studies.heads.behaviours import Behaviour, second_copy
from zscope.studies.heads.config import AblationConfig
from zscope.studies.heads.detector import Vocabulary
from zscope.studies.heads.head_sets import heads_of
from zscope.studies.heads.questions import Question
from zscope.studies.heads.sources import load_source
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.tables import LESS, RANKED, THEMSELVES
from zscope.toy_language.distributions import LABELS

N, SEQ, VOCAB = 4, 9, 7
BOOTSTRAP = Bootstrap(resamples=50)


@pytest.fixture(scope="module")
def model() -> TensorTransformer:
    shape = TensorConfig(d_vocab=VOCAB, n_ctx=SEQ, n_layers=2, n_heads=3, d_model=12, d_head=4)
    torch.manual_seed(0)
    made = TensorTransformer(shape).init_weights(0)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn_like(p) * 0.1)  # its outputs begin as zeros
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(VOCAB, (N, SEQ), generator=torch.Generator().manual_seed(1))


def asked(model, streams, **columns) -> AskedModel:
    vocabulary = Vocabulary(running_text=True, random_tokens=VOCAB)
    found = {s.name: (s,) for s in streams}
    return AskedModel("m", TensorView(model), True, vocabulary, found, **columns)


def of_rows(model, ids) -> dict[str, Behaviour]:
    measured = torch.zeros_like(ids, dtype=torch.bool)
    measured[:, 5:7] = True
    text = Stream("text", ids, {"measured": measured})
    return load_source("lag").behaviours(asked(model, [text, Stream("random", ids.flip(1))]))


def test_a_loss_is_that_of_the_marked_tokens(model, ids):
    found = of_rows(model, ids)
    piece = found["target"].pieces[0]
    log_p = model(ids).log_softmax(-1)
    slow = [-sum(log_p[b, t - 1, ids[b, t]] for t in (5, 6)) for b in range(N)]
    torch.testing.assert_close(piece.y(model(ids)), torch.stack(slow))
    assert piece.counts.tolist() == [2.0] * N
    whole = found["text"].pieces[0].y(model(ids))
    torch.testing.assert_close(whole, torch.stack(slow) + found["rest"].pieces[0].y(model(ids)))


def test_the_second_copy_is_what_stood_before_and_could_be_foretold():
    ids = torch.tensor([[9, 1, 2, 3, 1, 2, 3, 1]])
    # At place 4 the 1 comes again, but nothing before it tells that the repeat begins.
    assert second_copy(ids)[0].tolist() == [False] * 5 + [True] * 3
    assert not second_copy(torch.tensor([[1, 2, 3, 4]])).any()


def test_an_excess_is_summed_where_its_primitive_governs(model, ids):
    rng = np.random.default_rng(2)
    p = torch.from_numpy(rng.dirichlet(np.ones(VOCAB), (N, SEQ - 1))).float()
    labels = rng.integers(0, len(LABELS), (N, SEQ - 1))
    labels[0, :3] = LABELS.index("induction")
    streams = [Stream("text", ids), Stream("random", ids)]
    found = load_source("toylang").behaviours(asked(model, streams, p=p, labels=labels))
    log_q = model(ids)[:, :-1].log_softmax(-1)
    cross = -(p * log_q).sum(-1).numpy()
    at = labels == LABELS.index("induction")
    piece = found["induction"].pieces[0]
    np.testing.assert_allclose(piece.y(model(ids)), (cross * at).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(
        found["not_induction"].pieces[0].y(model(ids)), (cross * ~at).sum(-1), rtol=1e-5
    )
    assert found["induction"].counts.tolist() == at.sum(-1).tolist()
    never = [name for name in LABELS if not (labels == LABELS.index(name)).any()]
    assert not set(never) & set(found)


def test_the_next_of_a_list_is_compared_with_its_class():
    """First, comma-separated items; the class is 10, 11, ..., 15 in order."""
    classes = {"c": list(range(10, 16))}
    rows = torch.tensor([[0, 11, 1, 12, 1, 13], [0, 13, 1, 15, 1, 12]])
    streams = [Stream("ordinals", rows), Stream("shuffled_ordinals", rows)]
    vocabulary = Vocabulary(running_text=True, random_tokens=16)
    made = AskedModel("m", None, False, vocabulary, {s.name: (s,) for s in streams}, items=classes)
    piece = load_source("named").behaviours(made)["successor"].pieces[0]
    logits = torch.randn(2, 1, 16)
    # 13 comes behind 12; nothing comes behind 15, so that the second list does not count.
    expected = float(logits[0, 0, 10:16].mean() - logits[0, 0, 13])
    assert piece.read == (-2,)
    torch.testing.assert_close(piece.y(logits), torch.tensor([expected, 0.0]))
    assert piece.counts.tolist() == [1.0, 0.0]


def test_the_object_is_compared_with_the_subject_wherever_they_stand():
    ids = torch.tensor([[3, 5, 4, 5], [5, 3, 4, 5]])
    marks = {"io": ids == 3, "s1": torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0]]).bool()}
    streams = {n: (Stream(n, ids, marks),) for n in ("ioi", "abc")}
    vocabulary = Vocabulary(running_text=True, random_tokens=8)
    behaviour = load_source("named").behaviours(AskedModel("m", None, False, vocabulary, streams))[
        "ioi"
    ]
    logits = torch.randn(2, 1, 8)
    expected = logits[:, 0, 5] - logits[:, 0, 3]
    torch.testing.assert_close(behaviour.pieces[0].y(logits), expected)
    assert behaviour.at == -1


def test_every_detector_has_a_behaviour_of_its_source():
    for source in ("named", "lag", "tiny", "toylang"):
        for detector in ("previous", "duplicate", "induction", "positional", "delimiter"):
            own, control = load_source(source).own_and_control[detector]
            assert own != control
    assert set(load_source("named").own_and_control) > {"successor", "s_inhibition"}


# --- ablations -----------------------------------------------------------------------------------


def slow_effect(model, behaviour, heads, z_bar) -> float:
    piece = behaviour.pieces[0]
    edited = ReplacedHeads(model, {h: z_bar[h].float() for h in heads})
    change = piece.y(edited(piece.tokens)) - piece.y(model(piece.tokens))
    return float(change.sum() / piece.counts.sum())


def test_rows_of_ablations_are_what_replaced_heads_cost(model, ids):
    found = of_rows(model, ids)
    effects = {n: Ablated(TensorView(model), b, BOOTSTRAP) for n, b in found.items()}
    others = of_rows(model, ids.flip(0, 1)[:2])
    ranks = {
        n: Ablated(TensorView(model), b, BOOTSTRAP, mean_of=found[n]) for n, b in others.items()
    }
    screens = {n: screen(a) for n, a in effects.items()}
    named = ((0, 1), (1, 2))
    questions = [
        Question("induction", named, ((1, 2),), "target", "rest"),
        Question("previous", (), (), "target", "rest"),
        Question("successor", (), (), "successor", "successor_shuffled"),
    ]
    config = AblationConfig(top_k=2, draws=140, exact_layers=[0])
    made = ablation_rows(effects, ranks, screens, questions, config, alpha=0.05, seed=0)
    rows = pd.DataFrame(made)
    means = rows[(rows["kind"] == "mean") & ~rows["behaviour"].str.contains(LESS)]
    for row in means.itertuples():
        z_bar = effects[row.behaviour].z_bar
        of = found if row.draw == THEMSELVES else others
        slow = slow_effect(model, of[row.behaviour], heads_of(row.heads), z_bar)
        assert row.value == pytest.approx(slow, abs=2e-6), row
        assert row.ci_low - 1e-9 <= row.value <= row.ci_high + 1e-9
    of_set = rows[(rows["chosen_by"] == "set") & (rows["draw"] >= 0)]
    assert len(of_set) == 8  # all other pairs with one head in each of two layers of three
    assert set(of_set["possible"]) == {8}
    assert set(rows["detector"]) == {"", "induction", "previous"}
    # Without a name, the first of the screen, against sets of all layers.
    outside = rows[(rows["chosen_by"] == "outside") & (rows["detector"] == "previous")]
    themselves = outside[outside["draw"] < 0]
    assert set(themselves["heads"].map(heads_of)) == {screens["target"].top(2)}
    assert (outside["possible"] == 14).all()  # 15 pairs of six heads
    early = rows[rows["chosen_by"] == "layer"]
    assert set(early["heads"]) == {"L0H0", "L0H1", "L0H2"}
    singles = rows[rows["chosen_by"] == "named"]
    kinds = {heads: {*of["kind"]} for heads, of in singles.groupby("heads")}
    assert kinds == {"L0H1": {"mean"}, "L1H2": {"mean", "zero", "resample"}}
    assert set(rows.loc[rows["chosen_by"] == "set", "draw"]) == {THEMSELVES, RANKED, *range(8)}
    difference = rows[rows["behaviour"] == f"target{LESS}rest"]
    of_named = difference[difference["detector"] == "induction"].iloc[0]
    target, rest = (
        means[
            (means["detector"] == "induction")
            & (means["draw"] == THEMSELVES)
            & (means["behaviour"] == b)
        ]
        for b in ("target", "rest")
    )
    expected = target[target["chosen_by"] == "set"]["value"].iloc[0] - rest["value"].iloc[0]
    assert of_named["value"] == pytest.approx(expected)


@pytest.fixture(scope="module")
def wide() -> TensorTransformer:
    """12 heads in its layer: 66 pairs."""
    shape = TensorConfig(d_vocab=VOCAB, n_ctx=SEQ, n_layers=1, n_heads=12, d_model=12, d_head=2)
    return TensorTransformer(shape).init_weights(0).eval().requires_grad_(False)


def test_drawing_stops_where_no_draw_can_change_the_verdict(wide, ids):
    """Not before 40 draws, and never while the set is first."""
    found = of_rows(wide, ids)
    pair = ((0, 0), (0, 1))
    none = Screen(np.zeros((1, 12)), None)

    def draws(value: float) -> int:
        """Of a named pair whose effect is this."""
        own, rest = (Ablated(TensorView(wide), found[n], BOOTSTRAP) for n in ("target", "rest"))
        own._effects[pair, "mean"] = np.full(N, 2 * value)
        rows = ablation_rows(
            {"target": own, "rest": rest},
            {"target": own, "rest": rest},
            {"target": none, "rest": none},
            [Question("induction", pair, pair, "target", "rest")],
            AblationConfig(draws=60, exact_layers=[]),
            alpha=0.05,
            seed=0,
        )
        return sum(r["chosen_by"] == "set" and r["draw"] >= 0 for r in rows)

    assert draws(1e6) == 60
    assert draws(-1e6) == 40


def test_a_screen_ranks_by_harm_and_leaves_out_what_helps():
    first_order = np.array([[0.5, -2.0], [0.1, 3.0]])
    found = Screen(first_order, None)
    assert found.top(2) == ((0, 0), (1, 1))
    assert found.top(9) == ((0, 0), (1, 0), (1, 1))


def test_the_screen_is_exact_where_the_harm_is_linear_in_z(model, ids):
    """The last layer of a model without norms, and a harm that is a logit."""
    piece = of_rows(model, ids)["text"].pieces[0]
    linear = type(piece)(piece.tokens, np.ones(N), lambda logits: logits[:, -1, 0], (-1,))
    ablated = Ablated(TensorView(model), Behaviour("logit", (linear,), at=-1), BOOTSTRAP)
    found = screen(ablated)
    for head in range(3):
        (exact,) = ablated.effects([((1, head),)])
        assert found.first_order[1, head] == pytest.approx(ablated.mean(exact), abs=1e-6)
        assert found.direct[1, head] == pytest.approx(ablated.mean(exact), abs=1e-6)


# --- rows of one format --------------------------------------------------------------------------


def test_rows_of_the_commonest_length_are_taken_whole_and_in_parts():
    rows = [
        {"sequence": s, "position": i, "token_id": 10 * s + i, "special": False, "measured": i == 2}
        for s, length in enumerate([3, 4, 3, 4, 4, 4])
        for i in range(length)
    ]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    whole = rows_stream(frame, 99, 0, (0, 1))
    assert whole.ids[:, 0].tolist() == [10, 30, 40, 50]
    assert whole.ids[1].tolist() == [30, 31, 32, 33]
    assert whole.mark("measured").tolist() == [[False, False, True, False]] * 4
    halves = [rows_stream(frame, 99, 0, (first, 2)).ids[:, 0].tolist() for first in (0, 1)]
    assert halves == [[10, 40], [30, 50]]
    assert len(rows_stream(frame, 2, 0, (0, 1))) == 2
