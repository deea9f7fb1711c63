"""A dictionary as the two files of SAELens: cfg.json and sae_weights.safetensors.

Keys, shapes and the forward pass are those of SAELens 6 (`sae_lens/saes/`): W_enc [d_in, d_sae],
W_dec [d_sae, d_in], b_dec [d_in], and

    standard   b_enc                         f = relu((x - b_dec) W_enc + b_enc)
    topk       b_enc                         the k largest of these
    jumprelu   b_enc, threshold              p [p > threshold], p = relu of the same
    gated      b_gate, r_mag, b_mag          [pi > 0] relu(e^r_mag o (x - b_dec) W_enc + b_mag)

The normalisation of the inputs is folded into the weights, so they read the stream as it is.
BatchTopK codes by its threshold at test time, so it is written as jumprelu, as SAELens does.
"""

# Matrices keep the capitals of the formulas.

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from zscope.core.files import atomic_path
from zscope.studies.components.dictionaries.config import VariantName
from zscope.studies.components.dictionaries.normalise import Normaliser
from zscope.studies.components.dictionaries.stack import Stack
from zscope.studies.components.dictionaries.variants.gated import MAGNITUDE, RESCALE
from zscope.studies.components.dictionaries.variants.jump_relu import THETA

CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"
ARCHITECTURE: Mapping[VariantName, str] = {
    "l1": "standard",
    "topk": "topk",
    "batch_topk": "jumprelu",
    "gated": "gated",
    "jump_relu": "jumprelu",
    "jump_relu_l0": "jumprelu",
}


def sae_state(
    variant: VariantName, stack: Stack, scale: Normaliser
) -> dict[str, Float[Tensor, "*shape"]]:
    """The tensors of the one dictionary of a stack, in SAELens' names, on unnormalised inputs.

    x_n = (x - mean) s, so W_enc s, b_dec / s + mean and W_dec / s do to x what the dictionary does
    to x_n; the codes are the same.
    """
    s = scale.scale
    state = {
        "W_enc": stack.W_enc[0] * s,
        "W_dec": stack.W_dec[0] / s,
        "b_dec": stack.b_dec[0] / s + scale.mean,
    }
    if variant == "gated":
        state["b_gate"] = stack.b_enc[0]
        state["r_mag"], state["b_mag"] = stack.own[RESCALE][0], stack.own[MAGNITUDE][0]
        return state
    state["b_enc"] = stack.b_enc[0]
    if variant == "batch_topk":
        state["threshold"] = stack.cut.expand(stack.b_enc.shape[1])
    elif variant.startswith("jump_relu"):
        state["threshold"] = stack.own[THETA][0]
    return state


def sae_config(
    variant: VariantName, stack: Stack, model: str, hook: str, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """cfg.json. model, hook: of the site, in TransformerLens' names."""
    _, d, n_latents = stack.W_enc.shape
    config: dict[str, Any] = {
        "architecture": ARCHITECTURE[variant],
        "d_in": d,
        "d_sae": n_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"model_name": model, "hook_name": hook, **notes},
    }
    if variant == "topk":
        config |= {"k": int(stack.strength[0]), "rescale_acts_by_decoder_norm": False}
    return config


def write_sae(
    variant: VariantName,
    stack: Stack,
    scale: Normaliser,
    config_path: str | Path,
    weights_path: str | Path,
    *,
    model: str,
    hook: str,
    notes: Mapping[str, Any],
) -> None:
    """Write both files, each whole or not at all. stack: of one dictionary."""
    state = {
        name: t.detach().float().contiguous().clone()
        for name, t in sae_state(variant, stack, scale).items()
    }
    text = json.dumps(sae_config(variant, stack, model, hook, notes), indent=2, sort_keys=True)
    with atomic_path(Path(config_path)) as temporary:
        Path(temporary).write_text(text + "\n", "utf-8")
    with atomic_path(Path(weights_path)) as temporary:
        save_file(state, temporary)
