"""What the DAG of many runs costs to plan: CPU seconds, peak memory, jobs and files.

    python benchmarks/scale.py --runs 100 1000 10000

A dry run of one sweep of the lag study, 5 seeds a condition, all probes, 100 checkpoints a run.
Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SEEDS = 5
OTHER_SWEEPS = ("k_sweep", "temperature_sweep", "tasks")


def overlay(runs: int) -> dict[str, Any]:
    """A config of `runs` runs that differ in their learning rate or seed alone."""
    rates = [round(1e-6 * (i + 1), 9) for i in range(runs // SEEDS)]
    figures = ("candidate_eval", *OTHER_SWEEPS, "transition_alignment", "linear_contrast")
    return {
        "toylang": None,
        "crosslingual": None,
        "heads": None,
        "components": None,
        "lag": {
            "sweeps": {
                "z_order_sweep": {
                    "grid": {"data.z_order": [1], "training.lr": rates},
                    "seeds": list(range(SEEDS)),
                    "training": {
                        "steps": 1000,
                        "checkpoint_every": 10,
                        "early_checkpoints": False,
                    },
                },
                **dict.fromkeys(OTHER_SWEEPS),
            },
            "figures": dict.fromkeys(figures),
        },
    }


def plan(runs: int) -> dict[str, float]:
    """What a dry run of so many runs takes and finds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay(runs)))
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", "--cores", "2"]
        command += ["--snakefile", str(ROOT / "workflow/Snakefile"), "--directory", name]
        command += ["--configfile", str(folder / "overlay.yaml")]
        started, output = time.perf_counter(), folder / "output"
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        _, status, used = os.wait4(pid, 0)
        wall, text = time.perf_counter() - started, output.read_text()
    if status:
        raise SystemExit(text[-3000:])
    outputs = sum(line.count(", ") + 1 for line in re.findall(r"^    output: (.*)$", text, re.M))
    jobs = int(re.findall(r"^total +(\d+)$", text, re.M)[0])
    return {
        "runs": int(re.findall(r"^train_run +(\d+)$", text, re.M)[0]),
        "jobs": jobs,
        "outputs": outputs,
        # Beside an output, what Snakemake remembers of it; beside a job, its log and its resources.
        "files": 2 * outputs + 2 * jobs,
        "wall_s": round(wall, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    for runs in parser.parse_args().runs:
        print(json.dumps(plan(runs)), flush=True)


if __name__ == "__main__":
    main()
