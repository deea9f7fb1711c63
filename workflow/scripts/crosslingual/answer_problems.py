"""Unpatched greedy answers of every problem in both languages: table crosslingual_outputs."""

from typing import Any

import pandas as pd

from zscope.core.jobs import progress, run_job
from zscope.core.provenance import versions
from zscope.models.language_model import generate, load_for_job
from zscope.studies.crosslingual.config import GenerationConfig
from zscope.studies.crosslingual.patching.readouts import output_columns, read_text
from zscope.studies.crosslingual.problems.parallel import LANGUAGES
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.tables.read import write_table

NO_PATCH = {
    "layer": None,
    "k": None,
    "kind": None,
    "draw": 0,
    "source_problem": None,
    **dict.fromkeys(("design", "space", "source", "where", "position_0"), "none"),
}


def main(job: Any) -> None:
    """Column direction is the prompt's language alone: "->en"."""
    tracked = job.params.tracked
    part = tracked["slice"]
    settings = GenerationConfig.model_validate(part["generation"])
    lm = load_for_job(job)
    problems = read_problems(job.input.problems)
    size = settings.batch_size
    rows = []
    for language in LANGUAGES:
        starts = range(0, len(problems), size)
        for start in progress(starts, desc=f"answer {language}"):
            batch = problems[start : start + size]
            prompts = lm.encode([p.prompt(language) for p in batch])
            outputs = generate(lm, *prompts, settings.max_new_tokens)
            for problem, output in zip(batch, outputs, strict=True):
                reading = read_text(
                    output.text, output.finished, settings.min_letters, settings.strict
                )
                rows.append(
                    {
                        "model": job.wildcards.model,
                        "problem": problem.id,
                        "category": problem.category,
                        **NO_PATCH,
                        "direction": f"->{language}",
                        "text": output.text,
                        "finished": output.finished,
                        **output_columns(reading, None, problem.answer, None),
                    }
                )
    frame = pd.DataFrame(rows).astype({"layer": "Int64", "k": "Int64"})
    provenance = {
        **tracked,
        "model": lm.name,
        "device": str(lm.device),
        "versions": versions("python", "torch", "transformers"),
    }
    write_table(frame, job.output.outputs, "crosslingual_outputs", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
