"""The cross-lingual figures show every model, every interval and every baseline."""

import dataclasses
import importlib
import textwrap
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fake_crosslingual as fake
from looking import all_axes, baselines, has_median, lines, points, titled, vertical, words
from zscope.figures.frames import numbers, select
from zscope.figures.registry import figure_modules
from zscope.studies.crosslingual.figures import (
    dashboard,
    model_marks,
    null_draws,
    patching,
    rates,
    verdict_table,
)
from zscope.studies.crosslingual.figures.ard_fits import declared_fits, nearest_layer
from zscope.studies.crosslingual.figures.lookups import cell_of
from zscope.studies.crosslingual.figures.verdict_table import MARKS
from zscope.studies.crosslingual.tables import (
    ACCURACY,
    DRAWS,
    LENGTHSCALES,
    RATES,
    SIZES,
    SUMMARY,
    TESTS,
    VERDICTS,
    WEIGHTS,
)
from zscope.verdicts import Answer

NAMES = tuple(figure_modules("crosslingual"))
MODELS = fake.TINY.models
K = fake.TINY.sizes[0]
CHANCE = K / fake.TINY.d


@pytest.fixture(scope="module")
def tiny():
    return fake.tiny()


@pytest.fixture(scope="module")
def real():
    return fake.real()


def module_of(name):
    return importlib.import_module(f"zscope.studies.crosslingual.figures.{name}")


def draw(name, tables):
    return module_of(name).draw(tables)


@pytest.fixture(scope="module")
def figures(tiny, real):
    """Every figure of both studies, laid out; the tests of this module only read them."""
    out = {}
    for which, tables in (("tiny", tiny), ("real", real)):
        for name in NAMES:
            out[which, name] = fig = draw(name, fake.of_figure(name, tables))
            FigureCanvasAgg(fig).draw()
    return out


BOTH = pytest.mark.parametrize("which", ["tiny", "real"])
EVERY = pytest.mark.parametrize("name", NAMES)


def models_of(ax, prefix="_model"):
    return [str(line.get_label()).removeprefix(f"{prefix} ") for line in lines(ax, prefix)]


def bands(ax, prefix="_null"):
    return sorted(c.get_label() for c in ax.collections if str(c.get_label()).startswith(prefix))


def mutated(tables, table, change):
    """The tables with one of them changed."""
    frames = {**tables.frames, table.name: change(tables.frames[table.name])}
    return dataclasses.replace(tables, frames=frames)


# --- models and values -----------------------------------------------------------------------


@BOTH
@EVERY
def test_the_number_of_models_or_seeds_is_stated(figures, which, name):
    n = "3 seeds of planted data" if name == "planted" else "3 models"
    if which == "real":
        n = "1 seed of planted data" if name == "planted" else "1 model"
    assert f"n = {n}" in words(figures[which, name])


@EVERY
def test_three_models_have_a_median_and_one_has_none(figures, name):
    # One row per model has no place for a median over them.
    assert has_median(figures["tiny", name]) == (name != "null_draws")
    assert has_median(figures["real", name]) == (name == "ard_spectrum")


@pytest.mark.parametrize("name", ["geometry", "retrieval"])
def test_two_models_have_no_median(name):
    fig = draw(name, fake.tiny(MODELS[:2]))
    assert "n = 2 models" in words(fig)
    assert not has_median(fig)


def test_a_table_without_any_value_is_drawn_without_marks(tiny):
    blank = dict.fromkeys(("value", "ci_low", "ci_high", "null_low", "null_high"), np.nan)
    for name in ("geometry", "updates", "bridge", "retrieval", "patching", "overlap"):
        table = module_of(name).NEEDS[0]
        columns = {c: v for c, v in blank.items() if c in tiny.frames[table.name]}
        changed = mutated(tiny, table, lambda f, c=columns: f.assign(**c))
        draw(name, changed).draw_without_rendering()


# --- marks -----------------------------------------------------------------------------------


