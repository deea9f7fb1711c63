"""The cross-lingual figures show every model, every interval and every baseline."""

import dataclasses
import importlib
import importlib.util
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import fake_crosslingual as fake
import jinja2
import numpy as np
import pandas as pd
import pytest
from looking import (
    Read,
    all_axes,
    assert_texts_can_be_read,
    baselines,
    has_median,
    lines,
    points,
    titled,
    vertical,
    words,
)
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.stats import mcnemar_exact, wilson_interval
from zscope.studies.crosslingual.config import CrosslingualFigure
from zscope.studies.crosslingual.figures import accuracy, dashboard, model_marks, patching, rates
from zscope.studies.crosslingual.figures.ard_fits import declared_fits, nearest_layer
from zscope.studies.crosslingual.figures.lookups import Tables, numbers, select
from zscope.studies.crosslingual.figures.needs import NEEDS
from zscope.tables.read import TABLES, write_table

REPO = Path(__file__).parents[2]
MODELS = fake.TINY.models
K = fake.TINY.sizes[0]
CHANCE = K / fake.TINY.d


@pytest.fixture(scope="module")
def tiny():
    return fake.tiny()


@pytest.fixture(scope="module")
def real():
    return fake.real()


def draw(name, tables):
    return importlib.import_module(f"zscope.figures.crosslingual.{name}").draw(tables)


@pytest.fixture(scope="module")
def drawn(tiny, real):
    """Every figure of both studies, laid out, and the tables it asked for."""
    out = {}
    for which, tables in (("tiny", tiny), ("real", real)):
        for name in NEEDS:
            frames = Read(tables.frames)
            fig = draw(name, dataclasses.replace(tables, frames=frames))
            FigureCanvasAgg(fig).draw()
            out[which, name] = fig, frames.names
    return out


@pytest.fixture(scope="module")
def figures(drawn):
    """The figures alone; the tests of this module only read them."""
    return {key: fig for key, (fig, _) in drawn.items()}


BOTH = pytest.mark.parametrize("which", ["tiny", "real"])
EVERY = pytest.mark.parametrize("name", NEEDS)


def models_of(ax, prefix="_model"):
    return [str(line.get_label()).removeprefix(f"{prefix} ") for line in lines(ax, prefix)]


def bands(ax, prefix="_null"):
    return sorted(c.get_label() for c in ax.collections if str(c.get_label()).startswith(prefix))


def mutated(tables, name, change):
    """The tables with one of them changed."""
    return dataclasses.replace(tables, frames={**tables.frames, name: change(tables.frames[name])})


# --- every figure ----------------------------------------------------------------------------


def test_every_figure_of_the_config_has_a_module_its_tables_and_a_caption():
    assert set(NEEDS) == set(get_args(CrosslingualFigure))
    text = (REPO / "workflow/report/crosslingual/figure.rst").read_text()
    assert re.findall(r'figure == "(\w+)"', text) == list(NEEDS)
    captions = set()
    for name, tables in NEEDS.items():
        assert set(tables) <= set(TABLES)
        wildcards = SimpleNamespace(figure=name)
        snakemake = SimpleNamespace(wildcards=wildcards)
        caption = jinja2.Template(text).render(snakemake=snakemake).strip()
        assert 200 < len(caption) < 2000
        captions.add(caption)
    assert len(captions) == len(NEEDS)


@BOTH
@EVERY
def test_every_axis_is_labelled_or_shares_the_axis_of_a_labelled_one(figures, which, name):
    fig = figures[which, name]
    for side in ("x", "y"):
        labelled = {ax for ax in all_axes(fig) if getattr(ax, f"get_{side}label")()}
        for ax in all_axes(fig):
            if ax.get_label() == "<colorbar>" and side == "x":
                continue
            group = set(getattr(ax, f"get_shared_{side}_axes")().get_siblings(ax))
            # Panels of a row without tick labels read off the first one's.
            beside = {a for a in labelled if side == "y" and a.bbox.y0 == ax.bbox.y0}
            categories = {"x": ["linear bridge", "k ="]}.get(side, [])
            named = any(w in ax.get_title(loc="left") for w in categories)
            below = {a for a in labelled if side == "x" and abs(a.bbox.x0 - ax.bbox.x0) < 1}
            assert labelled & (group | beside | below) or named, (name, side)


@BOTH
@EVERY
def test_the_number_of_models_or_seeds_is_stated(figures, which, name):
    n = "3 seeds of planted data" if name == "planted" else "3 models"
    assert f"n = {n if which == 'tiny' or name == 'planted' else '1 model'}" in words(
        figures[which, name]
    )


