"""The lag study's figures show every seed, every baseline and every censored run."""

import importlib
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import fake_lag
from fake_lag import CONDITION_FIGURES, SWEEPS
from looking import all_axes, baselines, lines, points, vertical, words
from zscope.studies.lag.figures.lookups import (
    ConditionView,
    SweepView,
    count_censored,
    largest_head,
)
from zscope.studies.lag.probes.registry import PROBES
from zscope.studies.lag.tables import ALIGNMENT, CONDITION_ONSETS, METRICS, ONSETS, PROBE, RUNS

N_SEEDS = len(fake_lag.SEEDS)
LARGEST_UNTRAINED = pytest.approx(0.5 + max(fake_lag.UNEVEN))


def tables_of(name):
    return SWEEPS[name]() if name in SWEEPS else fake_lag.condition()


def draw(name, tables=None):
    module = importlib.import_module(f"zscope.studies.lag.figures.{name}")
    return module.draw(tables_of(name) if tables is None else tables)


@pytest.fixture(scope="module", params=[*SWEEPS, *CONDITION_FIGURES])
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


# --- figures of a sweep ----------------------------------------------------------------------


def test_z_order_draws_every_seed_of_every_order(z_order):
    curves = [ax for ax in z_order.axes if lines(ax, "_seed")]
    assert len(curves) == 3 * 4
    for ax in curves:
        assert len(lines(ax, "_seed")) == N_SEEDS
        assert len(lines(ax, "_median")) == 1


def test_z_order_marks_censored_seeds_at_the_last_step(z_order):
    gaps = fake_lag.z_order_sweep().get(ONSETS, metric="z_gap")
    never = int(gaps["censored"].sum())
    assert never == 3
    onset = next(ax for ax in z_order.axes if ax.get_ylabel().startswith("onset"))
    assert points(onset, "_onset z_gap") == 4 * N_SEEDS - never
    assert points(onset, "_onset set_mass") == 4 * N_SEEDS
    censored = [c for c in onset.collections if c.get_label() == "_censored z_gap"]
    assert sum(len(c.get_offsets()) for c in censored) == never
    assert {y for c in censored for y in c.get_offsets()[:, 1]} == {2000.0}
    assert all(len(c.get_facecolors()) == 0 for c in censored)  # open
    assert "set mass: none. z gap: 1 of 5 at z_order 3; 2 of 5 at z_order 4." in words(z_order)


def test_z_order_lag_counts_censored_seeds_from_their_own_set_mass():
    sweep = SweepView(fake_lag.z_order_sweep())
    lag, known = (sweep.onset("z_order 4", m) for m in ("lag", "set_mass"))
    never = lag["time"].isna()
    assert never.sum() == 2
    assert (lag["limit"][never] == 2000 - known["time"][never]).all()


def test_z_order_baselines(z_order):
    found = [baselines(ax) for ax in z_order.axes if lines(ax, "_seed")]
    assert found.count([pytest.approx(2 / 36)]) == 4
    assert found.count([pytest.approx(math.log(2))]) == 4
    assert found.count([0.0]) == 4


@pytest.mark.parametrize("name", ["z_order_sweep", "candidate_eval", "tasks", "linear_contrast"])
def test_a_sweep_of_curves_states_the_number_of_examples(name):
    tables = tables_of(name)
    metrics = tables.get(METRICS)
    few = metrics["step"].eq(50) & metrics["metric"].eq("first_loss")
    fewer = fake_lag.changed(tables, {METRICS: metrics.assign(n=metrics["n"].mask(few, 40))})
    assert "n = 40 to 1000 examples per value." in words(draw(name, fewer))