def test_lines_are_a_model_each_and_their_median_where_all_have_a_value():
    frame = pd.DataFrame(
        {
            "model": ["a", "b", "c", "a", "b"],
            "layer": [0, 0, 0, 1, 1],
            "value": [1.0, 5.0, 2.0, 3.0, 4.0],
            "ci_low": 0.0,
            "ci_high": 6.0,
        }
    )
    ax = Figure().subplots()
    model_marks.model_lines(ax, frame, "k")
    assert models_of(ax) == ["a", "b", "c"]
    (median,) = lines(ax, "_median")
    assert median.get_xydata().tolist() == [[0, 2]]
    assert len(bands(ax, "_interval")) == 3


def test_dots_keep_a_model_s_place_and_leave_out_null():
    frame = pd.DataFrame(
        {"model": ["a", "c"], "value": [0.2, np.nan], "ci_low": 0.1, "ci_high": 0.4}
    )
    ax = Figure().subplots()
    model_marks.model_dots(ax, 5, frame, ["a", "b", "c"], "k", name="x")
    assert points(ax, "_dots x") == 1
    (interval,) = lines(ax, "_interval")
    assert list(interval.get_xdata()) == [0.1, 0.4]
    assert interval.get_ydata()[0] < 5  # the first of three places


def test_a_null_band_is_the_median_over_models_and_scaled():
    frame = pd.DataFrame(
        {
            "layer": [0, 0, 1, 1],
            "null_low": [1.0, 3.0, 1.0, 1.0],
            "null_mean": 2.0,
            "null_high": [4.0, 6.0, 3.0, 3.0],
            "chance": 2.0,
        }
    )
    ax = Figure().subplots()
    model_marks.null_band(ax, frame, "k", "random", over="chance")
    (band,) = [c for c in ax.collections if c.get_label() == "_null random"]
    ends = band.get_paths()[0].get_extents()
    assert (ends.y0, ends.y1) == (0.5, 2.5)


# --- before the experiments ------------------------------------------------------------------


def test_training_has_every_model_in_both_languages_and_the_gate(figures):
    loss, share = all_axes(figures["tiny", "training"])
    assert len(lines(loss, "_model")) == 3 * len(MODELS)  # the training loss is of both
    assert len(lines(share, "_model")) == 2 * len(MODELS)
    assert len(lines(share, "_median")) == 2
    assert baselines(share) == [0.95]
    assert "not applicable: the model was not trained here" in words(figures["real", "training"])


def test_accuracy_says_the_test_of_every_model_and_draws_its_wilson_interval(figures, tiny):
    fig = figures["tiny", "accuracy"]
    for row in tiny.get(ACCURACY, metric="mcnemar_p").itertuples():
        assert f"{row.model}: p = {row.value:.2g}" in words(fig)
    zh = tiny.get(ACCURACY, metric="accuracy", category="all", language="zh", model=MODELS[0])
    drawn = [list(line.get_ydata()) for line in lines(titled(fig, "a"), "_interval")]
    assert zh[["ci_low", "ci_high"]].iloc[0].tolist() in drawn
    assert "100 problems" in words(fig)


def test_accuracy_draws_discordant_pairs_of_every_model(figures, tiny):
    ax = titled(figures["tiny", "accuracy"], "b")
    only = tiny.get(ACCURACY, metric="only_right", language="en").set_index("model")["value"]
    heights = [c.patches[0].get_height() for c in ax.containers if c.get_label() == "_only en"]
    assert heights == only[list(MODELS)].to_list()


def test_ranks_show_every_head_and_every_stack_and_the_null(figures, tiny):
    axes = all_axes(figures["tiny", "ranks"])
    per_model = fake.TINY.n_layers * fake.TINY.n_heads
    for ax in axes[:4]:
        assert points(ax, "_heads") == per_model * len(MODELS)
        assert models_of(ax) == list(MODELS)
        assert bands(ax) == ["_null heads", "_null stacked"]
    for ax in axes[4:]:
        assert baselines(ax) == [0.08]
        assert bands(ax) == ["_null variation"]


def test_overlap_is_relative_to_chance(figures, tiny):
    ax = titled(figures["tiny", "overlap"], "a")
    assert baselines(ax) == [1.0]
    assert bands(ax) == ["_null k 16", "_null k 6"]
    rows = tiny.get(WEIGHTS, metric="ffn_write_share", kind="qk", model=MODELS[0])
    expected = numbers(select(rows, k=K)["value"]) / CHANCE
    np.testing.assert_allclose(lines(ax, f"_model {MODELS[0]}")[0].get_ydata(), expected)


