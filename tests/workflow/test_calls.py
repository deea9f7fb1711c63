"""How the workflow may be called: from any folder, on any text, with any options."""

from __future__ import annotations

import re
import shlex
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from clones import ROOT, Clone, copy_code, environment, run

pytestmark = pytest.mark.slow

PROBLEMS = "results/crosslingual/problems.parquet"  # made in seconds, by a job without inputs


def add_venv(code: Path) -> None:
    """A virtual environment in the clone, as `make setup` makes it, with this one's packages."""
    venv.create(code / ".venv", with_pip=False)
    (packages,) = code.glob(".venv/lib/python*/site-packages")
    paths = [str(code / "lib"), *(p for p in site.getsitepackages() if Path(p).is_dir())]
    (packages / "of_the_tests.pth").write_text("\n".join(paths) + "\n")
    shutil.copy2(ROOT / "Makefile", code)
    shutil.copy2(ROOT / "requirements.lock", code)
    (code / ".venv/.ready").touch()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_run_works_in_a_clone_whose_path_the_shell_would_split(tmp_path: Path) -> None:
    code = copy_code(tmp_path / "my clone (v2) & it's 研究 $HOME")
    add_venv(code)
    done = run(["make", "run", "CONFIG=config/smoke.yaml", f"ARGS={PROBLEMS}"], cwd=code)
    assert done.status == 0, done.output[-3000:]
    assert done.rules == {"make_problems"}
    assert (code / PROBLEMS).exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("# café\n".encode("latin-1"), "not UTF-8: byte 0xe9 in line 1"),
        ("seeds: [0]\n".encode("utf-16"), "not UTF-8 but UTF-16"),
        (b"", "empty"),
    ],
)
def test_make_run_names_a_file_that_snakemake_could_not_read(
    tmp_path: Path, content: bytes, says: str
) -> None:
    code = copy_code(tmp_path / "clone")
    add_venv(code)
    (code / "mine.yaml").write_bytes(content)
    done = run(["make", "run", "CONFIG=mine.yaml", f"ARGS={PROBLEMS}"], cwd=code)
    assert done.status != 0
    (line,) = [line for line in done.output.splitlines() if "mine.yaml" in line]
    assert line.startswith("Error: mine.yaml: ")
    assert says in line
    assert "Traceback" not in done.output


def test_the_command_for_a_damaged_table_works_wherever_it_is_typed(
    fresh: Clone, tmp_path: Path
) -> None:
    """With the configuration of the run, which makes other problems than the clone's own does."""
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "my run.yaml").write_text("lag: null\ncrosslingual: {problems: {n: 7}}\n")
    given = ("--config", "toylang=null", "--configfile", str(elsewhere / "my run.yaml"))
    made = fresh.snakemake(PROBLEMS, *given, config=None)
    assert made.status == 0, made.output[-3000:]
    table = fresh.folder / PROBLEMS
    before = table.read_bytes()
    table.write_bytes(before[:100])
    shown = subprocess.run(
        [sys.executable, "-m", "zscope.show", str(table)],
        cwd=elsewhere,
        env=environment() | {"PYTHONPATH": str(fresh.code / "lib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 1
    words = shlex.split(re.search(r"^rebuild it: (.*)$", shown.stderr, re.M)[1])
    assert words[0] == "snakemake"
    again = run([sys.executable, "-m", *words], cwd=elsewhere)
    assert again.status == 0, again.output[-3000:]
    assert table.read_bytes() == before


def test_values_on_the_command_line_are_those_of_yaml(fresh: Clone) -> None:
    words = ("lag=null", "toylang=null", "crosslingual={generation: {strict: false}, seeds: [5]}")
    plan = fresh.plan("--config", *words, config=None)
    assert "make_facts" not in plan.rules
    assert "train_toy_run" not in plan.rules
    assert ("answer_problems", "model=tiny-s5") in plan.jobs


def wrong_call(clone: Clone, kind: str) -> tuple[list[str], str]:
    """The words of a call that Snakemake would take for another, and what the error must say."""
    mine = clone.code / "config/mine.yaml"
    mine.write_text("lag: {}\ntoylang: null\nlag: null\n")
    if kind == "a key twice":
        return ["--configfile", str(mine)], "mine.yaml: key lag is there twice, in lines 1 and 3"
    if kind == "an option twice":
        words = ["--configfile", str(mine), "-n", "--configfile", str(mine)]
        return words, f"Write it once: --configfile {mine} {mine}"
    if kind == "an absolute target":
        return [str(clone.folder / PROBLEMS)], f"Ask for {PROBLEMS}"
    config = clone.code / "config/config.yaml"
    config.write_bytes(config.read_bytes() + "# café".encode("latin-1"))
    return [], "config.yaml: not UTF-8: byte 0xe9 in line"


@pytest.mark.parametrize(
    "kind", ["a key twice", "an option twice", "an absolute target", "a configuration in latin-1"]
)
def test_what_snakemake_would_drop_or_not_find_is_named(fresh: Clone, kind: str) -> None:
    words, says = wrong_call(fresh, kind)
    done = fresh.snakemake(*words, "--dry-run", config=None)
    assert done.status != 0
    assert "Traceback" not in done.output
    error = done.output[done.output.index("Error: ") :]
    assert says in error
    assert len(error.splitlines()) <= 2
