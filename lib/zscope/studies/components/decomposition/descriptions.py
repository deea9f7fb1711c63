"""What each component is: its size, its heads, the tokens that it reads and writes.

Components are told up to the scale and sign of (U, V): all sizes are of U V^T, and every component
is turned so that its mean activation where it fires is positive.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.rank_one import Decomposition
from zscope.studies.components.decomposition.targets import clean_run
from zscope.studies.components.decomposition.training import ALIVE
from zscope.tables.schema import Row
from zscope.toy_language.excess import CHUNK

FIRES = 0.1
"""A component fires where its importance is above."""
RANDOM_VECTORS = 200


@dataclass(frozen=True, eq=False)
class Oriented:
    """Components with |V| = 1, turned as above.

    Attributes:
        reads: unit V. writes: U times |V|. activation: mean of V . x where it fires, over all
            positions if it never does; never negative.
    """

    matrices: list[str]
    reads: list[Float[Tensor, "component in"]]
    writes: list[Float[Tensor, "component out"]]
    activation: Float[Tensor, "matrices component"]

    @property
    def norms(self) -> Float[Tensor, "matrices component"]:
        """|U||V|."""
        return torch.stack([w.norm(dim=-1) for w in self.writes])

    def index(self, matrix: str) -> int:
        return self.matrices.index(matrix)


@torch.no_grad()
def oriented(run: Run) -> Oriented:
    """The components of a run, turned by their activations on its sequences."""
    d = run.decomposition
    shape = (len(d.matrices), d.n)
    total, fired, everywhere = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    reads = [v / v.norm(dim=-1, keepdim=True) for V in d.V for v in V.mT]
    writes = [
        u * v.norm(dim=-1, keepdim=True)
        for V, U in zip(d.V, d.U, strict=True)
        for v, u in zip(V.mT, U, strict=True)
    ]
    start = 0
    for some in run.evaluation.tokens.split(CHUNK):
        clean = clean_run(d.target, some)
        g = run.g[start : start + len(some)]
        start += len(some)
        row = 0
        for i, group in enumerate(d.target.groups):
            for _ in group.matrices:
                inner = (clean.reads[i] @ reads[row].mT).flatten(0, 1).double()
                here = (g[:, :, row] > FIRES).flatten(0, 1).double()
                total[row] += (inner * here).sum(0)
                fired[row] += here.sum(0)
                everywhere[row] += inner.sum(0)
                row += 1
    n = run.evaluation.tokens.numel()
    mean = torch.where(fired > 0, total / fired.clamp(min=1), everywhere / n)
    signs = torch.where(mean < 0, -1.0, 1.0).float()
    return Oriented(
        d.matrices,
        [r * s[:, None] for r, s in zip(reads, signs, strict=True)],
        [w * s[:, None] for w, s in zip(writes, signs, strict=True)],
        mean.abs().float(),
    )


def head_norms(found: Oriented, n_heads: int) -> Float[Tensor, "matrices component head"]:
    """|U_h||V| of every head h: of its rows of q, k and v, and for o of its slice of V."""
    rows = []
    for name, reads, writes in zip(found.matrices, found.reads, found.writes, strict=True):
        if name.endswith(".o"):
            by_head = reads.unflatten(1, (n_heads, -1)).norm(dim=-1)
            rows.append(by_head * writes.norm(dim=-1, keepdim=True))
        else:
            rows.append(writes.unflatten(1, (n_heads, -1)).norm(dim=-1))
    return torch.stack(rows)


def spread(norms: Float[Tensor, "*at head"]) -> Float[Tensor, "*at"]:
    """Entropy of the norms as shares, over ln of the number of heads: 1 is even."""
    p = norms / norms.sum(-1, keepdim=True).clamp(min=1e-30)
    return -torch.special.xlogy(p, p).sum(-1) / math.log(norms.shape[-1])


def largest_share(norms: Float[Tensor, "*at head"]) -> Float[Tensor, "*at"]:
    """The largest head's share of the squared norm."""
    squares = norms.square()
    return squares.max(-1).values / squares.sum(-1).clamp(min=1e-30)