def test_similarity_is_symmetric_annotated_and_the_median_over_models(figures, tiny):
    fig = figures["tiny", "similarity"]
    heat = next(ax for ax in fig.axes if ax.images)
    table = heat.images[0].get_array()
    rows = tiny.get(WEIGHTS, metric="layer_similarity", k=K, kind="qk")
    pair = select(rows, layer=1, layer_2=3)["value"].median()
    assert table[1, 3] == table[3, 1] == pair
    assert np.diag(table).tolist() == [1.0] * 4
    assert len(heat.texts) == 16
    assert f"Chance: {CHANCE:.3g}" in words(fig)
    assert baselines(titled(fig, "b")) == [CHANCE]
    large = next(ax for ax in figures["real", "similarity"].axes if ax.images)
    assert large.images[0].get_array().shape == (36, 36)
    assert not large.texts


# --- experiments ------------------------------------------------------------------------------


def test_geometry_has_all_models_bands_and_baselines(figures):
    fig = figures["tiny", "geometry"]
    for ax in all_axes(fig)[:4]:
        assert len(lines(ax, "_model")) == 2 * len(MODELS)  # once, not once a null
        assert len(bands(ax, "_interval")) == 2 * len(MODELS)
        assert baselines(ax) == [1.0]
    for ax in all_axes(fig)[4:]:
        assert models_of(ax) == list(MODELS)
        assert baselines(ax) == [0.0]
    for ax in all_axes(fig):
        assert bands(ax) == ["_null energy", "_null random"]


def test_language_energy_is_drawn_against_k_over_d(figures):
    axes = all_axes(figures["tiny", "language_energy"])
    chances = [baselines(ax) for ax in axes]
    assert chances == [[CHANCE], [6 / 64]] * 2
    assert all(bands(ax) == ["_null energy", "_null random"] for ax in axes)
    assert "0.25 at k = 16" in words(figures["tiny", "language_energy"])


def dots_of(ax):
    """How many dots each name has."""
    found = {}
    for c in ax.collections:
        if str(c.get_label()).startswith("_dots"):
            name = str(c.get_label()).removeprefix("_dots ")
            found[name] = found.get(name, 0) + len(c.get_offsets())
    return found


def test_patching_starts_with_the_declared_cell_and_has_its_three_neighbours(tiny):
    cells = patching.neighbours(tiny)
    assert [(c["source"], c["where"]) for c in cells] == [
        ("mismatched", "prefill"),
        ("mismatched", "all"),
        ("matched", "prefill"),
        ("matched", "all"),
    ]
    declared = {**tiny.declared, "source": "matched", "where": "all"}
    other = dataclasses.replace(tiny, declared=declared)
    first, *others = patching.neighbours(other)
    assert (first["source"], first["where"]) == ("matched", "all")
    assert len(others) == 3


def test_patching_shows_every_condition_and_model_with_its_wilson_interval(figures, tiny):
    fig = figures["tiny", "patching"]
    answers, source, switched, broken = fig.subfigs[0].axes
    names = [c.name for c in patching.CONDITIONS]
    assert [t.get_text() for t in answers.get_yticklabels()] == names
    metrics = ("answer_changed", "language_switched", "broken")
    for ax, metric in zip((answers, switched, broken), metrics, strict=True):
        assert dots_of(ax) == {f"{metric} {name}": len(MODELS) for name in names}
        assert vertical(ax) == [0.0]
        assert len(lines(ax, "_interval")) == len(names) * len(MODELS)
    assert set(dots_of(source)) == {
        f"source_answer {name}" for name in names if name not in ("Z, own mean", "Z, placebo")
    }
    row = rates.condition_rows(tiny, cell_of(tiny), rates.Z, "answer_changed").iloc[0]
    drawn = lines(answers, "_interval")[0].get_xdata()
    assert list(drawn) == [row["ci_low"], row["ci_high"]]
    assert row["n"] == 95
    assert "95 problems" in words(fig)


