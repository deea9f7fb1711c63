"""Unpatched greedy answers to every problem in both languages: table crosslingual_outputs.

Column direction is the prompt's language alone: "->en".
"""

from zscope.core.jobs import job, progress
from zscope.models.language_model import generate
from zscope.studies.crosslingual.config import GenerationConfig
from zscope.studies.crosslingual.patching.readouts import output_columns, read_text
from zscope.studies.crosslingual.problems.parallel import LANGUAGES
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.studies.crosslingual.subject import load_subject
from zscope.studies.crosslingual.tables import OUTPUTS, Row
from zscope.tables.write import write_table

NO_PATCH = {
    **dict.fromkeys(("layer", "k", "kind", "source_problem")),
    **dict.fromkeys(("design", "space", "source", "where", "position_0"), "none"),
    "draw": 0,
}

if __name__ == "__main__":
    with job(snakemake, "torch", "transformers") as this:
        lm, loaded = load_subject(**this.slice["subject"], weights=this.input.get("weights"))
        config = GenerationConfig.model_validate(this.slice["generation"])
        problems = read_problems(this.input.problems)
        rows: list[Row] = []
        for language in LANGUAGES:
            starts = range(0, len(problems), config.batch_size)
            for start in progress(starts, desc=f"answer {language}"):
                batch = problems[start : start + config.batch_size]
                prompts = lm.encode([p.prompt(language) for p in batch])
                generated = generate(lm, *prompts, config.max_new_tokens)
                for problem, output in zip(batch, generated, strict=True):
                    reading = read_text(
                        output.text, output.finished, config.min_letters, config.strict
                    )
                    rows.append(
                        {
                            "model": this.wildcards.model,
                            "problem": problem.id,
                            "category": problem.category,
                            **NO_PATCH,
                            "direction": f"->{language}",
                            "text": output.text,
                            "finished": output.finished,
                            **output_columns(reading, None, problem.answer, None),
                        }
                    )
        write_table(rows, this.output.outputs, OUTPUTS, {**this.provenance, **loaded})
