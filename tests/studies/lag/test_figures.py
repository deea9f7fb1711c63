"""The lag study's figures show every seed, every baseline and every censored run."""

import dataclasses
import importlib
import importlib.util
import json
import math
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import fake_lag
import numpy as np
import pandas as pd
import pytest
from looking import all_axes, assert_texts_can_be_read, baselines, lines, points, words
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from zscope.figures import marks, style
from zscope.studies.lag.figures.lookups import SweepTables, count_censored, largest_head
from zscope.studies.lag.figures.transition_alignment import median_interval, relative_onsets
from zscope.tables.read import TABLES, write_table

REPO = Path(__file__).parents[2]
CONDITION_FIGURES = ("dashboard", "attention_to_z", "logit_lens", "z_dependence")
SWEEPS = {
    "candidate_eval": fake_lag.k_sweep,
    "z_order_sweep": fake_lag.z_order_sweep,
    "k_sweep": fake_lag.k_sweep,
    "temperature_sweep": fake_lag.temperature_sweep,
    "tasks": fake_lag.tasks,
    "transition_alignment": fake_lag.z_order_sweep,
    "linear_contrast": lambda: dataclasses.replace(
        fake_lag.z_order_sweep(), linear=fake_lag.linear()
    ),
}
FIGURES = [*CONDITION_FIGURES, *SWEEPS]
N_SEEDS = len(fake_lag.SEEDS)


def tables_of(name):
    return SWEEPS[name]() if name in SWEEPS else fake_lag.condition()


def draw(name, tables=None):
    module = importlib.import_module(f"zscope.figures.lag.{name}")
    return module.draw(tables_of(name) if tables is None else tables)


@pytest.fixture(scope="module", params=FIGURES)
def drawn(request):
    """Name and figure, laid out; the tests of this module only read it."""
    fig = draw(request.param)
    FigureCanvasAgg(fig).draw()
    return request.param, fig


@pytest.fixture(scope="module")
def z_order():
    return draw("z_order_sweep")


# --- every figure ----------------------------------------------------------------------------


def test_every_axis_is_labelled_or_shares_the_axis_of_a_labelled_one(drawn):
    name, fig = drawn
    for which in ("x", "y"):
        labelled = {ax for ax in all_axes(fig) if getattr(ax, f"get_{which}label")()}
        for ax in all_axes(fig):
            group = getattr(ax, f"get_shared_{which}_axes")().get_siblings(ax)
            colour_bar = ax.get_label() == "<colorbar>"
            assert labelled & set(group) or (colour_bar and which == "x"), (name, ax)


def test_the_number_of_seeds_is_stated(drawn):
    _, fig = drawn
    assert f"n = {N_SEEDS} seeds" in words(fig)


def test_texts_can_be_read(drawn):
    name, fig = drawn
    assert_texts_can_be_read(name, fig)
    assert fig.get_figwidth() in (style.COLUMN, style.DOUBLE)


@pytest.mark.parametrize("name", ["tasks", "z_dependence"])
def test_redrawing_gives_the_same_bytes(name, tmp_path):
    for folder in ("a", "b"):
        paths = [tmp_path / folder / f"{name}.{kind}" for kind in ("svg", "png")]
        style.save_figure(draw(name), paths, {"code": "abc"})
    for kind in ("svg", "png"):
        first, second = ((tmp_path / d / f"{name}.{kind}").read_bytes() for d in "ab")
        assert first == second
    assert b"<dc:date>" not in (tmp_path / "a" / f"{name}.svg").read_bytes()


def test_a_layout_that_differs_in_the_last_bit_gives_the_same_bytes(tmp_path):
    saved = []
    for noise in (0, 1e-14):
        fig = Figure()
        for left in (0.1, 0.6):
            fig.add_axes((left, 0.1 + noise, 0.3, 0.8 - noise)).plot([0, 1])
        style.save_figure(fig, [tmp_path / "a.svg"], {})
        saved.append((tmp_path / "a.svg").read_text())
    assert saved[0] == saved[1]
    names = re.findall(r'<clipPath id="(\w+)"', saved[0])
    assert names == ["clip0", "clip1"]
    assert set(re.findall(r"url\(#(\w+)\)", saved[0])) == set(names)