def test_k_sweep_shows_both_designs_and_only_the_set_mass_at_k_1():
    fig = draw("k_sweep")
    axes = all_axes(fig)
    assert len(axes) == 4
    for ax in axes:
        assert points(ax, "_onset set_mass") == 3 * N_SEEDS
        for metric in ("first_loss_over_log_k", "z_gap", "lag"):
            assert points(ax, f"_onset {metric}") == 2 * N_SEEDS
        # Nothing else: not first_loss, whose level does not mean the same for every K.
        assert points(ax, "_onset") == 9 * N_SEEDS
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_k_sweep_counts_the_censored_seeds_of_every_onset():
    tables = fake_lag.k_sweep()
    onsets = tables.get(ONSETS)
    label = "k 20, design fixed_facts"
    of_point = onsets["label"].eq(label) & onsets["metric"].eq("first_loss_over_log_k")
    lost = onsets.assign(onset_step=onsets["onset_step"].mask(of_point & onsets["seed"].lt(2)))
    text = words(draw("k_sweep", fake_lag.changed(tables, {ONSETS: lost})))
    assert (
        "Censored (never set in): set mass: none. "
        f"first-token loss over log K: 2 of 5 at {label}. z gap: none."
    ) in text


def test_k_sweep_epochs_are_steps_times_batch_over_rows():
    sweep = SweepView(fake_lag.k_sweep())
    label = "k 20, design fixed_bases"
    steps, epochs = (sweep.onset(label, "z_gap", u)["time"] for u in ("steps", "epochs per fact"))
    np.testing.assert_allclose(epochs, steps * 64 / 20_000)


