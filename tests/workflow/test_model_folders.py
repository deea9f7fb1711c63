"""What is made from a model in a folder is stale if the folder's content is another, only then."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from clones import Clone
from zscope.models.identity import model_digest
from zscope.models.tables import FETCHED
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.tables import MODELS
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen
from zscope.tables.read import read_provenance, read_table

pytestmark = pytest.mark.slow

TABLE = "results/crosslingual/models/mine/model.parquet"
CONFIG = {
    "device": "cpu",
    "lag": None,
    "toylang": None,
    "models": {"mine": {"path": "link"}},
    "crosslingual": {
        "models": ["mine"],
        "weights_only": [],
        "problems": {"source": "hand_written"},
    },
}


def save(folder: Path, seed: int) -> Path:
    """A model with old files, as one that was downloaded last year."""
    shape = TinyShape(n_layers=2, d_model=16, d_mlp=24)
    save_tiny_qwen(*build_tiny_qwen(shape, seed), folder)
    for file in folder.iterdir():
        os.utime(file, (1.5e9, 1.5e9))
    return folder


def point(link: Path, folder: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(folder)


def test_other_content_is_stale_and_the_same_content_elsewhere_is_not(fresh: Clone) -> None:
    link, models = fresh.folder / "link", fresh.folder / "kept"
    first, other = save(models / "first", 0), save(models / "other", 1)
    point(link, first)
    (fresh.code / "config/linked.yaml").write_text(yaml.safe_dump(CONFIG))

    def stale() -> bool:
        rules = fresh.plan(TABLE, config="linked").rules
        assert rules in (set(), {"fetch_model", "describe_model"})
        return bool(rules)

    done = fresh.snakemake(TABLE, config="linked")
    assert done.status == 0, done.output[-3000:]
    name = f"mine@{model_digest(first)}"
    assert read_table(fresh.folder / TABLE, MODELS)["name"].item() == name
    fetched = fresh.folder / FETCHED.path.format(model="mine")
    assert read_provenance(fetched)["slice"]["digest"] == model_digest(first)
    assert read_table(fetched, FETCHED)["digest"].item() == model_digest(first)
    # Copied, with new dates: the same model.
    point(link, shutil.copytree(first, models / "copy", copy_function=shutil.copyfile))
    assert not stale()
    point(link, other)
    assert stale()
    # Other weights under the old name, size and date; another file of those that the load reads.
    shutil.copy2(other / "model.safetensors", first / "model.safetensors")
    point(link, first)
    assert stale()
    point(link, models / "copy")
    file = models / "copy/generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token_id": 5}))
    os.utime(file, (1.5e9, 1.5e9))
    assert stale()


def test_a_missing_shard_is_named_before_any_job(fresh: Clone) -> None:
    folder = save(fresh.folder / "link", 0)
    shutil.move(folder / "model.safetensors", folder / "model-1.safetensors")
    named = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(named))
    (fresh.code / "config/linked.yaml").write_text(yaml.safe_dump(CONFIG))
    done = fresh.snakemake(TABLE, "--dry-run", config="linked")
    assert done.status != 0
    assert "link/model-2.safetensors" in done.output