def test_a_user_style_changes_nothing(tmp_path):
    import matplotlib

    style.save_figure(draw("tasks"), [tmp_path / "plain.svg"], {})
    with matplotlib.rc_context({"font.size": 30, "xtick.direction": "in", "axes.grid": True}):
        style.save_figure(draw("tasks"), [tmp_path / "other.svg"], {})
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_nothing_here_imports_torch():
    modules = ", ".join(f"zscope.figures.lag.{name}" for name in FIGURES)
    code = (
        f"import sys, {modules}; print([m for m in sys.modules if m in {{'torch', "
        "'transformer_lens', 'zscope.studies.lag.config', 'matplotlib.pyplot'}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


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


# --- helpers ---------------------------------------------------------------------------------


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


def test_the_median_is_over_all_seeds_or_not_at_all():
    frame = pd.DataFrame(
        {"run": ["a", "b", "c"] * 2, "step": [0] * 3 + [5] * 3, "value": [1.0, 2, 9, 1, np.nan, 3]}
    )
    assert marks.median_over_runs(frame).to_dict() == {0: 2.0}
    assert marks.median_over_runs(frame[frame["run"] != "c"]).empty


def test_the_largest_head_is_chosen_in_each_run_layer_and_step():
    frame = pd.DataFrame(
        {
            "run": ["a", "a", "b", "b"],
            "layer": 0,
            "head": [0, 1, 0, 1],
            "step": 0,
            "value": [0.1, 0.7, 0.9, 0.2],
        }
    )
    assert largest_head(frame)["head"].to_list() == [1, 0]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([1, 2, 3, 4, 5], (3, 1, 5)),
        ([1, 2, np.nan, np.nan, np.nan], (math.inf, 1, math.inf)),
        (list(range(1, 21)), (10.5, 6, 15)),  # coverage of (6, 15) of 20: .9586
    ],
)
def test_the_interval_of_a_median_is_of_order_statistics(times, expected):
    assert median_interval(pd.Series(times, dtype=float)) == expected


# --- figures of a sweep ----------------------------------------------------------------------


def test_z_order_draws_every_seed_of_every_order(z_order):
    curves = [ax for ax in z_order.axes if lines(ax, "_seed")]
    assert len(curves) == 3 * 4
    for ax in curves:
        assert len(lines(ax, "_seed")) == N_SEEDS
        assert len(lines(ax, "_median")) == 1


def test_z_order_marks_censored_seeds_at_the_last_step(z_order):
    tables = fake_lag.z_order_sweep()
    gaps = tables.onsets[tables.onsets["metric"] == "z_gap"]
    never = int(gaps["censored"].sum())
    assert never == 3
    onset = next(ax for ax in z_order.axes if ax.get_ylabel().startswith("onset"))
    assert points(onset, "_onset z_gap") == 4 * N_SEEDS - never
    assert points(onset, "_onset set_mass") == 4 * N_SEEDS
    censored = [c for c in onset.collections if c.get_label() == "_censored z_gap"]
    assert sum(len(c.get_offsets()) for c in censored) == never
    assert {y for c in censored for y in c.get_offsets()[:, 1]} == {2000.0}
    assert all(len(c.get_facecolors()) == 0 for c in censored)  # open
    assert "1 of 5 at z_order 3; 2 of 5 at z_order 4" in words(z_order)


def test_z_order_lag_counts_censored_seeds_from_their_own_set_mass():
    tables = fake_lag.z_order_sweep()
    lag, known = (tables.onset("z_order 4", m) for m in ("lag", "set_mass"))
    never = lag["time"].isna()
    assert never.sum() == 2
    assert (lag["limit"][never] == 2000 - known["time"][never]).all()


