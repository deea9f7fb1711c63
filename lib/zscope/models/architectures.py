"""The architectures that are known, and what each calls the parts of a layer.

Every one of them is a pre-norm decoder of RMS norms. With n(x) = x / rms(x), a layer is

    x <- x + N_a(attention(g n(x)))        x <- x + N_f(ffn(g_f n(x)))

where N_a and N_f are norms (Gemma 3) or nothing, and queries and keys may pass a norm per head
between projection and rotary embedding (Qwen3, Gemma 3). Masks and rotary embeddings may differ
between layers; `zscope.models.layer_runs` makes them.

No number of a model is written here: the classes of transformers run the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

from zscope.core.errors import ConfigError
from zscope.models.attention_kernels import AttentionWeights

LayerType: TypeAlias = Literal["full_attention", "sliding_attention"]
FULL: LayerType = "full_attention"
SLIDING: LayerType = "sliding_attention"

# Rotary embeddings that turn a position by the same angles in every batch. "dynamic" and "longrope"
# turn it by the longest row: a prompt's states would depend on its batch, and a cached prefix would
# be turned otherwise than the tokens that follow.
ROTARIES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class Architecture:
    """How transformers writes a layer.

    Attributes:
        gain_offset: the gain of a norm is its weight plus this.
        ffn_norm: the norm that the FFN reads the stream through.
        after_attention, after_ffn: N_a and N_f; None: there are none.
        qk_norm: whether queries and keys pass a norm per head (`q_norm`, `k_norm`).
        rotary_by_type: whether every layer type has a rotary embedding of its own.
        windows: which layers have a sliding window: none, all of them if the config gives one, or
            those that the config lists (`layer_types`).
    """

    gain_offset: float = 0.0
    ffn_norm: str = "post_attention_layernorm"
    after_attention: str | None = None
    after_ffn: str | None = None
    qk_norm: bool = False
    rotary_by_type: bool = False
    windows: Literal["none", "all", "listed"] = "none"

    def layer_types(self, config: Any) -> tuple[LayerType, ...]:
        """The type of every layer, which decides on its mask and rotary embedding."""
        if self.windows == "listed":
            return tuple(config.layer_types)
        sliding = self.windows == "all" and config.sliding_window is not None
        return (SLIDING if sliding else FULL,) * config.num_hidden_layers

    def attention_write(self, layer: Any) -> nn.Module:
        """The module of a layer whose output attention adds to the stream."""
        return getattr(layer, self.after_attention or "self_attn")

    def ffn_write(self, layer: Any) -> nn.Module:
        """The module of a layer whose output the FFN adds to the stream."""
        return getattr(layer, self.after_ffn or "mlp")

    def attention_weights(self, layer: Any) -> AttentionWeights:
        """Float64 copies of a layer's attention weights, on the CPU."""
        attention = layer.self_attn

        def heads(weight: Tensor) -> Tensor:
            return weight.detach().cpu().double().unflatten(0, (-1, attention.head_dim)).clone()

        return AttentionWeights(
            heads(attention.q_proj.weight),
            heads(attention.k_proj.weight),
            heads(attention.v_proj.weight),
            heads(attention.o_proj.weight.mT),
            self._gain(layer.input_layernorm),
            q_gain=self._gain(attention.q_norm) if self.qk_norm else None,
            k_gain=self._gain(attention.k_norm) if self.qk_norm else None,
            o_gain=self._gain_of(layer, self.after_attention),
        )

    def ffn_weights(self, layer: Any) -> FfnWeights:
        """A layer's FFN weights as they are, and float64 copies of its gains on the CPU."""
        mlp = layer.mlp
        return FfnWeights(
            mlp.gate_proj.weight.detach(),
            mlp.up_proj.weight.detach(),
            mlp.down_proj.weight.detach().mT,
            self._gain(getattr(layer, self.ffn_norm)),
            self._gain_of(layer, self.after_ffn),
        )

    def _gain_of(self, layer: Any, name: str | None) -> Float[Tensor, " d"] | None:
        return None if name is None else self._gain(getattr(layer, name))

    def _gain(self, norm: Any) -> Float[Tensor, " d"]:
        """What a norm multiplies by, in float64 on the CPU."""
        return norm.weight.detach().cpu().double() + self.gain_offset


