"""The identity of a model in a folder: what its files hold, wherever they are and however old."""

import json
import os
import shutil
import sys
import threading
import time
from hashlib import sha256

import pytest
import torch

from zscope.core.errors import CheckpointError, ConfigError
from zscope.models import identity
from zscope.models.identity import file_digest, model_digest, model_files, shards
from zscope.models.language_model import load_language_model, read_shape
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen

CPU = torch.device("cpu")
SHAPE = TinyShape(n_layers=2, d_model=16, d_mlp=24)
STRANGERS = ("README.md", "LICENSE.txt", "trainer_state.json", "optimizer.safetensors", "a.py")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two models of one shape, in folders."""
    base = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        save_tiny_qwen(*build_tiny_qwen(SHAPE, seed), base / str(seed))
    return base


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the first one, to edit."""
    return shutil.copytree(saved / "0", tmp_path / "model")


@pytest.fixture
def sharded(folder):
    """The same weights in two files, as an index names them."""
    model, _ = build_tiny_qwen(SHAPE, 0)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def names(folder):
    return [path.name for path in model_files(folder)]


def test_the_digest_is_of_the_content_and_not_of_the_place(saved, tmp_path):
    for seed in (0, 1):
        shutil.copytree(saved / str(seed), tmp_path / f"copy{seed}")
    digests = [model_digest(saved / "0"), model_digest(saved / "1")]
    assert digests == [model_digest(tmp_path / "copy0"), model_digest(str(tmp_path / "copy1"))]
    assert len(set(digests)) == 2
    link = tmp_path / "link"
    for seed in (0, 1):
        link.unlink(missing_ok=True)
        link.symlink_to(saved / str(seed))
        assert model_digest(link) == digests[seed]


def test_a_copy_that_keeps_size_and_date_is_seen(saved, folder):
    weights, other = folder / "model.safetensors", saved / "1/model.safetensors"
    before, state = model_digest(folder), weights.stat()
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    shutil.copy2(other, weights)
    assert weights.stat().st_size == state.st_size
    assert weights.stat().st_mtime_ns == state.st_mtime_ns
    assert model_digest(folder) != before


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors",
                                  "tokenizer.json", "tokenizer_config.json"])  # fmt: skip
def test_every_file_counts_whole(folder, name):
    before = model_digest(folder)
    content = (folder / name).read_bytes()
    for changed in (b"x" + content[1:], content[:-1] + b"x", content + b"\n"):
        (folder / name).write_bytes(changed)
        assert model_digest(folder) != before
    (folder / name).unlink()
    assert model_digest(folder) != before
    (folder / name).write_bytes(content)
    assert model_digest(folder) == before


def test_an_index_and_the_weights_that_it_names_count(sharded):
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    named = set(index["weight_map"].values())
    assert named | {"model.safetensors.index.json"} <= set(names(sharded))
    assert shards(sharded) == sorted(named)
    before = model_digest(sharded)
    for name in ("model.safetensors.index.json", min(named), max(named)):
        file = sharded / name
        content = file.read_bytes()
        file.write_bytes(content + b" ")
        assert model_digest(sharded) != before
        file.write_bytes(content)
    gone = sharded / min(named)
    gone.unlink()
    assert gone in model_files(sharded)  # so that it is missed


