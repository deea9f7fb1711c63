"""Copies of the code, and running the workflow from them in folders of their own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

from zscope.studies.registry import all_tables
from zscope.tables.schema import Table

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
TARGETS = ("all", "lag", "toylang", "crosslingual", "heads", "components", "make_page")
# A part of the smoke run in which every rule runs: what befalls one sweep, or one figure, befalls
# the others in the same way.
PART = (
    "results/lag/linear/losses.parquet",
    "results/lag/sweeps/z_order_sweep/summary.parquet",
    "results/lag/sweeps/temperature_sweep/summary.parquet",
    "results/toylang/summary.parquet",
    "results/crosslingual/planted.parquet",
    "results/crosslingual/verdicts.parquet",
    "results/heads/summary.parquet",
    "results/heads/pages/lag-z_order_sweep/sequences.html",
    "results/heads/pages/lag-z_order_sweep/heads.html",
    "results/figures/heads/lag-z_order_sweep/onsets.svg",
    "results/figures/heads/lag-z_order_sweep/offset_sweep.svg",
    "results/figures/lag/z_order_sweep.svg",
    "results/figures/toylang/floors.svg",
    "results/figures/crosslingual/training.svg",
)
PARTS = ("workflow", "lib", "config", "environment.yml", "pyproject.toml")


def rules_of(study: str) -> set[str]:
    """The rules of a study, those of the files that its own includes too."""
    folder = ROOT / "workflow/rules"
    text = (folder / f"{study}.smk").read_text()
    parts = re.findall(r'^include: "(.+)"$', text, re.M)
    texts = [text, *((folder / part).read_text() for part in parts)]
    return {rule for text in texts for rule in re.findall(r"^rule (\w+):$", text, re.M)}


@dataclass(frozen=True)
class Finished:
    """A call of Snakemake that has ended."""

    status: int
    output: str

    @cached_property
    def blocks(self) -> list[tuple[str, str]]:
        """(rule, what Snakemake prints of the job) of every job that ran, or would in a dry run."""
        # The jobs of a group are indented.
        pattern = r"^( *)(?:local)?rule (\w+):\n((?:\1    .*\n)*)"
        return [(rule, block) for _, rule, block in re.findall(pattern, self.output, re.M)]

    @property
    def jobs(self) -> set[tuple[str, str]]:
        """(rule, its wildcards, "" without) of every job, those that only name targets left out."""
        found = set()
        for rule, block in self.blocks:
            if rule in TARGETS:
                continue
            wildcards = re.search(r"^ +wildcards: (.*)$", block, re.M)
            found.add((rule, wildcards[1] if wildcards else ""))
        return found

    @property
    def rules(self) -> set[str]:
        return {rule for rule, _ in self.jobs}

    @property
    def outputs(self) -> set[str]:
        """Every output of every job, those in group jobs too."""
        found = re.findall(r"^ +output: (.*)$", self.output, re.M)
        return {path for line in found for path in line.split(", ")}


@dataclass(frozen=True)
class Clone:
    """A copy of the code, and a folder to run it in."""

    code: Path
    folder: Path

    def command(self, *arguments: str, config: str | None = "smoke") -> list[str]:
        files = ["--configfile", str(self.code / f"config/{config}.yaml")] if config else []
        return [
            *(sys.executable, "-m", "snakemake", *arguments),
            *("--snakefile", str(self.code / "workflow/Snakefile")),
            *("--directory", str(self.folder), "--nocolor", "--cores", "2", *files),
        ]

    def snakemake(self, *arguments: str, config: str | None = "smoke") -> Finished:
        return run(self.command(*arguments, config=config), cwd=self.code)

    def plan(self, *arguments: str, config: str | None = "smoke") -> Finished:
        """A dry run. It must succeed."""
        dry = dry_run(self.command(*arguments, "--dry-run", config=config), cwd=self.code)
        assert dry.status == 0, dry.output
        return dry

    def to_edit(self, code: Path) -> Clone:
        """A copy of the code, with its bytecode, over the same folder."""
        shutil.copytree(self.code, code, symlinks=True)
        return Clone(code, self.folder)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.code / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new))

    def append(self, file: str, text: str) -> None:
        with (self.code / file).open("a") as stream:
            stream.write(text)


def run(command: list[str], *, cwd: Path | None = None, seconds: float = 1800) -> Finished:
    """Run a command to its end; what fails there is the caller's to judge."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment(),
        cwd=cwd,
        check=False,
    )
    return Finished(done.returncode, done.stdout + done.stderr)


@cache
def planner() -> subprocess.Popen[str]:
    """The process that planner.py describes, which ends with this one."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("planner.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def dry_run(command: list[str], *, cwd: Path, seconds: int = 600) -> Finished:
    """What `run` returns of a command of `Clone`, in a fork of `planner`."""
    server = planner()
    assert server.stdin
    assert server.stdout
    with tempfile.NamedTemporaryFile("r") as output:
        asked = {
            "words": command[command.index("snakemake") + 1 :],
            "folder": str(cwd),
            "environment": environment(),
            "output": output.name,
            "seconds": seconds,
        }
        print(json.dumps(asked), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        return Finished(status, output.read())


def environment() -> dict[str, str]:
    """This one, less what a Snakemake or pytest above set; bytecode is kept, as it commonly is."""
    dropped = ("SNAKEMAKE", "PYTEST", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return {**kept, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}


def copy_code(target: Path) -> Path:
    target.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / part)
    return target


def copy_of_finished(smoke: tuple[Clone, Finished], target: Path) -> Clone:
    """A copy, code with its bytecode and results, of a run that must have succeeded."""
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    shutil.copytree(clone.folder, target / "run", symlinks=True)
    shutil.copytree(clone.code, target / "code", symlinks=True)
    return Clone(target / "code", target / "run")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every output that must not differ between repeats, by its path in `folder`."""
    files = [p for p in (folder / "results").rglob("*") if p.is_file()]
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.name != "timing.parquet" and "benchmarks" not in p.parts and p.name[0] != "."
    }


def of_plan(found: dict[str, str], plan: Finished) -> dict[str, str]:
    """The digests of what the jobs of a plan make."""
    made = tuple(plan.outputs)
    return {
        name: of
        for name, of in found.items()
        if name in made or name.startswith(tuple(f"{folder}/" for folder in made))
    }


def table_at(path: str) -> Table | None:
    """The table whose file this is."""
    for table in all_tables().values():
        if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(table.path)), path):
            return table
    return None


def with_cpu_seconds(function: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and the CPU seconds of the processes that it started and waited for."""
    before = os.times()
    found = function()
    after = os.times()
    used = after.children_user + after.children_system
    return found, used - before.children_user - before.children_system
