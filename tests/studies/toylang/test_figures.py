"""The toy language figures show every seed, every truth, every baseline and every censored run."""

import importlib
import importlib.util
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import jinja2
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from zscope.studies.toylang.figures.needs import NEEDS, ToylangFigure

import fake_toylang as fake
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
from zscope.figures import style
from zscope.studies.toylang.config import REFERENCE as CONFIGURED
from zscope.studies.toylang.figures import (
    ablations,
    dashboard,
    dependency,
    reuse,
    skip,
    squares,
    timeline,
    window,
)
from zscope.studies.toylang.figures.lookups import (
    NAMES,
    REFERENCE,
    Tables,
    at_last,
    grid,
    labels_of,
    of_runs,
    select,
)
from zscope.tables.read import TABLES, write_table
from zscope.toy_language.config import Primitive

REPO = Path(__file__).parents[2]
STUDIES = {
    "full": fake.study,
    "one seed": lambda: fake.study((0,), softmax=False, dependency=False),
    "smoke": fake.smoke,
}
# Figures of the language, or of another condition than all seeds of the reference.
COUNTS = {"floors": "Measured on 500,000 tokens", "dependency": "n = 3 seeds"}
EVERY = pytest.mark.parametrize("name", NEEDS)
LAID_OUT = ("full", "smoke")  # one seed looks like the smoke run; this takes most of the time
ANY = pytest.mark.parametrize("which", LAID_OUT)


@pytest.fixture(scope="module")
def full():
    return fake.study()


def draw(name, tables):
    return importlib.import_module(f"zscope.figures.toylang.{name}").draw(tables)


@pytest.fixture(scope="module")
def drawn():
    """Every figure of every study, drawn without a warning, and the tables it asked for."""
    out = {}
    for which, make in STUDIES.items():
        tables = make()
        for name in NEEDS:
            frames = Read(tables.frames)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                fig = draw(name, Tables(frames))
                if which in LAID_OUT:
                    FigureCanvasAgg(fig).draw()
            out[which, name] = fig, frames.names
    return out


@pytest.fixture(scope="module")
def figures(drawn):
    """The figures alone; the tests of this module only read them."""
    return {key: fig for key, (fig, _) in drawn.items()}


def changed(tables, name, change):
    """The tables with one of them changed."""
    return Tables({**tables.frames, name: change(tables.frames[name])})


def collections(ax, start):
    return [c for c in ax.collections if str(c.get_label()).startswith(start)]


def places(ax, start):
    """All points of the collections whose label starts so."""
    found = [np.asarray(c.get_offsets()) for c in collections(ax, start)]
    return np.concatenate(found) if found else np.empty((0, 2))


# --- every figure ----------------------------------------------------------------------------


def test_every_figure_has_a_module_and_its_tables():
    assert tuple(NEEDS) == get_args(ToylangFigure)
    modules = {p.stem for p in (REPO / "lib/zscope/figures/toylang").glob("*.py")}
    assert set(NEEDS) == modules - {"__init__", "needs", "data", "marks"}
    for tables in NEEDS.values():
        assert set(tables) <= set(TABLES)


def test_every_figure_has_a_caption_of_its_own_in_the_report():
    text = (REPO / "workflow/report/toylang/figure.rst").read_text()
    assert re.findall(r'figure == "(\w+)"', text) == list(NEEDS)
    captions = set()
    for name in NEEDS:
        snakemake = SimpleNamespace(wildcards=SimpleNamespace(figure=name))
        caption = jinja2.Template(text).render(snakemake=snakemake).strip()
        assert 150 < len(caption) < 2000
        captions.add(caption)
    assert len(captions) == len(NEEDS)


def test_names_and_conditions_are_those_of_the_config():
    assert REFERENCE == CONFIGURED
    assert set(NAMES) == {*get_args(Primitive), "category", "all"}


@ANY
@EVERY
def test_every_axis_is_labelled_or_shares_the_axis_of_a_labelled_one(figures, which, name):
    fig = figures[which, name]
    for side in ("x", "y"):
        labelled = {ax for ax in all_axes(fig) if getattr(ax, f"get_{side}label")()}
        for ax in all_axes(fig):
            if ax.get_label() == "<colorbar>" and side == "x":
                continue
            group = set(getattr(ax, f"get_shared_{side}_axes")().get_siblings(ax))
            # Panels of a row or column without tick labels read off the first or last one's.
            beside = {a for a in labelled if side == "y" and abs(a.bbox.y0 - ax.bbox.y0) < 1}
            below = {a for a in labelled if side == "x" and abs(a.bbox.x0 - ax.bbox.x0) < 1}
            assert labelled & (group | beside | below), (name, side, ax)


