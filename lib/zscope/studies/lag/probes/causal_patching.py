"""Activations at z, patched in from a run with another z (protocol 000, probe 3).

Pairs have the same source B and z's that name different targets, A1 (clean) and A2 (other). The
clean prompt is run with activations of the other prompt put in (Vig et al. 2020; Meng et al.
2022), and read at the predicting position by d = logit(A2) - logit(A1) on the first target tokens
and p2 = sigmoid(d), the probability of A2 among the two:

    probability_shift = mean(p2 patched - p2 clean): 0 ignores z, 1 follows the patched z
    effect            = mean(d patched - d clean) / mean(d other - d clean): the share recovered

Layer l patches the residual stream ENTERING block l at the z positions: at layer 0, the embedding,
the patched run is the other run. Layer n_layers patches the output of the last block there, which
nothing reads, so it is 0. A head's patch replaces what that head moves from z to the predicting
position, and everything downstream is recomputed. Where z is ignored the effect is 0/0 and null.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.studies.lag.probes.continuation import continue_from
from zscope.studies.lag.probes.measuring import At, Hook, ProbeBatch, Readout, every_block

# A mean logit difference (nats) below this is rounding in float32, not an effect of z.
RESOLUTION = 1e-4


def _entering(n_layers: int, at: At) -> list[Hook]:
    """The stream entering every block, and leaving the last."""
    last = Hook(f"blocks.{n_layers - 1}.hook_resid_post", at)
    return [*every_block("hook_resid_pre", n_layers, at), last]


def hooks(n_layers: int) -> list[Hook]:
    return [
        *_entering(n_layers, "from_z"),
        *every_block("attn.hook_k", n_layers),
        *every_block("attn.hook_v", n_layers),
        *every_block("attn.hook_pattern", n_layers, "predict"),
        *every_block("hook_resid_mid", n_layers, "predict"),
    ]


def other_hooks(n_layers: int) -> list[Hook]:
    return [
        *_entering(n_layers, "z"),
        *every_block("attn.hook_v", n_layers, "z"),
        *every_block("attn.hook_pattern", n_layers, "predict"),
    ]


def measure(batch: ProbeBatch) -> list[Readout]:
    """probability_shift and effect per layer, z_dependence (the shift at layer 0),
    head_probability_shift and head_effect per layer and head."""
    index = torch.stack([batch.other_first, batch.first], -1)
    # Two targets with the same first token cannot be told apart there: such a pair says nothing.
    told_apart = (batch.other_first != batch.first).double()

    def difference(logits: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
        d = logits.gather(-1, index).double()
        return d[:, 0] - d[:, 1]

    clean = difference(batch.logits)
    whole = difference(batch.other_logits) - clean

    def readouts(
        logits: Float[Tensor, "n vocab"], prefix: str, layer: int, head: int | None = None
    ) -> list[Readout]:
        d = difference(logits)
        shift = d.sigmoid() - clean.sigmoid()
        return [
            Readout(f"{prefix}probability_shift", shift, layer, head, told_apart),
            Readout(f"{prefix}effect", d - clean, layer, head, whole, RESOLUTION),
        ]

    out: list[Readout] = []
    for layer, logits in enumerate(patched_streams(batch)):
        out += readouts(logits, "", layer)
    dependence = Readout("z_dependence", out[0].values, weight=told_apart)
    for layer, by_head in enumerate(patched_heads(batch)):
        for head in range(batch.n_heads):
            out += readouts(by_head[:, head], "head_", layer, head)
    return [*out, dependence]


def patched_streams(batch: ProbeBatch) -> Iterator[Float[Tensor, "n vocab"]]:
    """Logits with the other run's stream at z, for every layer it can enter."""
    n_layers, z = batch.n_layers, batch.z
    keys, values = _past(batch, z.start)
    clean, other = _entering(n_layers, "from_z"), _entering(n_layers, "z")
    for layer in range(n_layers + 1):
        later = batch.clean[clean[layer]][:, z.stop - z.start :]
        resid = torch.cat([batch.other[other[layer]], later], 1).unsqueeze(1)
        resid = continue_from(batch.wrapped, layer, resid, keys, values)
        yield batch.unembed(resid[:, 0, -1])


def patched_heads(batch: ProbeBatch) -> Iterator[Float[Tensor, "n heads vocab"]]:
    """Logits with the other run's z-to-prediction path of one head, for every layer.

    Only the predicting position changes, so it alone is recomputed, all heads of a layer at once.
    """
    n_layers, z = batch.n_layers, batch.z
    keys, values = _past(batch, batch.layout.predict)
    patterns = every_block("attn.hook_pattern", n_layers, "predict")
    clean_v = every_block("attn.hook_v", n_layers)
    other_v = every_block("attn.hook_v", n_layers, "z")
    for layer, mid in enumerate(every_block("hook_resid_mid", n_layers, "predict")):
        block = batch.wrapped.blocks[layer]
        pattern, v = batch.clean[patterns[layer]], batch.clean[clean_v[layer]][:, z]
        removed = torch.einsum("nhj,njhe->nhe", pattern[:, :, z], v)
        pattern, v = batch.other[patterns[layer]], batch.other[other_v[layer]]
        added = torch.einsum("nhj,njhe->nhe", pattern[:, :, z], v)
        moved = torch.einsum("nhe,hed->nhd", added - removed, block.attn.W_O)
        resid = batch.clean[mid].unsqueeze(1) + moved
        resid = (resid + block.mlp(block.ln2(resid))).unsqueeze(2)
        resid = continue_from(batch.wrapped, layer + 1, resid, keys, values)
        yield batch.unembed(resid[:, :, 0])


def _past(batch: ProbeBatch, stop: int) -> tuple[list[Tensor], list[Tensor]]:
    """Keys and values of the clean run at positions before `stop`, by layer."""
    keys = [batch.clean[h][:, :stop] for h in every_block("attn.hook_k", batch.n_layers)]
    values = [batch.clean[h][:, :stop] for h in every_block("attn.hook_v", batch.n_layers)]
    return keys, values
