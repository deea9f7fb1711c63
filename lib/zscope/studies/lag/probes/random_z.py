"""Loss and accuracy of the first target token when z names another target of the same source.

The other z's are a derangement over meanings, not over row indices, so no example keeps its z.
"""

from __future__ import annotations

from zscope.studies.lag import quantities as q
from zscope.studies.lag.probes.measuring import Hook, ProbeBatch, Readout


def hooks(n_layers: int) -> list[Hook]:
    return []  # the logits, which are always kept


def measure(batch: ProbeBatch) -> list[Readout]:
    """Losses in nats; z_gap is their difference per example, so its interval is paired."""
    logits, other, first = batch.logits, batch.other_logits, batch.first
    return [
        Readout("first_loss", q.first_loss(logits, first)),
        Readout("first_loss_other_z", q.first_loss(other, first)),
        Readout("z_gap", q.z_gap(logits, other, first)),
        Readout("accuracy", q.first_accuracy(logits, first)),
        Readout("accuracy_other_z", q.first_accuracy(other, first)),
    ]