@ANY
@EVERY
def test_the_number_of_seeds_is_stated(figures, which, name):
    text = words(figures[which, name])
    if "not applicable: " in text and len(figures[which, name].axes) == 1:
        return
    n = 1 if which in ("one seed", "smoke") else 5
    expected = COUNTS.get(name, f"n = {n} seed{'s' * (n > 1)}")
    assert (expected if n == 5 or name == "floors" else "n = 1 seed.") in text


@ANY
@EVERY
def test_texts_are_7_points_or_larger_do_not_overlap_and_stay_on_the_page(figures, which, name):
    fig = figures[which, name]
    assert_texts_can_be_read(name, fig)
    assert fig.get_figwidth() in (style.COLUMN, style.DOUBLE)


@ANY
@EVERY
def test_no_value_lies_outside_its_panel(figures, which, name):
    for ax in all_axes(figures[which, name]):
        left, right = sorted(ax.get_xlim())
        low, high = sorted(ax.get_ylim())
        found = [np.asarray(line.get_xydata(), float) for line in lines(ax, "_seed")]
        found += [places(ax, s) for s in ("_dots", "_heads", "_random", "_onset", "_counts")]
        for xy in found:
            x, y = xy[np.isfinite(xy).all(axis=1)].T
            if len(x):
                assert left - 1e-9 <= x.min() <= x.max() <= right + 1e-9, ax
                assert low - 1e-9 <= y.min() <= y.max() <= high + 1e-9, ax


@EVERY
def test_no_table_at_all_and_empty_tables_say_so(name):
    empty = {table: fake.frame(table, []) for table in NEEDS[name]}
    for frames in ({}, empty):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fig = draw(name, Tables(frames))
        assert "not applicable: " in words(fig)


@EVERY
def test_a_figure_asks_for_the_tables_that_it_needs(drawn, name):
    assert drawn["full", name][1] == set(NEEDS[name])


@EVERY
def test_a_figure_draws_what_there_is_of_its_tables(full, name):
    for table in NEEDS[name]:
        frames = {n: full.frames[n] for n in NEEDS[name] if n != table}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            draw(name, Tables(frames))


@pytest.mark.parametrize(
    "name", [n for n in NEEDS if n not in ("floors", "dependency", "skip", "reuse")]
)
def test_five_seeds_have_a_median_and_one_has_none(figures, name):
    assert has_median(figures["full", name])
    if name not in ("degrees", "onsets", "dashboard"):  # of heads; Kaplan-Meier of one run
        assert not has_median(figures["one seed", name])


@pytest.mark.parametrize("name", ["search", "dependency"])
def test_redrawing_gives_the_same_bytes(name, full, tmp_path):
    for folder in ("a", "b"):
        paths = [tmp_path / folder / f"{name}.{kind}" for kind in ("svg", "png")]
        style.save_figure(draw(name, full), paths, {"code": "abc"})
    for kind in ("svg", "png"):
        first, second = ((tmp_path / d / f"{name}.{kind}").read_bytes() for d in "ab")
        assert first == second


def test_nothing_here_imports_torch_and_the_needs_import_nothing_of_matplotlib():
    modules = ", ".join(f"zscope.figures.toylang.{name}" for name in NEEDS)
    for what, banned in (
        (
            modules,
            {"torch", "transformer_lens", "zscope.studies.toylang.config", "matplotlib.pyplot"},
        ),
        ("zscope.studies.toylang.figures.needs", {"torch", "matplotlib", "pandas", "numpy"}),
    ):
        code = f"import sys, {what}; print(sorted({banned!r} & set(sys.modules)))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout.strip() == "[]"


def test_the_fake_tables_fit_the_schema(full, tmp_path):
    for tables in (full, fake.smoke()):
        for name, frame in tables.frames.items():
            write_table(frame, tmp_path / f"{name}.parquet", name, {})


# --- looking things up -----------------------------------------------------------------------