def test_a_rate_is_of_the_cell_alone(tiny):
    for condition, source in ((rates.Z, "mismatched"), (rates.OWN, "own")):
        found = rates.condition_rows(tiny, cell_of(tiny), condition, "answer_changed")
        assert found["model"].to_list() == list(MODELS)
        for column, value in {**cell_of(tiny), "source": source, "space": "z"}.items():
            if column in found:
                assert set(found[column]) == {value}
    full = rates.condition_rows(tiny, cell_of(tiny), rates.FULL, "answer_changed")
    assert len(full) == len(MODELS)
    assert full["k"].isna().all()
    none = rates.condition_rows(tiny, cell_of(tiny), rates.NONE, "correct")
    assert len(none) == len(MODELS)
    assert set(none["design"]) == {"none"}
    site = {**cell_of(tiny), "design": "site_answer"}
    assert set(rates.condition_rows(tiny, site, rates.NONE, "correct")["design"]) == {"site_answer"}


# --- draws of a null ---------------------------------------------------------------------------


def draws_of(ax):
    """Values of the small dots, sorted, by name."""
    return {
        str(c.get_label()).removeprefix("_draws "): sorted(c.get_offsets()[:, 0])
        for c in ax.collections
        if str(c.get_label()).startswith("_draws")
    }


def few_draws(tables, n):
    """The tables with the first n draws alone."""
    return mutated(tables, DRAWS, lambda f: f[f["draw"] < n])


def of_null(tables, space, metric, model, **changes):
    where = {**cell_of(tables), **changes, "space": space, "metric": metric, "model": model}
    rows = tables.get(DRAWS, **where, stratum="baseline_correct")
    return sorted(rows["value"])


@pytest.mark.parametrize("n", [40, 2])
def test_the_small_dots_are_the_table_s_draws_and_there_is_no_band(tiny, n):
    given = few_draws(tiny, n)
    fig = draw("patching", given)
    declared, *others = fig.subfigs
    for ax, metric in zip(declared.axes, patching.METRICS, strict=True):
        found = draws_of(ax)
        assert len(found) == 2 * len(MODELS)
        for space, name in (("energy", "energy-matched"), ("energy_perp", "energy-matched perp")):
            for model in MODELS:
                drawn = found[f"{metric} {name} {model}"]
                assert len(drawn) == n
                assert drawn == of_null(given, space, metric, model)
        assert bands(ax) == []
        assert [c for c in ax.containers if c.get_label() == "_null"] == []
    assert all(draws_of(ax) == {} for band in others for ax in band.axes)
    text = words(fig)
    assert f"Small dots: {n} draws of a random space" in text
    assert ("are no null" in text) == (n < 40)
    assert "Without small dots: 1 draw of a random space, no null" in text
    assert "Energy is matched on prompt tokens" in text


def test_necessity_has_draws_where_the_verdict_is_read(figures, tiny):
    cells = {band.get_suptitle()[3:]: band.axes for band in figures["tiny", "necessity"].subfigs}
    found = draws_of(cells.pop("layer 3, k = 16")[0])
    expected = of_null(tiny, "energy", "correct", MODELS[1], source="mean")
    assert found[f"correct energy-matched {MODELS[1]}"] == expected
    assert len(found) == 2 * len(MODELS)  # of uniform spaces too
    assert all(draws_of(ax) == {} for axes in cells.values() for ax in axes)


def test_every_comparison_of_a_verdict_shows_its_draws_and_ranks(figures, tiny):
    fig = figures["tiny", "null_draws"]
    axes = all_axes(fig)
    assert len(axes) == len(null_draws.COMPARISONS) == 6
    for ax, c in zip(axes, null_draws.COMPARISONS, strict=True):
        assert c.title in ax.get_title(loc="left")
        where = null_draws.cell_of_comparison(cell_of(tiny), c)
        tests = tiny.get(TESTS, **where, metric=c.metric, first=c.space.space)
        tests = select(tests, second=c.null.space, stratum="baseline_correct")
        shown = [t.get_text() for t in ax.texts]
        for place, model in enumerate(MODELS):
            drawn = draws_of(ax)[f"{c.metric} {model}"]
            assert drawn == of_null(tiny, c.null.space, c.metric, model, **c.changes)
            (row,) = select(tests, model=model).to_dict("records")
            dots = [x for x in ax.collections if str(x.get_label()).startswith("_dots")]
            ((z, at),) = dots[place].get_offsets()
            hits = sum(d >= z if c.side == "above" else d <= z for d in drawn)
            assert at == place
            assert hits == row[f"draws_{c.side}"]
            assert f"{hits} of 40" in shown
            assert f"{(1 + hits) / 41:.2g}" in shown
            assert f"{row['p']:.2g}" in shown
    assert "Energy is matched on prompt tokens (a, b, c, e); answer site (d)." in words(fig)