@dataclass(frozen=True, eq=False)
class FfnWeights:
    """Weights of one gated FFN, which reads g n(x) and adds W_down^T a to the stream.

    out_gain: of the norm that W_down^T a passes before it is added; None: it passes none.
    """

    W_gate: Float[Tensor, "d_mlp d"]
    W_up: Float[Tensor, "d_mlp d"]
    W_down: Float[Tensor, "d_mlp d"]
    gain: Float[Tensor, " d"]
    out_gain: Float[Tensor, " d"] | None = None


ARCHITECTURES: Mapping[str, Architecture] = {
    "Qwen2ForCausalLM": Architecture(windows="listed"),
    "LlamaForCausalLM": Architecture(),
    "Qwen3ForCausalLM": Architecture(qk_norm=True, windows="listed"),
    "MistralForCausalLM": Architecture(windows="all"),
    "Gemma3ForCausalLM": Architecture(
        gain_offset=1.0,
        ffn_norm="pre_feedforward_layernorm",
        after_attention="post_attention_layernorm",
        after_ffn="post_feedforward_layernorm",
        qk_norm=True,
        rotary_by_type=True,
        windows="listed",
    ),
}


def architecture(name: str, where: str) -> Architecture:
    """The architecture of this name. Raises ConfigError if it is not known.

    where: what names it, for the message.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ConfigError(f"{where}: architecture {name} is not supported; there are {known}")
    return ARCHITECTURES[name]


def check_settings(name: str, config: Any, where: str) -> None:
    """Raise ConfigError for a setting with which states or kernels would be wrong without a word.

    name: of a known architecture. config: of transformers. where: the file, for the message.
    """
    for problem in _problems(ARCHITECTURES[name], config):
        raise ConfigError(f"{where}: {problem}\n{name} is not run like this: take another model")


def _problems(architecture: Architecture, config: Any) -> Iterator[str]:
    if (cap := getattr(config, "attn_logit_softcapping", None)) is not None:
        yield f"attn_logit_softcapping is {cap}, and transformers leaves it out of the attention"
    if getattr(config, "use_bidirectional_attention", False):
        yield "use_bidirectional_attention is on, so that a token would see what comes after it"
    if not getattr(config, "is_causal", True):
        yield "is_causal is off, so that a token would see what comes after it"
    yield from _wrong_windows(architecture, config)
    yield from _wrong_rotaries(architecture, config)


def _wrong_windows(architecture: Architecture, config: Any) -> Iterator[str]:
    run, window = architecture.layer_types(config), getattr(config, "sliding_window", None)
    listed = getattr(config, "layer_types", None)
    if listed is not None and tuple(listed) != run:
        yield f"layer_types lists {', '.join(sorted(set(listed)))}, and all layers run as {run[0]}"
    if unknown := sorted(set(run) - {FULL, SLIDING}):
        yield f"layer_types has {', '.join(unknown)}; there are {FULL} and {SLIDING}"
    if SLIDING in run and not (isinstance(window, int) and window >= 1):
        yield f"sliding_window is {window}, not 1 or more, and there are layers that slide"
    if architecture.windows == "none" and window is not None:
        yield f"sliding_window is {window}, and this architecture has no window"


def _wrong_rotaries(architecture: Architecture, config: Any) -> Iterator[str]:
    rotary = config.rope_parameters or {}
    types = sorted(set(architecture.layer_types(config)))
    by_type = {t: rotary.get(t) for t in types} if architecture.rotary_by_type else {"": rotary}
    for layer_type, settings in by_type.items():
        about = f"rope_parameters of {layer_type}" if layer_type else "rope_parameters"
        if not settings:
            yield f"{about}: there are none"
            continue
        if (kind := settings.get("rope_type", "default")) not in ROTARIES:
            yield f"{about}: rope_type is {kind}; there are {', '.join(ROTARIES)}"
        if (share := settings.get("partial_rotary_factor") or 1) != 1:
            yield f"{about}: partial_rotary_factor is {share}, and whole heads are turned"


def architecture_of(model: Any) -> Architecture:
    """The architecture of a loaded model, by its class. Raises ConfigError if it is not known."""
    return architecture(type(model).__name__, "the model")