def test_a_missing_design_is_said_to_be_missing():
    tables = fake_lag.k_sweep()
    runs = tables.get(RUNS, design="fixed_bases")
    assert "not applicable: the sweep has no run with design fixed_facts" in words(
        draw("k_sweep", fake_lag.changed(tables, {RUNS: runs}))
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


def test_alignment_draws_every_relative_onset_and_the_median_of_each_metric():
    tables = fake_lag.z_order_sweep()
    medians = tables.get(ALIGNMENT)
    found = tables.get(ONSETS).dropna(subset="last_after_z_gap")
    found = found[found["metric"].ne("z_gap")]
    assert found["after_z_gap"].isna().sum() == 1
    fig = draw("transition_alignment", tables)
    (ax,) = all_axes(fig)
    assert points(ax, "_censored") == 1
    assert points(ax, "_onset") == len(found) - 1
    assert vertical(ax) == [0]
    bars = [c for c in ax.collections if c.get_label() == "_median"]
    drawn = [bar.get_segments()[0][0, 0] for bar in bars]
    assert drawn == sorted(medians["median"])
    assert "Left out: 3 runs whose z gap never set in." in words(fig)
    counts = {
        (row["source"], row["metric"]): f"{row['n_censored']} of {row['n']} censored"
        for row in medians.to_dict("records")
    }
    assert set(counts.values()) == {"0 of 17 censored", "1 of 17 censored"}
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert [label.rpartition("\n")[2] for label in labels] == [
        counts[key]
        for key in medians.sort_values(["median", "source", "metric"])[
            ["source", "metric"]
        ].itertuples(index=False, name=None)
    ]


def test_without_an_onset_of_the_z_gap_there_is_nothing_to_align():
    tables = fake_lag.z_order_sweep()
    none = {t: tables.get(t).iloc[:0] for t in (ALIGNMENT,)}
    text = words(draw("transition_alignment", fake_lag.changed(tables, none)))
    assert "not applicable: no run has an onset of the z gap" in text
    assert f"n = {N_SEEDS} seeds" in text


def test_linear_contrast_has_linear_steps_and_every_seed():
    fig = draw("linear_contrast")
    assert [ax.get_xscale() for ax in all_axes(fig)] == ["linear"] * 3
    assert [len(lines(ax, "_seed")) for ax in all_axes(fig)] == [
        4 * N_SEEDS,
        3 * N_SEEDS,
        4 * N_SEEDS,
    ]
    assert baselines(all_axes(fig)[2]) == [pytest.approx(math.log(2))]
    for ax in all_axes(fig):
        largest = max(line.get_ydata().max() for line in lines(ax, "_seed"))
        assert ax.get_ylim()[0] == pytest.approx(1e-4 * max(largest, ax.dataLim.y1))


def test_candidate_figure_leaves_out_what_needs_candidates():
    fig = draw("candidate_eval")
    assert words(fig).count("not applicable: a source has one target") == 3 * 2
    for ax in all_axes(fig):
        assert len(lines(ax, "_seed")) == N_SEEDS
        assert len(baselines(ax)) == 1


@pytest.mark.parametrize("name", SWEEPS)
def test_one_seed_and_one_point_can_be_drawn(name):
    tables = SWEEPS[name](seeds=(0,))
    runs = tables.get(RUNS, label=SweepView(tables).labels[-1])
    fig = draw(name, fake_lag.changed(tables, {RUNS: runs}))
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
    assert count_censored(ConditionView(tables).onset("z_gap")) == "1 of 5"


def test_dashboard_baselines():
    attention, loss, share, *_ = all_axes(draw("dashboard"))  # in the order of their making
    assert loss.get_ylabel() == "loss (nats)"
    assert baselines(loss) == [pytest.approx(math.log(2)), pytest.approx(math.log(36))]
    assert baselines(share) == [pytest.approx(2 / 36), pytest.approx(1 / 2)]
    assert baselines(attention) == [0.5, LARGEST_UNTRAINED]


def test_dashboard_shades_the_phases_of_the_seed_in_the_middle():
    tables = fake_lag.condition()
    known, used = (ConditionView(tables).onset(m) for m in ("set_mass", "z_gap"))
    middle = used.sort_values().index[2]
    ends = [0, known[middle], used[middle], 2000]
    ax = all_axes(draw("dashboard", tables))[0]
    spans = [p for p in ax.patches if p.get_label() == "_phase"]
    assert [(p.get_x(), p.get_x() + p.get_width()) for p in spans] == [*pairwise(ends)]


def test_attention_draws_every_head_of_every_seed():
    attention = all_axes(draw("attention_to_z"))[: fake_lag.N_LAYERS]
    for ax in attention:
        assert len(lines(ax, "_seed")) == N_SEEDS * fake_lag.N_HEADS
        assert baselines(ax) == [0.5, LARGEST_UNTRAINED]


@pytest.mark.parametrize("name", ["attention_to_z", "dashboard"])
def test_the_onset_of_attention_is_counted_above_the_largest_untrained_head(name):
    tables = fake_lag.condition()
    onsets = tables.get(CONDITION_ONSETS, source="attention_to_z")
    assert set(onsets["metric"]) == {PROBES["attention_to_z"].series}
    never = tables.get(CONDITION_ONSETS)
    never = never.assign(
        onset_step=never["onset_step"].mask(
            never["source"].eq("attention_to_z") & never["seed"].ne(3)
        )
    )
    text = words(draw(name, fake_lag.changed(tables, {CONDITION_ONSETS: never})))
    assert "the largest head of all seeds at step 0" in text
    assert "censored in 4 of 5 seeds" in text


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("attention_to_z", ["n = 40 to 1000 examples per value."]),
        ("logit_lens", ["n = 40 to 1000 examples per value."]),
        ("z_dependence", ["a, b, d: n = 1000 pairs per value.", "c: n = 1000 pairs per value."]),
        (
            "dashboard",
            [
                "a, b, d above: n = 1000 examples per value.",
                "c: n = 40 to 1000 examples per value.",
                "d below: n = 1000 pairs per value.",
            ],
        ),
    ],
)
def test_the_number_of_examples_is_stated(name, counts):
    tables = fake_lag.condition()
    probe = tables.get(PROBE)
    few = probe["step"].eq(200) & probe["probe"].isin(["attention_to_z", "logit_lens"])
    fewer = fake_lag.changed(tables, {PROBE: probe.assign(n=probe["n"].mask(few, 40))})
    text = words(draw(name, fewer))
    for count in counts:
        assert count in text


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
    expected = "the config does not ask for probe logit_lens" if name == "logit_lens" else why
    assert f"not applicable: {expected}" in words(fig)
    assert f"n = {N_SEEDS} seeds" in words(fig)


@pytest.mark.parametrize("name", CONDITION_FIGURES)
def test_a_probe_table_without_rows_is_not_applicable(name):
    tables = fake_lag.condition()
    empty = fake_lag.changed(tables, {PROBE: tables.get(PROBE).iloc[:0]})
    assert "not applicable" in words(draw(name, empty))