def test_z_order_baselines(z_order):
    found = [baselines(ax) for ax in z_order.axes if lines(ax, "_seed")]
    assert found.count([pytest.approx(2 / 36)]) == 4
    assert found.count([pytest.approx(math.log(2))]) == 4
    assert found.count([0.0]) == 4


def test_a_median_beyond_the_last_step_has_no_bar():
    ax = Figure().subplots()
    marks.median_mark(ax, 0, 1, np.nan, 500, np.nan, 2000, "k")
    assert not [c for c in ax.collections if c.get_label() == "_median"]
    (line,) = [c for c in ax.collections if c.get_label() == "_interval"]
    assert line.get_segments()[0][:, 1].tolist() == [500, 2000]
    assert len(lines(ax, "_beyond")) == 1


def test_k_sweep_shows_both_designs_and_only_first_loss_at_k_1():
    fig = draw("k_sweep")
    axes = all_axes(fig)
    assert len(axes) == 4
    for ax in axes:
        assert points(ax, "_onset first_loss") == 3 * N_SEEDS
        assert points(ax, "_onset z_gap") == points(ax, "_onset lag") == 2 * N_SEEDS
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_k_sweep_epochs_are_steps_times_batch_over_rows():
    tables = fake_lag.k_sweep()
    label = "k 20, design fixed_bases"
    steps, epochs = (tables.onset(label, "z_gap", u)["time"] for u in ("steps", "epochs per fact"))
    np.testing.assert_allclose(epochs, steps * 64 / 20_000)


def test_a_missing_design_is_said_to_be_missing():
    tables = fake_lag.k_sweep()
    runs = tables.runs[tables.runs["design"] == "fixed_bases"]
    assert "not applicable: the sweep has no run with design fixed_facts" in words(
        draw("k_sweep", dataclasses.replace(tables, runs=runs))
    )


def test_temperature_table_says_beyond_for_a_censored_median():
    text = words(draw("temperature_sweep"))
    assert "> 2k (5 of 5 censored)" in text
    assert "> 64k (5 of 5 censored)" in text  # 2000 steps of 32 examples


def test_tasks_draw_the_floor_of_each_task():
    fig = draw("tasks")
    losses = [ax for ax in fig.axes if lines(ax, "_seed")][:4]
    floors = [baselines(ax)[0] for ax in losses]
    assert floors == [pytest.approx(f) for f in (math.log(5), 0, math.log(5), 0)]
    assert all(baselines(ax)[1] == pytest.approx(math.log(36)) for ax in losses)
    assert words(fig).count("not applicable: the task has no z") == 2


def test_alignment_is_relative_to_the_z_gap_and_leaves_out_runs_without_it():
    found, left_out = relative_onsets(fake_lag.z_order_sweep())
    assert left_out == 3
    assert (found["row"] == "set mass").sum() == 4 * N_SEEDS - 3
    assert (found.loc[found["row"] == "set mass", "time"] <= 0).all()
    late = found[found["row"].str.startswith("causal patching") & found["time"].isna()]
    assert len(late) == 1
    ax = all_axes(draw("transition_alignment"))[0]
    assert points(ax, "_censored") == 1
    assert points(ax, "_onset") == len(found) - 1


def test_linear_contrast_has_linear_steps_and_every_seed():
    fig = draw("linear_contrast")
    assert [ax.get_xscale() for ax in all_axes(fig)] == ["linear"] * 3
    assert [len(lines(ax, "_seed")) for ax in all_axes(fig)] == [
        4 * N_SEEDS,
        3 * N_SEEDS,
        4 * N_SEEDS,
    ]
    assert baselines(all_axes(fig)[2]) == [pytest.approx(math.log(2))]


