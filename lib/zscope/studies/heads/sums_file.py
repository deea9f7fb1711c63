"""What one detector adds up over the patterns of a subject's models, kept in one file.

The scores of a detector depend on all others, whose tests are corrected together; its sums do not.
So a detector is run through the models alone, and the scores are made from the files of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zscope.models.checkpoints import load_tensors, save_tensors
from zscope.studies.heads.protocol import ProtocolAnswer
from zscope.studies.heads.sums import ClassSums, Key, StreamSums, Sums

_PARTS = ("hits", "rows", "null_hits", "null_rows")


@dataclass(frozen=True, eq=False)
class Measured:
    """Of one model: the sums of a detector's streams, the protocol's numbers, or why none.

    signed: whether its patterns are. skipped: why the detector does not apply; None: it does.
    """

    model: str
    signed: bool
    skipped: str | None
    sums: Sequence[StreamSums]
    protocol: Sequence[ProtocolAnswer]


def save_measured(
    measured: Sequence[Measured], path: str | Path, provenance: Mapping[str, Any]
) -> None:
    """Write the sums of a detector for all models of a subject."""
    tensors: dict[str, torch.Tensor] = {}

    def keep(array: np.ndarray) -> str:
        name = f"{len(tensors):06d}"
        tensors[name] = torch.from_numpy(np.array(array))  # a copy: no two may share memory
        return name

    def plain(sums: Sums) -> dict[str, Any]:
        arrays = {part: getattr(sums, part) for part in _PARTS}
        kept = {part: keep(x) for part, x in arrays.items() if x is not None}
        return {"arrays": kept, "differ": sums.differ}

    models = [
        {
            "model": m.model,
            "signed": m.signed,
            "skipped": m.skipped,
            "streams": [
                {
                    "stream": s.stream,
                    "sums": [[*key, plain(sums)] for key, sums in s.sums.items()],
                    "by_class": [
                        [*key, list(c.class_names), [plain(null) for null in c.nulls]]
                        for key, c in s.by_class.items()
                    ],
                }
                for s in m.sums
            ],
            "protocol": [
                [a.question, *(keep(x) for x in (a.value, a.named, a.offset))] for a in m.protocol
            ],
        }
        for m in measured
    ]
    save_tensors(tensors, path, {"models": models, "provenance": dict(provenance)})


def load_measured(path: str | Path) -> list[Measured]:
    """What `save_measured` wrote. Raises CheckpointError if the file is missing or damaged."""
    tensors, metadata = load_tensors(path)

    def sums(plain: Mapping[str, Any]) -> Sums:
        arrays = {part: tensors[name].numpy() for part, name in plain["arrays"].items()}
        return Sums(**arrays, differ=plain["differ"])

    def stream(plain: Mapping[str, Any]) -> StreamSums:
        return StreamSums(
            plain["stream"],
            {Key(*key): sums(of) for *key, of in plain["sums"]},
            {
                Key(*key): ClassSums(tuple(map(sums, nulls)), tuple(names))
                for *key, names, nulls in plain["by_class"]
            },
        )

    return [
        Measured(
            m["model"],
            m["signed"],
            m["skipped"],
            [stream(s) for s in m["streams"]],
            [ProtocolAnswer(q, *(tensors[x].numpy() for x in rest)) for q, *rest in m["protocol"]],
        )
        for m in metadata["models"]
    ]
