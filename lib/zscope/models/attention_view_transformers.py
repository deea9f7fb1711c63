"""The attention view of a causal language model of Hugging Face.

It goes through the attention interface of transformers: a function that a model calls with its
queries, keys and values is registered under `NAME`, and the model is told to use it for one run.
Its own classes do the rest. Under this name transformers makes no mask, so the causal one, with the
window of a layer that has one, is made here. To resume at a layer the layers before it are skipped.

Whatever else a model would do to its scores (a mask or bias of its own, sinks) is refused, not left
out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zscope.core.errors import ConfigError
from zscope.models.architectures import ARCHITECTURES
from zscope.models.attention_view import (
    AttentionView,
    DirectPath,
    Norm,
    OutputWeights,
    Pass,
    Resume,
    Run,
    causal_mask,
    softmax_pattern,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "zscope_heads"
# What layers hand on to attention and eager attention does not use either.
UNUSED = ("position_ids", "use_cache", "is_causal", "cache_position")


@dataclass(frozen=True)
class Layout:
    """Names of a model's parts: of the body its layers and final norm, of a layer its attention, of
    that the projection which holds W_O and the bias."""

    layers: str
    norm: str
    attention: str
    output: str

    def fits(self, body: Any) -> bool:
        layers = getattr(body, self.layers, None)
        if not isinstance(layers, nn.ModuleList) or not hasattr(body, self.norm):
            return False
        return all(hasattr(getattr(x, self.attention, None), self.output) for x in layers)


LAYOUTS = (
    Layout("layers", "norm", "self_attn", "o_proj"),  # Llama and those that follow it
    Layout("layers", "final_layer_norm", "attention", "dense"),  # GPT-NeoX
    Layout("h", "ln_f", "attn", "c_proj"),  # GPT-2
)
# Known to add the output of attention to the stream as it is, or as `Architecture` says.
DIRECT = (*ARCHITECTURES, "GPT2LMHeadModel", "GPTNeoXForCausalLM")


class TransformersView(AttentionView):
    """Of any model that uses the attention interface and has one of LAYOUTS.

    The model is as it was after every run. One view of a model may be used by several threads,
    which then wait for each other.

    Raises ConfigError for a model in which attention cannot be seen.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        name = type(model).__name__
        if not model._can_set_attn_implementation():
            raise ConfigError(
                f"{name} does not compute attention through the attention interface of "
                "transformers, so its heads cannot be seen: take another model"
            )
        body = model.base_model
        layout = next((x for x in LAYOUTS if x.fits(body)), None)
        if layout is None:
            known = "; ".join(f"{x.layers}.{x.attention}.{x.output}, {x.norm}" for x in LAYOUTS)
            raise ConfigError(
                f"{name}: where its output matrices are is not known (known: {known}): "
                "take another model"
            )
        self.model, self._body, self._layout = model, body, layout
        self._layers: list[Any] = list(getattr(body, layout.layers))
        self._lock = threading.RLock()
        self.n_layers, self.n_heads = len(self._layers), model.config.num_attention_heads
        self.d_model = model.config.hidden_size
        self.d_head = self.output_weights(0).W_O.shape[1]

    def output_weights(self, layer: int) -> OutputWeights:
        attention = getattr(self._layers[layer], self._layout.attention)
        o = getattr(attention, self._layout.output)
        # Conv1D of GPT-2 holds [in, out], nn.Linear [out, in].
        weight = o.weight.mT if isinstance(o, nn.Linear) else o.weight
        return OutputWeights(weight.unflatten(0, (self.n_heads, -1)), o.bias)

    def direct_path(self, layer: int) -> DirectPath:
        name = type(self.model).__name__
        if name not in DIRECT:
            raise ConfigError(
                f"{name}: how its attention reaches the stream is not known, so there are no "
                f"direct effects; known are {', '.join(DIRECT)}"
            )
        after = ARCHITECTURES[name].after_attention if name in ARCHITECTURES else None
        return DirectPath(None if after is None else getattr(self._layers[layer], after))

    @property
    def final_norm(self) -> Norm:
        return getattr(self._body, self._layout.norm)

    def unembed(self, normed: Float[Tensor, "*n d"]) -> Float[Tensor, "*n vocab"]:
        logits = self.model.get_output_embeddings()(normed)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _forward(
        self,
        tokens: Int[Tensor, "batch seq"],
        this: Pass,
        rows: Int[Tensor, " read"],
        resume: Resume | None,
    ) -> Run:
        if self.model.training:
            raise ValueError("the model is in training mode, where dropout is on: call eval()")
        first = 0 if resume is None else resume.layer
        final: list[Tensor] = []

        def enter(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if _RUNNING.get() == running:
                this.enter(args[0] if args else kwargs["hidden_states"])

        def end(module: Any, args: tuple[Any, ...]) -> None:
            if _RUNNING.get() == running:
                final.append(args[0][:, rows])

        running = _Running(this, self)
        with self._lock, _implementation(self.model), _skipped(self._layers, resume):
            handles = [
                x.register_forward_pre_hook(enter, with_kwargs=True) for x in self._layers[first:]
            ]
            handles.append(getattr(self._body, self._layout.norm).register_forward_pre_hook(end))
            token = _RUNNING.set(running)
            try:
                logits = self.model(input_ids=tokens, use_cache=False, logits_to_keep=rows).logits
            finally:
                _RUNNING.reset(token)
                for handle in handles:
                    handle.remove()
        if this.seen != list(range(first, self.n_layers)) or len(final) != 1:
            raise ConfigError(
                f"{type(self.model).__name__}: attention was seen in layers {this.seen} of "
                f"{self.n_layers}: this model has layers of another kind, take another one"
            )
        return Run(logits, final[0])


@dataclass(frozen=True, eq=False)
class _Running:
    this: Pass
    view: TransformersView


# Of the run that this thread is in.
_RUNNING: ContextVar[_Running | None] = ContextVar("zscope_heads", default=None)


def _attention(
    module: Any,
    query: Float[Tensor, "batch head seq d_qk"],
    key: Float[Tensor, "batch kv seq d_qk"],
    value: Float[Tensor, "batch kv seq d_head"],
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "batch seq head d_head"], None]:
    """What a model calls under `NAME`; arguments as of `eager_attention_forward`."""
    running = _RUNNING.get()
    if running is None:
        raise RuntimeError(f"{NAME} is of a run of TransformersView, and there is none")
    _check(module, query, key, attention_mask, others)
    n = query.shape[1] // key.shape[1]
    keys, values = (x.repeat_interleave(n, 1) for x in (key, value))
    scores = query @ keys.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    pattern = softmax_pattern(scores, causal_mask(query.shape[2], query.device, sliding_window))
    layer = module.layer_idx
    z = running.this.mix(layer, pattern, values, running.view.output_weights(layer))
    return z, None


