"""Unpatched greedy answers of every problem in both languages: table crosslingual_outputs."""

from typing import Any

import pandas as pd

from zscope.config.crosslingual import GenerationConfig
from zscope.data.problem_tables import read_problems
from zscope.data.problems import LANGUAGES
from zscope.jobs import progress, run_job
from zscope.models.language_model import generate, load_for_job
from zscope.provenance import versions
from zscope.subspace.patch_readouts import output_columns, read_text
from zscope.tables import write_table

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
