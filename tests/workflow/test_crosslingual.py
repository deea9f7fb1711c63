"""The cross-lingual study on a model that comes from elsewhere, and on one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from clones import Clone
from zscope.figures.registry import figure_modules
from zscope.studies.crosslingual.config import CrosslingualConfig
from zscope.studies.crosslingual.study import CrosslingualPlan
from zscope.studies.crosslingual.tables import MODELS, OUTPUTS, SIZES, SUMMARY, TABLES, WEIGHTS
from zscope.tables.read import read_table

pytestmark = pytest.mark.slow

SHAPE = {"n_layers": 3, "d_model": 48, "n_heads": 6, "n_kv_heads": 3, "d_head": 8}
# Over config/pretrained.yaml: sizes that a laptop can run with a model of that shape.
SMALL = {
    "device": "cpu",
    "bootstrap": {"resamples": 50},
    "crosslingual": {
        "mem_mb": 2000,
        "generation": {"max_new_tokens": 4},
        "z": {"layers": [0.34, 0.9], "k": [0.195, 8], "kinds": ["qk", "ov"]},
        "verdict": {"layer": 0.34, "k": 0.195},
        "patching": {
            "draws": 1,
            "verdict_draws": 2,
            "designs": ["mean", "site_answer"],
            "where": ["all"],
        },
        "ard": {
            "layers": [1, 3],
            "steps": 10,
            "contrast_steps": 10,
            "bases": ["coordinates"],
            "lambdas": [0.01],
            "planted_seeds": [0],
        },
        "bridge": {"permutations": 40},
    },
}
QWEN = {"models": ["mine"], "problems": {"source": "hand_written"}}


def save_model(folder: Path, seed: int = 0) -> None:
    """A random Qwen2 of another shape than ours, and a tokenizer of bytes as real ones are."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*alphabet, "<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=SHAPE["d_model"],
        intermediate_size=96,
        num_hidden_layers=SHAPE["n_layers"],
        num_attention_heads=SHAPE["n_heads"],
        num_key_value_heads=SHAPE["n_kv_heads"],
        tie_word_embeddings=False,
        eos_token_id=vocabulary["<|endoftext|>"],
        pad_token_id=vocabulary["<|endoftext|>"],
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(
        folder
    )


def with_model(clone: Clone, path: str) -> list[str]:
    """Arguments that run config/pretrained.yaml, made small, on a model in a folder."""
    study = {**SMALL["crosslingual"], "models": ["mine"]}
    small = {**SMALL, "models": {"mine": {"path": path}}, "crosslingual": study}
    path = clone.code / "config/small.yaml"
    path.write_text(yaml.safe_dump(small))
    return ["--configfile", str(clone.code / "config/pretrained.yaml"), str(path)]


def test_a_saved_model_of_another_shape_goes_through_the_whole_study(fresh: Clone) -> None:
    folder = fresh.folder / "Some Model_v2"
    save_model(folder)
    arguments = with_model(fresh, str(folder))
    done = fresh.snakemake("crosslingual", *arguments, config=None)
    assert done.status == 0, done.output[-5000:]
    assert "train_run" not in done.rules
    assert "train_tiny_model" not in done.rules
    results = fresh.folder / "results"
    model = results / "crosslingual/models/mine"
    described = read_table(model / "model.parquet", MODELS).iloc[0]
    assert {key: described[key] for key in SHAPE} == SHAPE
    figures = results / "figures/crosslingual"
    drawn = {p.relative_to(figures).with_suffix("").as_posix() for p in figures.rglob("*.png")}
    assert drawn == set(CrosslingualPlan(CrosslingualConfig(**QWEN)).drawings)
    assert "mine/training" not in drawn
    weights = read_table(model / "weights.parquet", WEIGHTS)
    assert set(weights["layer"].dropna()) == {0, 1, 2}
    assert set(weights["k"].dropna()) == {round(0.195 * 24), 8}
    # The shares of the config are of this model's depth, which one table says for all.
    sizes = read_table(model / "sizes.parquet", SIZES).set_index(["size", "given"])["value"]
    assert dict(sizes["layer"]) == {"0.34": 1, "0.9": 2}
    assert dict(sizes["k"]) == {"0.195": round(0.195 * 24), "8": 8}
    patched = {p.stem for p in (model / "outputs").glob("*.parquet")}
    assert patched == {"unpatched", "layer_0.34", "layer_0.9"}
    outputs = read_table(model / "outputs/layer_0.9.parquet", OUTPUTS)
    assert set(outputs["layer"].dropna()) == {2}
    assert outputs["problem"].nunique() == 24
    summary = read_table(model / "summary.parquet", SUMMARY)
    assert len(summary) >= 9
    assert summary["numbers"].str.len().min() > 10
    # Nothing is left to do; another model in the same folder makes all of it stale.
    assert fresh.snakemake("crosslingual", "--dry-run", *arguments, config=None).jobs == set()
    save_model(folder, seed=1)
    again = fresh.snakemake("crosslingual", "--dry-run", *arguments, config=None)
    assert {"make_spaces", "patch_layer", "extract_activations"} <= again.rules
    assert "make_problems" not in again.rules