def test_a_grid_keeps_the_order_of_the_cells():
    cells = pd.DataFrame(
        {"row": ["b", "b", "a", "a"], "column": ["10", "2", "10", "2"], "value": [1, 2, 3, None]}
    )
    found = grid(cells)
    assert list(found.index) == ["b", "a"]
    assert list(found.columns) == ["10", "2"]
    assert found.loc["a", "10"] == 3
    assert np.isnan(found.loc["a", "2"])


def test_the_last_step_is_that_of_each_run():
    frame = pd.DataFrame(
        {"condition": "c", "seed": [0, 0, 1], "step": [1, 2, 1], "value": [1, 2, 3]}
    )
    assert at_last(of_runs(frame))["value"].tolist() == [2, 3]


def test_primitives_are_in_the_order_of_the_names_and_unknown_ones_last():
    assert labels_of(pd.DataFrame({"primitive": ["new", "all", "bigram"]})) == [
        "bigram",
        "all",
        "new",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.7, ".70"), (-0.25, "-.25"), (1.0, "1.00"), (0.001, "0"), (-0.001, "0"), (-10.04, "-10.04")],
)
def test_numbers_in_squares_are_short(value, text):
    assert squares.figure_of(value) == text


def test_a_square_says_what_it_leaves_out():
    large = pd.DataFrame(np.zeros((30, 4)))
    assert "30 x 4" in squares.cut(large)
    assert squares.cut(large.head(3)) == ""


# --- figures ---------------------------------------------------------------------------------


def test_floors_show_the_sampled_loss_less_the_floor(full, figures):
    fig = figures["full", "floors"]
    (dots,) = [line for line in titled(fig, "c").lines if line.get_marker() == "o"]
    rows = full.frames["toylang_floors"].set_index("primitive")
    expected = (rows["nll"] - rows["floor"])[labels_of(rows.reset_index())]
    np.testing.assert_allclose(dots.get_xdata(), expected)
    worst = ((rows["nll"] - rows["floor"]) / rows["nll_se"]).abs().max()
    assert f"largest here: {worst:.1f}" in words(fig)


def test_learning_has_every_seed_of_every_primitive_and_the_target(figures):
    axes = all_axes(figures["full", "learning"])
    assert [ax.get_title(loc="left") for ax in axes] == [
        NAMES[n] for n in NAMES if n in fake.PRIMITIVES
    ]
    for ax in axes:
        assert len(lines(ax, "_seed")) == len(fake.SEEDS)
        assert len(lines(ax, "_median")) == 1
        whole = ax.get_title(loc="left") == "all"
        assert baselines(ax) == [0.01 if whole else 0.05]


def test_an_excess_of_zero_or_less_does_not_break_the_logarithm(full):
    def none(frame):
        return frame.assign(value=0.0, ci_low=-0.1, ci_high=0.1)

    draw("learning", changed(full, "toylang_training", none)).draw_without_rendering()


def test_onsets_show_every_seed_and_the_censored_one_as_an_open_arrow(full, figures):
    ax = figures["full", "onsets"].axes[0]
    rows = select(full.frames["toylang_onsets"], condition=REFERENCE)
    assert points(ax, "_onset") == rows["onset"].notna().sum()
    assert points(ax, "_censored") == rows["onset"].isna().sum() == 1
    (arrow,) = collections(ax, "_censored weights suppress")
    assert arrow.get_offsets()[0, 0] == fake.LAST
    assert arrow.get_facecolors().size == 0
    nothing = figures["smoke", "onsets"].axes[0]
    assert points(nothing, "_onset") == 0
    assert points(nothing, "_censored") == len(fake.PRIMITIVES) + len(fake.READ)


def test_shifts_are_of_shared_seeds_and_infinite_where_one_run_is_censored():
    rows = [
        ("a", 0, 200), ("ref", 0, 100),  # twice as late
        ("a", 1, None), ("ref", 1, 100),  # later by an unknown size
        ("a", 2, 100), ("ref", 2, None),
        ("a", 3, None), ("ref", 3, None),  # says nothing
        ("ref", 4, 100),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["condition", "seed", "onset"])
    frame = frame.assign(primitive="skip", last_step=1000)
    frame["onset"] = frame["onset"].astype("Int64")
    found = dependency.shifts(frame, "a", "ref", "skip")
    np.testing.assert_array_equal(found, [1, np.inf, -np.inf, np.nan])


