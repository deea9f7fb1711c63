"""The toy language figures show every seed, every truth, every baseline and every censored run."""

from importlib import import_module
from typing import get_args

import numpy as np
import pandas as pd
import pytest

import fake_toylang as fake
from looking import all_axes, baselines, has_median, lines, points, titled, vertical, words
from zscope.figures.frames import select
from zscope.figures.registry import figure_modules
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import dashboard, reuse, skip, squares, timeline, window
from zscope.studies.toylang.figures.lookups import (
    NAMES,
    at_last,
    grid,
    labels_of,
    of_runs,
    readout,
)
from zscope.studies.toylang.named_heads import NAMED_FOR, others_like
from zscope.studies.toylang.onsets import paired
from zscope.studies.toylang.tables import (
    ABLATIONS,
    COMPARISONS,
    DEGREES,
    FLOORS,
    MATRICES,
    ONSETS,
    READOUTS,
    REFERENCE,
    SUMMARY,
    TRAINING,
)
from zscope.toy_language.config import Primitive
from zscope.toy_language.rules import Rule

STUDIES = {
    "full": fake.study,
    "one seed": lambda: fake.study((0,), softmax=False, dependency=False),
    "smoke": fake.smoke,
}
# Figures of the language, or of another condition than all seeds of the reference.
COUNTS = {"floors": "Measured on 500,000 tokens", "dependency": "n = 3 seeds"}
FIGURES = figure_modules("toylang")
EVERY = pytest.mark.parametrize("name", FIGURES)


@pytest.fixture(scope="module")
def full():
    return fake.study()


def draw(name, tables):
    return import_module(FIGURES[name].module).draw(tables)


@pytest.fixture(scope="module")
def figures():
    """Every figure of every study; the tests of this module only read them."""
    studies = {which: make() for which, make in STUDIES.items()}
    return {
        (which, name): draw(name, tables) for which, tables in studies.items() for name in FIGURES
    }


def changed(tables, table, change):
    """The tables with one of them changed."""
    return Tables({**tables.frames, table.name: change(tables.get(table))}, tables.level)


def collections(ax, start):
    return [c for c in ax.collections if str(c.get_label()).startswith(start)]


def places(ax, start):
    """All points of the collections whose label starts so."""
    found = [np.asarray(c.get_offsets()) for c in collections(ax, start)]
    return np.concatenate(found) if found else np.empty((0, 2))


# --- every figure ----------------------------------------------------------------------------


def test_names_are_those_of_the_config():
    assert set(NAMES) == {*get_args(Primitive), "category", "all"}


@pytest.mark.parametrize("which", STUDIES)
@EVERY
def test_the_number_of_seeds_is_stated(figures, which, name):
    text = words(figures[which, name])
    if "not applicable: " in text and len(figures[which, name].axes) == 1:
        return
    n = 5 if which == "full" else 1
    expected = COUNTS.get(name, f"n = {n} seed{'s' * (n > 1)}")
    assert (expected if n == 5 or name == "floors" else "n = 1 seed.") in text


@EVERY
def test_a_figure_draws_what_there_is_of_its_tables(full, name):
    needs = import_module(FIGURES[name].module).NEEDS
    for table in needs:
        draw(name, Tables({n.name: full.get(n) for n in needs if n != table}, full.level))


@pytest.mark.parametrize(
    "name", [n for n in FIGURES if n not in ("floors", "dependency", "skip", "reuse")]
)
def test_five_seeds_have_a_median_and_one_has_none(figures, name):
    assert has_median(figures["full", name])
    if name not in ("degrees", "onsets", "dashboard"):  # of heads; Kaplan-Meier of one run
        assert not has_median(figures["one seed", name])


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
    assert squares.number_text(value) == text


def test_a_square_says_what_it_leaves_out():
    large = pd.DataFrame(np.zeros((30, 4)))
    assert "30 x 4" in squares.cut(large)
    assert squares.cut(large.head(3)) == ""