def test_a_model_that_is_not_there_is_named(fresh: Clone) -> None:
    missing = fresh.snakemake("crosslingual", *with_model(fresh, "nowhere"), config=None)
    assert missing.status != 0
    assert "nowhere/config.json" in missing.output
    save_model(fresh.folder / "pickled")
    weights = fresh.folder / "pickled/model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    target = "results/crosslingual/models/mine/spaces.safetensors"
    refused = fresh.snakemake(target, *with_model(fresh, "pickled"), config=None)
    assert refused.status != 0
    assert "pickles (pytorch_model.bin)" in refused.output


# --- what a change of the config makes stale ---------------------------------------------------

WITH_INTERVALS = {
    "summarise_accuracy",
    "measure_weights",
    "measure_states",
    "fit_bridge",
    "measure_ard",
    "summarise_patching",
    "summarise_model",
}


VERDICTS = {"summarise_model", "summarise_verdicts", "draw_figure"}


def test_another_level_fits_patches_and_trains_nothing_again(finished: Clone) -> None:
    """Exactly the rules whose tables have intervals, and figures."""
    made = {
        "accuracy": "summarise_accuracy",
        "weights": "measure_weights",
        "geometry": "measure_states",
        "updates": "measure_states",
        "bridge": "fit_bridge",
        "ard": "measure_ard",
        "rates": "summarise_patching",
        "tests": "summarise_patching",
        "summary": "summarise_model",
    }
    assert {t.short for t in TABLES if t.has_interval} == set(made)
    assert set(made.values()) == WITH_INTERVALS
    finished.edit("config/smoke.yaml", "bootstrap:\n", "bootstrap:\n  level: 0.9\n")
    plan = finished.plan("crosslingual")
    assert plan.rules == {*WITH_INTERVALS, *VERDICTS}
    drawn = {w.rpartition("figure=")[2] for r, w in plan.jobs if r == "draw_figure"}
    assert drawn == set(figure_modules("crosslingual")) - {"planted", "ard_spectrum"}


def test_other_layers_of_ard_fit_again_and_patch_nothing(finished: Clone) -> None:
    finished.edit(
        "config/smoke.yaml", "    lambdas: [0.01]", "    layers: [0]\n    lambdas: [0.01]"
    )
    rules = finished.plan("crosslingual").rules
    assert rules == {"fit_ard", "measure_ard", *VERDICTS}


def test_another_cell_of_the_verdict_patches_its_layer_and_measures_nothing_else(
    finished: Clone,
) -> None:
    """The cell that the verdict reads has draws of its own."""
    finished.edit(
        "config/smoke.yaml", "crosslingual:\n", "crosslingual:\n  verdict: {where: prefill}\n"
    )
    rules = finished.plan("crosslingual").rules
    assert rules == {"patch_layer", "summarise_patching", *VERDICTS}
