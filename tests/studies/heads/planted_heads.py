"""Streams and patterns with a known answer, run through the collector as a model would be."""

# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.studies.heads.detector import Detector
from zscope.studies.heads.naming import Answer, name_heads
from zscope.studies.heads.registry import detector_names, load_detectors
from zscope.studies.heads.settings import DetectorSettings, NamingSettings
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.sums import Collector, StreamSums

SETTINGS = DetectorSettings(max_offset=8)
BOOTSTRAP = Bootstrap(resamples=200)
NAMING = NamingSettings(max_flips=20_000)


def detectors(*names: str, settings: DetectorSettings = SETTINGS) -> list[Detector]:
    return [d for name in names or detector_names() for d in load_detectors(name, settings)]


def collect(
    stream: Stream,
    patterns: Sequence[Float[Tensor, "n head seq seq"]],
    found: Sequence[Detector],
    *,
    values: Float[Tensor, "n head seq d_head"] | None = None,
    W_o: Float[Tensor, "head d_head d"] | None = None,
    signed: bool = False,
    batch_size: int = 16,
    settings: DetectorSettings = SETTINGS,
) -> StreamSums:
    """Patterns by layer; values are all alike by default."""
    n, n_heads, seq, _ = patterns[0].shape
    if values is None:
        values = torch.ones(n, n_heads, seq, 2)
    if W_o is None:
        W_o = torch.eye(2).expand(n_heads, 2, 2)
    collector = Collector(
        stream, found, settings, n_layers=len(patterns), n_heads=n_heads, signed=signed
    )
    for rows in torch.arange(n).split(batch_size):
        batch = collector.batch(rows)
        for layer, pattern in enumerate(patterns):
            collector.visit(batch, layer, pattern[rows], values[rows], W_o)
    return collector.finish()


def answers(
    sums: Sequence[StreamSums], found: Sequence[Detector], signed: bool = False
) -> dict[tuple[str, str], Answer]:
    named = name_heads(sums, found, bootstrap=BOOTSTRAP, settings=NAMING, signed=signed)
    return {tuple(a.asked): a for a in named}


def one_hot_rows(targets: Tensor) -> Float[Tensor, "n seq seq"]:
    """A pattern with all weight on the first target of each row, and on key 0 without one."""
    return torch.nn.functional.one_hot(targets.float().argmax(-1), targets.shape[-1]).float()


def at_offset(n: int, seq: int, offset: int) -> Float[Tensor, "n seq seq"]:
    """A pattern with all weight so many keys back, and on key 0 where there is none."""
    key = (torch.arange(seq) - offset).clamp(min=0)
    return torch.nn.functional.one_hot(key, seq).float().expand(n, seq, seq)


def uniform(n: int, seq: int) -> Float[Tensor, "n seq seq"]:
    even = torch.ones(seq, seq).tril()
    return (even / even.sum(-1, keepdim=True)).expand(n, seq, seq)


def zipf_text(n: int, seq: int, seed: int, n_tokens: int = 30) -> Stream:
    """Random tokens of unequal frequency; token 0 in front; 1 and 2 delimit; classes by token."""
    draws = torch.Generator().manual_seed(seed)
    share = 1 / torch.arange(1, n_tokens).float()
    ids = 1 + torch.multinomial(share, n * seq, replacement=True, generator=draws).view(n, seq)
    ids[:, 0] = 0
    marks = dict.fromkeys(("delimiter", "protocol_delimiter"), (ids == 1) | (ids == 2))
    return Stream("text", ids, marks, ids % 3, ("a", "b", "c"))