def test_dependency_has_a_cell_each_its_seeds_and_its_verdict(full, figures):
    fig = figures["full", "dependency"]
    ax = fig.axes[0]
    rows = full.frames["toylang_comparisons"]
    rows = rows[rows["how"] != "model"]
    shifts = [t.get_text() for t in ax.texts if t.get_label() == "_shift"]
    assert len(shifts) == len(rows)
    assert len([t for t in ax.texts if t.get_label() == "_off"]) == 3  # three are removed
    assert len(lines(ax, "_seed")) == 3 * len(rows)
    framed = [p for p in ax.patches if str(p.get_label()).startswith("_verdict")]
    said = rows["verdict"].isin(["later", "earlier", "never", "all later", "all earlier"])
    assert len(framed) == said.sum() > 0
    hatched = [p for p in ax.patches if p.get_hatch()]
    assert len(hatched) == 3 + 1
    # Where the dots stand: bigram removed, suppress.
    column = [n for n in NAMES if n in fake.PRIMITIVES].index("suppress")
    onsets = select(full.frames["toylang_onsets"], kind="behaviour")
    expected = dependency.shifts(onsets, "without_bigram", REFERENCE, "suppress")
    found = [
        float(line.get_xdata()[0]) - column
        for line in lines(ax, "_seed")
        if abs(line.get_xdata()[0] - column) < 0.5 and line.get_ydata()[0] < 0.5
    ]
    np.testing.assert_allclose(found, 0.4 * np.array(expected) / dependency.REACH, atol=1e-9)
    assert min(found) > 0.1


def test_a_seed_without_an_onset_is_an_open_arrow_in_its_cell(full):
    def never(frame):
        lost = (frame["condition"] == "without_skip") & (frame["primitive"] == "induction")
        return frame.assign(onset=frame["onset"].mask(lost & (frame["seed"] == 0)))

    ax = draw("dependency", changed(full, "toylang_onsets", never)).axes[0]
    (arrow,) = lines(ax, "_censored")
    assert arrow.get_marker() == ">"
    assert arrow.get_markerfacecolor() == "none"


def test_models_join_the_seeds_and_write_the_verdicts(full, figures):
    fig = figures["full", "models"]
    onset = titled(fig, "a  onset: softmax")
    assert len(lines(onset, "_pair")) == len(fake.SEEDS) * len(fake.PRIMITIVES)
    rows = select(full.frames["toylang_comparisons"], condition="softmax")
    text = words(fig)
    for row in rows.to_dict("records"):
        assert f"{row['shift']:+.1f} [{row['ci_low']:+.1f}, {row['ci_high']:+.1f}]" in text
    assert points(onset, "_censored softmax induction") == 2
    assert "no other model" in words(figures["one seed", "models"])


def test_direct_writes_the_probability_beside_the_true_one(figures):
    fig = figures["full", "direct"]
    ours, theirs = titled(fig, "a  from the weights (seed 0)"), titled(fig, "b  true")
    assert [t.get_text() for t in theirs.texts][:4] == [".70", ".20", ".10", "0"]
    assert len(ours.texts) == len(fake.NAMES) * len(fake.VERBS)
    assert [t.get_text() for t in ours.get_yticklabels()] == list(fake.NAMES)
    agreement = titled(fig, "c")
    assert points(agreement, "_dots") == 2 * len(fake.SEEDS)
    assert vertical(agreement) == [0.95]


def test_skip_shows_the_heads_that_make_the_rules_and_frames_them(full, figures):
    rules = skip.true_rules(full)
    assert rules == list(fake.RULES)
    fig = figures["full", "skip"]
    titles = [ax.get_title(loc="left") for ax in all_axes(fig)]
    assert [t for t in titles if t.endswith("QK")] == ["L1H1: QK", "L1H2: QK"]
    for title in ("L1H1: QK", "L1H1: OV", "L1H2: QK x OV", "all heads", "true change"):
        framed = [p for p in titled(fig, title).patches if p.get_label() == "_truth"]
        assert len(framed) == len(fake.RULES)
    # Both factors of the one head are negative, the product is not.
    values = [titled(fig, f"L1H1: {of}").images[0].get_array()[0, 0] for of in ("QK", "OV")]
    assert max(values) < -1
    assert titled(fig, "L1H1: QK x OV").images[0].get_array()[0, 0] > 1