@BOTH
@EVERY
def test_texts_are_7_points_or_larger_do_not_overlap_and_stay_on_the_page(figures, which, name):
    fig = figures[which, name]
    assert_texts_can_be_read(name, fig)
    assert fig.get_figwidth() in (style.COLUMN, style.DOUBLE)


@BOTH
@EVERY
def test_no_value_lies_outside_its_panel(figures, which, name):
    for ax in all_axes(figures[which, name]):
        left, right = sorted(ax.get_xlim())
        low, high = sorted(ax.get_ylim())
        for line in lines(ax, "_model") + lines(ax, "_interval"):
            x, y = (np.asarray(v, dtype=float) for v in line.get_data())
            assert left - 1e-9 <= np.nanmin(x) <= np.nanmax(x) <= right + 1e-9
            assert low - 1e-9 <= np.nanmin(y) <= np.nanmax(y) <= high + 1e-9


@EVERY
def test_no_table_at_all_and_empty_tables_say_so(name):
    cell = fake.cell(fake.TINY)
    empty = {table: fake.frame(table, []) for table in NEEDS[name]}
    for frames in ({}, empty):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fig = draw(name, Tables(frames, cell))
        fig.draw_without_rendering()
        assert "not applicable: " in words(fig)


@EVERY
def test_a_figure_asks_for_the_tables_that_it_needs(drawn, name):
    assert drawn["tiny", name][1] == set(NEEDS[name])


@EVERY
def test_three_models_have_a_median_and_one_has_none(figures, name):
    assert has_median(figures["tiny", name])
    assert has_median(figures["real", name]) == (name in ("planted", "ard_spectrum"))


@pytest.mark.parametrize("name", ["geometry", "retrieval"])
def test_two_models_have_no_median(name):
    fig = draw(name, fake.tiny(MODELS[:2]))
    assert "n = 2 models" in words(fig)
    assert not has_median(fig)


def test_a_table_without_any_value_is_drawn_without_marks(tiny):
    blank = dict.fromkeys(("value", "ci_low", "ci_high", "null_low", "null_high"), np.nan)
    for name in ("geometry", "updates", "bridge", "retrieval", "patching", "overlap"):
        table = NEEDS[name][0]
        columns = {c: v for c, v in blank.items() if c in tiny.frames[table]}
        draw(
            name, mutated(tiny, table, lambda f, c=columns: f.assign(**c))
        ).draw_without_rendering()


@pytest.mark.parametrize("name", ["similarity", "accuracy"])
def test_redrawing_gives_the_same_bytes(name, tiny, tmp_path):
    for folder in ("a", "b"):
        paths = [tmp_path / folder / f"{name}.{kind}" for kind in ("svg", "png")]
        style.save_figure(draw(name, tiny), paths, {"code": "abc"})
    for kind in ("svg", "png"):
        first, second = ((tmp_path / d / f"{name}.{kind}").read_bytes() for d in "ab")
        assert first == second


def test_nothing_here_imports_torch_and_the_needs_import_nothing_of_matplotlib():
    modules = ", ".join(f"zscope.figures.crosslingual.{name}" for name in NEEDS)
    for what, banned in (
        (
            modules,
            {"torch", "transformers", "zscope.studies.crosslingual.config", "matplotlib.pyplot"},
        ),
        ("zscope.studies.crosslingual.figures.needs", {"torch", "matplotlib", "pandas", "numpy"}),
    ):
        code = f"import sys, {what}; print(sorted({banned!r} & set(sys.modules)))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout.strip() == "[]"


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


def test_accuracy_counts_problems_of_any_table_of_unpatched_outputs_once(tiny):
    rows = tiny.frames["crosslingual_outputs"]
    of = select(rows, model=MODELS[0])
    right = {
        language: select(of, direction=f"->{language}").set_index("problem")["correct"]
        for language in ("zh", "en")
    }
    counts = accuracy.counts(accuracy.answered(tiny))
    zh = select(counts, model=MODELS[0], prompt="zh").iloc[0]
    assert (zh["value"], zh["n"]) == (right["zh"].mean(), 100)
    assert (zh["ci_low"], zh["ci_high"]) == wilson_interval(right["zh"].sum(), 100)
    # Every patched layer repeats the unpatched outputs, and forces a stem for some.
    patched = rows.assign(layer=2, direction="x" + rows["direction"], position_0="exclude")
    forced = patched.assign(design="site_answer", correct=False)
    more = mutated(tiny, "crosslingual_outputs", lambda f: pd.concat([f, patched, forced]))
    pd.testing.assert_frame_equal(accuracy.counts(accuracy.answered(more)), counts)
    p = mcnemar_exact(right["zh"].to_numpy(bool), right["en"].reindex(right["zh"].index).to_numpy())
    assert accuracy.asymmetry(select(accuracy.answered(tiny), model=MODELS[0])) == p
    assert f"{MODELS[0]}: p = {p:.2g}" in words(draw("accuracy", tiny))


