"""All probes. Add a probe here.

The Snakefile reads this module at every call, so it imports nothing heavy.
"""

from typing import NamedTuple


class ProbeSpec(NamedTuple):
    """A probe's module, and the task that it needs."""

    module: str
    summary: str
    needs_z: bool = False
    needs_other_z: bool = False
    min_candidates: int = 1

    @property
    def needs(self) -> str:
        parts = ["a task with z"] if self.needs_z else []
        if self.needs_other_z:
            parts.append("k of at least 2")
        if self.min_candidates > 1:
            parts.append(f"at least {self.min_candidates} targets of one source")
        return " and ".join(parts) or "nothing"


PROBES: dict[str, ProbeSpec] = {
    "attention_to_z": ProbeSpec(
        "zscope.studies.lag.probes.attention_to_z",
        "attention from the predicting position to z, per layer and head",
        needs_z=True,
    ),
    "logit_lens": ProbeSpec(
        "zscope.studies.lag.probes.logit_lens",
        "the right token, read from every stage of the residual stream",
    ),
    "causal_patching": ProbeSpec(
        "zscope.studies.lag.probes.causal_patching",
        "the residual stream at z, and each head's path from z, patched from another z",
        needs_z=True,
        needs_other_z=True,
        min_candidates=2,
    ),
    "random_z": ProbeSpec(
        "zscope.studies.lag.probes.random_z",
        "loss and accuracy of the first target token with another z",
        needs_z=True,
        needs_other_z=True,
    ),
    "candidate_set": ProbeSpec(
        "zscope.studies.lag.probes.candidate_set",
        "loss and accuracy among the targets of the same source",
        min_candidates=2,
    ),
}
