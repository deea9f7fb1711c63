"""Sample the reference's language, and find its true rules."""

from pathlib import Path

import numpy as np

from zscope.core.jobs import job
from zscope.core.provenance import derive_seed
from zscope.studies.toylang.tables import RULES, SEQUENCES
from zscope.tables.write import write_table
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rule_finding import find_rules
from zscope.toy_language.rules import rule_rows
from zscope.toy_language.sequences import sequence_rows


def make_toy_language(
    config: LanguageConfig,
    sequences: Path,
    rules: Path,
    *,
    n_sequences: int,
    rule_sequences: int,
    provenance: dict,
) -> None:
    def rng(name: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(derive_seed(0, name)))

    language = ToyLanguage(config)
    sampled = language.sample(n_sequences, rng("sequences"))
    write_table(sequence_rows(language, sampled), sequences, SEQUENCES, provenance)
    found = find_rules(language, rng("rules"), rule_sequences)
    write_table(rule_rows(found), rules, RULES, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy") as this:
        make_toy_language(
            LanguageConfig.model_validate(this.slice["language"]),
            this.output.sequences,
            this.output.rules,
            n_sequences=this.slice["n_sequences"],
            rule_sequences=this.slice["rule_sequences"],
            provenance=this.provenance,
        )
