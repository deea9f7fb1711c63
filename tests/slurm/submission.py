"""The workflow, submitted to a cluster through the profile of this repository."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from clones import copy_code, environment, run
from cluster import Cluster, wait_until
from keeper import GPU_PARTITION, PARTITION

FASTPOLL = Path(__file__).with_name("fastpoll.py")


def overlay(*, seeds: list[int], steps: int, checkpoint_every: int, device: str) -> dict[str, Any]:
    """One sweep of the lag study, on models too small to learn anything."""
    training = {"steps": steps, "checkpoint_every": checkpoint_every, "eval_examples": 32}
    figures = ("candidate_eval", "k_sweep", "temperature_sweep", "tasks", "transition_alignment")
    return {
        "device": device,
        "bootstrap": {"resamples": 100},
        "toylang": None,
        "crosslingual": None,
        "lag": {
            "run": {
                "model": {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_mlp": 32},
                "training": {"warmup_steps": 5, "eval_every": steps // 2, "batch_size": 16},
            },
            "sweeps": {
                "z_order_sweep": {
                    "data": {"n_unique_b": 20},
                    "training": training,
                    "grid": {"data.z_order": [1]},
                    "seeds": seeds,
                    "probes": ["attention_to_z", "candidate_set"],
                },
                **dict.fromkeys(("k_sweep", "temperature_sweep", "tasks")),
            },
            "figures": dict.fromkeys(figures),
            "probes": {"n_examples": 16},
            "linear": {"regression_steps": 100, "selector_steps": 100, "seeds": [0]},
        },
    }


@dataclass(frozen=True)
class Workflow:
    """A copy of the code with a config, and the profile as a user would edit it."""

    code: Path
    config: str

    @classmethod
    def of(cls, code: Path, config: dict[str, Any]) -> Workflow:
        """With a config of its own."""
        copy_code(code)
        (code / "config/overlay.yaml").write_text(yaml.safe_dump(config))
        return cls.edited(code, "overlay", config["device"])

    @classmethod
    def smoke(cls, code: Path) -> Workflow:
        """With config/smoke.yaml."""
        return cls.edited(copy_code(code), "smoke", "cpu")

    @classmethod
    def edited(cls, code: Path, config: str, device: str) -> Workflow:
        profile = code / "workflow/profiles/slurm/profile.yaml"
        text = profile.read_text()
        edits = {
            'slurm_partition: "cpu" #': f'slurm_partition: "{PARTITION}" #',
            '&gpu_partition "cpu"': f'&gpu_partition "{GPU_PARTITION}"',
        }
        if device != "cuda":
            edits['&gpu_partition "cpu"'] = f'&gpu_partition "{PARTITION}"'
        for old, new in edits.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        profile.write_text(text)
        return cls(code, config)

    @property
    def profile(self) -> dict[str, Any]:
        return yaml.safe_load((self.code / "workflow/profiles/slurm/profile.yaml").read_text())

    def arguments(self, folder: Path, *targets: str) -> list[str]:
        folder.mkdir(exist_ok=True)
        return [
            *targets,
            *("--snakefile", str(self.code / "workflow/Snakefile"), "--directory", str(folder)),
            *("--nocolor", "--configfile", str(self.code / f"config/{self.config}.yaml")),
        ]

    def run_locally(self, folder: Path, *targets: str) -> None:
        command = [sys.executable, "-m", "snakemake", *self.arguments(folder, *targets)]
        done = run([*command, "--cores", "2"], seconds=600)
        assert done.status == 0, done.output[-5000:]

    @contextmanager
    def submitted(self, slurm: Cluster, folder: Path, *targets: str) -> Iterator[Submission]:
        """Snakemake, at work on `slurm`; it is gone afterwards."""
        command = [sys.executable, str(FASTPOLL), *self.arguments(folder, *targets)]
        found = {k: slurm.environment[k] for k in ("PATH", "SLURM_CONF")}
        output = folder / "snakemake.out"
        with output.open("w") as stream:
            process = subprocess.Popen(
                [*command, "--workflow-profile", "slurm"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**environment(), **found},
                start_new_session=True,
            )
        try:
            yield Submission(process, folder, output)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(frozen=True)
class Submission:
    """A call of Snakemake that submits jobs."""

    process: subprocess.Popen[bytes]
    folder: Path
    output: Path

    def finish(self, seconds: float) -> int:
        """Its exit status."""
        wait_until(f"{self.output} ends", lambda: self.process.poll() is not None, seconds)
        assert self.process.returncode is not None
        return self.process.returncode


@dataclass(frozen=True)
class Training:
    """The process that trains a run at the moment, and its Slurm job."""

    process: psutil.Process
    job: str

    @classmethod
    def of(cls, folder: Path, run: str) -> Training | None:
        """None if no process trains it."""
        with suppress(OSError, psutil.Error, KeyError):
            log = (folder / f"logs/train_run/{run}.log").read_text()
            if started := re.match(r".*; pid (\d+)\n", log):
                process = psutil.Process(int(started[1]))
                return cls(process, process.environ()["SLURM_JOB_ID"])
        return None
