"""The right token, read from every stage of the residual stream (logit lens; nostalgebraist 2020).

The model's own final norm and unembedding are applied to the embedding, and to the stream after
the attention and after the MLP of every block, at the predicting position. Early stages are
not in the basis that the unembedding reads, so a low probability there does not prove absence.
"""

from __future__ import annotations

from zscope.studies.lag import quantities as q
from zscope.studies.lag.probes.measuring import Hook, ProbeBatch, Readout


def stages(n_layers: int) -> list[tuple[str, int]]:
    """(stage, layer); resid_pre of a later block is resid_post of the one before."""
    blocks = [(s, layer) for layer in range(n_layers) for s in ("resid_mid", "resid_post")]
    return [("resid_pre", 0), *blocks]


def hooks(n_layers: int) -> list[Hook]:
    return [Hook(f"blocks.{layer}.hook_{s}", "predict") for s, layer in stages(n_layers)]


def measure(batch: ProbeBatch) -> list[Readout]:
    """probability, accuracy, rank (1 = best), entropy (nats), set_mass; candidate_accuracy, if
    there is more than one candidate, restricts the choice to their first tokens."""
    out = []
    first, candidates = batch.first, batch.candidate_first
    for (stage, layer), hook in zip(stages(batch.n_layers), hooks(batch.n_layers), strict=True):
        logits = batch.unembed(batch.clean[hook])
        values = {
            "probability": (-q.first_loss(logits, first)).exp(),
            "accuracy": q.first_accuracy(logits, first),
            "rank": q.rank(logits, first),
            "entropy": q.entropy(logits),
            "set_mass": q.set_mass(logits, candidates),
        }
        if batch.n_candidates > 1:
            values["candidate_accuracy"] = q.candidate_first_accuracy(logits, first, candidates)
        out += [Readout(f"{name}_{stage}", v, layer) for name, v in values.items()]
    return out