def test_candidate_figure_leaves_out_what_needs_candidates():
    fig = draw("candidate_eval")
    assert words(fig).count("not applicable: a source has one target") == 3 * 2
    for ax in all_axes(fig):
        assert len(lines(ax, "_seed")) == N_SEEDS
        assert len(baselines(ax)) == 1


@pytest.mark.parametrize("name", [n for n in SWEEPS if n != "linear_contrast"])
def test_one_seed_and_one_point_can_be_drawn(name):
    tables = SWEEPS[name](seeds=(0,))
    runs = tables.runs[tables.runs["label"] == tables.labels[-1]]
    fig = draw(name, dataclasses.replace(tables, runs=runs))
    fig.draw_without_rendering()
    assert "n = 1 seed" in words(fig)


# --- figures of a condition --------------------------------------------------------------------


def test_dashboard_draws_every_seed_and_its_onsets():
    tables = fake_lag.condition()
    fig = draw("dashboard", tables)
    counts = {ax.get_ylabel().partition("\n")[0]: len(lines(ax, "_seed")) for ax in all_axes(fig)}
    assert counts == {
        "loss (nats)": 10,
        "share": 10,
        "largest head of a layer (share)": 10,
        "z gap": 5,
        "z dependence": 5,
    }
    for ax in all_axes(fig):
        assert len(lines(ax, "_onset z_gap")) == 4  # one of five is censored
        assert len(lines(ax, "_onset set_mass")) == 5
    assert "set mass in 0 of 5, z gap in 1 of 5" in words(fig)
    assert count_censored(tables.onsets, "z_gap") == "1 of 5"


def test_dashboard_baselines():
    attention, loss, share, *_ = all_axes(draw("dashboard"))  # in the order of their making
    assert loss.get_ylabel() == "loss (nats)"
    assert baselines(loss) == [pytest.approx(math.log(2)), pytest.approx(math.log(36))]
    assert baselines(share) == [pytest.approx(2 / 36), pytest.approx(1 / 2)]
    assert baselines(attention) == [0.5]


def test_dashboard_shades_the_phases_of_the_seed_in_the_middle():
    tables = fake_lag.condition()
    middle = tables.onset("z_gap").sort_values().index[2]
    ends = [0, tables.onset("set_mass")[middle], tables.onset("z_gap")[middle], 2000]
    ax = all_axes(draw("dashboard", tables))[0]
    spans = [p for p in ax.patches if p.get_label() == "_phase"]
    assert [(p.get_x(), p.get_x() + p.get_width()) for p in spans] == [*pairwise(ends)]


def test_attention_draws_every_head_of_every_seed():
    attention = all_axes(draw("attention_to_z"))[: fake_lag.N_LAYERS]
    for ax in attention:
        assert len(lines(ax, "_seed")) == N_SEEDS * fake_lag.N_HEADS
        assert baselines(ax) == [0.5]


def test_logit_lens_has_every_stage_once():
    fig = draw("logit_lens")
    heat, *panels = [ax for ax in all_axes(fig) if ax.get_label() != "<colorbar>"]
    assert [t.get_text() for t in heat.get_yticklabels()] == [
        "embedding",
        "0 attention",
        "0 MLP",
        "1 attention",
        "1 MLP",
    ]
    assert all(len(lines(ax, "_seed")) == 5 * N_SEEDS for ax in panels)
    accuracy, _, mass = panels
    assert baselines(accuracy) == [pytest.approx(1 / 36), 0.5]
    assert baselines(mass) == [pytest.approx(2 / 36)]


def test_z_dependence_has_a_map_of_heads_for_every_seed():
    fig = draw("z_dependence")
    maps = [ax for ax in all_axes(fig) if ax.images]
    assert len(maps) == N_SEEDS
    assert maps[0].images[0].get_array().shape == (fake_lag.N_LAYERS, fake_lag.N_HEADS)
    per_layer = all_axes(fig)[1]
    assert len(lines(per_layer, "_seed")) == (fake_lag.N_LAYERS + 1) * N_SEEDS


