"""Large studies can be planned, and finished ones are found finished, in seconds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from statistics import median

import pytest

from clones import ROOT, Clone, environment, with_cpu_seconds

pytestmark = pytest.mark.slow


def test_planning_grows_with_the_runs_and_not_faster() -> None:
    """benchmarks/README.md has 10,000 runs, which take two minutes on a quiet machine."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/scale.py"), "--runs", "250", "1000"],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    small, large = map(json.loads, done.stdout.splitlines())
    assert (small["runs"], large["runs"]) == (250, 1000)
    assert large["jobs"] > 3.9 * small["jobs"]
    assert large["cpu_s"] < 5 * small["cpu_s"]
    assert large["cpu_s"] < 30  # a tenth of 10,000 runs in two minutes is 12
    assert large["peak_mib"] < 410  # a tenth of 4 GiB


def test_a_finished_paper_config_is_found_finished_within_fifteen_seconds(fresh: Clone) -> None:
    """Its outputs are empty files that Snakemake is told are up to date."""
    plan = fresh.plan(config="paper")
    outputs = [
        path
        for line in re.findall(r"^    output: (.*)$", plan.output, re.M)
        for path in line.split(", ")
    ]
    assert len(outputs) > 1000
    for output in outputs:
        path = fresh.folder / output
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True)
    touched = fresh.snakemake("--touch", config="paper")
    assert touched.status == 0, touched.output[-5000:]

    again, used = with_cpu_seconds(lambda: fresh.snakemake(config="paper"))
    assert again.status == 0, again.output[-5000:]
    assert "Nothing to be done" in again.output
    assert used < 15, f"{used:.1f} CPU-s"


def test_a_job_costs_little_more_than_its_imports(fresh: Clone) -> None:
    """CPU seconds of Snakemake's call beyond those of a call that does nothing, work included."""
    wildcards = [w for rule, w in fresh.plan("lag").jobs if rule == "make_facts"]
    targets = [f"results/lag/facts/{w.removeprefix('facts=')}.parquet" for w in wildcards]
    assert len(targets) >= 8
    done, whole = with_cpu_seconds(lambda: fresh.snakemake(*targets))
    assert done.status == 0, done.output[-5000:]
    _, nothing = with_cpu_seconds(lambda: fresh.snakemake(*targets))
    script = fresh.code / "workflow/scripts/lag/make_facts.py"
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='imported')"
    imports = median(
        with_cpu_seconds(
            lambda: subprocess.run(
                [sys.executable, "-c", code],
                env={**environment(), "PYTHONPATH": str(fresh.code / "lib")},
                check=True,
            )
        )[1]
        for _ in range(3)
    )
    a_job = (whole - nothing) / len(targets)
    assert a_job < 1.5 * imports, f"{a_job:.2f} CPU-s a job, {imports:.2f} to import"
