"""Checkpoints as safetensors (never pickle): one file per run, with every checkpoint inside.

Tensors are named `{step:08d}/{parameter}`. The metadata hold the model's shape, the provenance, a
SHA-256 of every tensor, and one of themselves, so that reading finds a flipped bit.

This module imports no model, so that editing a model leaves the results of the others fresh.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zscope.core.errors import CheckpointError, rebuild, start_anew
from zscope.core.files import atomic_path

DIGEST_LENGTH = 64  # hex digits of a SHA-256


class Shape(Protocol):
    """The arguments of a model's constructor."""

    def to_dict(self) -> dict[str, Any]: ...


def save_tensors(
    tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, Any]
) -> None:
    """Write named tensors with JSON metadata, whole or not at all; equal input, equal bytes."""
    kept = {name: t.detach().to("cpu").contiguous() for name, t in sorted(tensors.items())}
    digests = {name: _digest(t) for name, t in kept.items()}
    text = json.dumps({"metadata": metadata, "sha256": digests}, sort_keys=True)
    with atomic_path(Path(path)) as temporary:
        # With more than one entry, safetensors writes the metadata in no fixed order.
        save_file(kept, temporary, metadata={"zscope": _digest_text(text) + text})


def load_tensors(
    path: str | Path, names: Iterable[str] | None = None, *, way_out: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors `names` (None: all) of a file of `save_tensors`, and its metadata.

    Raises CheckpointError, with `way_out`, if the file is missing, damaged or of another kind.
    """
    way_out = way_out or rebuild(path)
    if not Path(path).exists():
        raise CheckpointError(f"{path}: no such file\n{way_out}")
    try:
        with safe_open(path, "pt") as file:
            entry = (file.metadata() or {})["zscope"]
            text = entry[DIGEST_LENGTH:]
            if entry[:DIGEST_LENGTH] != _digest_text(text):
                raise ValueError("its metadata have changed")
            plain = json.loads(text)
            digests, content = dict(plain["sha256"]), plain["metadata"]
            wanted = list(digests) if names is None else list(names)
            tensors = {name: file.get_tensor(name) for name in wanted}
            unsigned = [name for name in wanted if name not in digests]
            if unsigned:
                raise ValueError(f"no checksum of tensor {unsigned[0]}")
    except (SafetensorError, OSError, LookupError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: damaged, cannot be read ({type(error).__name__}: {str(error)[:120]})\n"
            f"{way_out}"
        ) from None
    for name, tensor in tensors.items():
        if _digest(tensor) != digests[name]:
            raise CheckpointError(f"{path}: damaged, tensor {name} has changed\n{way_out}")
    return tensors, content


def _digest(tensor: Tensor) -> str:
    digest = sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest_text(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def join(
    parts: Mapping[int, Path],
    path: str | Path,
    shape: Shape,
    provenance: dict[str, Any],
) -> None:
    """Join the checkpoints of a run, one file per step, into one file.

    Raises CheckpointError if a part is missing or damaged.
    """
    tensors: dict[str, Tensor] = {}
    names: set[str] = set()
    for step, part in parts.items():
        state, _ = load_tensors(part, way_out=start_anew(part.parent))
        tensors.update({f"{step:08d}/{name}": t for name, t in state.items()})
        names.update(state)
    metadata = {
        "steps": sorted(parts),
        "model": shape.to_dict(),
        "parameters": sorted(names),
        "provenance": provenance,
    }
    save_tensors(tensors, path, metadata)


class CheckpointFile:
    """The checkpoints of a run: `steps`, the model's `shape`, and the weights at a step."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        return load_tensors(self.path, ())[1]

    @property
    def steps(self) -> tuple[int, ...]:
        return tuple(self.metadata["steps"])

    @property
    def shape(self) -> dict[str, Any]:
        """The arguments of the model's config, such as TransformerConfig(**shape)."""
        return self.metadata["model"]

    @property
    def provenance(self) -> dict[str, Any]:
        return self.metadata["provenance"]

    def load(self, step: int) -> dict[str, Tensor]:
        """The state dict at `step`. Raises CheckpointError if it is not there or damaged."""
        if step not in self.steps:
            raise CheckpointError(f"{self.path}: no step {step}; there are {self.steps}")
        prefix = f"{step:08d}/"
        names = [f"{prefix}{name}" for name in self.metadata["parameters"]]
        tensors, _ = load_tensors(self.path, names)
        return {name.removeprefix(prefix): t for name, t in tensors.items()}
