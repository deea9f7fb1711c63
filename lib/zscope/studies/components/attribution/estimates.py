"""First-order estimates of what patching a node does, for all nodes at once.

Clean run x, corrupted run x', metric M. A node n goes from n(x) to n(x'):

    atp          (n(x') - n(x)) . dM/dn at x                                  (Nanda 2023)
    atp_qk       for q and k the changed rows of the pattern instead:
                 q at t: sum_j (A'_tj - A_tj) dM/dA_tj, with row t of the patched query
                 k at s: the same over all later rows t, with key s alone changed (Kramar et al.
                 2024, AtP*, sec. 3.1)
    graddrop     atp_qk with the gradient through one layer's write cut, for every layer in turn:
                 the sum of |estimate| over the layers, over L - 1 (AtP*, sec. 3.2); unsigned
    graddrop_all the same with the undropped pass among the terms, over L
    ig           atp_qk with the mean of the gradients at 5 midpoints between the embeddings of the
                 two runs (EAP-IG of Hanna et al. 2024, for nodes)

The key's sum has a closed form. With r = exp(change of the score), g = dM/dA and gbar_t = sum_j
A_tj g_tj, row t of softmax contributes A_ts (r - 1)(g_ts - gbar_t) / (1 + A_ts (r - 1)); of
bilinear attention (A'_ts - A_ts) g_ts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.attention_nodes import KINDS, Answers, LayerNodes, NodeModel, NodeRun
from zscope.studies.components.attribution.methods import STEPS

Gradients = list[dict[str, Tensor]]
Estimate = list[dict[str, Tensor]]
"""By layer and kind, [batch, head, seq]."""

LARGEST = 700.0  # exp of more is infinite


@dataclass(frozen=True, eq=False)
class PairRuns:
    """The two runs of a batch of pairs, without gradients. answers: of the clean prompts."""

    model: NodeModel
    clean: NodeRun
    corrupted: NodeRun
    answers: Answers


def pair_runs(
    model: NodeModel,
    clean: Int[Tensor, "batch seq"],
    corrupted: Int[Tensor, "batch seq"],
    answers: Answers,
) -> PairRuns:
    """Sequences may be padded behind `answers.read`."""
    with torch.no_grad():
        first, second = (model.run(model.embed(tokens)) for tokens in (clean, corrupted))
    return PairRuns(model, first, second, answers)


def atp(pairs: PairRuns, gradients: Gradients | None = None) -> Estimate:
    gradients = gradients or clean_gradients(pairs)
    return [
        {kind: _dot(after.of(kind) - before.of(kind), of_layer[kind]) for kind in KINDS}
        for before, after, of_layer in zip(
            pairs.clean.layers, pairs.corrupted.layers, gradients, strict=True
        )
    ]


def atp_qk(pairs: PairRuns, gradients: Gradients | None = None) -> Estimate:
    gradients = gradients or clean_gradients(pairs)
    fixed = [
        {
            "q": query_fix(pairs.model, before, after.q, of_layer["pattern"]),
            "k": key_fix(pairs.model, before, after.k, of_layer["pattern"]),
        }
        for before, after, of_layer in zip(
            pairs.clean.layers, pairs.corrupted.layers, gradients, strict=True
        )
    ]
    plain = atp(pairs, gradients)
    return [{**first, **second} for first, second in zip(plain, fixed, strict=True)]


def dropped(pairs: PairRuns) -> list[Estimate]:
    """atp_qk with the gradient through the write of each layer cut, layer by layer."""
    x = pairs.clean.streams[0]
    return [atp_qk(pairs, _gradients(pairs, x, cut)) for cut in range(pairs.model.config.n_layers)]


def graddrop(pairs: PairRuns, terms: list[Estimate] | None = None) -> Estimate:
    """As published. Raises DataError for a model of one layer, whose only term is 0."""
    layers = pairs.model.config.n_layers
    if layers < 2:
        raise DataError(
            "GradDrop of one layer divides by L - 1 = 0: its only term cuts the layer itself"
        )
    return _mean_size(terms or dropped(pairs), layers - 1)


def graddrop_all(
    pairs: PairRuns, terms: list[Estimate] | None = None, undropped: Estimate | None = None
) -> Estimate:
    terms = terms or dropped(pairs)
    return _mean_size([*terms, undropped or atp_qk(pairs)], len(terms))


def integrated(pairs: PairRuns, steps: int = STEPS) -> Estimate:
    first, last = pairs.clean.streams[0], pairs.corrupted.streams[0]
    total: Gradients = []
    for step in range(steps):
        found = _gradients(pairs, torch.lerp(first, last, (step + 0.5) / steps))
        if not total:
            total = found
        else:
            total = [{n: a[n] + b[n] for n in a} for a, b in zip(total, found, strict=True)]
    return atp_qk(pairs, [{n: x / steps for n, x in of.items()} for of in total])


def all_estimates(pairs: PairRuns) -> dict[str, Estimate]:
    """Every method that the model allows, by name."""
    gradients = clean_gradients(pairs)
    fixed = atp_qk(pairs, gradients)
    found = {"atp": atp(pairs, gradients), "atp_qk": fixed}
    if pairs.model.config.n_layers > 1:
        terms = dropped(pairs)
        found["graddrop"] = graddrop(pairs, terms)
        found["graddrop_all"] = graddrop_all(pairs, terms, fixed)
    return {**found, "ig": integrated(pairs)}


def clean_gradients(pairs: PairRuns) -> Gradients:
    return _gradients(pairs, pairs.clean.streams[0])


def _gradients(pairs: PairRuns, x: Tensor, cut: int | None = None) -> Gradients:
    run = pairs.model.run(x.detach().requires_grad_(), cut=cut)
    return pairs.model.gradients(run, pairs.answers)


def _dot(change: Tensor, gradient: Tensor) -> Float[Tensor, "batch head seq"]:
    found = (change * gradient).sum(-1)
    return found.sum(0) if found.ndim == 4 else found


def _mean_size(terms: list[Estimate], over: int) -> Estimate:
    def size(layer: int, kind: str) -> Tensor:
        return torch.stack([term[layer][kind].abs() for term in terms]).sum(0) / over

    return [{kind: size(layer, kind) for kind in KINDS} for layer in range(len(terms[0]))]


def query_fix(
    model: NodeModel,
    before: LayerNodes,
    q: Float[Tensor, "part batch head seq d_head"],
    g: Float[Tensor, "batch head seq seq"],
) -> Float[Tensor, "batch head seq"]:
    """Row t of the pattern with the query at t from `q`, less row t, times g, for every t."""
    patched = model.pattern_of(model.scores(q, before.k))
    return ((patched - before.pattern) * g).sum(-1)


def key_fix(
    model: NodeModel,
    before: LayerNodes,
    k: Float[Tensor, "part batch kv seq d_head"],
    g: Float[Tensor, "batch head seq seq"],
) -> Float[Tensor, "batch kv seq"]:
    """Every row's change with the key at s alone from `k`, times g, for every s."""
    A = before.pattern
    scores = model.scores(before.q, before.k), model.scores(before.q, k)
    if model.config.attention == "softmax":
        less_one = torch.expm1((scores[1] - scores[0])[0].clamp(max=LARGEST))
        mean = (A * g).sum(-1, keepdim=True)
        # Above the diagonal A is 0, and so is the term.
        terms = A * less_one * (g - mean) / (1 + A * less_one)
    else:
        terms = (model.pattern_of(scores[1]) - A) * g
    of_heads = terms.sum(-2)
    return of_heads.unflatten(1, (model.n_kv, model.group)).sum(2)
