"""Attention from the predicting position to the z positions (protocol 000, probe 1).

The query row that predicts the first target token is the one before it. Its attention is summed
over the positions of z; the value for uniform attention is given beside it.
"""

from __future__ import annotations

import math

import torch

from zscope.studies.lag.probes.measuring import Hook, ProbeBatch, Readout, every_block


def hooks(n_layers: int) -> list[Hook]:
    return every_block("attn.hook_pattern", n_layers, "predict")


def measure(batch: ProbeBatch) -> list[Readout]:
    """attention (a share), entropy (nats; the mean of each pattern's own), per layer and head."""
    out = []
    for layer, hook in enumerate(hooks(batch.n_layers)):
        pattern = batch.clean[hook].cpu().double()  # [n, heads, visible]
        attention = pattern[:, :, batch.z].sum(-1)
        entropy = torch.special.entr(pattern).sum(-1)
        for head in range(batch.n_heads):
            out.append(Readout("attention", attention[:, head], layer, head))
            out.append(Readout("entropy", entropy[:, head], layer, head))
    share = (batch.z.stop - batch.z.start) / batch.n_visible
    ones = torch.ones(len(batch), dtype=torch.float64)
    return [
        *out,
        Readout("uniform_attention", ones * share, baseline=True),
        Readout("uniform_entropy", ones * math.log(batch.n_visible), baseline=True),
    ]