def test_a_comparison_without_draws_is_left_out(tiny):
    energy = mutated(tiny, DRAWS, lambda f: f[f["space"] == "energy"])
    titles = [ax.get_title(loc="left") for ax in all_axes(draw("null_draws", energy))]
    assert titles[0] == "a  Z changes more answers"
    assert len(titles) == 4
    none = mutated(tiny, DRAWS, lambda f: f.iloc[:0])
    assert "not applicable: no verdict has a null" in words(draw("null_draws", none))


def test_equal_draws_stand_side_by_side_and_within_their_row():
    values = np.array([0.5] * 9 + [0.1, 0.5001])
    offsets = model_marks.swarm(values, 0.6)
    assert len(set(offsets[values > 0.4].round(9))) == 10
    assert np.ptp(offsets) == pytest.approx(0.6)
    assert offsets[values == 0.1] == 0
    assert np.ptp(model_marks.swarm(values[:2], 0.6)) == pytest.approx(0.1)


def test_a_null_of_fewer_than_40_draws_has_no_band():
    frame = pd.DataFrame({"layer": [0, 1], "null_low": 0.1, "null_mean": 0.2, "null_high": 0.3})
    for draws, n in (([40, 100], 1), ([39, 2], 0), ([pd.NA, pd.NA], 1)):
        ax = Figure().subplots()
        rows = frame.assign(draws=pd.array(draws, dtype="Int64"))
        model_marks.null_band(ax, rows, "k", "x")
        model_marks.null_bar(ax, 0, rows)
        assert len(bands(ax)) == len(ax.containers) == n


def test_the_grid_fills_the_dots_that_have_a_null(figures):
    for ax in all_axes(figures["tiny", "patching_grid"])[:2]:
        dots = [c for c in ax.collections if str(c.get_label()).startswith("_dots")]
        filled = [c for c in dots if c.get_facecolor()[0].tolist() != [1, 1, 1, 1]]
        assert len(dots) == 4
        assert [round(float(c.get_offsets()[:, 1].mean())) for c in filled] == [2]
    text = words(figures["tiny", "patching_grid"])
    assert "Open: 1 energy-matched draw, no null. Filled: 40 draws." in text


def test_the_grid_shows_every_cell_and_marks_the_declared_one(figures, tiny):
    axes = all_axes(figures["tiny", "patching_grid"])
    assert len(axes) == 4
    for ax in axes:
        assert sum(dots_of(ax).values()) == 4 * len(MODELS)
        assert vertical(ax) == [0.0]
    marked = [[p for p in ax.patches if p.get_label() == "_declared"] for ax in axes]
    assert [len(m) for m in marked] == [1, 1, 0, 0]
    ticks = [t.get_text() for t in axes[0].get_yticklabels()]
    assert ticks[round(float(marked[0][0].get_y()) + 0.5)] == "layer 3, qk, k = 16"


def test_necessity_has_all_cells_and_the_unpatched_rate(figures):
    fig = figures["tiny", "necessity"]
    titles = [band.get_suptitle() for band in fig.subfigs]
    assert titles == [
        "a  layer 2, k = 16",
        "b  layer 2, k = 6",
        "c  layer 3, k = 16",
        "d  layer 3, k = 6",
    ]
    for band in fig.subfigs:
        assert dots_of(band.axes[0])["correct unpatched"] == len(MODELS)
        assert len(dots_of(band.axes[0])) == 7


def test_updates_show_the_three_nulls_side_by_side_with_one_and_chance(figures):
    axes = all_axes(figures["tiny", "updates"])
    for line, k in zip((axes[:4], axes[4:]), fake.TINY.sizes, strict=True):
        for ax, null in zip(line, (*fake.MATCHED, "energy_output"), strict=True):
            assert bands(ax) == [f"_null {null}", "_null random"]
            assert models_of(ax) == list(MODELS)
            assert len(bands(ax, "_interval")) == len(MODELS)
        chance = np.sqrt(k / (64 - k))
        assert [baselines(ax) for ax in line[:3]] == [[pytest.approx(chance), 1.0]] * 3
        assert baselines(line[3]) == [0.0]
        for ax, (_, times) in zip(line, fake.MATCHED.values(), strict=False):
            band = next(c for c in ax.collections if "energy" in str(c.get_label()))
            ends = band.get_paths()[0].get_extents()
            middle = (ends.y0 + ends.y1) / 2
            assert middle == pytest.approx(times * chance)
            assert ax.get_ylim() == line[0].get_ylim()


