"""The batch that a probe reads, the readouts that it returns, and their intervals.

A probe is a module with `hooks(n_layers)`, the activations of the clean run that it reads, and
`measure(batch)`; docs/adding-a-probe.md adds one. Nothing here imports a probe: editing one must
not make the others stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.stats import bootstrap_interval, bootstrap_weights
from zscope.studies.lag.facts import Disambiguation, Layout, other_z
from zscope.studies.lag.probes.continuation import unembed

At: TypeAlias = Literal["prompt", "z", "from_z", "predict"]


class Hook(NamedTuple):
    """An activation to keep: its TransformerLens name, and the positions that are needed.

    "prompt": every position up to the predicting one; "z": those of z; "from_z": from the first
    one of z to the predicting one; "predict": the predicting one alone, without an axis for it. For
    a pattern these are query positions.
    """

    name: str
    at: At = "prompt"


@dataclass(frozen=True)
class Readout:
    """One measurement of a batch, per example.

    Its value is mean(values), or sum(values) / sum(weight) where there is a weight (a ratio of
    means; `weight` 0 leaves an example out). A ratio is undefined, and its value null, when the
    interval of its mean weight comes within `floor` of 0: 0/0 is not an effect.
    """

    metric: str
    values: Float[Tensor, " n"]
    layer: int | None = None
    head: int | None = None
    weight: Float[Tensor, " n"] | None = None
    floor: float = 0.0
    baseline: bool = False
    """Whether it is a known constant, such as chance, which gets no interval."""


@runtime_checkable
class Probe(Protocol):
    """A probe's module. It may also have `other_hooks(n_layers)`, for the run with another z."""

    def hooks(self, n_layers: int) -> list[Hook]: ...
    def measure(self, batch: ProbeBatch) -> list[Readout]: ...


@lru_cache(maxsize=2)
def _weights(n: int, bootstrap: Bootstrap) -> Float[np.ndarray, "resamples n"]:
    """The draws, the same for every readout and every checkpoint."""
    return bootstrap_weights(n, bootstrap.resamples, np.random.default_rng(bootstrap.seed))


class Activations(dict[Hook, Tensor]):
    """Kept activations by hook."""

    def __missing__(self, hook: Hook) -> Tensor:
        raise KeyError(f"{hook} was not kept: name it in the probe's hooks() or other_hooks()")


