"""Activation patching of the residual stream before a layer, during batched greedy generation.

At the patched positions t of resid_pre(l), the input of decoder layer l,

    h[t] <- h[t] - P h[t] + P s[t]

with P the projector onto a component of the stream (protocol A.4) and s the source's states. P is
never formed as a matrix of d x d. Prompts are padded on the left; padding is never patched.

The clean prompts are run once up to layer l (`run_prefix`); every patch goes on from there, with a
KV cache, and rows that have ended are dropped. Several components of equal size are patched into
the same prompts as one batch (`Component.stacked`, `Prefix.repeated`): each is a change of rank k
of states that they share. Examples in front of all prompts are run once, at every layer
(`run_examples`); a prefix then has the states of the queries alone, so no patch can act on an
example. Where only the last position is patched, the clean run's keys and values
of all earlier positions hold at every layer, and one token is run (`last_position`).
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from zscope.core.errors import ConfigError
from zscope.models.language_model import Generated, LanguageModel
from zscope.models.language_model import positions as token_positions
from zscope.models.layer_runs import LayerInputs, inputs_of, new_cache, repeat, run_layers
from zscope.studies.crosslingual.config import Where
from zscope.studies.crosslingual.problems.prompt_tokens import encode_prompts
from zscope.studies.crosslingual.space.updates import norms_of, positions_used


@dataclass(frozen=True, eq=False)
class Component:
    """A part of the stream: the space of V, its complement (`perp`), or all (V None).

    V: [k, d], or of each row of a batch its own, [batch, k, d]; then `perp` is of each row too.
    """

    V: Float[Tensor, "*batch k d"] | None
    perp: bool | Bool[Tensor, " batch"] = False

    @staticmethod
    def stacked(components: Sequence[Component], rows: int) -> Component:
        """Of a batch in which each component has `rows` rows, one after another.

        They have equal k. Raises ValueError for several without a space.
        """
        if len(components) == 1:
            return components[0]
        if any(c.V is None for c in components):
            raise ValueError("a component without a space is patched alone")
        V = torch.stack([c.V for c in components if c.V is not None])
        perp = torch.tensor([bool(c.perp) for c in components], device=V.device)
        return Component(V.repeat_interleave(rows, 0), perp.repeat_interleave(rows))

    def select(self, rows: Int[Tensor, " kept"]) -> Component:
        """The component of these rows of the batch."""
        if isinstance(self.perp, bool) or self.V is None:
            return self
        return Component(self.V[rows], self.perp[rows])

    def of(self, x: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch n d"]:
        """P x."""
        if self.V is None:
            return x
        V = self.V.to(x)
        inside = (x @ V.mT) @ V
        if isinstance(self.perp, bool):
            return x - inside if self.perp else inside
        return torch.where(self.perp.view(-1, 1, 1), x - inside, inside)

    def replaced(
        self, x: Float[Tensor, "batch n d"], source: Float[Tensor, "batch one_or_n d"]
    ) -> Float[Tensor, "batch n d"]:
        """x - P x + P s."""
        return source if self.V is None else x + self.of(source - x)


@dataclass(frozen=True, eq=False)
class Patch:
    """The states that are put into a batch of prompts, and their positions.

    Attributes:
        component: the part that is replaced.
        source: s, the states to put in: one for each position of the padded prompts, or one for all
            of them.
        positions: the prompt's positions that are patched; never padding.
        where: `prefill`: the prompt alone; `all`: every generated token too, which needs a source
            that is one vector (ConfigError otherwise).
        directions: placebo. If given, P(s - h[t]) is replaced by this unit vector with the norm of
            P(s - h[t]); it must lie in the component.
    """

    component: Component
    source: Float[Tensor, "batch one_or_seq d"]
    positions: Bool[Tensor, "batch seq"]
    where: Where = "prefill"
    directions: Float[Tensor, "batch d"] | None = None

    def __post_init__(self) -> None:
        if self.where == "all" and self.source.shape[1] != 1:
            raise ConfigError(
                "patching where: all puts one vector into every generated token, and only the\n"
                "design mean has one: use where: prefill with the designs ot and site"
            )

    def prompt(self, h: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch seq d"]:
        """The prompt's states, patched at `positions`, in float32 inside and h's dtype outside."""
        return torch.where(self.positions.unsqueeze(-1), self.token(h), h)

    def token(self, h: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch seq d"]:
        """States that are patched at every position."""
        x, source = h.float(), self.source.float()
        if self.directions is None:
            return self.component.replaced(x, source).expand_as(h).to(h.dtype)
        norms = torch.linalg.vector_norm(self.component.of(source - x), dim=-1, keepdim=True)
        return (x + norms * self.directions.float().unsqueeze(1)).to(h.dtype)

    def select(self, rows: Int[Tensor, " kept"]) -> Patch:
        """The patch of these rows of the batch."""
        return replace(
            self,
            component=self.component.select(rows),
            source=self.source[rows],
            positions=self.positions[rows],
            directions=None if self.directions is None else self.directions[rows],
        )


class PatchHook:
    """A forward pre-hook of a decoder layer: its first call sees prompts, the others one token.

    `patch` may be replaced between calls, when rows of the batch are dropped.
    """

    def __init__(self, patch: Patch) -> None:
        self.patch, self.in_prompt = patch, True

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        h, *rest = args
        if self.in_prompt:
            self.in_prompt = False
            return (self.patch.prompt(h), *rest)
        if self.patch.where == "prefill":
            return None
        return (self.patch.token(h), *rest)


@contextmanager
def patched(lm: LanguageModel, layer: int, patch: Patch) -> Iterator[PatchHook]:
    """Patch resid_pre(layer) of the model in one generation inside the block."""
    hook = PatchHook(patch)
    handle = lm.layer(layer).register_forward_pre_hook(hook)
    try:
        yield hook
    finally:
        handle.remove()


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples in front of prompts, run once, unpatched.

    text: as it was given. n_tokens: theirs, more than 0. cache: keys and values of every layer,
    each [1, n_kv, n_tokens, d_head].
    """

    text: str
    n_tokens: int
    cache: tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, eq=False)
