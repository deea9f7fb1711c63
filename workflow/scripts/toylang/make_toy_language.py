"""The reference's language: tables toylang_sequences, toylang_rules and toylang_floors."""

from typing import Any

import numpy as np

from zscope.core.jobs import run_job
from zscope.core.provenance import derive_seed, versions
from zscope.toy_language.config import LanguageConfig
from zscope.tables.read import write_table
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.language_rows import floor_rows, rule_rows, sequence_rows
from zscope.toy_language.rules import find_rules


def main(job: Any) -> None:
    tracked = job.params.tracked
    part = tracked["slice"]
    language = ToyLanguage(LanguageConfig.model_validate(part["language"]))

    def rng(name: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(derive_seed(0, name)))

    provenance = {**tracked, "versions": versions("python", "numpy")}
    sequences = sequence_rows(language, language.sample(part["n_sequences"], rng("sequences")))
    write_table(sequences, job.output.sequences, "toylang_sequences", provenance)
    rules = find_rules(language, rng("rules"), part["rule_sequences"])
    write_table(rule_rows(rules), job.output.rules, "toylang_rules", provenance)
    floors = language.floors(part["floor_sequences"], rng("floors"))
    write_table(floor_rows(floors), job.output.floors, "toylang_floors", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
