"""Another workflow imports this one, with a config and a prefix of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clones import ROOT, environment
from zscope.studies.registry import TITLES
from zscope.studies.toylang.tables import SEQUENCES
from zscope.tables.read import read_table
from zscope.toy_language.config import LanguageConfig

OUTER = """
module zscope:
    snakefile: {snakefile!r}
    config: {config!r}
    prefix: "theirs"

use rule * from zscope as zscope_*

rule ours:
    default_target: True
    input: "theirs/results/toylang/sequences.parquet"
    output: "ours.parquet"
    shell: "cp {{input}} {{output}}"
"""
OTHERS = {study: None for study in TITLES if study != "toylang"}


def call(folder: Path, config: dict, *arguments: str) -> tuple[int, str]:
    text = OUTER.format(snakefile=str(ROOT / "workflow/Snakefile"), config=config)
    (folder / "Snakefile").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--nocolor", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_module_takes_its_own_config_and_prefix(tmp_path: Path) -> None:
    toylang = {"n_sequences": 7, "rule_sequences": 12, "run": {"language": {"length": 9}}}
    status, said = call(tmp_path, {**OTHERS, "toylang": toylang})
    assert status == 0, said[-2000:]
    rows = read_table(tmp_path / "ours.parquet", SEQUENCES)
    assert len(rows) == 7 * 9, "not the default config's"
    assert LanguageConfig().length != 9
    assert not (tmp_path / "results").exists()
    assert (tmp_path / "theirs/logs/make_toy_language/all.log").exists()
    status, said = call(tmp_path, {**OTHERS, "toylang": toylang})
    assert "Nothing to be done" in said


def test_a_mistake_in_a_modules_config_is_told_in_words(tmp_path: Path) -> None:
    status, said = call(tmp_path, {**OTHERS, "toylang": {"n_sequence": 7}}, "-n")
    assert status != 0
    assert "toylang.n_sequence" in said
    assert "the module's config" in said
    assert "Traceback" not in said
