"""What the cross-lingual study plans."""

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


def test_a_named_model_has_figures_of_its_own_and_no_training():
    found = plan(models=["mine"], seeds=[0, 1, 2], problems={"source": "hand_written"})
    assert found.models == {"mine": None}
    assert set(found.drawings) == {
        "planted",  # of no model
        *(f"mine/{name}" for name in figure_modules("crosslingual") if name != "training"),
    } - {"mine/planted"}
    drawing = found.drawings["mine/dashboard"]
    assert drawing.inputs["summary"] == ["results/crosslingual/models/mine/summary.parquet"]
    assert (drawing.declared["gate"], drawing.declared["family"]) == (None, "mine")


def test_several_models_are_families_and_only_trainings_alike_are_drawn_as_one():
    found = plan(models=["tiny", "mine"], seeds=[3, 5], weights_only=["other"])
    assert found.models == {"tiny-s3": 3, "tiny-s5": 5, "mine": None}
    assert found.family_of == {"tiny-s3": "tiny", "tiny-s5": "tiny", "mine": "mine"}
    assert found.trained == {"tiny-s3": 3, "tiny-s5": 5}
    assert set(found.measured) == {*found.models, "other"}
    of = "results/crosslingual/models/{}/weights.parquet"
    ranks = {
        name: d.inputs["weights"] for name, d in found.drawings.items() if name.endswith("ranks")
    }
    assert ranks == {
        "ranks": [of.format("tiny-s3"), of.format("tiny-s5")],
        "mine/ranks": [of.format("mine")],
        "other/ranks": [of.format("other")],
    }
    assert [n for n in found.drawings if n.endswith("planted")] == ["planted"]
    gates = {n: d.declared["gate"] for n, d in found.drawings.items() if n.endswith("accuracy")}
    assert gates == {"accuracy": 0.9, "mine/accuracy": None}


def test_of_a_model_by_its_weights_alone_only_figures_of_weights_are_drawn():
    found = plan(weights_only=["other"])
    assert {n for n in found.drawings if n.startswith("other/")} == {
        "other/ranks",
        "other/overlap",
        "other/similarity",
    }
    assert "other" not in found.models  # nothing is patched, and no verdict is its


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    models = {"mine": {"path": "~/qwen"}}
    problems = {"source": "hand_written", "file": "~/own.yaml"}
    found = load({"models": models, "crosslingual": {"models": ["mine"], "problems": problems}})
    assert found.models["mine"].path == "/home/ann/qwen"
    assert found.crosslingual.problems.file == "/home/ann/own.yaml"


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
        "family": "tiny",
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