def test_heads_are_chosen_until_their_share_is_reached():
    rule = ("beach", "big", "at")
    product = {
        head: pd.DataFrame([[size]], index=[skip.name_of(rule)], columns=["at"])
        for head, size in {"L0H0": 1.0, "L1H0": -7.0, "L1H1": 2.0}.items()
    }
    assert skip.chosen(product, [rule]) == ["L1H0", "L1H1"]  # .7, .9
    equal = {f"L0H{i}": abs(product["L0H0"]) for i in range(5)}
    assert skip.chosen(equal, [rule]) == ["L0H0", "L0H1", "L0H2"]  # more than fit are left out
    nothing = {head: 0 * m for head, m in product.items()}
    assert skip.chosen(nothing, [rule]) == []


def test_search_has_a_line_a_seed_and_chance_and_fills_true_rules(figures):
    fig = figures["full", "search"]
    precision, rank, first = (titled(fig, f"{letter}  ") for letter in "abc")
    assert len(lines(precision, "_seed")) == len(fake.SEEDS)
    triples = fake.N_VOCAB**3
    assert baselines(precision) == [40 / triples]
    assert points(rank, "_dots") == 2 * len(fake.SEEDS) * len(fake.RULES)
    assert vertical(rank) == [10, (triples + 1) / 2]
    assert len([p for p in first.containers if p.get_label() == "_true"]) == len(fake.RULES)
    smoke = titled(figures["smoke", "search"], "c  ")
    assert not [p for p in smoke.containers if p.get_label() == "_true"]


def test_window_draws_truth_reach_and_every_edge(figures):
    for ax in all_axes(figures["full", "window"]):
        assert len(lines(ax, "_seed")) == len(fake.SEEDS)
        assert len(lines(ax, "_truth")) == 1
        assert vertical(ax) == [fake.MAX_SKIP + 0.5]
        assert set(places(ax, "_edge")[:, 0]) == {fake.MAX_SKIP}
        assert points(ax, "_edge") == len(fake.SEEDS)
    for ax in all_axes(figures["smoke", "window"]):
        assert points(ax, "_edge") == 0  # null: no boost


def test_windows_show_all_that_any_rule_does(full):
    def below(frame):
        hit = (frame["readout"] == "window") & (frame["row"] == fake.rule_name(fake.RULES[0]))
        return frame.assign(value=frame["value"].mask(hit & (frame["column"] == "15"), -7.0))

    fig = draw("window", changed(full, "toylang_matrices", below))
    assert fig.axes[-1].get_ylim()[0] < -7


def test_the_reach_of_a_rule_is_its_last_distance_with_an_effect():
    rows = pd.DataFrame({"distance": [1, 2, 3], "truth": [2.0, 1.0, 0.0]})
    assert window.reach(rows) == 2
    assert np.isnan(window.reach(rows.assign(truth=np.nan)))


def test_induction_has_the_matrix_of_every_seed_and_its_hits(figures):
    fig = figures["full", "induction"]
    squares = [ax for ax in all_axes(fig) if ax.images]
    titles = [ax.get_title(loc="left") for ax in squares if ax.get_label() != "<colorbar>"]
    assert titles == [f"s{s} (6 of 6)\nL0H{s % 4}->L1H0" for s in fake.SEEDS]
    for letter in "abc":
        assert len(lines(titled(fig, f"{letter}  "), "_seed")) == len(fake.SEEDS)
    assert baselines(titled(fig, "c  ")) == [1 / 6]


def test_the_timeline_starts_after_step_0_and_takes_the_worst_rank(full, figures):
    ranks = timeline.measured(full, "rules", "rank_all_paths")
    assert ranks["step"].min() > 0
    last = ranks[ranks["step"] == fake.LAST]["value"]
    raw = at_last(full.readout("rules", "rank"))
    assert last.tolist() == raw.groupby("seed")["value"].max().tolist()
    shares = timeline.measured(full, "induction", "hits")["value"]
    assert shares.max() == 1
    fig = figures["full", "timeline"]
    assert len(all_axes(fig)) == 8
    for ax in all_axes(fig):
        assert len(lines(ax, "_seed")) == len(fake.SEEDS)


def test_a_rule_without_a_rank_leaves_no_worst_one(full):
    def without(frame):
        hit = (frame["item"] == fake.rule_name(fake.RULES[0])) & (frame["step"] == fake.LAST)
        return frame.assign(value=frame["value"].mask(hit))

    ranks = timeline.measured(changed(full, "toylang_readouts", without), "rules", "rank_all_paths")
    assert ranks[ranks["step"] == fake.LAST]["value"].isna().all()


