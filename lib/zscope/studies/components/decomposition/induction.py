"""What components do to induction: the score and the excess without each of them, head by head.

The induction score of a head is the share of its |pattern| on the colour that followed the same
object before, over queries where induction governs. A perfect score is 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.components.decomposition.masks import Masked
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.selectivity import rises, without
from zscope.tables.schema import Row

PRIMITIVE = "induction"
EVERYWHERE, AT_QUERY = "everywhere", "query"
NOTHING = -1
"""Component of the rows of the model as it is."""


def patterns(
    model: TensorTransformer, tokens: Tensor, layer: int
) -> Float[Tensor, "n head query key"]:
    """Attention patterns of a layer; bilinear ones are signed and have no sum."""
    block, c = model.blocks[layer], model.config
    parts = block.attn.split(block.attn.project(block.read(model.stream(tokens, layer))))
    seq = tokens.shape[1]
    causal = torch.ones(seq, seq, dtype=torch.bool).tril()
    if c.attention == "softmax":
        q, k, _ = parts
        scores = (q @ k.mT) / c.d_head**0.5
        return scores.masked_fill(~causal, -torch.inf).softmax(-1)
    q1, k1, q2, k2, _ = parts
    return (q1 @ k1.mT) * (q2 @ k2.mT) * causal


def targets(
    tokens: np.ndarray, governed: Bool[np.ndarray, "n query"]
) -> Bool[np.ndarray, "n query key"]:
    """Keys after earlier occurrences of the query's token, for queries that induction governs."""
    n, seq = tokens.shape
    found = np.zeros((n, seq, seq), dtype=bool)
    same = tokens[:, :, None] == tokens[:, None, :]
    # The key is one after the earlier occurrence, and not after the query.
    found[:, :, 1:] = same[:, :, :-1] & np.tri(seq, seq, -1, dtype=bool)[:, :-1]
    found[:, : governed.shape[1]] &= governed[:, :, None]
    found[:, governed.shape[1] :] = False
    return found


def scores(
    model: TensorTransformer, tokens: Tensor, where: Tensor, layer: int
) -> Float[np.ndarray, " head"]:
    """The induction score of every head of a layer; where: as `targets` gives it."""
    with torch.no_grad():
        size = patterns(model, tokens, layer).abs()
    asked = where.any(-1)
    on = (size * where[:, None]).sum(-1) / size.sum(-1).clamp(min=1e-30)
    return on.transpose(1, 2)[asked].double().mean(0).numpy()


def component_rows(run: Run, per_matrix: int) -> Iterator[Row]:
    """Score of every head of the last layer and rise of induction's excess without each of the
    components that are most important where induction governs, of the last layer's queries and
    keys and of the values and outputs before."""
    governed = run.on(PRIMITIVE)
    if not governed.any():
        return
    c = run.model.config
    last = c.n_layers - 1
    tokens = run.evaluation.tokens
    where = torch.from_numpy(targets(tokens.numpy(), governed))
    if not where.any():
        return
    clean = scores(run.model, tokens, where, last)
    for head, score in enumerate(clean):
        yield _row("none", NOTHING, head, float(score), 0.0, 0.0)
    names = [f"{last}.{name}" for name in c.rotated]
    names += [f"{layer}.{name}" for layer in range(last) for name in ("v", "o")]
    g = run.mean_by_primitive[PRIMITIVE]
    for matrix in names:
        row = run.decomposition.matrices.index(matrix)
        for component in g[row].argsort(descending=True)[:per_matrix].tolist():
            model = without(run, [(row, component)])
            found = scores(model, tokens, where, last)
            rise = float(rises(run, model)[governed].mean())
            for head, score in enumerate(found):
                drop = float(clean[head] - score)
                yield _row(matrix, component, head, float(score), drop, rise)


def _row(matrix: str, component: int, head: int, score: float, drop: float, rise: float) -> Row:
    return {
        "matrix": matrix,
        "component": component,
        "head": head,
        "score": score,
        "drop": drop,
        "rise": rise,
    }


def attention_rows(
    run: Run, chosen: dict[str, set[tuple[int, int]]], words: list[str], top: int = 5
) -> tuple[list[Row], list[Row]]:
    """Of every primitive with components of its own, at the first position that it governs late
    enough to have keys: the last layer's attention as it is and without them, and the tokens whose
    logits rise and fall most.

    The position is the query's; what is predicted there is the next token.
    """
    attention: list[Row] = []
    readouts: list[Row] = []
    last = run.model.config.n_layers - 1
    for primitive, components in sorted(chosen.items()):
        on = np.argwhere(run.on(primitive)[:, 8:])
        if not components or not len(on):
            continue
        i, query = int(on[0, 0]), int(on[0, 1]) + 8
        ids = run.evaluation.tokens[i : i + 1]
        edited = without(run, components)
        with torch.no_grad():
            before, after = (patterns(m, ids, last)[0, :, query] for m in (run.model, edited))
            change = (edited(ids) - run.model(ids))[0, query]
            at_query = _at_one_position(run, components, ids, query) - run.model(ids)[0, query]
        for head in range(len(before)):
            for key in range(query + 1):
                attention.append(
                    {
                        "chosen_for": primitive,
                        "layer": last,
                        "head": head,
                        "query": query,
                        "key": key,
                        "token": words[int(ids[0, key])],
                        "before": float(before[head, key]),
                        "after": float(after[head, key]),
                    }
                )
        of = {"chosen_for": primitive, "components": len(components), "query": query}
        of["next"] = words[int(ids[0, query + 1])]
        for where, moved in ((EVERYWHERE, change), (AT_QUERY, at_query)):
            readouts += [{**of, "where": where, **row} for row in _most_moved(moved, words, top)]
    return attention, readouts


def _at_one_position(
    run: Run, components: set[tuple[int, int]], ids: Tensor, query: int
) -> Float[Tensor, " vocab"]:
    """Logits at a position when components are left out there alone, with Delta."""
    d = run.decomposition
    m = torch.ones(1, ids.shape[1], len(d.matrices), d.n, dtype=run.g.dtype)
    for row, component in components:
        m[0, query, row, component] = 0
    masks = Masked(m, torch.ones_like(m[..., 0]))
    return d.target.run(ids, masks.apply(d))[0, query]


def _most_moved(change: Tensor, words: list[str], top: int) -> Iterator[Row]:
    """The tokens whose logits rise and fall most, less the mean over the vocabulary."""
    change = change - change.mean()
    order = change.argsort(descending=True)
    for side, some in (("up", order[:top]), ("down", order.flip(0)[:top])):
        for rank, token in enumerate(some.tolist()):
            yield {
                "side": side,
                "rank": rank,
                "token": words[token],
                "change": float(change[token]),
            }
