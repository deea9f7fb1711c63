"""What heads do to a measure of the logits: exactly, to first order, and directly.

y is any measure of a run's logits, a number per sequence. With z_bar what a head's z is set to (its
mean, for mean ablation), D the gradient of y by the output of the final norm, and M the linear part
of that norm with its scale kept as it is in the clean run:

    total       y with z set to z_bar, less y                       one run per head
    first order (z_bar - z) . dy/dz                                 one run and backward for all
    direct      (z_bar - z) W_O M D                                 one run for all
    indirect    total - direct                                      what later layers add

`direct` (direct logit attribution) is the head's own write; it is exact where y is linear in the
logits, and the logits in the final stream once its scale is fixed. `indirect` also has the change
of that scale. First order is exact where y is linear in z; in early layers it is a poor guess.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zscope.core.errors import ConfigError
from zscope.models.attention_view import AttentionView, Edit, LayerHeads, Norm, Resume

Measure: TypeAlias = Callable[[Float[Tensor, "batch read vocab"]], Float[Tensor, " batch"]]
CHUNK = 16  # sequences per forward pass


def mean_z(
    view: AttentionView, tokens: Int[Tensor, "n seq"], at: int | None = None, chunk: int = CHUNK
) -> Float[Tensor, "layer head d_head"]:
    """The mean of every head's z over sequences and all positions, or one; float64 on the CPU."""
    total = torch.zeros(view.n_layers, view.n_heads, view.d_head, dtype=torch.float64)

    def add(heads: LayerHeads) -> None:
        z = heads.z if at is None else heads.z[:, [at]]
        total[heads.layer] += z.cpu().double().sum((0, 1))  # not every GPU has float64

    for some in tokens.split(chunk):
        view.run(some, visit=add, read=[-1])
    return total / (tokens.numel() if at is None else len(tokens))


def exact_effects(
    view: AttentionView,
    tokens: Int[Tensor, "batch seq"],
    y: Measure,
    cases: Sequence[Sequence[Edit]],
    read: Sequence[int] | None = None,
) -> Float[Tensor, "case batch"]:
    """y with the edits of each case, less y without. read: positions whose logits y is given.

    Runs and errors are those of `logits_under`.
    """
    clean, *found = (y(logits) for logits in logits_under(view, tokens, cases, read))
    return torch.stack([x - clean for x in found]) if found else clean.new_empty(0, len(tokens))


def logits_under(
    view: AttentionView,
    tokens: Int[Tensor, "batch seq"],
    cases: Sequence[Sequence[Edit]],
    read: Sequence[int] | None = None,
    visit: Callable[[LayerHeads], None] | None = None,
    visit_case: Callable[[int, LayerHeads], None] | None = None,
) -> Iterator[Float[Tensor, "batch read vocab"]]:
    """The logits of a run without edits, which `visit` sees, then those under each case.

    visit_case: sees each case's number and the layers that are run under it.

    Every case is run from the first layer that it edits, whose input the clean run has kept. Keeps
    that of every layer that is such a first one.

    Raises ValueError for a case without edits.
    """
    if not all(cases):
        raise ValueError("a case without edits has no effect")
    starts = [min(edit.layer for edit in case) for case in cases]
    streams: dict[int, Tensor] = {}

    def keep(heads: LayerHeads) -> None:
        if heads.layer in starts:
            streams[heads.layer] = heads.stream
        if visit is not None:
            visit(heads)

    yield view.run(tokens, visit=keep, read=read).logits
    for i, (case, start) in enumerate(zip(cases, starts, strict=True)):
        see = None if visit_case is None else partial(visit_case, i)
        resume = Resume(start, streams[start])
        yield view.run(tokens, case, see, read=read, resume=resume).logits