def test_suppression_in_the_weights_frames_the_top_verb(figures):
    fig = figures["full", "suppression_weights"]
    for letter in "abcd":
        ax = titled(fig, f"{letter}  ")
        corners = [p.get_xy() for p in ax.patches if p.get_label() == "_truth"]
        columns = [int(x + 0.5) for x, _ in corners]
        assert columns == [3 * i % 8 for i in range(len(fake.NAMES))]
    assert vertical(titled(fig, "e")) == [6]


def test_random_sets_have_as_many_heads_of_each_layer_as_the_named_set(full):
    rows = select(full.frames["toylang_ablations"], metric="change", condition=REFERENCE)
    for by, layers in (("induction", "01"), ("rules", "11"), ("suppression", "1")):
        heads = set(ablations.random_like(rows, by)["heads"])
        assert heads
        assert {"".join(h[1] for h in of.split("+")) for of in heads} == {layers}


def test_ablations_show_named_and_random_sets_and_every_head_of_every_seed(full, figures):
    fig = figures["full", "ablations"]
    rows = select(full.frames["toylang_ablations"], metric="change", condition=REFERENCE)
    for letter, by in zip("abc", ablations.NAMED, strict=True):
        ax = titled(fig, f"{letter}  ")
        assert points(ax, "_dots") == len(select(rows, chosen_by=by))
        assert points(ax, "_random") == len(ablations.random_like(rows, by)) > 0
        (own,) = [p for p in ax.patches if p.get_label() == "_own"]
        names = labels_of(rows)
        assert own.get_y() + 0.5 == names.index(ablations.NAMED[by])
    squares = [ax for ax in all_axes(fig) if ax.images and ax.get_label() != "<colorbar>"]
    assert len(squares) == 2 * len(fake.SEEDS)  # reference and softmax
    assert squares[0].images[0].get_array().shape == (len(fake.HEADS), len(fake.PRIMITIVES))


def test_more_seeds_than_fit_in_a_row_are_wrapped(full):
    assert squares.square_rows([("a", s) for s in range(7)] + [("b", 0)]) == [
        ("a", [0, 1, 2, 3, 4]),
        ("a", [5, 6]),
        ("b", [0]),
    ]
    fig = draw("ablations", fake.study(tuple(range(7)), softmax=False))
    squares = [ax for ax in all_axes(fig) if ax.images and ax.get_label() != "<colorbar>"]
    assert len(squares) == 7
    named = [ax.yaxis.get_tick_params()["labelleft"] for ax in squares]
    assert named == [True, *[False] * 4, True, False]  # heads are named once a row


def test_degrees_show_every_head_of_every_seed_and_the_largest_error(full, figures):
    fig = figures["full", "degrees"]
    rows = full.frames["toylang_degrees"]
    for letter, reads in (("a", "here"), ("b", "later")):
        assert points(titled(fig, f"{letter}  "), "_dots") == len(select(rows, reads=reads))
    assert vertical(titled(fig, "c  ")) == [1e-8]
    assert f"largest here: {rows['error'].max():.1e}" in words(fig)


def test_suppression_shows_the_truth_the_placebo_and_the_named_head(figures):
    fig = figures["full", "suppression"]
    distance, drops, heads = (titled(fig, f"{letter}  reference") for letter in "abc")
    assert len(lines(distance, "_seed")) == 2 * len(fake.SEEDS)
    truths = [line.get_ydata().tolist() for line in lines(distance, "_truth")]
    assert truths == [[0.7] * 12, [0.0] * 6 + [0.7] * 6]
    for case in ("within window", "beyond window", "placebo"):
        assert points(drops, f"_dots {case}") == len(fake.SEEDS)
    assert points(heads, "_heads named") == len(fake.SEEDS)
    assert points(heads, "_heads other") == len(fake.SEEDS) * len(fake.HEADS)
    x, y = places(heads, "_heads").T
    np.testing.assert_allclose(x, -8 * y)
    assert points(titled(fig, "c  softmax"), "_heads named") == 0
    assert "softmax" not in words(figures["one seed", "suppression"])


