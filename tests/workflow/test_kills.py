"""Fifty SIGKILLs, of Snakemake and of single jobs, change nothing but the time."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from clones import Clone, Finished, digests, environment, of_plan

pytestmark = pytest.mark.slow

# What is made, and one probe: of the smoke run as much as has every rule whose jobs are killed.
TARGETS = (
    "results/lag/linear/losses.parquet",
    "results/lag/sweeps/k_sweep/summary.parquet",
    "results/toylang/conditions/reference/phenomena.parquet",
    "results/crosslingual/models/tiny-s0/activations",
    "results/crosslingual/models/tiny-s0/patching/rates.parquet",
    "results/figures/lag/k_sweep.svg",
    "results/figures/crosslingual/training.svg",
)
# How often jobs of a rule are killed, all of the rule together.
KILLS = {
    "make_facts": 5,
    "train_run": 20,
    "measure_probe": 2,
    "summarise_condition": 4,
    "summarise_sweep": 2,
    "train_linear_baselines": 1,
    "train_toy_run": 5,
    "measure_toy_phenomena": 1,
    "train_tiny_model": 2,
    "extract_activations": 1,
    "patch_layer": 1,
    "draw_figure": 6,
}
# How often Snakemake is killed, in which way: with its jobs, or leaving them as orphans; while it
# starts, or while jobs run.
KILLS_OF_SNAKEMAKE = ("all", "alone", "start") * 2
# The moment of a kill is drawn up to here: CPU-seconds of the job (no job of the rule takes less),
# or, for three training jobs of the lag study in four, checkpoints that it has written.
LATEST_CPU_SECONDS = {
    "train_run": 2.5,
    "measure_probe": 2.5,
    "train_toy_run": 2.5,
    "train_tiny_model": 2.5,
    "measure_toy_phenomena": 1.5,
    "extract_activations": 1.5,
    "patch_layer": 1.5,
}
LATEST_CPU_SECONDS_OF_OTHERS = 0.4
LATEST_CHECKPOINT = 3
STEPS = 240  # of a training, in config/smoke.yaml


@dataclass
class Victim:
    """A running job, and the moment at which it is killed."""

    process: psutil.Process
    rule: str
    cpu_seconds: float
    checkpoints: int | None
    seen: set[Path] = field(default_factory=set)

    def is_due(self, folder: Path) -> bool:
        try:
            times = self.process.cpu_times()
        except psutil.Error:
            return False
        if self.checkpoints is None:
            return times.user + times.system >= self.cpu_seconds
        state = resume_folder(folder, self.process.pid)
        new = set(state.glob("step_*")) - self.seen if state else set()
        return len(new) >= self.checkpoints


def resume_folder(folder: Path, pid: int) -> Path | None:
    """Where the training job of this process keeps its state."""
    for log in (folder / "logs/train_run").glob("*.log"):
        if re.match(rf".*; pid {pid}$", log.read_text().partition("\n")[0]):
            found = folder.glob(f"results/lag/runs/{log.stem}/.resume-*")
            return next(found, None)
    return None


def jobs_of(snakemake: psutil.Process) -> dict[int, tuple[psutil.Process, str]]:
    """The processes that run scripts below this one, and their rules, by pid."""
    found = {}
    try:
        below = snakemake.children(recursive=True)
    except psutil.Error:
        return {}
    for process in below:
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        rule = re.search(r"\.snakemake/scripts/\w+\.(\w+)\.py$", command[-1]) if command else None
        if rule and "python" in Path(command[0]).name:
            found[process.pid] = process, rule[1]
    return found


@dataclass
class Killer:
    """Runs the workflow of `clone` again and again, killing on a plan drawn from `rng`."""

    clone: Clone
    targets: tuple[str, ...]
    log: Path
    rng: random.Random
    left: Counter[str] = field(default_factory=lambda: Counter(KILLS))
    killed: Counter[str] = field(default_factory=Counter)
    orphans: list[psutil.Process] = field(default_factory=list)

    def run_until(self, how: str | None) -> int | None:
        """Call Snakemake, killing its jobs, and kill it `how` (None: not). Its status, or None."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                self.clone.command(*self.targets, "--retries", "100"),
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )
        snakemake = psutil.Process(process.pid)
        jobs_first = self.rng.randint(1, 3)
        start_cpu = self.rng.uniform(0.3, 1.6)
        known: dict[int, Victim | None] = {}
        while process.poll() is None:
            if how == "start" and sum(snakemake.cpu_times()[:2]) >= start_cpu:
                return self._kill_snakemake(process, how, {})
            running = jobs_of(snakemake)
            for pid, (job, rule) in running.items():
                if pid not in known:
                    known[pid] = self._victim(job, rule)
                victim = known[pid]
                if victim is None or not victim.is_due(self.clone.folder):
                    continue
                if jobs_first <= 0 and how in ("all", "alone"):
                    return self._kill_snakemake(process, how, running)
                if self.left[rule] > 0 and self._kill(job):
                    self.left[rule] -= 1
                    self.killed[rule] += 1
                    jobs_first -= 1
                known[pid] = None
            time.sleep(0.05)
        return process.wait()

    def _victim(self, job: psutil.Process, rule: str) -> Victim:
        by_checkpoint = rule == "train_run" and self.rng.random() < 0.75
        seen = set(self.clone.folder.glob("results/lag/runs/*/.resume-*/step_*"))
        latest = LATEST_CPU_SECONDS.get(rule, LATEST_CPU_SECONDS_OF_OTHERS)
        return Victim(
            job,
            rule,
            self.rng.uniform(0.0, latest),
            self.rng.randint(1, LATEST_CHECKPOINT) if by_checkpoint else None,
            seen,
        )

    def _kill(self, job: psutil.Process) -> bool:
        try:
            job.send_signal(signal.SIGKILL)
        except psutil.Error:
            return False
        return True

    def _kill_snakemake(
        self,
        process: subprocess.Popen[bytes],
        how: str,
        running: dict[int, tuple[psutil.Process, str]],
    ) -> None:
        if how == "alone":
            self.orphans += [job for job, _ in running.values()]
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.killed[f"snakemake, {how}"] += 1

    def unlock(self) -> None:
        unlocked = self.clone.snakemake("--unlock")
        assert unlocked.status == 0, unlocked.output


