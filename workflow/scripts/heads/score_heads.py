"""Score every head of a subject under every detector, and name heads."""

from collections.abc import Mapping, Sequence
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.studies.heads.config import DetectorsConfig
from zscope.studies.heads.profiles import profile_rows
from zscope.studies.heads.registry import load_detectors
from zscope.studies.heads.scoring import score_rows
from zscope.studies.heads.sums_file import load_measured
from zscope.studies.heads.tables import DETECTORS, PROFILES, SCORES
from zscope.tables.write import write_table


def score_heads(
    sums: Mapping[str, str],
    scores: str,
    profiles: str,
    applied: str,
    *,
    subject: str,
    config: DetectorsConfig,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """sums: the file of each detector."""
    detectors = {name: load_detectors(name, config.settings) for name in sums}
    measured = {name: {m.model: m for m in load_measured(path)} for name, path in sums.items()}
    models: Sequence[str] = list(next(iter(measured.values())))
    of_model = {model: {name: found[model] for name, found in measured.items()} for model in models}
    rows = [
        {"subject": subject, **row}
        for model in progress(models, desc=f"scores {subject}")
        for row in score_rows(
            of_model[model], detectors, bootstrap=bootstrap, settings=config.naming
        )
    ]
    write_table(rows, scores, SCORES, provenance)
    by_offset = [
        {"subject": subject, **row}
        for found in of_model.values()
        for name, m in found.items()
        for row in profile_rows(m, detectors[name], bootstrap)
    ]
    write_table(by_offset, profiles, PROFILES, provenance)
    skipped = [
        {"subject": subject, "model": model, "detector": name, "skipped": m.skipped}
        for model, found in of_model.items()
        for name, m in found.items()
    ]
    write_table(skipped, applied, DETECTORS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "scipy") as this:
        config = DetectorsConfig.model_validate(this.slice["detectors"])
        score_heads(
            dict(zip(config.asked, this.input.sums, strict=True)),
            this.output.scores,
            this.output.profiles,
            this.output.detectors,
            subject=this.slice["subject"],
            config=config,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
