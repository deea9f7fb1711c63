"""Scores as their definition says them, with loops: the reference of the vectorised sums."""

from __future__ import annotations

import numpy as np

from zscope.studies.heads.streams import Stream


def plain_masks(name: str, stream: Stream, b: int) -> tuple[dict[int, list[int]], set[int]]:
    """Targets of each row of sequence b, and the eligible rows."""
    x = stream.ids[b].tolist()
    seq = len(x)
    rule = {
        "previous": lambda i, j: j == i - 1,
        "offset_3": lambda i, j: j == i - 3,
        "first": lambda i, j: j == 0,
        "duplicate": lambda i, j: 0 < j < i - 1 and x[j] == x[i],
        "induction": lambda i, j: 0 < j < i and x[j - 1] == x[i],
        "delimiter": lambda i, j: 0 < j < i and bool(stream.marks["delimiter"][b, j]),
    }[name]
    targets = {i: [j for j in range(i + 1) if rule(i, j)] for i in range(seq)}
    least = {"previous": 2, "offset_3": 4, "first": 2, "delimiter": 4}.get(name, 0)
    return targets, {i for i in range(least, seq) if targets[i]}


def plain_score(name, stream, weights, shifts, uniform, klass=None, both=False):
    """(raw, null, rows) of every head from weights [n, head, seq, seq]. klass: of the query token,
    in the sequence that the targets come from; both: in the pattern's own as well (null only)."""
    n, n_heads = weights.shape[:2]
    hits, null_hits = np.zeros(n_heads), np.zeros(n_heads)
    rows = null_rows = 0.0
    for b in range(n):
        targets, eligible = plain_masks(name, stream, b)
        for i in eligible:
            if klass is not None and int(stream.classes[b, i]) != klass:
                continue
            rows += 1
            for h in range(n_heads):
                hits[h] += sum(float(weights[b, h, i, j]) for j in targets[i])
            if uniform:
                null_hits += len(targets[i]) / (i + 1)
                null_rows += 1
        for s in () if uniform else shifts:
            other = (b + s) % n
            targets, eligible = plain_masks(name, stream, other)
            for i in eligible:
                if klass is not None and int(stream.classes[other, i]) != klass:
                    continue
                if both and int(stream.classes[b, i]) != klass:
                    continue
                null_rows += 1 / len(shifts)
                for h in range(n_heads):
                    null_hits[h] += sum(float(weights[b, h, i, j]) for j in targets[i]) / len(
                        shifts
                    )
    return hits / rows, null_hits / null_rows, rows