@dataclass(eq=False)
class ProbeBatch:
    """Examples and one clean forward pass over them, which is run when first asked for.

    Token ids that go through the model are on its device. The logits, and what scores them
    (`first`, `right`, `candidates`), are on the CPU, the only device that always has float64.
    """

    wrapped: TransformerBridge
    layout: Layout
    tokens: Int[Tensor, "n seq"]
    candidates: Int[Tensor, "n candidates target"]
    right: Int[Tensor, " n"]
    other_tokens: Int[Tensor, "n seq"] | None = None
    other_right: Int[Tensor, " n"] | None = None
    clean_hooks: frozenset[Hook] = frozenset()
    other_hooks: frozenset[Hook] = frozenset()

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_layers(self) -> int:
        return self.wrapped.cfg.n_layers

    @property
    def n_heads(self) -> int:
        return self.wrapped.cfg.n_heads

    @property
    def n_candidates(self) -> int:
        return self.candidates.shape[1]

    @property
    def n_visible(self) -> int:
        """Positions that the predicting one can attend to, itself included."""
        return self.layout.predict + 1

    @property
    def z(self) -> slice:
        """Positions of z. Raises DataError if the task has none."""
        if self.layout.z is None:
            raise DataError("this probe needs a task with z")
        return self.layout.z

    @property
    def prompt(self) -> Int[Tensor, "n visible"]:
        """Tokens up to the predicting position, whose output later ones cannot change."""
        return self.tokens[:, : self.n_visible]

    @property
    def other_prompt(self) -> Int[Tensor, "n visible"]:
        """The prompt with a z that names another target. Raises DataError if there is none."""
        if self.other_tokens is None:
            raise DataError("this probe needs a task with z and k of at least 2")
        return self.other_tokens[:, : self.n_visible]

    @cached_property
    def first(self) -> Int[Tensor, " n"]:
        """The right first target token."""
        return self.tokens[:, self.layout.target.start].cpu()

    @property
    def candidate_first(self) -> Int[Tensor, "n candidates"]:
        return self.candidates[:, :, 0]

    @property
    def other_first(self) -> Int[Tensor, " n"]:
        """First token of the target that the other z names. Raises DataError without one."""
        if self.other_right is None:
            raise DataError("this probe needs z and at least 2 targets of one source")
        return self.candidate_first.gather(1, self.other_right[:, None]).squeeze(1)

    @cached_property
    def clean(self) -> Activations:
        return self._run(self.prompt, self.clean_hooks)

    @cached_property
    def other(self) -> Activations:
        """The activations of the run with the other z."""
        return self._run(self.other_prompt, self.other_hooks)

    @cached_property
    def logits(self) -> Float[Tensor, "n vocab"]:
        """Logits at the predicting position."""
        return self.unembed(self.clean[_last(self.n_layers)])

    @cached_property
    def other_logits(self) -> Float[Tensor, "n vocab"]:
        return self.unembed(self.other[_last(self.n_layers)])

    def unembed(self, resid: Float[Tensor, "*n d"]) -> Float[Tensor, "*n vocab"]:
        """Logits, on the CPU, through the model's own final norm."""
        return unembed(self.wrapped, resid).cpu()

    def positions(self, at: At) -> slice:
        """The positions that `at` names. Raises DataError for z in a task without one."""
        if at == "z":
            return self.z
        start = {"prompt": 0, "predict": self.layout.predict}.get(at)
        return slice(self.z.start if start is None else start, self.n_visible)

    def _run(self, tokens: Int[Tensor, "n visible"], hooks: frozenset[Hook]) -> Activations:
        """One forward pass that keeps `hooks` and what the logits need."""
        kept = Activations()

        def keep(asked: Hook, activation: Tensor, **_: object) -> None:
            where = self.positions(asked.at)
            axis = activation.ndim - 2 if asked.name.endswith("hook_pattern") else 1
            part = activation.narrow(axis, where.start, where.stop - where.start)
            if asked.at == "predict":
                part = part.squeeze(axis)
            # A view of a part would keep the whole in memory; the whole needs no copy.
            whole = part.shape == activation.shape
            kept[asked] = activation if whole else part.contiguous().clone()

        wanted = sorted(hooks | {_last(self.n_layers)})
        self.wrapped.run_with_hooks(
            tokens, return_type=None, fwd_hooks=[(h.name, partial(keep, h)) for h in wanted]
        )
        return kept


def every_block(name: str, n_layers: int, at: At = "prompt") -> list[Hook]:
    """The same activation of every block."""
    return [Hook(f"blocks.{layer}.{name}", at) for layer in range(n_layers)]


def _last(n_layers: int) -> Hook:
    return Hook(f"blocks.{n_layers - 1}.hook_resid_post", "predict")


def batches(
    wrapped: TransformerBridge,
    data: Disambiguation,
    rows: Int[np.ndarray, " n"],
    probes: Mapping[str, Probe],
    *,
    batch_size: int,
    seed: int,
) -> Iterator[ProbeBatch]:
    """The examples in chunks of at most `batch_size`.

    The other z's are drawn from `seed` for all examples at once: chunks do not change them.
    """
    n_layers, device = wrapped.cfg.n_layers, next(wrapped.parameters()).device
    clean = {hook for probe in probes.values() for hook in probe.hooks(n_layers)}
    other = {
        hook
        for probe in probes.values()
        for hook in getattr(probe, "other_hooks", lambda _: [])(n_layers)
    }
    tokens = torch.from_numpy(data.tokens[rows]).to(device)
    candidates = torch.from_numpy(data.candidates[data.base[rows]])
    right = torch.from_numpy(data.right[rows])
    other_tokens, other_right = None, None
    if data.can_swap_z:
        swapped, named = other_z(data, rows, np.random.default_rng(seed))
        if np.any(named == data.candidate[rows]):
            raise AssertionError("another z names the same target")
        other_tokens = torch.from_numpy(swapped).to(device)
        if candidates.shape[1] > 1:
            other_right = torch.from_numpy(named)

    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        yield ProbeBatch(
            wrapped,
            data.layout,
            tokens[part],
            candidates[part],
            right[part],
            None if other_tokens is None else other_tokens[part],
            None if other_right is None else other_right[part],
            frozenset(clean),
            frozenset(other),
        )


