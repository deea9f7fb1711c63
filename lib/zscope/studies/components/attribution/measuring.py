"""What exhaustive patching and every method say of every live node of one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int

from zscope.config.base import Bootstrap
from zscope.models.attention_nodes import Answers, NodeModel
from zscope.models.tensor_transformer import TensorTransformer
from zscope.stats import bootstrap_interval, finite
from zscope.studies.components.attribution.degrees import z_by_degree
from zscope.studies.components.attribution.estimates import PairRuns, all_estimates, pair_runs
from zscope.studies.components.attribution.exhaustive import Nodes, exact_effects, live_nodes
from zscope.studies.components.attribution.methods import METHODS
from zscope.studies.components.attribution.prompt_pairs import PromptPair
from zscope.tables.schema import Row


class MeasuredPairs:
    """A model's two runs of every pair, and the live nodes with their exact effects."""

    def __init__(self, model: TensorTransformer, pairs: Sequence[PromptPair]) -> None:
        self.model, self.pairs = model, pairs
        self.tokens, corrupted = (
            _padded([getattr(pair, side) for pair in pairs]) for side in ("clean", "corrupted")
        )
        read = torch.tensor([len(pair.clean) - 1 for pair in pairs])
        answers = Answers(read, torch.tensor([pair.answer for pair in pairs]))
        nodes = NodeModel(model)
        self.runs: PairRuns = pair_runs(nodes, self.tokens, corrupted, answers)
        edit = torch.tensor([pair.edit for pair in pairs])
        self.nodes: list[Nodes] = live_nodes(nodes, edit, read)

    def frame(self) -> pd.DataFrame:
        """One row per live node: its exact effect, and every method's estimate."""
        estimates = all_estimates(self.runs)
        parts = []
        for nodes in self.nodes:
            columns: dict[str, object] = {
                "pair": nodes.pair.numpy(),
                "kind": nodes.kind,
                "layer": nodes.layer,
                "head": nodes.head.numpy(),
                "position": nodes.position.numpy(),
                "exact": exact_effects(self.runs, nodes).numpy(),
            }
            columns |= {
                method: nodes.values(estimates[method]).numpy() if method in estimates else np.nan
                for method in METHODS
            }
            parts.append(pd.DataFrame(columns))
        found = pd.concat(parts, ignore_index=True)
        found["primitive"] = np.array([p.primitive for p in self.pairs])[found["pair"]]
        return found

    def effect_rows(self) -> Iterator[Row]:
        """The metric of both runs of every pair."""
        model = self.runs.model
        clean, corrupted = (
            model.measure(run.streams[-1], self.runs.answers).tolist()
            for run in (self.runs.clean, self.runs.corrupted)
        )
        for i, values in enumerate(zip(clean, corrupted, strict=True)):
            yield {"pair": i, "clean": values[0], "corrupted": values[1]}

    def degree_rows(self, frame: pd.DataFrame, bootstrap: Bootstrap) -> Iterator[Row]:
        """Of a polynomial model: mean size of each degree of the effect of z, before the last
        layer; none of another model. frame: of this model."""
        config = self.model.config
        if not config.is_polynomial:
            return
        for nodes in self.nodes:
            if nodes.kind == "z" and nodes.layer < config.n_layers - 1:
                yield from self._degrees_of(nodes, frame, bootstrap)

    def _degrees_of(self, nodes: Nodes, frame: pd.DataFrame, bootstrap: Bootstrap) -> Iterator[Row]:
        of_pairs = [
            z_by_degree(self.model, self.runs, self.tokens, nodes, i)
            for i in range(len(self.pairs))
        ]
        most = max(map(len, of_pairs))
        # A patch at the last position has a higher degree; elsewhere these terms are 0.
        terms = [np.pad(x, ((0, most - len(x)), (0, 0))) for x in of_pairs]
        sizes = np.stack([np.abs(x).mean(1) for x in terms])
        atp = frame.loc[(frame["kind"] == "z") & (frame["layer"] == nodes.layer), "atp"]
        off = np.abs(np.concatenate([x[0] for x in terms]) - atp.to_numpy(float)).max()
        low, high = bootstrap_interval(sizes, bootstrap=bootstrap)
        for degree in range(1, most + 1):
            yield {
                "layer": nodes.layer,
                "degree": degree,
                "value": float(sizes[:, degree - 1].mean()),
                "ci_low": finite(float(low[degree - 1])),
                "ci_high": finite(float(high[degree - 1])),
                "atp_off": float(off) if degree == 1 else None,
                "n": len(self.pairs),
            }


def _padded(prompts: Sequence[Int[np.ndarray, " seq"]]) -> Int[torch.Tensor, "pairs seq"]:
    longest = max(map(len, prompts))
    return torch.tensor(np.stack([np.pad(p, (0, longest - len(p))) for p in prompts]))
