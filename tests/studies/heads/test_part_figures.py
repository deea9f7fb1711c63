"""What the figures of heads part by part show of made-up tables."""

from __future__ import annotations

import numpy as np
import pytest

import fake_heads
import fake_parts
from looking import lines, titled, words
from zscope.figures import style
from zscope.figures.tables import Tables
from zscope.studies.heads.figures import attention_under_ablation, ioi, offset_sweep
from zscope.studies.heads.tables import IOI


@pytest.fixture(scope="module")
def made():
    return {name: of["full"] for name, of in fake_heads.figure_tables().items()}


def colours(ax, label: str) -> list[str]:
    """Of every dot, in the order of the table."""
    found = [c for c in ax.collections if c.get_label() == label]
    return [
        style.matplotlib.colors.to_hex(edge).upper()
        for c in found
        for edge in np.broadcast_to(c.get_edgecolors(), (len(c.get_offsets()), 4))
    ]


def test_every_earlier_head_is_a_dot_and_the_previous_token_head_stands_out(made):
    fig = attention_under_ablation.draw(made["attention_under_ablation"])
    ax = titled(fig, "induction")
    dots = {c.get_label() for c in ax.collections}
    assert {"_heads previous", "_heads none"} <= dots
    of_previous = [c.get_offsets() for c in ax.collections if c.get_label() == "_heads previous"]
    found = np.concatenate(of_previous)
    assert found.tolist() == [pytest.approx([0.9, 0.3])] * 2  # one per model
    others = [c.get_offsets() for c in ax.collections if c.get_label() == "_heads none"]
    assert sum(map(len, others)) == 14
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_aspect() == 1


def test_roles_are_labelled_and_coloured_and_of_the_others_those_that_were_run(made):
    given = made["ioi"]
    rows = given.get(IOI)
    rows["exact"] |= (rows["layer"] == 0) & (rows["head"] == 6)
    fig = ioi.draw(Tables({IOI.name: rows}, given.level, given.declared))
    (ax,) = fig.axes
    labels = {t.get_text(): t.get_color() for t in ax.texts}
    assert labels == {
        **{"L1H0": style.VERMILLION, "L1H3": style.GREEN, "L1H5": style.BLUE},
        **{"L0H6": style.GREY},
    }
    of_dots = colours(ax, "_heads")
    assert len(of_dots) == 16
    assert sorted(c for c in of_dots if c != style.GREY) == sorted(
        [style.VERMILLION, style.GREEN, style.BLUE]
    )


def test_more_roles_than_fit_are_labelled_by_size_and_labels_keep_apart(made):
    given = made["ioi"]
    rows = given.get(IOI)
    every = rows.assign(name_mover=True, copy_suppression=False, s_inhibition=False)
    fig = ioi.draw(Tables({IOI.name: every}, given.level, given.declared))
    (ax,) = fig.axes
    heights = sorted(t.get_position()[1] for t in ax.texts)
    assert len(heights) == ioi.MOST_LABELS
    assert np.diff(heights).min() > ioi.SPACE - 1e-9
    assert 0 <= heights[0] <= heights[-1] <= 1
    assert {"L1H0", "L1H3", "L1H5"} <= {t.get_text() for t in ax.texts}


def test_the_sweep_shows_the_best_head_of_every_model_and_leaves_out_what_is_undefined(made):
    fig = offset_sweep.draw(made["offset_sweep"])
    middle, right = titled(fig, "Heads of its layer"), titled(fig, "In logits")
    best = [line for line in lines(middle, "_model") if line.get_color() == style.VERMILLION]
    assert len(best) == 2
    assert all(line.get_ydata()[1] == pytest.approx(0.7) for line in best)
    assert len(lines(middle, "_model")) == 16
    for line in lines(right, "_model"):
        assert line.get_xdata().tolist() == [0, 1]
    assert fake_parts.BEST == (0, 1)
    assert "whose best previous-token head is L0H1" in words(fig)
    assert len(lines(titled(fig, "Layers"), "_model")) == 2