def test_updates_say_which_null_the_verdict_reads_and_where_z_lies_in_it(figures):
    text = words(figures["tiny", "updates"])
    assert "The verdict reads the layer's output" in text
    assert "k = 16: p = 0.2, 0.2, 0.2; k = 6: p = 0.2, 0.2, 0.2" in text


DRAWN = {"ard_degeneracy", "ard_overlap", "bridge", "geometry", "language_energy", "overlap"}


@pytest.mark.parametrize("name", sorted(DRAWN | {"ranks", "similarity", "updates"}))
def test_the_number_of_draws_is_stated(figures, name):
    assert "40 draws" in words(figures["tiny", name])


# --- experiment C ---------------------------------------------------------------------------------


def test_degeneracy_has_the_empty_z_at_0_and_chance_of_the_overlap(figures):
    fig = figures["tiny", "ard_degeneracy"]
    for letter in "abc":
        ax = titled(fig, letter)
        assert baselines(ax) == [0.0]
        assert len(lines(ax, "_model")) == 3 * len(MODELS)
    assert dots_of(titled(fig, "d")) == {"zeros": 9, "svd_z": 9, "svd_random": 9}
    overlap = titled(fig, "e")
    assert dots_of(overlap) == {"svd_z": 9, "svd_random": 9}
    assert baselines(overlap) == [CHANCE]
    assert [p.get_label() for p in overlap.patches] == ["_null shuffled"]


def test_the_nearest_fitted_layer_stands_in_for_the_declared_one(tiny):
    rows = pd.DataFrame({"layer": [0, 1, 4]})
    assert nearest_layer(tiny, rows) == 4  # declared: 3
    assert nearest_layer(tiny, rows.iloc[:0]) is None


def test_of_the_original_fits_the_one_from_z_with_the_middle_lambda_is_shown(tiny):
    found = declared_fits(tiny.get(LENGTHSCALES))
    seeds = select(found, objective="original")
    assert set(zip(seeds["init"], seeds["penalty"], strict=True)) == {("svd_z", 0.01)}
    assert {"gap", "info_nce"} <= set(found["objective"])


def test_the_spectrum_is_sorted_and_its_histogram_sums_to_1(figures):
    fig = figures["tiny", "ard_spectrum"]
    ordered, counted = titled(fig, "b"), all_axes(fig)[3 + 1]
    for line in lines(ordered, "_model"):
        assert np.all(np.diff(line.get_ydata()) >= 0)
        assert line.get_xdata()[-1] == 1
    steps = [p for p in counted.patches if str(p.get_label()).startswith("_model")]
    assert len(steps) == len(MODELS)
    assert all(p.get_data().values.sum() == pytest.approx(1) for p in steps)


def test_overlap_with_z_has_half_of_all_and_k_over_d(figures):
    fig = figures["tiny", "ard_overlap"]
    assert baselines(titled(fig, "a")) == [fake.TINY.d / 2]
    right = titled(fig, "b")
    assert vertical(right) == [CHANCE]
    assert len([c for c in right.containers if c.get_label() == "_null"]) == 3 + 2 * 3


def test_retrieval_has_chance_and_every_objective(figures):
    axes = all_axes(figures["tiny", "retrieval"])
    assert len(axes) == 3 * 4
    for ax in axes[:4]:
        assert set(dots_of(ax)) == {"original", "gap", "info_nce", "uniform", "random"}
    for ax in axes[4:]:
        assert set(dots_of(ax)) == {"gap", "info_nce", "uniform", "random"}
    assert [vertical(ax) for ax in axes[:4]] == [[0.02], [0.02], [0.12], [0.12]]