@pytest.mark.parametrize("kind", ["folder", "sharded"])
def test_what_the_load_opens_is_what_counts(kind, request):
    """Files beside the model are no part of it, and nothing else is opened from Python."""
    where = request.getfixturevalue(kind)
    for name in STRANGERS:
        (where / name).write_bytes(b"{}")
    opened = set()

    def note(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and recording:
            opened.add(arguments[0])

    recording = [True]
    sys.addaudithook(note)  # for good: no hook can be removed
    load_language_model({"path": where}, CPU, torch.float32)
    recording.clear()
    found = {os.path.basename(path) for path in opened if path.startswith(str(where))}
    assert {"config.json", "tokenizer_config.json"} <= found
    assert found <= set(names(where))
    assert not set(STRANGERS) & set(names(where))
    assert {"tokenizer.json", "generation_config.json"} <= set(names(where))


def test_a_folder_that_is_not_there_names_its_config(tmp_path):
    assert names(tmp_path / "nowhere") == ["config.json"]
    assert model_digest(tmp_path / "nowhere") == model_digest(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": {"a": "../../x.safetensors"}}'])
def test_a_damaged_index_names_no_weights(sharded, text):
    (sharded / "model.safetensors.index.json").write_text(text)
    assert not [name for name in names(sharded) if name.endswith(".safetensors")]
    with pytest.raises(CheckpointError, match=r"index\.json: "):
        shards(sharded)
    model_digest(sharded)


def test_a_file_that_cannot_be_read_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(identity, "_hash", refuse)
    with pytest.raises(ConfigError, match=r"config\.json cannot be read \(Permission denied\)"):
        model_digest(folder)


def test_a_load_names_the_digest_and_refuses_another_model(folder):
    digest = model_digest(folder)
    spec = {"path": str(folder), "digest": digest}
    assert load_language_model(spec, CPU, torch.float32).name == f"{folder}@{digest}"
    assert read_shape(spec).name == f"{folder}@{digest}"
    (folder / "generation_config.json").write_text('{"eos_token_id": 5}')
    for load in (read_shape, lambda s: load_language_model(s, CPU, torch.float32)):
        with pytest.raises(ConfigError, match="holds other files now than when this run was"):
            load(spec)


# --- the digests that are kept -----------------------------------------------------------------


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Where digests are kept, also of small files, and the files that were hashed since."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(identity, "KEPT_FROM", 1)
    monkeypatch.setattr(identity, "SETTLED", -1.0)
    hashed, real = [], identity._hash
    monkeypatch.setattr(identity, "_hash", lambda path: hashed.append(path.name) or real(path))
    return tmp_path / "cache/zscope/digests", hashed


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"a" * 100)
    return path


def content(path):
    return sha256(path.read_bytes()).hexdigest()


def test_a_large_file_is_hashed_once(file, kept):
    _, hashed = kept
    assert [file_digest(file) for _ in range(3)] == [content(file)] * 3
    assert hashed == ["weights"]


def test_whatever_changes_a_file_is_seen(file, kept, tmp_path):
    """In place and with its date put back; replaced by another; behind a link."""
    state = file.stat()
    for made in (b"b" * 100, b"c" * 100):
        before = file_digest(file)
        time.sleep(0.02)  # a tick of the file system's clock
        file.write_bytes(made)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert file_digest(file) == content(file) != before
    other = tmp_path / "other"
    other.write_bytes(b"d" * 100)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    link = tmp_path / "link"
    link.symlink_to(file)
    assert file_digest(link) == content(file)
    link.unlink()
    link.symlink_to(other)
    assert file_digest(link) == content(other)
    os.replace(other, file)
    assert file_digest(file) == content(file)


def test_a_file_that_just_changed_is_not_kept(file, kept, monkeypatch):
    """A second change within one tick of the file system's clock would go unseen."""
    monkeypatch.setattr(identity, "SETTLED", 60.0)
    assert file_digest(file) == file_digest(file) == content(file)
    assert kept[1] == ["weights"] * 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"sha256": 3}', '{"sha256": "' + "0" * 64]
)
def test_a_damaged_entry_costs_time_alone(file, kept, text):
    file_digest(file)
    (entry,) = kept[0].iterdir()
    whole = json.loads(entry.read_text())
    for damaged in (
        text,
        json.dumps({**whole, "sha256": "0" * 63}),
        json.dumps({**whole, "size": 1}),
    ):
        entry.write_text(damaged)
        assert file_digest(file) == content(file)
    assert kept[1] == ["weights"] * 4
    assert json.loads(entry.read_text()) == whole


@pytest.mark.parametrize("blocked", ["cache is a file", "entry is a folder", "no home"])
def test_without_a_place_to_keep_it_nothing_is_lost(file, kept, blocked, tmp_path, monkeypatch):
    if blocked == "cache is a file":
        (tmp_path / "cache").write_bytes(b"")
    elif blocked == "entry is a folder":
        file_digest(file)
        (entry,) = kept[0].iterdir()
        entry.unlink()
        (entry / "x").mkdir(parents=True)
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(identity.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    assert file_digest(file) == file_digest(file) == content(file)
    assert not list(tmp_path.rglob("*.tmp"))


def test_parallel_writers_leave_one_whole_entry(file, kept):
    barrier, found = threading.Barrier(8), []

    def ask():
        barrier.wait()
        found.append(file_digest(file))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [content(file)] * 8
    (entry,) = kept[0].iterdir()
    assert json.loads(entry.read_text())["sha256"] == content(file)


def test_a_small_file_leaves_nothing(file, kept, monkeypatch):
    monkeypatch.setattr(identity, "KEPT_FROM", 101)
    file_digest(file)
    assert not kept[0].exists()
