"""What the cross-lingual study plans."""

import re

import pytest

from zscope.core.errors import ConfigError
from zscope.figures.registry import figure_modules
from zscope.studies.config import load
from zscope.studies.crosslingual.config import CrosslingualConfig
from zscope.studies.crosslingual.study import CrosslingualPlan


def plan(**given):
    return CrosslingualPlan(CrosslingualConfig.model_validate(given))


def test_a_tiny_model_is_a_model_for_every_seed():
    found = plan(seeds=[3, 5])
    assert found.models == {"tiny-s3": 3, "tiny-s5": 5}
    assert set(found.drawings) == set(figure_modules("crosslingual"))
    assert found.drawings["training"].inputs["training"] == [
        f"results/crosslingual/models/tiny-s{seed}/training.parquet" for seed in (3, 5)
    ]
    assert found.drawings["planted"].inputs == {"planted": ["results/crosslingual/planted.parquet"]}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"hub": "Qwen/Qwen2.5-3B", "revision": "main"}, "qwen2.5-3b"),
        ({"path": "/data/My Models/qwen_2-finetuned/"}, "qwen-2-finetuned"),
        ({"path": "../.."}, "model"),
        ({"path": "a/$(rm -rf ~)"}, "rm-rf"),
        ({"path": "/数据/通义千问_1"}, "通义千问-1"),
        ({"path": "模" * 90}, "模" * 33),
    ],
)
def test_a_model_from_elsewhere_has_a_name_fit_for_a_path(model, name):
    found = plan(model=model, seeds=[0, 1, 2])
    assert found.models == {name: None}
    assert "training" not in found.drawings
    assert found.declared["gate"] is None
    assert re.fullmatch(r"[^\W_][^\W_A-Z.-]*([.-]+[^\W_A-Z]+)*", name)
    assert len(name.encode()) <= 100


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert plan(model={"path": "~/qwen"}).config.model.path == "/home/ann/qwen"
    problems = {"source": "hand_written", "file": "~/own.yaml"}
    found = plan(model={"path": "x"}, problems=problems)
    assert found.config.problems.file == "/home/ann/own.yaml"


@pytest.mark.parametrize(
    ("model", "way"),
    [
        ("Qwen/Qwen2.5-3B", "write {hub: Qwen/Qwen2.5-3B, revision: commit} for a model of the"),
        ("Qwen/Qwen2.5-3B", "or {path: Qwen/Qwen2.5-3B} for a folder"),
        ("/data/my model", "write tiny, or {path: /data/my model} for a folder"),
    ],
)
def test_a_model_in_one_word_is_answered_with_what_to_write(model, way):
    with pytest.raises(ConfigError) as caught:
        load({"crosslingual": {"model": model}})
    assert way in str(caught.value)
    assert "\n" not in str(caught.value)
    assert plan(model="tiny").config.model.tiny


def test_layers_are_named_as_the_config_writes_them():
    found = plan(z={"layers": [2, 0.75], "k": [0.5]}, verdict={"layer": 2, "k": 0.5})
    assert found.layers == {"2": 2, "0.75": 0.75}


def test_figures_are_told_the_declared_cell_and_the_gate():
    found = plan(verdict={"where": "prefill"}, z={"kinds": ["ov", "qk"]})
    assert found.drawings["patching"].declared == {
        "layer": "0.5",
        "k": "0.5",
        "kind": "ov",
        "design": "mean",
        "source": "mismatched",
        "where": "prefill",
        "position_0": "exclude",
        "direction": "zh->en",
        "gate": 0.9,
    }
    assert {n for n, drawing in found.drawings.items() if not drawing.has_intervals} == {
        "planted",
        "ard_spectrum",
    }


def test_a_layer_reads_the_declared_cell_only_if_it_is_its_own():
    """So that another cell, or number of its draws, patches the declared layers again, no other."""
    first = plan(z={"layers": [0.25, 0.5, 0.75]})
    cell = {"layer": 0.75, "k": 0.5, "direction": "en->zh"}
    moved = plan(z={"layers": [0.25, 0.5, 0.75]}, verdict=cell)
    ruled = plan(z={"layers": [0.25, 0.5, 0.75]}, verdict={"alpha": 0.01, "kept": 0.8})
    drawn = plan(z={"layers": [0.25, 0.5, 0.75]}, patching={"verdict_draws": 50})
    assert moved.patching_of("0.75")["verdict"] == {
        "design": "mean", "source": "mismatched", "where": "all", **cell
    }  # fmt: skip

    def changed(other):
        return {x for x in first.layers if first.patching_of(x) != other.patching_of(x)}

    assert changed(moved) == {"0.5", "0.75"}
    assert changed(ruled) == set()
    assert changed(drawn) == {"0.5"}