class Prefix:
    """Prompts run, unpatched, up to the input of a layer, with what the rest of the run needs.

    Attributes:
        mask: of the prompts' tokens, with those of their examples in front.
        states: resid_pre(layer), of all positions but those of examples, or of the last one
            (`last_position`).
        cache: keys and values of the layers before it, each [batch, n_kv, seq, d_head], behind a
            sliding window too; if there are examples, those from `layer` on too, of the examples
            alone; of the last position's prefix, of all layers, from `layer` on without that
            position.
        inputs: what every layer reads beside the states.
    """

    layer: int
    mask: Int[Tensor, "batch seq"]
    states: Float[Tensor, "batch own d"]
    cache: tuple[tuple[Tensor, Tensor], ...]
    inputs: LayerInputs

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def positions(self) -> Int[Tensor, "batch own"]:
        """Of the states' tokens, from 0 at the first real one of the examples or prompt."""
        return self.inputs.positions

    @property
    def own_mask(self) -> Int[Tensor, "batch own"]:
        """The mask of the states' tokens."""
        return self.mask[:, -self.states.shape[1] :]

    def used(self, position_0: bool, limit: float = math.inf) -> Bool[Tensor, "batch own"]:
        """Of the states' positions those that a patch of whole prompts acts on.

        position_0: all of them; otherwise without the first token (behind examples, that is none of
        the states') and without states whose norm is above `limit`. Raises DataError if a prompt
        has no position left.
        """
        if position_0:
            return positions_used(self.own_mask)
        first = self.own_mask.shape == self.mask.shape
        return positions_used(self.own_mask, first, norms_of(self.states) > limit)

    def repeated(self, times: int) -> Prefix:
        """The same prompts `times` over, one copy of the batch after another."""
        if times == 1:
            return self
        return replace(
            self,
            mask=repeat(self.mask, times),
            states=repeat(self.states, times),
            cache=tuple(
                (repeat(keys, times), repeat(values, times)) for keys, values in self.cache
            ),
            inputs=self.inputs.repeated(times),
        )


@torch.no_grad()
def run_examples(lm: LanguageModel, text: str) -> Examples | None:
    """Run the examples in front of prompts through every layer; None for no text."""
    if not text:
        return None
    ids, mask = lm.encode([text])
    prefix = run_prefix(lm, ids, mask, lm.n_layers)
    return Examples(text, ids.shape[1], prefix.cache)


def prompt_prefix(
    lm: LanguageModel, examples: Examples | None, queries: Sequence[str], layer: int
) -> Prefix:
    """Run prompts up to `layer`: the examples, which were run before, and a query.

    Raises DataError as `encode_prompts`.
    """
    tokens = encode_prompts(lm, examples.text if examples else "", queries)
    return run_prefix(lm, *tokens.without_examples(), layer, examples)


