"""What the workflow itself costs: seconds a job beyond its work, of a no-op, of a dry run.

    python benchmarks/dag.py

Runs config/smoke.yaml in an empty folder, one job at a time. A job's work is what its log says
between opening and closing it; the rest of its time is Snakemake, starting Python, and imports.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def snakemake(folder: Path, *arguments: str, config: str = "smoke") -> tuple[float, float, str]:
    """Wall seconds, CPU seconds (children included) and output of one call."""
    command = [sys.executable, "-m", "snakemake", *arguments, "--nocolor", "--cores", "1"]
    command += ["--snakefile", str(ROOT / "workflow/Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(ROOT / f"config/{config}.yaml")]
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    wall, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system, done.stdout + done.stderr


def work_by_rule(folder: Path) -> dict[str, list[float]]:
    """Seconds of work of every job, by rule, from the logs."""
    found: dict[str, list[float]] = {}
    for log in (folder / "logs").rglob("*.log"):
        rule = log.relative_to(folder / "logs").parts[0]
        found.setdefault(rule, []).append(
            float(re.findall(r"done after ([\d.]+) s", log.read_text())[-1])
        )
    return found


def whole_by_rule(folder: Path) -> dict[str, float]:
    """Mean seconds of a job as Snakemake saw it, by rule, from the benchmark files."""
    times: dict[str, list[float]] = {}
    for file in (folder / "results/benchmarks").rglob("*.tsv"):
        rule = file.relative_to(folder / "results/benchmarks").parts[0]
        times.setdefault(rule, []).append(float(file.read_text().splitlines()[1].split("\t")[0]))
    return {rule: sum(t) / len(t) for rule, t in times.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wall, cpu, _ = snakemake(folder)
        work, whole = work_by_rule(folder), whole_by_rule(folder)
        jobs = sum(map(len, work.values()))
        print(f"{'rule':26}{'jobs':>5}{'work, s':>9}{'start-up, s':>13}")
        for rule, seconds in sorted(work.items()):
            mean = sum(seconds) / len(seconds)
            print(f"{rule:26}{len(seconds):5}{mean:9.2f}{whole[rule] - mean:13.2f}")
        inside = sum(whole[rule] * len(seconds) for rule, seconds in work.items())
        print(f"\nsmoke, one job at a time: {wall:.0f} s wall, {cpu:.0f} CPU-s, {jobs} jobs")
        print(f"Snakemake itself, a job: {(wall - inside) / jobs:.2f} s wall")
        for label, arguments, config in (
            ("no-op on the finished results", (), "smoke"),
            ("dry run, config/paper.yaml", ("--dry-run", "--quiet", "all"), "paper"),
        ):
            wall, cpu, _ = snakemake(folder, *arguments, config=config)
            print(f"{label}: {wall:.1f} s wall, {cpu:.1f} CPU-s")


if __name__ == "__main__":
    main()