def test_error_correction_shows_both_colours_the_truth_and_every_head(figures):
    fig = figures["full", "error_correction"]
    third, fourth, wins, repair = (titled(fig, f"{letter}  reference") for letter in "abcd")
    for ax in (third, fourth):
        assert len(lines(ax, "_seed")) == 2 * len(fake.SEEDS)
        assert len(lines(ax, "_truth")) == 2
    assert len(lines(wins, "_seed")) == 2 * len(fake.SEEDS)
    assert points(repair, "_heads") == 4 * len(fake.SEEDS)
    x, y = places(repair, "_heads").T
    np.testing.assert_allclose(y, 1.5 * x)
    assert len(lines(repair, "_baseline")) == 1  # total = direct


def test_reuse_shows_every_path_of_every_seed_beside_its_placebo(figures):
    fig = figures["full", "reuse"]
    squares = [ax for ax in all_axes(fig) if ax.images and ax.get_label() != "<colorbar>"]
    assert len(squares) == 2 * len(fake.SEEDS)
    assert squares[0].images[0].get_array().shape == (16, len(fake.PRIMITIVES))
    counts = titled(fig, "reference: serves")
    rises = titled(fig, "reference: rise")
    for read in ("keys", "queries", "values", "direct"):
        assert points(counts, f"_counts {read}") == 4 * len(fake.SEEDS)
        n_single = len(fake.PRIMITIVES) - 1
        assert points(rises, f"_dots {read}") == 4 * len(fake.SEEDS) * n_single
    assert places(counts, "_counts keys")[:, 0].max() == 2  # skip and induction
    assert len(lines(rises, "_baseline")) == 1  # cut = placebo


def test_a_path_is_paired_with_its_own_placebo():
    changes = pd.DataFrame(
        {
            "seed": 0,
            "case": ["L0H0:keys", "L0H0:keys placebo", "L0H1:keys", "L0H1:keys placebo"],
            "column": "skip",
            "value": [1.0, 0.1, 2.0, 0.2],
        }
    )
    changes = pd.concat([changes, changes.assign(column="all", value=9.0)], ignore_index=True)
    found = reuse.pairs(changes)
    assert found["path"].tolist() == ["L0H0:keys", "L0H1:keys"]
    assert found["cut"].tolist() == [1.0, 2.0]
    assert found["placebo"].tolist() == [0.1, 0.2]


def test_the_dashboard_has_six_panels_and_every_claim(full, figures):
    fig = figures["full", "dashboard"]
    letters = [ax.get_title(loc="left")[:1] for ax in all_axes(fig)]
    assert [letter for letter in letters if letter] == list("abcdef")
    text = words(fig)
    for row in full.frames["toylang_summary"].to_dict("records"):
        for column in ("claim", "measured", "holds"):
            assert row[column] in text


def test_the_dashboard_leaves_out_what_other_models_repeat():
    rows = [
        ("reference", "it is exact", "yes"),
        ("softmax", "it is exact", "no"),
        ("softmax", "reference is earlier than softmax", "unclear"),
        ("without_skip", "nothing waits", "yes"),
    ]
    frame = pd.DataFrame(rows, columns=["condition", "claim", "holds"]).assign(measured="1", n=1)
    found = [row["claim"] for row in dashboard.summary(Tables({"toylang_summary": frame}))]
    expected = ["it is exact", "reference is earlier than softmax", "nothing waits (without_skip)"]
    assert found == expected


# --- the script ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["models", "floors"])
def test_the_script_draws_from_the_files_of_all_runs(name, full, tmp_path):
    path = REPO / "workflow/scripts/toylang/draw_toylang_figure.py"
    spec = importlib.util.spec_from_file_location("draw_toylang_figure", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    inputs = {}
    for table in NEEDS[name]:
        frame = full.frames[table]
        parts = frame.groupby("condition", sort=False) if "condition" in frame else [("", frame)]
        inputs[table] = []
        for condition, part in parts:
            inputs[table].append(str(tmp_path / f"{table}-{condition}.parquet"))
            write_table(part, inputs[table][-1], table, {})
    tracked = {"code": "abc", "slice": {"figure": name}}
    job = SimpleNamespace(
        input=inputs,
        output=SimpleNamespace(svg=str(tmp_path / "f.svg"), png=str(tmp_path / "f.png")),
        params=SimpleNamespace(tracked=tracked),
    )
    script.main(job)
    style.save_figure(draw(name, full), [tmp_path / "same.svg"], tracked)
    assert (tmp_path / "f.svg").read_bytes() == (tmp_path / "same.svg").read_bytes()
    assert (tmp_path / "f.png").exists()
