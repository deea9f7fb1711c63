"""What is particular to the figures of attribution and of letters."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from fake_attribution import EDIT, HEADS, PROMPT, SUBJECTS, attribution_tables
from fake_letters import letters_tables
from looking import all_axes, words
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.attribution.tables import (
    NODES,
    PRETRAINED_NODES,
    PRETRAINED_SCORES,
    SCORES,
)
from zscope.studies.components.figures import (
    attribution_exact_estimate,
    attribution_heat_map,
    attribution_missed,
    attribution_pretrained,
    attribution_scores,
    letters_answers,
)
from zscope.studies.components.letters.tables import READOUTS


@cache
def frames():
    return {**attribution_tables(), **letters_tables()}


def drawn(figure):
    fig = figure.draw(Tables({t.name: frames()[t.name] for t in figure.NEEDS}, 0.95))
    return fig, [ax for ax in all_axes(fig) if ax.get_label() != "<colorbar>"]


def dots(ax, label=None):
    found = [c for c in ax.collections if isinstance(c, PathCollection)]
    return [c for c in found if label is None or c.get_label() == label]


def test_estimates_are_drawn_over_effects_and_atp_alone_where_the_fix_changes_something():
    _, axes = drawn(attribution_exact_estimate)
    nodes = frames()[NODES.name]
    assert len(axes) == 16  # two conditions, two layers, four kinds
    for ax, kind in zip(axes, "qkvz" * 4, strict=True):
        methods = ["atp", "ig", "atp_qk"] if kind in "qk" else ["ig", "atp_qk"]
        assert [c.get_label() for c in dots(ax)] == [f"_dots {m}" for m in methods]
    first = select(nodes, subject=SUBJECTS[0], layer=0, kind="q")
    (atp,) = dots(axes[0], "_dots atp")
    expected = np.stack([numbers(first["exact"]), numbers(first["atp"])], 1)
    assert np.allclose(np.asarray(atp.get_offsets()), expected)


@pytest.mark.parametrize("figure", [attribution_scores, attribution_missed])
def test_every_training_and_its_null_is_drawn(figure):
    _, axes = drawn(figure)
    scores = select(frames()[SCORES.name], metric="false_negatives", subject=SUBJECTS[0])
    if figure is attribution_scores:
        ax, of = axes[1], select(scores, primitive="all", kind="k", layer=1, method="atp")
        inside = (4.5, 5.5)
        assert [c for c in ax.collections if c.get_label() == "_null"]
    else:
        ax, of = axes[0], select(scores, kind="all", primitive="induction", method="atp")
        inside = (0.5, 1.5)
        assert len([c for c in ax.collections if c.get_label() == "_null"]) == 4 * 5
    shown = np.concatenate([np.asarray(c.get_offsets()) for c in dots(ax, "_dots atp")])
    here = shown[(shown[:, 0] > inside[0]) & (shown[:, 0] < inside[1]), 1]
    assert sorted(here) == pytest.approx(sorted(numbers(of["value"])))
    assert len(here) == 3


def test_the_heat_map_is_of_the_pair_whose_keys_do_most_and_shows_its_nodes():
    fig, axes = drawn(attribution_heat_map)
    nodes = select(frames()[NODES.name], subject=SUBJECTS[0], model="reference-s0")
    keys = select(nodes, kind="k", layer=1)
    pair = int(keys["pair"].iloc[int(keys["exact"].abs().argmax())])
    for row, (kind, layer) in enumerate((("z", 0), ("k", 1))):
        for column, name in enumerate(("exact", "atp", "atp_qk")):
            grid = np.asarray(axes[3 * row + column].images[0].get_array())
            assert grid.shape == (HEADS, len(PROMPT) - EDIT)
            of = select(nodes, pair=pair, kind=kind, layer=layer)
            for _, node in of.iterrows():
                assert grid[node["head"], node["position"] - EDIT] == pytest.approx(node[name])
    ticks = [t.get_text() for t in axes[0].get_xticklabels()]
    assert ticks == PROMPT[EDIT:]
    assert "becomes" in words(fig)


def test_in_the_language_model_sampled_nodes_are_hollow_and_the_scores_are_written():
    fig, axes = drawn(attribution_pretrained)
    nodes, scores = (frames()[t.name] for t in (PRETRAINED_NODES, PRETRAINED_SCORES))
    for ax, family in zip(axes, ("ioi", "repeats"), strict=True):
        of = select(nodes, family=family)
        hollow = [c for c in dots(ax) if not len(c.get_facecolor())]
        filled = [c for c in dots(ax) if len(c.get_facecolor())]
        assert sum(len(c.get_offsets()) for c in hollow) == len(select(of, chosen="random"))
        assert sum(len(c.get_offsets()) for c in filled) == len(select(of, chosen="top"))
        (row,) = select(scores, family=family, metric="pearson_top").to_dict("records")
        text = f"r, largest {row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        assert text in ax.texts[0].get_text()
    assert "large among others" in words(fig)


def test_answers_and_attention_have_their_chance_beside_them():
    _, (answers, attention) = drawn(letters_answers)
    rows = frames()[READOUTS.name]
    shown = np.concatenate([np.asarray(c.get_offsets()) for c in dots(answers, "_dots true label")])
    of = select(rows, metric="label")
    assert sorted(shown[:, 1]) == pytest.approx(sorted(numbers(of["value"])))
    for ax in (answers, attention):
        assert [c for c in ax.collections if c.get_label() == "_null"]
