"""S-inhibition heads by attention: from the end of an IOI sentence to the second subject (S2).

The null is the weight on the same place in ABC prompts, where a third name stands there. The
weight on the other names is reported beside it. A pattern alone is no S-inhibition: the head must
also write against the subject *indirectly*; heads that do it directly suppress copies. The original
protocol asks for a negative raw copy score instead (`ov.raw_copy`).
"""

from __future__ import annotations

from functools import partial

from zscope.studies.heads.detector import Detector, Kind, ProtocolRule, Targets, Vocabulary
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream

END = "end"


def detectors(settings: DetectorSettings) -> tuple[Detector, ...]:
    def applies(vocabulary: Vocabulary) -> str | None:
        if vocabulary.names < settings.min_names:
            return f"{vocabulary.names} single-token names, fewer than {settings.min_names}"
        if vocabulary.ioi_templates < settings.min_templates:
            return (
                f"{vocabulary.ioi_templates} IOI sentences in which names are single tokens, "
                f"fewer than {settings.min_templates}"
            )
        return None

    def end_to(name: str, mark: str, kind: Kind, protocol: ProtocolRule | None = None) -> Detector:
        return Detector(
            name=name,
            streams=("ioi",),
            targets=partial(from_end, mark=mark),
            null="control",
            kind=kind,
            applies=applies,
            control="abc",
            protocol=protocol,
        )

    rule = ProtocolRule("ioi", partial(from_end, mark="s2"), 0.1, negative_copy=True)
    return (
        end_to("s_inhibition", "s2", "content", rule),
        end_to("end_to_io", "io", "reported"),
        end_to("end_to_s1", "s1", "reported"),
    )


def from_end(stream: Stream, mark: str) -> Targets:
    """The marked place, for the row at the end of the sentence."""
    end = stream.mark(END)
    return Targets(end.unsqueeze(2) & stream.mark(mark).unsqueeze(1), end)
