"""Untrained models of both sources with checkpoints, from files to the tables of onsets."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from test_whole_study import ABLATION, BOOTSTRAP, DETECTOR_CONFIG, STREAMS, drawn, written
from zscope.core.errors import CheckpointError
from zscope.models.checkpoints import join, save_tensors
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.heads.ablating import Ablated, Screen, ablation_rows
from zscope.studies.heads.asked.model import Sizes, SubjectFiles
from zscope.studies.heads.asked.rows import least_loss
from zscope.studies.heads.head_sets import heads_text
from zscope.studies.heads.measuring import measure
from zscope.studies.heads.onsets.followed import following
from zscope.studies.heads.onsets.measuring import Scoring, effect_rows, random_sets, score_rows
from zscope.studies.heads.onsets.order import order_rows
from zscope.studies.heads.onsets.times import OnsetRule, median_rows, onset_rows
from zscope.studies.heads.questions import questions_of
from zscope.studies.heads.registry import load_detectors
from zscope.studies.heads.scoring import score_rows as all_score_rows
from zscope.studies.heads.sources import load_source
from zscope.studies.heads.study import WITH_CHECKPOINTS
from zscope.studies.heads.tables import (
    CHECKPOINTS,
    DETECTORS,
    ONSET_MEDIANS,
    ONSET_ORDER,
    ONSETS,
    SCORES,
    THEMSELVES,
)
from zscope.tables.write import write_table
from zscope.text.tables import ROWS
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import ToyLanguage

STEPS = (0, 1, 5)
LANGUAGE = LanguageConfig(length=20)


def toy_shape(attention: str) -> TensorConfig:
    return TensorConfig(
        d_vocab=len(ToyLanguage(LANGUAGE).vocabulary), n_ctx=20, n_layers=2, n_heads=3,
        d_model=16, d_head=4, attention=attention,
    )  # fmt: skip


def files_of(source: str, folder) -> dict:
    """Checkpoints of two models, and the rows of text that they need, as arguments of a series."""
    if source == "lag":
        shape = TransformerConfig(d_vocab=20, n_ctx=12, n_layers=2, n_heads=3, d_model=9, d_mlp=8)
        make, settings = Transformer, {}
    else:
        shape = toy_shape("bilinear" if source == "bilinear" else "softmax")
        make, settings = TensorTransformer, {"language": LANGUAGE.model_dump()}
    models = {}
    for name in ("a", "b"):
        parts = {step: folder / name / f"{step}.safetensors" for step in STEPS}
        for step, part in parts.items():
            state = drawn(make(shape), 0.1 + 0.1 * step).state_dict()
            save_tensors(state, part, {"step": step})
        models[name] = folder / f"{name}.safetensors"
        join(parts, models[name], shape, {})
    rows = folder / "rows.parquet"
    write_table(list(rows_of_a_format()), rows, ROWS, {})
    return {"models": models, "rows": [rows, rows], "settings": settings}


def rows_of_a_format():
    rng = np.random.default_rng(0)
    for s, i in itertools.product(range(30), range(12)):
        token = 0 if i == 0 else int(rng.integers(1, 20))
        yield {
            **{"sequence": s, "position": i, "token_id": token, "token": "x"},
            **{"special": i == 0, "measured": i == 8},
        }


@pytest.fixture(scope="module", params=["lag", "softmax", "bilinear"])
def case(request, tmp_path_factory):
    """A source, and each of its models at every step."""
    source = load_source("lag" if request.param == "lag" else "toylang")
    found = files_of(request.param, tmp_path_factory.mktemp("files"))
    return source, list(source.series(SubjectFiles(**found, **CPU))), found


CPU = {"dtype": torch.float32, "device": torch.device("cpu")}


def test_a_source_of_the_plan_is_one_that_has_a_series():
    for name in ("named", "tiny", "toylang", "lag"):
        assert (load_source(name).series is not None) == (name in WITH_CHECKPOINTS)


def test_a_series_is_its_file_and_a_subject_its_last_step(case):
    source, series, found = case
    assert [(m.name, m.steps) for m in series] == [("a", STEPS), ("b", STEPS)]
    sizes = Sizes.of_scores(STREAMS, 0)
    last = [ask(sizes) for ask in source.asks(SubjectFiles(**found, **CPU))]
    for model, asked in zip(series, last, strict=True):
        at_end, before = (model.at(step)(sizes) for step in (5, 1))
        (text,) = asked.streams["text"]
        same, other = (at.view.run(text.ids).logits for at in (at_end, before))
        torch.testing.assert_close(same, asked.view.run(text.ids).logits)
        assert not torch.allclose(other, same)
        with pytest.raises(CheckpointError, match="no step 3"):
            model.at(3)


def test_the_rows_of_a_step_are_those_of_the_tables_of_scores_and_ablations(case, tmp_path):
    """And all of them go through the tables to the onsets."""
    source, (model, _), _ = case
    asked = model.at(5)(Sizes.of_scores(STREAMS, 0))
    scores, applied = all_tables(asked, tmp_path)
    follow = following(scores, applied, source.own_and_control)
    assert {f.detector for f in follow if f.heads} >= {"previous", "positional", "induction"}
    rows = list(
        score_rows(asked, follow, Scoring(DETECTOR_CONFIG.settings, 1, 5, BOOTSTRAP)),
    )
    assert {r["chosen_by"] for r in rows} == {"named", "other"}
    assert {r["query_class"] is None for r in rows} == (
        {True} if asked.p is None else {True, False}
    )
    named = scores[scores["names"]].set_index(["detector", "stream", "layer", "head"])
    streams = {f.detector: f.stream for f in follow}
    for row in rows:
        ((layer, head),) = [(int(row["heads"][1]), int(row["heads"][3]))]
        of = named.loc[row["detector"], streams[row["detector"]], layer, head]
        own_class = row["query_class"] in (None, of["best_class"])
        own_offset = row["offset"] == (None if pd.isna(of["offset"]) else of["offset"])
        if row["chosen_by"] == "other" and not (own_class and own_offset):
            continue  # scored as the named head is
        assert own_class
        assert own_offset
        columns = ("value", "ci_low", "ci_high")
        if row["query_class"] is not None:
            columns = ("class_value", "class_low", "class_high")
        for column, mine in zip(columns, ("value", "ci_low", "ci_high"), strict=True):
            assert row[mine] == pytest.approx(of[column], abs=1e-6), (row, column)
    checkpoints = []
    for step in STEPS:
        at = model.at(step)
        of_scores = at(Sizes.of_scores(STREAMS, 0))
        of_effects = at(Sizes.of_ablations(STREAMS, ABLATION, 0, "effects"))
        sets = random_sets(follow, 3, 2, 0)
        found = source.behaviours(of_effects)
        made = [
            *score_rows(of_scores, follow, Scoring(DETECTOR_CONFIG.settings, 1, 5, BOOTSTRAP)),
            *effect_rows(of_effects.view, found, follow, sets, BOOTSTRAP),
        ]
        checkpoints += [{"subject": "s", "model": "a", "step": step, **row} for row in made]
    assert_effects(source, of_effects, scores, applied, made)
    table = written(checkpoints, CHECKPOINTS, tmp_path)
    onsets = written(onset_rows(table, OnsetRule(1 / 3, 0.1, 2)), ONSETS, tmp_path)
    assert {"pattern", "effect"} <= set(onsets["quantity"])
    medians = written(median_rows(onsets, BOOTSTRAP), ONSET_MEDIANS, tmp_path)
    assert set(medians["n"]) == {1}
    order = written(order_rows(onsets, alpha=0.05, level=0.95), ONSET_ORDER, tmp_path)
    assert set(order["verdict"]) == {"cannot be told"}


def all_tables(asked, folder):
    """Tables heads_scores and heads_detectors, in which heads are named that need not have earned
    it: in each layer one by all rows, and one by a class."""
    detectors = {
        name: load_detectors(name, DETECTOR_CONFIG.settings) for name in DETECTOR_CONFIG.asked
    }
    measured = {n: measure(asked, d, DETECTOR_CONFIG.settings, 5) for n, d in detectors.items()}
    naming = DETECTOR_CONFIG.model_copy(update={"min_rows": 1}).naming
    rows = all_score_rows(measured, detectors, bootstrap=BOOTSTRAP, settings=naming)
    scores = written([{"subject": "s", **row} for row in rows], SCORES, folder)
    scores["named"] = scores["names"] & (scores["head"] == 0)
    has_class = scores["names"] & scores["best_class"].notna()
    scores["named_by_class"] = has_class & (scores["head"] == 1)
    applied = [
        {"subject": "s", "model": asked.name, "detector": n, "skipped": m.skipped}
        for n, m in measured.items()
    ]
    return scores, written(applied, DETECTORS, folder)


def assert_effects(source, model, scores, applied, rows):
    """Effects of the named sets are those of table heads_ablations."""
    found = source.behaviours(model)
    effects = {n: Ablated(model.view, b, BOOTSTRAP) for n, b in found.items()}
    none = Screen(np.zeros((2, 3)), None)
    questions = questions_of(scores, applied, source.own_and_control)
    made = ablation_rows(
        effects, effects, dict.fromkeys(found, none), questions, ABLATION, alpha=0.05, seed=0
    )
    of_sets = {
        (r["detector"], r["behaviour"]): r
        for r in made
        if r["chosen_by"] == "set" and r["draw"] == THEMSELVES
    }
    named = {q.detector: q for q in questions if q.named}
    mine = {(r["detector"], r["metric"]): r for r in rows if r["chosen_by"] == "set"}
    there = {d: q for d, q in named.items() if {q.own, q.control} <= set(found)}
    assert len(mine) == 2 * len(there) > 0
    for (detector, metric), row in mine.items():
        q = there[detector]
        other = of_sets[detector, q.own if metric == "effect" else q.control]
        assert row["heads"] == other["heads"] == heads_text(q.named)
        for column in ("value", "ci_low", "ci_high", "n"):
            assert row[column] == pytest.approx(other[column])


def test_the_least_harm_of_the_toy_language_is_its_entropy(case):
    source, (model, _), _ = case
    asked = model.at(5)(Sizes.of_scores(STREAMS, 0))
    if asked.p is None:
        return
    found = source.behaviours(asked)
    for name, behaviour in found.items():
        if name not in LABELS:
            assert (behaviour.least is None) == (name == "random")
            continue
        at = asked.labels == LABELS.index(name)
        slow = [
            -sum(float(q) * np.log(float(q)) for t in np.flatnonzero(here) for q in p[t] if q > 0)
            for p, here in zip(asked.p, at, strict=True)
        ]
        np.testing.assert_allclose(behaviour.least, slow, atol=1e-5)


def test_the_least_loss_of_rows_is_that_of_the_shares_of_those_that_begin_alike():
    ids = np.array([[0, 5, 7], [0, 5, 7], [0, 5, 8], [0, 6, 7]])
    measured = np.zeros(ids.shape, dtype=bool)
    measured[:, 2] = True
    least = least_loss(ids, measured)
    assert np.isnan(least[:, :2]).all()
    np.testing.assert_allclose(least[:, 2], -np.log([2 / 3, 2 / 3, 1 / 3, 1]))
