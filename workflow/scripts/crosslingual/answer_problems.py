"""Unpatched greedy answers to every problem in both languages: table crosslingual_outputs."""

from collections.abc import Mapping
from typing import Any

from zscope.core.jobs import job, progress
from zscope.models.language_model import LanguageModel, generate
from zscope.studies.crosslingual.config import GenerationConfig
from zscope.studies.crosslingual.patching.readouts import output_columns, read_text, stopping_rule
from zscope.studies.crosslingual.problems.parallel import LANGUAGES
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.studies.crosslingual.subject import load_subject
from zscope.studies.crosslingual.tables import OUTPUTS
from zscope.tables.write import write_table

NO_PATCH = {
    "layer": None,
    "k": None,
    "kind": None,
    "draw": 0,
    "source_problem": None,
    **dict.fromkeys(("design", "space", "source", "where", "position_0"), "none"),
}


def answer_problems(
    lm: LanguageModel,
    problems: str,
    outputs: str,
    *,
    model: str,
    config: GenerationConfig,
    provenance: Mapping[str, Any],
) -> None:
    """Column direction is the prompt's language alone: "->en"."""
    asked = read_problems(problems)
    rows = []
    for language in LANGUAGES:
        starts = range(0, len(asked), config.batch_size)
        for start in progress(starts, desc=f"answer {language}"):
            batch = asked[start : start + config.batch_size]
            prompts = lm.encode([p.prompt(language) for p in batch])
            generated = generate(lm, *prompts, config.max_new_tokens, stopping_rule(config.strict))
            for problem, output in zip(batch, generated, strict=True):
                reading = read_text(output.text, output.finished, config.min_letters, config.strict)
                rows.append(
                    {
                        "model": model,
                        "problem": problem.id,
                        "category": problem.category,
                        **NO_PATCH,
                        "direction": f"->{language}",
                        "text": output.text,
                        "finished": output.finished,
                        **output_columns(reading, None, problem.answer, None),
                    }
                )
    write_table(rows, outputs, OUTPUTS, provenance)


if __name__ == "__main__":
    with job(snakemake, "torch", "transformers") as this:
        lm, loaded = load_subject(**this.slice["subject"], weights=this.input.get("weights"))
        answer_problems(
            lm,
            this.input.problems,
            this.output.outputs,
            model=this.wildcards.model,
            config=GenerationConfig.model_validate(this.slice["generation"]),
            provenance={**this.provenance, **loaded},
        )