# --- figures ---------------------------------------------------------------------------------


def test_floors_show_the_sampled_loss_less_the_floor(full, figures):
    fig = figures["full", "floors"]
    (dots,) = [line for line in titled(fig, "c").lines if line.get_marker() == "o"]
    rows = full.get(FLOORS, metric="gap").set_index("primitive")
    rows = rows.loc[labels_of(rows.reset_index())]
    np.testing.assert_allclose(dots.get_xdata(), rows["value"])
    largest = (rows["value"] / rows["se"]).abs().max()
    assert f"largest here: {largest:.1f}" in words(fig)
    (intervals,) = collections(titled(fig, "c"), "_interval")
    ends = np.array([segment[:, 0] for segment in intervals.get_segments()])
    np.testing.assert_allclose(ends, rows[["ci_low", "ci_high"]])


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

    draw("learning", changed(full, TRAINING, none)).draw_without_rendering()


def test_onsets_show_every_seed_and_the_censored_one_as_an_open_arrow(full, figures):
    ax = figures["full", "onsets"].axes[0]
    rows = select(full.get(ONSETS), condition=REFERENCE)
    assert points(ax, "_onset") == rows["onset"].notna().sum()
    assert points(ax, "_censored") == rows["onset"].isna().sum() == 1
    (arrow,) = collections(ax, "_censored weights suppress")
    assert arrow.get_offsets()[0, 0] == fake.LAST
    assert arrow.get_facecolors().size == 0
    nothing = figures["smoke", "onsets"].axes[0]
    assert points(nothing, "_onset") == 0
    assert points(nothing, "_censored") == len(fake.PRIMITIVES) + len(fake.READ)


def test_dependency_has_a_cell_each_its_seeds_and_its_verdict(full, figures):
    fig = figures["full", "dependency"]
    ax = fig.axes[0]
    rows = full.get(COMPARISONS)
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
    onsets = full.get(ONSETS, kind="behaviour", primitive="suppress")
    pair = (select(onsets, condition=c) for c in ("without_bigram", REFERENCE))
    expected = paired(*pair)["shift"]
    found = [
        float(line.get_xdata()[0]) - column
        for line in lines(ax, "_seed")
        if abs(line.get_xdata()[0] - column) < 0.5 and line.get_ydata()[0] < 0.5
    ]
    np.testing.assert_allclose(
        found, 0.4 * np.array(expected) / FIGURES["dependency"].constants["REACH"], atol=1e-9
    )
    assert min(found) > 0.1


def test_a_seed_without_an_onset_is_an_open_arrow_in_its_cell(full):
    def never(frame):
        lost = (frame["condition"] == "without_skip") & (frame["primitive"] == "induction")
        return frame.assign(onset=frame["onset"].mask(lost & (frame["seed"] == 0)))

    ax = draw("dependency", changed(full, ONSETS, never)).axes[0]
    (arrow,) = lines(ax, "_censored")
    assert arrow.get_marker() == ">"
    assert arrow.get_markerfacecolor() == "none"


def test_models_join_the_seeds_and_write_the_verdicts(full, figures):
    fig = figures["full", "models"]
    onset = titled(fig, "a  onset: softmax")
    assert len(lines(onset, "_pair")) == len(fake.SEEDS) * len(fake.PRIMITIVES)
    rows = select(full.get(COMPARISONS), condition="softmax")
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
    distance, agreement = titled(fig, "c  distance"), titled(fig, "d  r")
    for ax in (distance, agreement):
        assert points(ax, "_dots") == 2 * len(fake.SEEDS)
    assert vertical(distance) == [0.05]
    assert "over 18 cells, both centred by name" in words(fig)


