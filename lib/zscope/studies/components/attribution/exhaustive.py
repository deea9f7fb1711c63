"""What patching every node does, exactly: a run for each node, many in a batch.

A node before the edit is the same in both runs, and one behind the position that is read, or of a
query in the last layer elsewhere, reaches nothing; of layer 0, q, k and v differ at the edit alone.
Their effects are 0 and they are not run: `live_nodes` are those that are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.models.attention_nodes import KINDS, Kind, LayerNodes, NodeModel, Patch
from zscope.studies.components.attribution.estimates import Estimate, PairRuns

ROWS = 128  # runs in a batch


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes of one layer and kind. pair: row of the batch of pairs."""

    layer: int
    kind: Kind
    pair: Int[Tensor, " n"]
    head: Int[Tensor, " n"]
    position: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.pair)

    def values(self, estimate: Estimate) -> Float[Tensor, " n"]:
        """The estimates of these nodes."""
        return estimate[self.layer][self.kind][self.pair, self.head, self.position]


def live_nodes(
    model: NodeModel, edit: Int[Tensor, " batch"], read: Int[Tensor, " batch"]
) -> list[Nodes]:
    """The nodes that can have an effect, by layer and kind.

    edit: the one position at which the prompts of a pair differ. read: where the metric is read.
    """
    last = model.config.n_layers - 1
    found = []
    for layer in range(last + 1):
        for kind in KINDS:
            rows = []
            for pair, (start, end) in enumerate(zip(edit.tolist(), read.tolist(), strict=True)):
                high = start if layer == 0 and kind != "z" else end
                low = end if layer == last and kind in ("q", "z") else start
                rows += [
                    (pair, head, position)
                    for head in range(model.heads(kind))
                    for position in range(low, high + 1)
                ]
            columns = torch.tensor(rows, dtype=torch.long).reshape(-1, 3).unbind(1)
            found.append(Nodes(layer, kind, *columns))
    return found


@torch.no_grad()
def exact_effects(pairs: PairRuns, nodes: Nodes, rows: int = ROWS) -> Float[Tensor, " n"]:
    """M with each of the nodes set to its value in the corrupted run, less M of the clean run."""
    clean = pairs.model.measure(pairs.clean.streams[-1], pairs.answers)
    found = [_patched(pairs, some) - clean[some.pair] for some in _pieces(nodes, rows)]
    return torch.cat(found) if found else torch.empty(0, dtype=torch.float64)


def _pieces(nodes: Nodes, rows: int) -> Iterator[Nodes]:
    columns = (x.split(rows) for x in (nodes.pair, nodes.head, nodes.position))
    for pair, head, position in zip(*columns, strict=True):
        if len(pair):
            yield Nodes(nodes.layer, nodes.kind, pair, head, position)


def _patched(pairs: PairRuns, nodes: Nodes) -> Float[Tensor, " n"]:
    """The metric with one node replaced in each row, resumed at the nodes' layer."""
    model, layer, kind = pairs.model, nodes.layer, nodes.kind
    answers = pairs.answers.take(nodes.pair)
    seen = int(answers.read.max()) + 1
    source = pairs.corrupted.layers[layer].of(kind)
    value = source[..., nodes.pair, nodes.head, nodes.position, :]
    patch = Patch(layer, kind, nodes.head, nodes.position, value)
    before = _rows(pairs.clean.layers[layer], nodes.pair, seen)
    z = patch.into(before.z) if kind == "z" else model.attend(before, layer, patch).z
    x = pairs.clean.streams[layer][nodes.pair, :seen]
    x = model.config.kept * x + model.write(layer, z)
    after = model.run(x, layer + 1).streams[-1]
    return model.measure(after, answers)


def _rows(nodes: LayerNodes, pair: Int[Tensor, " n"], seen: int) -> LayerNodes:
    return replace(
        nodes,
        q=nodes.q[:, pair, :, :seen],
        k=nodes.k[:, pair, :, :seen],
        v=nodes.v[pair, :, :seen],
        pattern=nodes.pattern[pair, :, :seen, :seen],
        z=nodes.z[pair, :, :seen],
    )