def first_order_effects(
    view: AttentionView,
    tokens: Int[Tensor, "batch seq"],
    y: Measure,
    z_bar: Float[Tensor, "layer head d_head"],
    read: Sequence[int] | None = None,
    at: int | None = None,
) -> Float[Tensor, "layer batch head"]:
    """(z_bar - z) . dy/dz, summed over all positions or taken at one, of every head.

    One forward and one backward, whose graph holds all layers: give a batch that fits.
    """
    zs: list[Tensor] = []
    logits = view.run(tokens, visit=lambda heads: zs.append(heads.z), read=read, grad=True).logits
    found = []
    for layer, (z, gradient) in enumerate(zip(zs, _gradients(y, logits, zs), strict=True)):
        effect = ((z_bar[layer].to(z) - z.detach()) * gradient).sum(-1)
        found.append(effect.sum(1) if at is None else effect[:, at])
    return torch.stack(found)


def direct_effects(
    view: AttentionView,
    tokens: Int[Tensor, "batch seq"],
    y: Measure,
    z_bar: Float[Tensor, "layer head d_head"],
    at: int = -1,
) -> Float[Tensor, "layer batch head"]:
    """Of z set to z_bar at position `at`, whose logits alone y reads, for every head.

    y: is given [batch, 1, vocab]. Raises ConfigError for a model whose residual stream or norms are
    not known to be of a form in which direct effects exist.
    """
    paths = [view.direct_path(layer) for layer in range(view.n_layers)]
    z: list[Tensor] = []
    out: list[Tensor] = []

    def keep(heads: LayerHeads) -> None:
        z.append(heads.z[:, at])
        out.append(heads.output(at))

    final = view.run(tokens, visit=keep, read=[at]).final[:, 0].detach()
    with torch.enable_grad():
        normed = view.final_norm(final).detach().requires_grad_()
        D = _gradients(y, view.unembed(normed[:, None]), [normed])[0]
    with torch.no_grad():
        D = pulled_back(view.final_norm, final, D)
        found = []
        for layer, path in enumerate(paths):
            read_by = D if path.norm is None else pulled_back(path.norm, out[layer], D)
            W_O = view.output_weights(layer).W_O
            change = z_bar[layer].to(z[layer]) - z[layer]
            found.append(path.factor * torch.einsum("bhe,hed,bd->bh", change, W_O, read_by))
    return torch.stack(found)


def pulled_back(
    norm: Norm, x: Float[Tensor, "batch d"], direction: Float[Tensor, "batch d"]
) -> Float[Tensor, "batch d"]:
    """M D, so that a change u of x changes the normed x by u . (M D) along D, its scale kept.

    norm: a `nn.LayerNorm`, n(x) = s(x) g (x - mean x) + b, or any n(x) = s(x) g x (RMS norms,
    whatever their gain's offset, and the identity). Raises ConfigError for another one.
    """
    if isinstance(norm, nn.LayerNorm):
        gained = direction if norm.weight is None else direction * norm.weight
        centred = gained - gained.mean(-1, keepdim=True)
        return centred * (x.var(-1, keepdim=True, correction=0) + norm.eps).rsqrt()
    gain = norm(torch.ones_like(x[:1]))  # up to a factor, which the scale below takes in
    unscaled, normed = gain * x, norm(x)
    scale = (normed * unscaled).sum(-1, keepdim=True) / unscaled.square().sum(-1, keepdim=True)
    error = (normed - scale * unscaled).abs().amax()
    # transformers takes norms in single precision, whatever the model's.
    eps = max(torch.finfo(kind).eps for kind in (x.dtype, torch.float32))
    if error > eps**0.5 * normed.abs().amax():
        raise ConfigError(
            f"{type(norm).__name__} is neither a LayerNorm nor an RMS norm, so the model has no "
            "direct effects: leave them out"
        )
    return direction * gain * scale


def _gradients(y: Measure, logits: Tensor, of: list[Tensor]) -> tuple[Tensor, ...]:
    """Of y, each sequence's by its own row: one sequence's y depends on no other."""
    with torch.enable_grad():
        return torch.autograd.grad(y(logits).sum(), of)