def test_skip_shows_the_heads_that_make_the_rules_and_frames_them(full, figures):
    rules = skip.true_rules(full)
    assert [(r.key, r.query, r.output) for r in rules] == list(fake.SKIP_RULES)
    fig = figures["full", "skip"]
    titles = [ax.get_title(loc="left") for ax in all_axes(fig)]
    assert [t for t in titles if t.endswith("QK")] == ["L1H1: QK", "L1H2: QK"]
    for title in ("L1H1: QK", "L1H1: OV", "L1H2: QK x OV", "all heads", "true change"):
        framed = [p for p in titled(fig, title).patches if p.get_label() == "_truth"]
        assert len(framed) == len(fake.SKIP_RULES)
    # Both factors of the one head are negative, the product is not.
    values = [titled(fig, f"L1H1: {of}").images[0].get_array()[0, 0] for of in ("QK", "OV")]
    assert max(values) < -1
    assert titled(fig, "L1H1: QK x OV").images[0].get_array()[0, 0] > 1


def test_heads_are_chosen_until_their_share_is_reached():
    rule = Rule("skip", "beach", "big", "at", 0.9, 1, 8, 5)
    product = {
        head: pd.DataFrame([[size]], index=[rule.text], columns=["at"])
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
    assert points(rank, "_dots") == 2 * len(fake.SEEDS) * len(fake.SKIP_RULES)
    assert vertical(rank) == [10, (triples + 1) / 2]
    assert len([p for p in first.containers if p.get_label() == "_true"]) == len(fake.SKIP_RULES)
    assert (
        "Of the first 10, 0.8 to 0.8 (share) are true; of the first 10 that need no other bracket "
        "around them, 0.99 to 1."
    ) in words(fig)
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
        hit = (frame["readout"] == "window") & (frame["row"] == fake.rule_name(fake.SKIP_RULES[0]))
        return frame.assign(value=frame["value"].mask(hit & (frame["column"] == "15"), -7.0))

    fig = draw("window", changed(full, MATRICES, below))
    assert fig.axes[-1].get_ylim()[0] < -7


def test_the_reach_of_a_rule_is_its_last_distance_with_an_effect():
    rows = pd.DataFrame({"distance": [1, 2, 3], "truth": [2.0, 1.0, 0.0]})
    assert window.reach(rows) == 2
    assert np.isnan(window.reach(rows.assign(truth=np.nan)))


def test_induction_has_the_matrix_of_every_seed_and_its_hits(figures):
    fig = figures["full", "induction"]
    panels = [ax for ax in all_axes(fig) if ax.images]
    titles = [ax.get_title(loc="left") for ax in panels if ax.get_label() != "<colorbar>"]
    assert titles == [f"s{s} (6 of 6)\nL0H{s % 4}->L1H0" for s in fake.SEEDS]
    for letter in "abc":
        assert len(lines(titled(fig, f"{letter}  "), "_seed")) == len(fake.SEEDS)
    assert baselines(titled(fig, "c  ")) == [1 / 6]
    text = words(fig)
    assert "The most hits of any pair, by seed: 6, 6, 6, 6, 6 of 6." in text
    assert "Of 720 orders of the objects, at most 0.0014 (share) give some pair as many." in text


def test_the_timeline_starts_after_step_0_and_takes_the_worst_rank(full, figures):
    ranks = timeline.measured(full, "rules", "rank_all_paths")
    assert ranks["step"].min() > 0
    last = ranks[ranks["step"] == fake.LAST]["value"]
    raw = at_last(readout(full, "rules", "rank"))
    assert last.tolist() == raw.groupby("seed")["value"].max().tolist()
    shares = timeline.measured(full, "induction", "hits")["value"]
    assert shares.max() == 1
    fig = figures["full", "timeline"]
    assert len(all_axes(fig)) == 8
    assert baselines(titled(fig, "a  bigram")) == [0.05]  # nats
    for ax in all_axes(fig):
        assert len(lines(ax, "_seed")) == len(fake.SEEDS)


def test_a_rule_without_a_rank_leaves_no_worst_one(full):
    def without(frame):
        hit = (frame["item"] == fake.rule_name(fake.SKIP_RULES[0])) & (frame["step"] == fake.LAST)
        return frame.assign(value=frame["value"].mask(hit))

    ranks = timeline.measured(changed(full, READOUTS, without), "rules", "rank_all_paths")
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
    rows = select(full.get(ABLATIONS), metric="change", condition=REFERENCE)
    for by, layers in (("induction", "01"), ("rules", "11"), ("suppression", "1")):
        heads = set(others_like(rows, by)["heads"])
        assert heads
        assert {"".join(h[1] for h in of.split("+")) for of in heads} == {layers}


def test_ablations_show_named_and_random_sets_and_every_head_of_every_seed(full, figures):
    fig = figures["full", "ablations"]
    rows = select(full.get(ABLATIONS), metric="change", condition=REFERENCE)
    for letter, by in zip("abc", NAMED_FOR, strict=True):
        ax = titled(fig, f"{letter}  ")
        assert points(ax, "_dots") == len(select(rows, chosen_by=by))
        assert points(ax, "_random") == len(others_like(rows, by)) > 0
        (own,) = [p for p in ax.patches if p.get_label() == "_own"]
        names = labels_of(rows)
        assert own.get_y() + 0.5 == names.index(NAMED_FOR[by])
    panels = [ax for ax in all_axes(fig) if ax.images and ax.get_label() != "<colorbar>"]
    assert len(panels) == 2 * len(fake.SEEDS)  # reference and softmax
    assert panels[0].images[0].get_array().shape == (len(fake.HEADS), len(fake.PRIMITIVES))


def test_more_seeds_than_fit_in_a_row_are_wrapped(full):
    assert squares.square_rows([("a", s) for s in range(7)] + [("b", 0)]) == [
        ("a", [0, 1, 2, 3, 4]),
        ("a", [5, 6]),
        ("b", [0]),
    ]
    fig = draw("ablations", fake.study(tuple(range(7)), softmax=False))
    panels = [ax for ax in all_axes(fig) if ax.images and ax.get_label() != "<colorbar>"]
    assert len(panels) == 7
    named = [ax.yaxis.get_tick_params()["labelleft"] for ax in panels]
    assert named == [True, *[False] * 4, True, False]  # heads are named once a row


def test_degrees_show_every_head_of_every_seed_and_the_largest_error(full, figures):
    fig = figures["full", "degrees"]
    rows = full.get(DEGREES)
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
    counts = {
        text.get_position()[0]: text.get_text()
        for text in distance.texts
        if text.get_label() == "_n"
    }
    assert counts == {float(x): "3" if x == 3 else "48" for x in range(1, 13)}
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
    panels = [ax for ax in all_axes(fig) if ax.images and ax.get_label() != "<colorbar>"]
    assert len(panels) == 2 * len(fake.SEEDS)
    assert panels[0].images[0].get_array().shape == (16, len(fake.PRIMITIVES))
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
    for row in full.get(SUMMARY).to_dict("records"):
        assert row["text"] in text
        assert row["measured"] in text
    assert "partly: 4 of 5 seeds" in text


def test_the_dashboard_leaves_out_what_other_models_repeat():
    rows = [
        ("reference", "exact_patching", "it is exact", "yes"),
        ("softmax", "exact_patching", "it is exact", "no"),
        ("softmax", "induction_before_model", "reference is earlier than softmax", "unclear"),
        ("without_skip", "other_onsets_move", "nothing waits", "yes"),
    ]
    frame = fake.frame(SUMMARY, [])
    for row in rows:
        frame.loc[len(frame), ["condition", "claim", "text", "verdict"]] = row
    tables = Tables({SUMMARY.name: frame.assign(measured="1", n=1)})
    found = [row["claim"] for row in dashboard.summary(tables)]
    assert found == ["it is exact", "reference is earlier than softmax", "nothing waits"]
