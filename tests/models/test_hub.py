"""Files of a hub model come from the hub's cache, and a mistake says the way out. No network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from zscope.core.errors import CheckpointError, ConfigError
from zscope.models.fetching import fetch_model
from zscope.models.hub import SMALL_FILES, WEIGHT_FILES, fetch_from_hub
from zscope.models.registry import ModelSource
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen

COMMIT = "a" * 40


@dataclass(frozen=True)
class Cache:
    """The hub's cache with one revision of one model."""

    snapshot: Path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    model = tmp_path / "models--zscope--tiny"
    snapshot = model / "snapshots" / COMMIT
    save_tiny_qwen(*build_tiny_qwen(TinyShape(n_layers=2, d_model=16, d_mlp=24), 0), snapshot)
    (model / "refs").mkdir()
    (model / "refs/v1").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return Cache(snapshot)


@pytest.mark.parametrize("revision", [COMMIT, "v1"])
def test_a_revision_is_the_folder_of_its_commit(cache, revision):
    for patterns in (SMALL_FILES, WEIGHT_FILES):
        found = fetch_from_hub("zscope/tiny", revision, patterns)
        assert found.resolve() == cache.snapshot.resolve()
    assert found.name == COMMIT
    assert (found / "model.safetensors").is_file()


def test_a_revision_that_is_not_cached_is_named_with_the_way_to_fetch_it(cache):
    with pytest.raises(ConfigError) as caught:
        fetch_from_hub("zscope/tiny", "b" * 40, SMALL_FILES)
    message = str(caught.value)
    assert f"revision {'b' * 40} is not in the hub's cache" in message
    assert f"hf download zscope/tiny --revision {'b' * 40}" in message


@pytest.mark.parametrize("revision", [None, ""])
def test_a_hub_model_needs_a_revision(cache, revision):
    with pytest.raises(ConfigError, match="model zscope/tiny: no revision"):
        fetch_from_hub("zscope/tiny", revision, SMALL_FILES)


def test_a_hub_model_of_pickles_is_refused(cache, tmp_path):
    (cache.snapshot / "model.safetensors").rename(cache.snapshot / "pytorch_model.bin")
    source = ModelSource(hub="zscope/tiny", revision=COMMIT)
    with pytest.raises(CheckpointError, match=r"pickles \(pytorch_model.bin\)"):
        fetch_model("mine", source, tmp_path / "weights", None)
    assert not (tmp_path / "weights").exists()
