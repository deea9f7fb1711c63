"""What is particular to the figures of the decomposition."""

import warnings
from functools import cache
from importlib import import_module

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fake_decomposition import decomposition_tables
from looking import Read, baselines, points, titled, words
from zscope.figures.tables import Tables


@cache
def made(one: bool):
    return decomposition_tables((0,) if one else (0, 1, 2))


def drawn(name, frames, level=0.95):
    figure = import_module(f"zscope.studies.components.figures.{name}")
    read = Read(frames)
    given = level if any(table.has_interval for table in figure.NEEDS) else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = figure.draw(Tables(read, given, {}))
        FigureCanvasAgg(fig).draw()
    return fig, read.names, figure


def test_the_planted_figure_shows_every_seed_the_null_and_the_singular_vectors():
    fig, _, _ = drawn("decomposition_planted", made(False))
    ax = titled(fig, "a")
    assert sum(str(line.get_label()).startswith("_seed") for line in ax.lines) == 2
    best = next(line for line in ax.lines if line.get_label() == "_seed 0")
    assert best.get_xdata()[np.argmax(best.get_ydata())] == 0.03


def test_an_adversary_that_is_worse_than_nothing_crosses_the_dashed_line():
    fig, _, _ = drawn("decomposition_reconstruction", made(False))
    ax = titled(fig, "c")
    (none,) = baselines(ax)
    assert none == pytest.approx(0.8)
    highest = max(
        line.get_ydata().max() for line in ax.lines if str(line.get_label()).startswith("_seed")
    )
    assert highest > none


def test_the_ablation_figure_shows_every_random_set_and_the_verdicts():
    fig, _, _ = drawn("decomposition_ablation", made(False))
    ax = titled(fig, "d")
    assert points(ax, "_random skip") == 3 * 40
    assert points(ax, "_dots skip") == 3
    assert points(ax, "_heads skip") == 4
    said = words(fig)
    for word in ("not found", "varies", "cannot be told"):
        assert word in said
    assert "skip (9)" in said


def test_the_pair_that_peaks_one_token_back_is_drawn_for_every_head_and_the_sum():
    fig, _, _ = drawn("decomposition_pairs", made(False))
    for name in ("H0", "H3", "sum"):
        ax = titled(fig, f"L1, factor 2, {name}")
        (first,) = [line for line in ax.lines if line.get_label() == "_seed 0"]
        assert int(np.argmax(first.get_ydata())) == 1


def test_firing_together_is_shown_beside_its_null():
    fig, _, _ = drawn("decomposition_coactivation", made(False))
    ax = titled(fig, "L0 k1, null")
    (dots,) = [c for c in ax.collections if c.get_label() == "_dots"]
    xy = np.asarray(dots.get_offsets())
    assert len(xy) == 3 * 4 * 5
    assert (xy[:, 1] > xy[:, 0]).sum() == 3 * 4


def test_the_build_up_by_importance_falls_below_that_of_random_components():
    fig, _, _ = drawn("decomposition_buildup", made(False))
    lines = [x for x in titled(fig, "a").lines if str(x.get_label()).startswith("_seed")]
    assert len(lines) == 6
    lowest = sorted(line.get_ydata()[-1] for line in lines)
    assert lowest[2] < lowest[3]


def test_attention_is_shown_before_and_after_on_one_axis():
    fig, _, _ = drawn("decomposition_attention", made(False))
    ax = titled(fig, "without skip's, H0")
    before, after = (
        next(line for line in ax.lines if line.get_label() == f"_seed {name}")
        for name in ("before", "after")
    )
    assert before.get_ydata().max() == 1
    assert after.get_ydata().max() == pytest.approx(0.05)


def test_heads_are_shown_beside_random_vectors():
    fig, _, _ = drawn("decomposition_heads", made(False))
    ax = next(ax for ax in fig.axes if "ln H" in ax.get_ylabel())
    assert points(ax, "_random") == 3 * 60