def test_accuracy_draws_discordant_pairs_of_every_model(figures, tiny):
    answers = accuracy.answered(tiny)
    ax = titled(figures["tiny", "accuracy"], "b")
    both = answers.pivot(index=["model", "problem"], columns="prompt", values="correct")
    only = (both["en"] & ~both["zh"].astype(bool)).groupby("model").sum()
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
    rows = tiny.get("crosslingual_weights", metric="ffn_write_share", kind="qk", model=MODELS[0])
    expected = numbers(select(rows, k=K)["value"]) / CHANCE
    np.testing.assert_allclose(lines(ax, f"_model {MODELS[0]}")[0].get_ydata(), expected)


def test_similarity_is_symmetric_annotated_and_the_median_over_models(figures, tiny):
    fig = figures["tiny", "similarity"]
    heat = next(ax for ax in fig.axes if ax.images)
    table = heat.images[0].get_array()
    rows = tiny.get("crosslingual_weights", metric="layer_similarity", k=K, kind="qk")
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
    other = dataclasses.replace(tiny, cell={**tiny.cell, "source": "matched", "where": "all"})
    first, *others = patching.neighbours(other)
    assert (first["source"], first["where"]) == ("matched", "all")
    assert len(others) == 3


def test_patching_shows_every_condition_and_model_with_its_wilson_interval(figures, tiny):
    fig = figures["tiny", "patching"]
    answers, source, language = fig.subfigs[0].axes
    names = [c.name for c in patching.CONDITIONS]
    assert [t.get_text() for t in answers.get_yticklabels()] == names
    for ax, metric in ((answers, "answer_changed"), (language, "language_changed")):
        assert dots_of(ax) == {f"{metric} {name}": len(MODELS) for name in names}
        assert vertical(ax) == [0.0]
        assert len(lines(ax, "_interval")) == len(names) * len(MODELS)
    assert set(dots_of(source)) == {
        f"source_answer {name}" for name in names if name not in ("Z, own mean", "Z, placebo")
    }
    row = rates.condition_rows(tiny, tiny.cell, rates.Z, "answer_changed").iloc[0]
    drawn = lines(answers, "_interval")[0].get_xdata()
    assert list(drawn) == [row["ci_low"], row["ci_high"]]
    assert row["n"] == 95
    assert "95 problems" in words(fig)


def test_a_rate_is_of_the_cell_alone(tiny):
    for condition, source in ((rates.Z, "mismatched"), (rates.OWN, "own")):
        found = rates.condition_rows(tiny, tiny.cell, condition, "answer_changed")
        assert found["model"].to_list() == list(MODELS)
        for column, value in {**tiny.cell, "source": source, "space": "z"}.items():
            if column in found:
                assert set(found[column]) == {value}
    full = rates.condition_rows(tiny, tiny.cell, rates.FULL, "answer_changed")
    assert len(full) == len(MODELS)
    assert full["k"].isna().all()
    none = rates.condition_rows(tiny, tiny.cell, rates.NONE, "correct")
    assert len(none) == len(MODELS)
    assert set(none["design"]) == {"none"}
    site = {**tiny.cell, "design": "site_answer"}
    assert set(rates.condition_rows(tiny, site, rates.NONE, "correct")["design"]) == {"site_answer"}


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


def test_updates_have_one_and_chance_as_baselines_and_both_bands(figures):
    axes = all_axes(figures["tiny", "updates"])
    chance = [np.sqrt(k / (64 - k)) for k in fake.TINY.sizes]
    assert [baselines(ax) for ax in axes[:2]] == [[pytest.approx(c), 1.0] for c in chance]
    assert [baselines(ax) for ax in axes[2:]] == [[1.0]] * 2 + [[0.0]] * 2
    for ax in axes:
        assert bands(ax) == ["_null energy", "_null random"]
        assert len(lines(ax, "_model")) == len(MODELS) * (2 if ax in axes[:4] else 1)


def test_the_band_of_r_over_its_null_is_divided_by_it(figures):
    over = all_axes(figures["tiny", "updates"])[2]
    band = next(c for c in over.collections if c.get_label() == "_null random")
    ends = band.get_paths()[0].get_extents()
    assert (ends.y0, ends.y1) == (pytest.approx(0.8), pytest.approx(1.2))


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