@pytest.mark.parametrize("name", CONDITION_FIGURES)
@pytest.mark.parametrize(
    ("sweep", "label", "why"),
    [
        (fake_lag.tasks, "task b_to_a", "task b_to_a has no z"),
        (fake_lag.k_sweep, "k 1, design fixed_bases", "with K = 1 there is no other z"),
    ],
)
def test_without_probe_tables_a_figure_says_why(name, sweep, label, why):
    fig = draw(name, fake_lag.condition(sweep(), label, probes=False))
    fig.draw_without_rendering()
    expected = "probe logit_lens was not asked for" if name == "logit_lens" else why
    assert f"not applicable: {expected}" in words(fig)
    assert f"n = {N_SEEDS} seeds" in words(fig)


@pytest.mark.parametrize("name", CONDITION_FIGURES)
def test_a_probe_table_without_rows_is_not_applicable(name):
    tables = fake_lag.condition()
    empty = {probe: frame.iloc[:0] for probe, frame in tables.probes.items()}
    assert "not applicable" in words(draw(name, dataclasses.replace(tables, probes=empty)))


# --- scripts -----------------------------------------------------------------------------------


def script(name):
    path = REPO / "workflow/scripts/lag" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(folder, frames):
    """Write the tables `lag_<name>`; the paths by name, as a job's named inputs."""
    paths = {}
    for name, frame in frames.items():
        paths[name] = str(folder / f"{name}.parquet")
        columns = [c.name for c in TABLES[f"lag_{name}"].columns]
        write_table(frame[columns], paths[name], f"lag_{name}", {})
    return paths


def job(folder, inputs, **tracked):
    class Input(SimpleNamespace):
        def items(self):
            return vars(self).items()

    return SimpleNamespace(
        input=Input(**inputs),
        output=SimpleNamespace(svg=str(folder / "f.svg"), png=str(folder / "f.png")),
        params=SimpleNamespace(tracked={"code": "abc", "slice": tracked}),
    )


@pytest.mark.parametrize("figure", ["tasks", "linear_contrast"])
def test_the_study_script_draws_from_files(figure, tmp_path):
    tables = SWEEPS[figure]()
    frames = {f.name: getattr(tables, f.name) for f in dataclasses.fields(SweepTables)}
    frames = {name: frame for name, frame in frames.items() if frame is not None}
    script("draw_study_figure").main(job(tmp_path, written(tmp_path, frames), figure=figure))
    style.save_figure(
        draw(figure, tables), [tmp_path / "same.svg"], {"code": "abc", "slice": {"figure": figure}}
    )
    assert (tmp_path / "f.svg").read_bytes() == (tmp_path / "same.svg").read_bytes()
    assert (tmp_path / "f.png").exists()


def test_the_condition_script_stacks_the_seeds(tmp_path):
    tables = fake_lag.condition()
    metrics = []
    for run, frame in tables.metrics.groupby("run"):
        metrics.append(tmp_path / run / "metrics.parquet")
        write_table(frame, metrics[-1], "lag_metrics", {})
    probes = [tmp_path / "probes" / f"{name}.parquet" for name in tables.probes]
    for path in probes:
        frame = tables.probes[path.stem][[c.name for c in TABLES["lag_probe"].columns]]
        write_table(frame, path, "lag_probe", {})
    frames = {"condition_runs": tables.runs, "condition_onsets": tables.onsets}
    runs, onsets = written(tmp_path, frames).values()
    inputs = {"metrics": metrics, "probes": probes, "runs": runs, "onsets": onsets}
    slice_ = {"figure": "dashboard", "condition": tables.fact("condition")}
    script("draw_condition_figure").main(job(tmp_path, inputs, **slice_))
    style.save_figure(
        draw("dashboard", tables), [tmp_path / "same.svg"], {"code": "abc", "slice": slice_}
    )
    assert (tmp_path / "f.svg").read_bytes() == (tmp_path / "same.svg").read_bytes()