def test_fifty_kills_at_random_moments_change_no_byte_of_the_results(
    smoke: tuple[Clone, Finished], fresh: Clone, tmp_path: Path
) -> None:
    calm, done = smoke
    assert done.status == 0, done.output[-5000:]
    (probe,) = calm.folder.glob("results/lag/probes/*/logit_lens.parquet")
    targets = (*TARGETS, str(probe.relative_to(calm.folder)))
    planned = fresh.plan(*targets)
    killer = Killer(fresh, targets, tmp_path / "log", random.Random(0))
    was_locked = False
    for how in KILLS_OF_SNAKEMAKE:
        status = killer.run_until(how)
        assert status is None, killer.log.read_text()[-5000:]
        if not was_locked and how != "start":
            # The holder of the lock is dead; the message says what to do.
            locked = fresh.snakemake(*targets)
            assert locked.status != 0
            assert "--unlock" in locked.output
            was_locked = True
        killer.unlock()
    psutil.wait_procs(killer.orphans, timeout=60)
    status = killer.run_until(None)
    text = killer.log.read_text()
    assert status == 0, text[-5000:]

    # Of every rule that is to be, and of Snakemake in every way.
    assert set(KILLS) <= set(killer.killed), killer.killed
    assert sum(killer.killed.values()) >= 50, killer.killed
    assert {f"snakemake, {how}" for how in KILLS_OF_SNAKEMAKE} <= set(killer.killed)
    # Training went on from many different steps, and never from the start for want of a state.
    resumed = {int(step) for step in re.findall(rf"resuming after step (\d+) of {STEPS}", text)}
    assert len(resumed) >= 5, resumed

    ours, theirs = digests(fresh.folder), of_plan(digests(calm.folder), planned)
    assert {Path(name).suffix for name in theirs} == {
        *(".parquet", ".safetensors", ".json", ".csv", ".html", ".svg", ".png"),
    }
    assert ours == theirs
    assert not list(fresh.folder.rglob("*.tmp"))
    assert not list(fresh.folder.rglob(".resume-*"))
    assert fresh.plan(*targets).jobs == set()
