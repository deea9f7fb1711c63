"""All probes: to add one, add a module here and a line to PROBES.

The Snakefile and the config read this module, so it imports nothing heavy.
"""

from typing import Literal, NamedTuple


class ProbeSpec(NamedTuple):
    """The series that represents a probe when onsets are compared, and the task that it needs.

    metric, over: the series is this metric as it is, of the last layer, or of the largest head
    above the largest one of untrained weights.
    """

    metric: str
    over: Literal["as it is", "last layer", "largest head above untrained"] = "as it is"
    needs_z: bool = False
    needs_other_z: bool = False
    min_candidates: int = 1

    @property
    def series(self) -> str:
        """The name of the series."""
        return f"{self.metric}_above_untrained" if "untrained" in self.over else self.metric

    @property
    def needs(self) -> str:
        parts = ["a task with z"] if self.needs_z else []
        if self.needs_other_z:
            parts.append("k of at least 2")
        if self.min_candidates > 1:
            parts.append(f"at least {self.min_candidates} targets of one source")
        return " and ".join(parts) or "nothing"


PROBES = {
    "attention_to_z": ProbeSpec("attention", "largest head above untrained", needs_z=True),
    "logit_lens": ProbeSpec("probability_resid_post", "last layer"),
    "causal_patching": ProbeSpec(
        "z_dependence", needs_z=True, needs_other_z=True, min_candidates=2
    ),
    "random_z": ProbeSpec("z_gap", needs_z=True, needs_other_z=True),
    "candidate_set": ProbeSpec("candidate_accuracy", min_candidates=2),
}


def probe_module(probe: str) -> str:
    return f"{__package__}.{probe}"