@torch.no_grad()
def run_prefix(
    lm: LanguageModel,
    ids: Int[Tensor, "batch seq"],
    mask: Int[Tensor, "batch seq"],
    layer: int,
    examples: Examples | None = None,
) -> Prefix:
    """Run left-padded prompts, which go on from the examples, through the layers before `layer`."""
    cache = new_cache()
    if examples is not None:
        mask = torch.cat([mask.new_ones(len(mask), examples.n_tokens), mask], 1)
        for i, states in enumerate(examples.cache):
            cache.update(*(x.expand(len(mask), -1, -1, -1) for x in states), i)
    h = lm.model.model.embed_tokens(ids)
    inputs = inputs_of(lm, h, mask, token_positions(mask)[:, -ids.shape[1] :], cache)
    h = run_layers(lm, range(layer), h, inputs, cache)
    kept = tuple((x.keys, x.values) for x in cache.layers)
    return Prefix(layer, mask, h, kept, inputs)


@torch.no_grad()
def last_position(lm: LanguageModel, prefix: Prefix) -> Prefix:
    """The prefix's last position alone, for patches of that one position.

    No earlier position sees it, so their keys and values are those of the unpatched run, which is
    done here, at every layer.
    """
    cache = _cache_of(prefix)
    run_layers(lm, range(prefix.layer, lm.n_layers), prefix.states, prefix.inputs, cache)
    return replace(
        prefix,
        states=prefix.states[:, -1:],
        cache=tuple(
            (x.keys, x.values) if i < prefix.layer else (x.keys[:, :, :-1], x.values[:, :, :-1])
            for i, x in enumerate(cache.layers)
        ),
        inputs=prefix.inputs.last(),
    )


@torch.no_grad()
def generate_from(
    lm: LanguageModel,
    prefix: Prefix,
    patch: Patch | None,
    max_new_tokens: int,
    stop: Callable[[str], bool] | None = None,
) -> list[Generated]:
    """Greedy completions of the prefix's prompts under a patch (None: as they are).

    stop: of the text of a row so far; once it is true, the row ends.
    Equal to generating from each prompt alone, up to ties of logits in float rounding.
    """
    if patch is None:
        return _generate(lm, prefix, None, max_new_tokens, stop)
    with patched(lm, prefix.layer, patch) as hook:
        return _generate(lm, prefix, hook, max_new_tokens, stop)


def _generate(
    lm: LanguageModel,
    prefix: Prefix,
    hook: PatchHook | None,
    max_new_tokens: int,
    stop: Callable[[str], bool] | None,
) -> list[Generated]:
    model = lm.model.model
    ends = torch.tensor(lm.end_tokens, dtype=torch.long, device=prefix.mask.device)
    cache = _cache_of(prefix)
    mask, positions = prefix.mask, prefix.positions
    h = run_layers(lm, range(prefix.layer, lm.n_layers), prefix.states, prefix.inputs, cache)
    decode = lru_cache(len(prefix))(lm.decode)  # many rows write the same
    rows = torch.arange(len(prefix), device=mask.device)  # those that go on
    out = torch.full((len(prefix), max_new_tokens), -1, device=mask.device)
    last = model.norm(h[:, -1:])
    for i in range(max_new_tokens):
        token = lm.unembed(last)[:, -1].argmax(-1)
        out[rows, i] = token
        going = ~torch.isin(token, ends)
        if stop is not None:
            texts = [decode(tuple(tokens)).text for tokens in out[rows, : i + 1].tolist()]
            going &= ~torch.tensor([stop(text) for text in texts], device=going.device)
        if i + 1 == max_new_tokens or not bool(going.any()):
            break
        if not bool(going.all()):
            kept = going.nonzero().flatten()
            rows, token, mask, positions = (x[kept] for x in (rows, token, mask, positions))
            cache.batch_select_indices(kept)
            if hook is not None and hook.patch.where == "all":
                hook.patch = hook.patch.select(kept)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        positions = positions[:, -1:] + 1
        last = model(
            input_ids=token.unsqueeze(1),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    return [decode(tuple(token for token in row if token >= 0)) for row in out.tolist()]


def _cache_of(prefix: Prefix) -> Any:
    """A new cache with the prefix's keys and values."""
    cache = new_cache()
    for i, (keys, values) in enumerate(prefix.cache):
        cache.update(keys, values, i)
    return cache
