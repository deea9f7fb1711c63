"""Axes, marks and files of figures of any study."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from looking import lines
from zscope.figures import marks, style

# --- saving ----------------------------------------------------------------------------------


def test_provenance_is_in_both_files_and_the_png_has_200_dpi(tmp_path):
    provenance = {"code": "abc", "slice": {"figure": "tasks"}}
    svg, png = tmp_path / "f.svg", tmp_path / "f.png"
    style.save_figure(Figure(figsize=(style.COLUMN, 1)), [svg, png], provenance)
    with Image.open(png) as image:
        assert json.loads(image.info["Description"]) == provenance
        assert image.size == (680, 200)
        assert "Software" not in image.info
    assert json.dumps(provenance, sort_keys=True).replace('"', "&quot;") in svg.read_text().replace(
        '"', "&quot;"
    )


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"f\.pdf: a figure is saved as \.svg or \.png"):
        style.save_figure(Figure(), [tmp_path / "f.pdf"], {})


def test_a_layout_that_differs_in_the_last_bit_gives_the_same_bytes(tmp_path):
    saved = []
    for noise in (0, 1e-14):
        fig = Figure()
        for left in (0.1, 0.6):
            fig.add_axes((left, 0.1 + noise, 0.3, 0.8 - noise)).plot([0, 1])
        style.save_figure(fig, [tmp_path / "a.svg"], {})
        saved.append((tmp_path / "a.svg").read_text())
    assert saved[0] == saved[1]


def test_a_user_style_changes_nothing(tmp_path):
    @style.styled
    def draw():
        fig = style.figure(style.COLUMN, 2)
        ax = fig.subplots()
        ax.plot([0, 1])
        style.step_axis(ax, [0, 10, 100])
        style.baseline(ax, 0.5, "chance")
        style.note(fig, "A note.")
        return fig

    style.save_figure(draw(), [tmp_path / "plain.svg"], {})
    with matplotlib.rc_context({"font.size": 30, "xtick.direction": "in", "axes.grid": True}):
        style.save_figure(draw(), [tmp_path / "other.svg"], {})
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
DRAW = """
import sys
sys.path.append({scripts!r})
import draw_figure
from zscope.figures import style
fig = style.styled(lambda: style.figure(3, 2))()
fig.subplots().plot([1, 2])
draw_figure.save_figure(fig, ["f.svg", "f.png"], {{}})
print("matplotlib.pyplot" in sys.modules, "matplotlib.backends.backend_agg" in sys.modules)
"""


def test_a_figure_is_drawn_whatever_backend_the_call_inherits(tmp_path):
    """Without pyplot, which would look for a window system."""
    done = subprocess.run(
        [sys.executable, "-c", DRAW.format(scripts=str(SCRIPTS))],
        env=os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "True"]
    assert all((tmp_path / name).stat().st_size for name in ("f.svg", "f.png"))


def test_saving_looks_for_no_window_system_where_no_backend_is_chosen(tmp_path):
    code = (
        "import sys; from zscope.figures import style\n"
        "style.save_figure(style.figure(1, 1), ['f.png'], {})\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={k: v for k, v in os.environ.items() if k != "MPLBACKEND"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["False"], done.stderr


# --- axes ------------------------------------------------------------------------------------


def test_step_0_is_on_the_step_axis():
    ax = Figure().subplots()
    style.step_axis(ax, [0, 50, 20000])
    assert ax.get_xlim()[0] == 0
    assert {0, 1000, 10000} <= set(ax.get_xticks())
    assert ax.get_xlabel() == "optimizer steps"


@pytest.mark.parametrize("low", [1e-3, 0.3, 7, 50, 900, 2e5])
@pytest.mark.parametrize("ratio", [1, 1.5, 4, 30, 1e5])
def test_a_time_axis_has_ticks_whatever_the_times(low, ratio):
    ax = Figure().subplots()
    style.time_axis_y(ax, [low, low * ratio], "t")
    inside = [t for t in ax.get_yticks() if 0 < t <= ax.get_ylim()[1]]
    assert 1 <= len(inside) <= 9
    assert ax.get_ylim()[1] >= low * ratio


# --- marks -----------------------------------------------------------------------------------


def test_the_median_is_over_all_seeds_or_not_at_all():
    frame = pd.DataFrame(
        {"run": ["a", "b", "c"] * 2, "step": [0] * 3 + [5] * 3, "value": [1.0, 2, 9, 1, np.nan, 3]}
    )
    assert marks.median_over_runs(frame).to_dict() == {0: 2.0}
    assert marks.median_over_runs(frame[frame["run"] != "c"]).empty


def test_a_median_beyond_the_last_step_has_no_bar():
    ax = Figure().subplots()
    marks.median_mark(ax, 0, 1, np.nan, 500, np.nan, 2000, "k")
    assert not [c for c in ax.collections if c.get_label() == "_median"]
    (line,) = [c for c in ax.collections if c.get_label() == "_interval"]
    assert line.get_segments()[0][:, 1].tolist() == [500, 2000]
    assert len(lines(ax, "_beyond")) == 1
