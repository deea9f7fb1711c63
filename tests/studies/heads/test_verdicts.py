"""Every word of a verdict, from planted effects."""

from __future__ import annotations

import pytest

from fake_heads import DRAWS, SUBJECT, detector_rows, score_rows, set_rows, study
from fake_tables import frame
from zscope.studies.heads.tables import ABLATIONS, DETECTORS, SCORES, VERDICTS
from zscope.studies.heads.verdicts import verdict_rows
from zscope.verdicts import p_over_ranks

ONE = ("reference-s0",)
HEADS = ((1, 2),)


def verdicts(*sets, models=ONE, draws=DRAWS):
    """By (model, detector); sets: rows of table heads_ablations."""
    found = verdict_rows(
        frame(SCORES, score_rows(models)),
        frame(DETECTORS, detector_rows(models)),
        frame(ABLATIONS, [row for rows in sets for row in rows]),
        draws=draws,
        alpha=0.05,
    )
    rows = frame(VERDICTS, found)
    return rows.set_index(["model", "detector"])


def word(*sets, detector="induction", **how):
    return verdicts(*sets, **how).loc[("reference-s0", detector), "verdict"]


def test_the_story_of_the_made_up_study():
    rows = study(["reference-s0", "reference-s1"])[VERDICTS.name]
    over = rows[rows["model"] == "all"].set_index("detector")
    assert over["verdict"].to_dict() == {
        "induction": "yes",
        "previous": "pattern only",
        "duplicate": "effect without pattern",
        "successor": "skipped",
    }
    assert set(over["tally"]) >= {"yes 2", "pattern only 2"}
    assert over.loc["successor", "reason"] == "no ordinal class"
    of_model = rows[rows["model"] == "reference-s0"].set_index("detector")
    assert of_model.loc["induction", "protocol_heads"] == 1
    assert of_model.loc["duplicate", "outside"] == "L1H2+L0H0"
    assert of_model.loc["previous", "hits"] == 60


def test_yes_needs_the_rank_the_control_and_an_effect():
    assert word(set_rows(*ONE, "induction", HEADS, 2.0)) == "yes"
    assert word(set_rows(*ONE, "induction", HEADS, 2.0, hits=7)) == "pattern only"  # 8 of 141
    assert word(set_rows(*ONE, "induction", HEADS, 2.0, hits=5)) == "yes"  # 6 of 141
    hurts_both = set_rows(*ONE, "induction", HEADS, 2.0, control=1.95, beyond=-0.05)
    assert word(hurts_both) == "pattern only"
    assert word(set_rows(*ONE, "induction", HEADS, -2.0, beyond=0.1)) == "pattern only"


def test_ranks_are_corrected_for_the_detectors_that_name_heads():
    one = set_rows(*ONE, "induction", HEADS, 2.0, hits=3)
    assert word(one) == "yes"  # 4 of 141
    rows = verdicts(
        set_rows(*ONE, "induction", HEADS, 2.0, hits=3),
        set_rows(*ONE, "previous", HEADS, 2.0, hits=3),
    )
    row = rows.loc[("reference-s0", "induction")]
    assert row["verdict"] == "pattern only"
    assert row["p_holm"] == pytest.approx(2 * 4 / 141)
    assert row["least_p"] == pytest.approx(2 / 141)


def test_what_no_outcome_could_have_shown_cannot_be_told():
    few = set_rows(*ONE, "induction", HEADS, 2.0, draws=7, possible=7)
    row = verdicts(few).loc[("reference-s0", "induction")]
    assert row["verdict"] == "cannot be told"
    assert "no set of as many heads" in row["reason"]
    assert row["least_p"] == pytest.approx(1 / 8)


def test_without_a_name_heads_of_the_screen_decide():
    outside = {"by": "outside", "beyond": 0.5}
    passes = set_rows(*ONE, "duplicate", HEADS, 2.0, **outside)
    assert word(passes, detector="duplicate") == "effect without pattern"
    like_others = set_rows(*ONE, "duplicate", HEADS, 2.0, hits=50, **outside)
    assert word(like_others, detector="duplicate") == "none"
    assert word(detector="duplicate") == "none"
    assert word(detector="successor") == "skipped"


def test_where_no_head_could_be_named_it_cannot_be_told():
    rows = [{**row, "reachable": False} for row in score_rows(ONE)]
    tables = frame(SCORES, rows), frame(DETECTORS, detector_rows(ONE)), frame(ABLATIONS, [])
    found = frame(VERDICTS, verdict_rows(*tables, draws=DRAWS, alpha=0.05))
    row = found.set_index(["model", "detector"]).loc[("reference-s0", "duplicate")]
    assert row["verdict"] == "cannot be told"
    assert "no head could have been named" in row["reason"]


def test_too_few_other_sets_are_said():
    few = set_rows(*ONE, "duplicate", HEADS, 2.0, by="outside", draws=5, possible=5)
    row = verdicts(few).loc[("reference-s0", "duplicate")]
    assert row["verdict"] == "none"
    assert "whether other heads matter cannot be told" in row["reason"]


def test_trainings_that_disagree_vary():
    models = ("reference-s0", "reference-s1")
    rows = verdicts(
        set_rows(models[0], "induction", HEADS, 2.0),
        set_rows(models[1], "induction", HEADS, 2.0, hits=100),
        models=models,
    )
    assert rows.loc[("all", "induction"), "verdict"] == "varies between trainings"
    assert rows.loc[("all", "induction"), "tally"] == "yes 1, pattern only 1"


def test_ranks_of_models_that_cannot_tell_alone_are_tested_together():
    models = tuple(f"reference-s{i}" for i in range(3))
    few = {"draws": 7, "possible": 7}
    sets = [set_rows(m, "induction", HEADS, 2.0, **few) for m in models]
    row = verdicts(*sets, models=models).loc[("all", "induction")]
    assert row["verdict"] == "yes"
    assert row["p"] == pytest.approx(1 / 8**3)
    sets = [set_rows(m, "induction", HEADS, 2.0, hits=4, **few) for m in models]
    row = verdicts(*sets, models=models).loc[("all", "induction")]
    assert row["verdict"] == "pattern only"
    hurts_both = [set_rows(m, "induction", HEADS, 2.0, beyond=-1, **few) for m in models]
    row = verdicts(*hurts_both, models=models).loc[("all", "induction")]
    assert row["verdict"] == "pattern only"
    two = [set_rows(m, "induction", HEADS, 2.0, draws=3, possible=3) for m in models[:2]]
    row = verdicts(*two, models=models[:2]).loc[("all", "induction")]
    assert row["verdict"] == "cannot be told"  # 1 / 16


def test_p_over_ranks_counts_every_outcome():
    """Against all combinations of hits, counted."""
    outcomes = [(a, b) for a in range(3) for b in range(5)]
    p, least = p_over_ranks([(1, 2), (2, 4)])
    assert p == pytest.approx(sum(a + b <= 3 for a, b in outcomes) / len(outcomes))
    assert least == pytest.approx(1 / 15)


def test_subject_stands_in_every_row():
    assert set(study(ONE)[VERDICTS.name]["subject"]) == {SUBJECT}