def test_planted_has_chance_and_every_seed(figures):
    axes = all_axes(figures["tiny", "planted"])
    assert [vertical(ax) for ax in axes] == [[0.5], [0.5], [0.03], [0.2]]
    assert dots_of(axes[0]) == {"original": 6 * 3, "gap": 3, "info_nce": 3}
    assert len(axes[0].get_yticks()) == 6 + 3


# --- experiment D, and all together ------------------------------------------------------------


def test_bridge_has_every_estimator_and_space_and_the_permuted_pairings(figures):
    fig = figures["tiny", "bridge"]
    left, right = titled(fig, "a"), titled(fig, "b")
    assert sum(1 for c in left.collections if str(c.get_label()).startswith("_dots")) == 5 * 3
    assert len([c for c in left.containers if c.get_label() == "_null"]) == 5
    assert baselines(left) == [0.0]
    assert baselines(right) == [1.0]
    assert len(lines(right, "_model")) == 3 * len(MODELS)


def test_a_left_out_r2_far_below_0_stays_in_the_panel(figures):
    left = titled(figures["real", "bridge"], "a")
    dots = [c.get_offsets()[:, 1] for c in left.collections if "_dots" in str(c.get_label())]
    assert min(float(d.min()) for d in dots) == -1.0
    assert "values below -1 are drawn there" in words(figures["real", "bridge"])


def test_the_table_has_every_model_s_word_and_that_over_trainings(tiny):
    found = {row.text: row for row in verdict_table.asked(tiny)}
    assert len(found) == 11
    causal = found["\n".join(textwrap.wrap(fake.CAUSAL, verdict_table.WIDTHS["question"]))]
    assert causal.words["protocol"] == ["partial", "yes", "partial"]
    assert causal.words["controlled"] == ["no"] * 3
    assert causal.whole == {"protocol": "varies between\ntrainings", "controlled": "no"}
    assert (causal.detectable, causal.n, causal.draws) == ("0.12", "95", "40")
    values = tiny.get(SUMMARY, question="is_causal")["value"]
    assert causal.value == f"{values.min():.2g} to {values.max():.2g}"


def test_an_effect_that_cannot_be_found_is_none(tiny):
    endless = mutated(tiny, SUMMARY, lambda f: f.assign(detectable=[0.2, *[np.inf] * (len(f) - 1)]))
    first, *others = verdict_table.asked(endless)
    assert first.detectable == "0.2 to none"
    assert {row.detectable for row in others} == {"none"}


def test_every_verdict_has_a_mark_of_its_own_without_colours():
    looks = {(m["marker"], m.get("fillstyle"), "markerfacecolor" in m) for m in MARKS.values()}
    assert len(looks) == len(MARKS) == len(get_args(Answer))
    assert set(MARKS) == set(get_args(Answer))


def test_the_dashboard_has_six_panels_and_all_verdicts(figures):
    fig = figures["tiny", "dashboard"]
    panels = [ax for ax in all_axes(fig) if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left")[0] for ax in panels] == list("abcdef")
    assert vertical(titled(fig, "e")) == [0.12]
    text = words(fig)
    for words_of_it in ("C. Does ARD find Z?", "cannot be told", "varies between"):
        assert words_of_it in text
    marks = [str(line.get_label()) for ax in fig.axes for line in lines(ax, "_verdict")]
    assert len(marks) == 11 * 2 * len(MODELS)
    assert marks.count("_verdict cannot be told") == 2 * len(MODELS)


@pytest.mark.slow
def test_the_dashboard_draws_what_there_is(tiny):
    of_it = fake.of_figure("dashboard", tiny)
    for table in dashboard.NEEDS:
        frames = {name: frame for name, frame in of_it.frames.items() if name != table.name}
        text = words(draw("dashboard", dataclasses.replace(of_it, frames=frames)))
        # Without sizes there is no declared cell.
        # Without draws or words over trainings it shows the rest.
        missing = {RATES: 2, SIZES: 4, DRAWS: 0, VERDICTS: 0}.get(table, 1)
        assert text.count("not applicable: ") == missing, table.name


def test_a_model_that_solves_nothing_is_not_said_to_be_unpatched(tiny):
    none = mutated(tiny, RATES, lambda f: select(f, stratum="all"))
    for name in ("patching", "necessity", "dashboard"):
        assert "not applicable: no problem was right unpatched" in words(draw(name, none))