def component_rows(run: Run, found: Oriented) -> Iterator[Row]:
    """One row per component."""
    n_heads = run.model.config.n_heads
    by_head = head_norms(found, n_heads)
    even, largest = spread(by_head), largest_share(by_head)
    g = run.g[:, :-1]
    mean, fires = g.mean((0, 1)), (g > FIRES).sum((0, 1))
    for row, matrix in enumerate(found.matrices):
        for c in range(run.decomposition.n):
            yield {
                "matrix": matrix,
                "component": c,
                "importance": float(mean[row, c]),
                "alive": bool(mean[row, c] > ALIVE),
                "firings": int(fires[row, c]),
                "norm": float(found.norms[row, c]),
                "activation": float(found.activation[row, c]),
                "spread": float(even[row, c]),
                "head": int(by_head[row, c].argmax()),
                "share": float(largest[row, c]),
            }


def spread_null_rows(run: Run, seed: int) -> list[Row]:
    """Spread and largest share of random vectors of the same length, which do not depend on the
    matrix: one row per vector."""
    c = run.model.config
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(rng.standard_normal((RANDOM_VECTORS, c.n_heads, c.d_head)))
    norms = vectors.norm(dim=-1)
    pairs = zip(spread(norms).tolist(), largest_share(norms).tolist(), strict=True)
    return [{"draw": draw, "spread": s, "share": share} for draw, (s, share) in enumerate(pairs)]


def head_norm_rows(run: Run, found: Oriented) -> Iterator[Row]:
    """One row per alive component and head."""
    by_head = head_norms(found, run.model.config.n_heads)
    alive = run.g[:, :-1].mean((0, 1)) > ALIVE
    for row, matrix in enumerate(found.matrices):
        for c in alive[row].nonzero().flatten().tolist():
            for head, norm in enumerate(by_head[row, c].tolist()):
                yield {
                    "matrix": matrix,
                    "component": c,
                    "head": head,
                    "norm": norm,
                    "weighted": norm * float(found.activation[row, c]),
                }


def importance_rows(run: Run, chosen: dict[tuple[str, str], set[tuple[int, int]]]) -> Iterator[Row]:
    """Mean importance of every alive component by primitive, its lift over elsewhere, and whether
    it is chosen for the primitive, by rule."""
    alive = (run.mean_by_primitive["all"] > ALIVE).nonzero().tolist()
    names = run.decomposition.matrices
    for primitive in run.primitives:
        here, other = run.mean_by_primitive[primitive], run.mean_elsewhere[primitive]
        for row, c in alive:
            on, off = float(here[row, c]), float(other[row, c])
            yield {
                "matrix": names[row],
                "component": c,
                "primitive": primitive,
                "importance": on,
                "elsewhere": off,
                "lift": on / off if off > 0 else None,
                "chosen": (row, c) in chosen.get(("strict", primitive), set()),
                "chosen_loosely": (row, c) in chosen.get(("loose", primitive), set()),
            }


def token_rows(run: Run, found: Oriented, tokens: list[str], top: int = 5) -> Iterator[Row]:
    """The tokens that alive components read most (E V, for matrices that read the stream) and, of
    v and o, write most (U W_U through the layer's o for v)."""
    model = run.model
    E, head = model.tok_embed.weight, model.head.weight
    alive = (run.mean_by_primitive["all"] > ALIVE).nonzero().tolist()
    for row, c in alive:
        matrix = found.matrices[row]
        layer, name = matrix.split(".")
        block = model.blocks[int(layer)]
        of: dict[str, Tensor] = {}
        if name != "o":
            of["reads"] = block.read(E) @ found.reads[row][c]
        if name in ("v", "o"):
            write = found.writes[row][c]
            out = write if name == "o" else block.attn.o.weight @ write
            of["writes"] = head @ out
        for side, values in of.items():
            centred = values - values.mean()
            for rank, token in enumerate(centred.argsort(descending=True)[:top].tolist()):
                yield {
                    "matrix": matrix,
                    "component": c,
                    "side": side,
                    "rank": rank,
                    "token": tokens[token],
                    "value": float(centred[token]),
                }


def all_vectors(decomposition: Decomposition) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Every matrix with the reads and writes of its components, one per row."""
    found = []
    for group, V, U in zip(
        decomposition.target.groups, decomposition.V, decomposition.U, strict=True
    ):
        for name, v, u in zip(group.matrices, V.mT, U, strict=True):
            found.append((name, v.detach().double().numpy(), u.detach().double().numpy()))
    return found