def _check(
    module: Any, query: Tensor, key: Tensor, mask: Tensor | None, others: dict[str, Any]
) -> None:
    """Raise ConfigError for attention that is more than causal softmax of scaled scores."""
    problem = None
    if mask is not None:
        problem = "it has a mask or bias of its own"
    elif not getattr(module, "is_causal", True):
        problem = "a token sees what comes after it"
    elif query.shape[2] != key.shape[2]:
        problem = f"{query.shape[2]} queries see {key.shape[2]} keys"
    elif unknown := [k for k, v in others.items() if v is not None and k not in UNUSED]:
        problem = f"it uses {', '.join(unknown)}"
    if problem:
        raise ConfigError(
            f"{type(module).__name__}: {problem}, and causal attention over the tokens alone is "
            "what can be seen: take another model"
        )


@contextmanager
def _implementation(model: PreTrainedModel) -> Iterator[None]:
    """Let the model use `_attention`, and what it used before afterwards."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _skipped(layers: Sequence[nn.Module], resume: Resume | None) -> Iterator[None]:
    """Let the layers before the one to resume at give its stream, and compute nothing."""
    skipped = [] if resume is None else layers[: resume.layer]
    own = [vars(layer).get("forward") for layer in skipped]  # of a wrapper, else of the class
    for layer in skipped:
        layer.forward = lambda *args, **kwargs: resume.stream  # type: ignore[union-attr]
    try:
        yield
    finally:
        for layer, forward in zip(skipped, own, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward
