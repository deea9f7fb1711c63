"""Which models a config of the heads study asks, and what it says of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from zscope.core.errors import ConfigError
from zscope.studies.config import load
from zscope.studies.heads.config import HeadsConfig
from zscope.studies.heads.registry import detector_names
from zscope.studies.heads.study import HeadsPlan, Subject
from zscope.studies.heads.tables import (
    CHECKPOINTS,
    MAP,
    OF_CHECKPOINTS,
    PATTERNS,
    SCORES,
    SUMMARY,
)

TOY = Subject("toylang/reference", "toylang", {"reference-s0": "a", "reference-s1": "b"})
TINY = Subject("crosslingual/tiny", "tiny", {"tiny-s0": "c"}, ["rows"])
MINE = Subject("mine", "named", {"mine": "d"})


def plan(*subjects, studies=("toylang", "crosslingual"), **config) -> HeadsPlan:
    made = HeadsConfig(subjects=list(subjects), **config)
    return HeadsPlan(made, {TOY.name: TOY, TINY.name: TINY}, {"mine": MINE}, studies)


def test_a_subject_is_a_name_in_paths():
    found = plan("mine", "toylang/reference", "crosslingual/tiny").check()
    assert found.subjects == {"mine": MINE, "toylang-reference": TOY, "crosslingual-tiny": TINY}
    assert found.files(SCORES) == [
        f"results/heads/subjects/{name}/scores.parquet" for name in found.subjects
    ]
    assert found.files(SUMMARY) == ["results/heads/summary.parquet"]


def test_every_subject_has_figures_of_its_own_tables():
    found = plan("mine", "toylang/reference")
    assert "mine/score_map" in found.drawings
    drawing = found.drawings["toylang-reference/score_map"]
    assert drawing.inputs["scores"] == ["results/heads/subjects/toylang-reference/scores.parquet"]
    assert drawing.declared == {"subject": "toylang/reference"}


def test_models_with_checkpoints_alone_have_onsets():
    found = plan("mine", "toylang/reference", "crosslingual/tiny")
    assert list(found.checkpointed) == ["toylang-reference"]
    for table in OF_CHECKPOINTS:
        assert found.files(table) == table.paths(subject="toylang-reference")
        assert found.files(table, ["mine"]) == []
    of_some = [name for name in found.drawings if name.endswith(("/onsets", "/ioi"))]
    assert of_some == ["mine/ioi", "toylang-reference/onsets"]
    inputs = found.drawings["toylang-reference/onsets"].inputs
    assert inputs["checkpoints"] == CHECKPOINTS.paths(subject="toylang-reference")


def test_every_subject_has_a_page_per_set_of_prompts_and_a_map():
    file = Path(__file__).parents[3] / "lib/zscope/text/prompts/crafted.yaml"
    prompts = {"sets": ["crafted", "own"], "file": str(file)}
    found = plan("mine", "toylang/reference", prompts=prompts).check()
    pages = ("mine/crafted", "mine/own", "mine/heads")
    pages += ("toylang-reference/sequences", "toylang-reference/heads")
    assert found.pages == [f"results/heads/pages/{page}.html" for page in pages]
    folder = "results/heads/subjects"
    assert found.files(PATTERNS) == [
        *(f"{folder}/mine/prompts/{name}/patterns.parquet" for name in ("crafted", "own")),
        f"{folder}/toylang-reference/prompts/sequences/patterns.parquet",
    ]
    assert found.files(MAP, ["mine"]) == [f"{folder}/mine/map.parquet"]


def test_a_wrong_file_of_prompts_is_found_before_any_job(tmp_path):
    file = tmp_path / "prompts.yaml"
    file.write_text("- {id: a, text: one}\n- {id: a, text: two}\n")
    wrong = plan("mine", prompts={"sets": ["own"], "file": str(file)})
    with pytest.raises(ConfigError, match="id a is that of prompt 1 too"):
        wrong.check()


def test_subjects_of_a_study_that_is_null_are_left_out():
    found = plan("mine", "lag/k_sweep", "toylang/reference", studies=("crosslingual",))
    assert list(found.subjects) == ["mine"]


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        (["toylang/refrence"], "no subject toylang/refrence; did you mean toylang/reference?"),
        (["mime"], "no subject mime; did you mean mine?"),
        (["lag/k_sweep"], "every subject is of a study that trains none here"),
    ],
)
def test_a_wrong_subject_says_what_there_is(subjects, message):
    with pytest.raises(ConfigError, match=r"config key heads\.subjects") as error:
        plan(*subjects).check()
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("heads", "key", "message"),
    [
        ({"subjects": []}, "heads.subjects", "empty"),
        ({"subjects": ["a"]}, "heads.subjects", "no model a"),
        ({"subjects": ["lag/x", "lag/x"]}, "heads.subjects", "twice"),
        ({"subjects": ["lag/x"], "detectors": {"names": ["prev"]}}, "heads.detectors.names",
         "no detector prev; there are delimiter"),
        ({"subjects": ["lag/x"], "ablation": {"kinds": ["zero"]}}, "heads.ablation.kinds", "mean"),
        ({"subjects": ["lag/x"], "ablation": {"exact_layers": [-1]}},
         "heads.ablation.exact_layers", "count from 0"),
        ({"subjects": ["lag/x"], "prompts": {"sets": ["own"]}}, "heads.prompts.file",
         "own is among sets: name its file"),
        ({"subjects": ["lag/x"], "prompts": {"file": "mine.yaml"}}, "heads.prompts.file",
         "add own to sets"),
        ({"subjects": ["lag/x"], "prompts": {"sets": ["own"], "file": "{a}.yaml"}},
         "heads.prompts.file", "no braces"),
        ({"subjects": ["lag/x"], "prompts": {"kinds": ["mean", "mean"]}}, "heads.prompts.kinds",
         "repeats a value"),
        ({"subjects": ["lag/x"], "streams": {"longest_period": 47}},
         "heads.streams.longest_period", "is not between"),
    ],
)  # fmt: skip
def test_a_wrong_config_names_the_key(heads, key, message):
    with pytest.raises(ConfigError) as error:
        load({"heads": heads})
    first = str(error.value).splitlines()[0]
    assert key in first
    assert message in first


def test_heads_alone_are_a_config_of_a_named_model():
    config = load({"models": {"m": {"path": "x"}}, "heads": {"subjects": ["m"]}})
    assert config.heads.detectors.asked == detector_names()
    assert config.heads.ablation.draws * 0.05 >= len(detector_names()) - 0.05
