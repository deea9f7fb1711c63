"""Unpatched greedy answers to every problem in both languages: table crosslingual_outputs."""

from collections.abc import Sequence

from zscope.core.jobs import Provenance, job, progress
from zscope.models.language_model import LanguageModel, generate
from zscope.studies.crosslingual.config import GenerationConfig
from zscope.studies.crosslingual.patching.readouts import output_columns, read_text, stopping_rule
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, Problem, answer_kind
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.studies.crosslingual.subject import load_subject
from zscope.studies.crosslingual.tables import OUTPUTS
from zscope.tables.schema import Row
from zscope.tables.write import write_table

NO_PATCH = {
    **dict.fromkeys(("layer", "k", "kind", "source_problem")),
    **dict.fromkeys(("design", "space", "source", "where", "position_0"), "none"),
    "draw": 0,
}


def answer_problems(
    lm: LanguageModel,
    problems: Sequence[Problem],
    output: str,
    *,
    model: str,
    config: GenerationConfig,
    provenance: Provenance,
) -> None:
    """Column direction is the prompt's language alone: "->en"."""
    rows: list[Row] = []
    for language in LANGUAGES:
        starts = range(0, len(problems), config.batch_size)
        for start in progress(starts, desc=f"answer {language}"):
            batch = problems[start : start + config.batch_size]
            prompts = lm.encode([p.prompt(language) for p in batch])
            stop = stopping_rule(config.strict, kind=answer_kind(batch))
            generated = generate(lm, *prompts, config.max_new_tokens, stop)
            for problem, found in zip(batch, generated, strict=True):
                reading = read_text(
                    found.text, found.finished, config.min_letters, config.strict, problem.kind
                )
                rows.append(
                    {
                        "model": model,
                        "problem": problem.id,
                        "category": problem.category,
                        **NO_PATCH,
                        "direction": f"->{language}",
                        "text": found.text,
                        "finished": found.finished,
                        **output_columns(reading, None, problem.answer, None),
                    }
                )
    write_table(rows, output, OUTPUTS, provenance)


if __name__ == "__main__":
    with job(snakemake, "torch", "transformers") as this:
        lm, loaded = load_subject(this.wildcards.model, this.input.weights, **this.slice["subject"])
        answer_problems(
            lm,
            read_problems(this.input.problems),
            this.output.outputs,
            model=this.wildcards.model,
            config=GenerationConfig.model_validate(this.slice["generation"]),
            provenance={**this.provenance, **loaded},
        )
