"""Checkpoint files come back exactly, and damage is found and named, wherever it is."""

import random

import pytest
import torch

from zscope.core.errors import CheckpointError
from zscope.models import checkpoints
from zscope.models.checkpoints import CheckpointFile, join, load_tensors, save_tensors
from zscope.models.tensor_checkpoints import load_tensor_model
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.models.transformer import Transformer, TransformerConfig

SHAPE = TransformerConfig(1, 8, 2, 8, 5, 7)
METADATA = {"seed": 3, "text": "ä", "rows": [{"value": 0.1}], "nothing": None}


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "b/matrix": torch.randn(3, 5, generator=generator),
        "a/column": torch.randn(4, 3, generator=generator).T,  # not contiguous
        "scalar": torch.tensor(7.0),
        "integers": torch.arange(4),
        "half": torch.randn(3, generator=generator).bfloat16(),
    }


@pytest.fixture
def run_file(tmp_path):
    """The checkpoints of a run at steps 0, 1 and 20, as the workflow writes them."""
    models = {step: Transformer(SHAPE).init_weights(step) for step in (0, 1, 20)}
    parts = {step: tmp_path / "resume" / f"{step}.safetensors" for step in models}
    for step, model in models.items():
        save_tensors(model.state_dict(), parts[step], {"step": step})
    path = tmp_path / "checkpoints.safetensors"
    join(parts, path, SHAPE, {"code": "abc"})
    return path, models, parts


def message_of(path, read):
    with pytest.raises(CheckpointError) as caught:
        read()
    text = str(caught.value)
    assert str(path) in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 3
    return text


def test_tensors_and_metadata_come_back_exactly(tmp_path):
    path = tmp_path / "new" / "a.safetensors"
    save_tensors(tensors(), path, METADATA)
    found, metadata = load_tensors(path)
    assert metadata == METADATA
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert load_tensors(path, ["scalar"])[0].keys() == {"scalar"}


def test_equal_input_gives_equal_bytes(tmp_path):
    for i in range(5):
        order = sorted(tensors().items(), key=lambda _, i=i: random.Random(i).random())
        save_tensors(dict(order), tmp_path / f"{i}", dict(reversed(METADATA.items())))
    assert len({(tmp_path / f"{i}").read_bytes() for i in range(5)}) == 1


def test_a_run_file_gives_every_checkpoint_back(run_file):
    path, models, _ = run_file
    file = CheckpointFile(path)
    assert file.steps == (0, 1, 20)
    assert TransformerConfig(**file.shape) == SHAPE
    assert file.provenance == {"code": "abc"}
    for step, model in models.items():
        state = file.load(step)
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(state[name], p) for name, p in model.state_dict().items())
        Transformer(TransformerConfig(**file.shape)).load_state_dict(state)


@pytest.mark.parametrize("attention", ["bilinear", "softmax"])
def test_a_tensor_transformer_comes_back_ready_to_be_evaluated(tmp_path, attention):
    shape = TensorConfig(9, 6, 2, 2, 8, 4, attention=attention, rms_norm=attention == "softmax")
    models = {step: TensorTransformer(shape).init_weights(step) for step in (0, 4)}
    parts = {step: tmp_path / f"{step}.safetensors" for step in models}
    for step, model in models.items():
        model.head.weight.data.normal_()  # it starts at 0
        save_tensors(model.state_dict(), parts[step], {"step": step})
    join(parts, tmp_path / "all.safetensors", shape, {})
    file = CheckpointFile(tmp_path / "all.safetensors")
    tokens = torch.arange(6)[None]
    for step, model in models.items():
        found = load_tensor_model(file, step)
        assert found.config == shape
        assert not found.training
        assert torch.equal(found(tokens), model(tokens))


def test_a_step_that_is_not_there_is_named_with_those_that_are(run_file):
    text = message_of(run_file[0], lambda: CheckpointFile(run_file[0]).load(2))
    assert "no step 2" in text
    assert "(0, 1, 20)" in text


def test_a_missing_file_names_the_command_that_rebuilds_it(tmp_path):
    path = tmp_path / "none.safetensors"
    text = message_of(path, lambda: CheckpointFile(path).load(0))
    assert "no such file" in text
    assert f"snakemake --cores all --force {path}" in text


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.3, 0.6, -1])
def test_a_truncated_file_is_found(run_file, keep):
    path, _, _ = run_file
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    text = message_of(path, lambda: CheckpointFile(path).load(0))
    assert f"snakemake --cores all --force {path}" in text


@pytest.mark.parametrize("region", ["length", "header", "data"])
def test_a_flipped_bit_is_found(run_file, region):
    path, _, _ = run_file
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    start, stop = {"length": (0, 8), "header": (8, header), "data": (header, len(whole))}[region]
    rng = random.Random(0)
    at = range(start, stop) if stop - start < 300 else sorted(rng.sample(range(start, stop), 250))

    def read_all():
        for step in CheckpointFile(path).steps:
            CheckpointFile(path).load(step)

    for position in at:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(damaged))
        text = message_of(path, read_all)
        assert f"--force {path}" in text, (position, text)


@pytest.mark.parametrize("content", [b"", b"not this", b"\0" * 1000, b'{"a": 1}' * 100])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert "damaged" in message_of(path, lambda: load_tensors(path))


def test_a_safetensors_file_that_is_not_ours_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    for metadata in (None, {"format": "pt"}, {"zscope": "{}"}):
        save_file({"w": torch.zeros(2)}, path, metadata=metadata)
        message_of(path, lambda: load_tensors(path))


def test_a_damaged_part_names_the_folder_to_remove(run_file, tmp_path):
    _, _, parts = run_file
    parts[1].write_bytes(parts[1].read_bytes()[:-1])
    text = message_of(parts[1], lambda: join(parts, tmp_path / "out", SHAPE, {}))
    assert f"rm -r {parts[1].parent}" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("when", ["at the start", "half-way"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, when):
    path = tmp_path / "a.safetensors"
    save_tensors(tensors(), path, METADATA)
    before = path.read_bytes()

    def full(_tensors, temporary, metadata):
        if when == "half-way":
            temporary.write_bytes(before[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_tensors({"other": torch.zeros(3)}, path, {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_saving_does_not_change_what_is_saved(tmp_path):
    model = Transformer(SHAPE).init_weights(0)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    save_tensors(model.state_dict(), tmp_path / "a", {})
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