def test_of_the_seed_s_grid_the_fit_from_z_with_the_middle_lambda_is_shown(tiny):
    found = declared_fits(tiny.frames["crosslingual_lengthscales"])
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
        assert set(dots_of(ax)) == {"seed", "gap", "info_nce", "uniform", "random"}
    for ax in axes[4:]:
        assert set(dots_of(ax)) == {"gap", "info_nce", "uniform", "random"}
    assert [vertical(ax) for ax in axes[:4]] == [[0.02], [0.02], [0.12], [0.12]]


def test_planted_has_chance_and_every_seed(figures):
    axes = all_axes(figures["tiny", "planted"])
    assert [vertical(ax) for ax in axes] == [[0.5], [0.5], [0.03], [0.2]]
    assert dots_of(axes[0]) == {"seed": 6 * 3, "gap": 3, "info_nce": 3}
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


def test_verdicts_are_counted_where_models_disagree(tiny):
    found = {row["question"]: row for row in dashboard.verdicts(tiny)}
    causal = "\n".join(textwrap.wrap(fake.CAUSAL, dashboard.COLUMNS["question"][1]))
    assert found[causal]["protocol's rule"] == "partial 2, yes 1"
    assert found[causal]["controlled rule"] == "no"
    assert len(found) == 11


def test_the_dashboard_has_six_panels_and_all_verdicts(figures):
    fig = figures["tiny", "dashboard"]
    panels = [ax for ax in all_axes(fig) if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left")[0] for ax in panels] == list("abcdef")
    assert vertical(titled(fig, "e")) == [0.12]
    text = words(fig)
    for words_of_it in ("C. Does ARD find Z?", "undetermined", "partial 2, yes 1"):
        assert words_of_it in text


@pytest.mark.slow
def test_the_dashboard_draws_what_there_is(tiny):
    for table in NEEDS["dashboard"]:
        frames = {n: f for n, f in tiny.frames.items() if n in NEEDS["dashboard"] and n != table}
        text = words(draw("dashboard", dataclasses.replace(tiny, frames=frames)))
        assert text.count("not applicable: ") == (2 if table == "crosslingual_rates" else 1)


def test_a_model_that_solves_nothing_is_not_said_to_be_unpatched(tiny):
    none = mutated(tiny, "crosslingual_rates", lambda f: select(f, stratum="all"))
    for name in ("patching", "necessity", "dashboard"):
        assert "not applicable: no problem was right unpatched" in words(draw(name, none))


# --- the script ----------------------------------------------------------------------------------


def test_the_fake_tables_fit_the_schema(tiny, real, tmp_path):
    for tables in (tiny, real):
        for name, frame in tables.frames.items():
            write_table(frame, tmp_path / f"{name}.parquet", name, {})


@pytest.mark.parametrize("name", ["planted", "ard_degeneracy"])
def test_the_script_draws_from_the_files_of_all_models(name, tiny, tmp_path):
    path = REPO / "workflow/scripts/crosslingual/draw_crosslingual_figure.py"
    spec = importlib.util.spec_from_file_location("draw_crosslingual_figure", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    frames = {table: tiny.frames[table] for table in NEEDS[name]}
    frames["crosslingual_models"] = fake.models(fake.TINY)
    inputs = {}
    for table, frame in frames.items():
        parts = frame.groupby("model") if "model" in frame else [("all", frame)]
        inputs[table] = [str(tmp_path / f"{model}-{table}.parquet") for model, _ in parts]
        for path, (_, part) in zip(inputs[table], parts, strict=True):
            write_table(part, path, table, {})
    if name == "planted":
        inputs["crosslingual_planted"] = inputs["crosslingual_planted"][0]  # one file is no list
    verdict = {key: tiny.cell[key] for key in ("design", "source", "where", "direction")}
    tracked = {
        "code": "abc",
        "slice": {
            "figure": name,
            "verdict": verdict | {"layer": 0.75, "k": 0.5},
            "z": {"kinds": ["qk", "ov"], "position_0": "exclude"},
            "gate": 0.95,
        },
    }
    job = SimpleNamespace(
        input=inputs,
        output=SimpleNamespace(svg=str(tmp_path / "f.svg"), png=str(tmp_path / "f.png")),
        params=SimpleNamespace(tracked=tracked),
    )
    script.main(job)
    style.save_figure(draw(name, tiny), [tmp_path / "same.svg"], tracked)
    assert (tmp_path / "f.svg").read_bytes() == (tmp_path / "same.svg").read_bytes()
    assert (tmp_path / "f.png").exists()