@torch.inference_mode()
def run_probes(
    wrapped: TransformerBridge,
    data: Disambiguation,
    rows: Int[np.ndarray, " n"],
    probes: Mapping[str, Probe],
    *,
    bootstrap: Bootstrap,
    batch_size: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure `probes` (modules by name) on the examples `rows` of `data`, with one clean pass.

    seed: random seed of the other z's. Returns rows of table lag_probe without run, seed and step.
    Raises DataError if a probe needs a z or candidates that the data lack.
    """
    if len(rows) == 0:
        raise DataError("no examples to probe: the split has no rows")
    collected: dict[str, list[list[Readout]]] = {name: [] for name in probes}
    for batch in batches(wrapped, data, rows, probes, batch_size=batch_size, seed=seed):
        for name, probe in probes.items():
            collected[name].append(probe.measure(batch))
    out = []
    for name, parts in collected.items():
        readouts = [_join(chunks) for chunks in zip(*parts, strict=True)]
        out += [{"probe": name, **row} for row in summarise(readouts, bootstrap)]
    return out


def _join(chunks: Sequence[Readout]) -> Readout:
    """The same readout of every chunk, as one."""
    r = chunks[0]
    if any((c.metric, c.layer, c.head) != (r.metric, r.layer, r.head) for c in chunks):
        raise AssertionError(f"{r.metric}: readouts are in another order in another chunk")
    weights = [c.weight for c in chunks if c.weight is not None]
    weight = torch.cat(weights) if weights else None
    return replace(r, values=torch.cat([c.values for c in chunks]), weight=weight)


def summarise(readouts: Sequence[Readout], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """The value of every readout, in order, with its bootstrap interval over examples.

    All readouts share one matrix of resamples, and so do numerator and denominator of a ratio.
    """
    if not readouts:
        return []
    values = np.stack([_array(r.values) for r in readouts], 1)
    ones = np.ones(len(values))
    below = np.stack([ones if r.weight is None else _array(r.weight) for r in readouts], 1)
    ratio = np.array([r.weight is not None for r in readouts])
    low, high = np.full((2, len(readouts)), np.nan)
    weights = _weights(len(values), bootstrap)
    interval = partial(bootstrap_interval, bootstrap=bootstrap, weights=weights)
    plain = ~ratio & ~np.array([r.baseline for r in readouts])
    if plain.any():
        low[plain], high[plain] = interval(values[:, plain])
    defined = np.ones(len(readouts), bool)
    if ratio.any():
        low[ratio], high[ratio] = interval(values[:, ratio], below[:, ratio])
        floor = np.array([r.floor for r in readouts])[ratio]
        below_low, below_high = interval(below[:, ratio])
        defined[ratio] = (below_low > floor) | (below_high < -floor)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = values.sum(0) / below.sum(0)
    value, low, high = (np.where(defined, x, np.nan) for x in (value, low, high))
    return [
        {
            "layer": r.layer,
            "head": r.head,
            "metric": r.metric,
            "value": float(value[i]),
            "ci_low": float(low[i]),
            "ci_high": float(high[i]),
            "n": int(np.count_nonzero(below[:, i])),
        }
        for i, r in enumerate(readouts)
    ]


def _array(values: Tensor) -> Float[np.ndarray, " n"]:
    return values.detach().double().cpu().numpy()
