"""Trainings on a real Slurm: a node dies, a job is cancelled or preempted, or runs out of time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from clones import Clone, digests
from cluster import Cluster, wait_until
from keeper import URGENT_PARTITION
from submission import Training, Workflow, overlay
from zscope.core.errors import OPTIONS

pytestmark = pytest.mark.slow

CHECKPOINT = 50  # steps between two
STEPS = 12 * CHECKPOINT


@dataclass(frozen=True)
class Disturbed:
    """Four trainings, each disturbed after its first checkpoints, and what came of them."""

    workflow: Workflow
    folder: Path
    undisturbed: dict[str, str]
    runs: list[str]
    first: dict[str, Training]
    again: dict[str, Training]
    jobs: dict[str, dict[str, str]]

    def assert_made(self, run: str, folder: Path, *, resumed: bool = True) -> None:
        """`folder` has what the undisturbed run has."""
        log = (folder / f"logs/train_run/{run}.log").read_text()
        assert (f"{run}: resuming after step" in log) is resumed
        of_run = {k: v for k, v in digests(folder).items() if f"/{run}/" in k}
        assert {Path(name).name for name in of_run} == {
            "metrics.parquet",
            "checkpoints.safetensors",
        }
        assert of_run == {name: self.undisturbed[name] for name in of_run}

    def assert_requeued(self, run: str) -> None:
        """Slurm ran its job once more, under its id; it was not submitted again."""
        job = self.jobs[self.first[run].job]
        assert self.again[run].job == job["JobId"]
        assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")

    def assert_tried_again(self, run: str, state: str) -> None:
        """Its job ended in `state`; another asked for twice the memory and time."""
        first, second = self.jobs[self.first[run].job], self.jobs[self.again[run].job]
        assert (first["JobState"], second["JobState"]) == (state, "COMPLETED")
        assert first["JobId"] != second["JobId"]
        assert "mem=4000M" in first["TRES"]
        assert "mem=8000M" in second["TRES"]
        assert second["TimeLimit"] == "01:00:00"  # twice 30 minutes


def stop_midway(folder: Path, stopped: dict[str, Training]) -> int:
    """Stop the processes in the middle of their training, so that none ends too early."""
    for part in folder.glob(f"results/lag/runs/*/.resume-*/step_{CHECKPOINT:08d}.*"):
        run = part.parts[-3]
        training = Training.of(folder, run)
        if run not in stopped and training:
            training.process.suspend()
            stopped[run] = training
    return len(stopped)


@pytest.fixture(scope="module")
def disturbed(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    base = tmp_path_factory.mktemp("disturbed")
    config = overlay(seeds=[0, 1, 2, 3], steps=STEPS, checkpoint_every=CHECKPOINT, device="cpu")
    workflow = Workflow.of(base / "code", config)
    local, folder = base / "local", base / "run"
    until = ("lag", "--until", "train_run")
    first: dict[str, Training] = {}
    again: dict[str, Training] = {}

    def all_started_again() -> bool:
        for run in first:
            training = Training.of(folder, run)
            if run not in again and training and training.process != first[run].process:
                again[run] = training
        return len(again) == 4

    with ThreadPoolExecutor() as pool, workflow.submitted(slurm, folder, *until) as submission:
        wait_until("four trainings", lambda: stop_midway(folder, first) == 4, 120)
        jobs = slurm.jobs()
        dies, is_cancelled, runs_out, is_preempted = runs = sorted(first)
        assert {jobs[t.job]["JobState"] for t in first.values()} == {"RUNNING"}
        dead = jobs[first[dies].job]["NodeList"]
        slurm.crash(dead)
        slurm.call("scancel", first[is_cancelled].job)
        slurm.call("scontrol", "update", f"JobId={first[runs_out].job}", "TimeLimit=1")
        wanted = jobs[first[is_preempted].job]["NodeList"]
        ask = ("sbatch", "--partition", URGENT_PARTITION, "--nodelist", wanted, "--parsable")
        urgent = slurm.call(*ask, "-D", "/", "-o", "/dev/null", "--wrap=true").strip()
        # Slurm takes a minute or two over this; meanwhile the same, undisturbed.
        calm = pool.submit(workflow.run_locally, local, *until)
        wait_until("four trainings again", all_started_again, 240)
        status = submission.finish(120)
        assert status == 0, submission.output.read_text()[-5000:]
        calm.result()
    jobs = slurm.jobs()
    assert (jobs[urgent]["JobState"], jobs[urgent]["NodeList"]) == ("COMPLETED", wanted)
    yield Disturbed(workflow, folder, digests(local), runs, first, again, jobs)
    slurm.revive(dead)


def test_when_a_node_dies_its_job_goes_on_elsewhere(disturbed: Disturbed) -> None:
    disturbed.assert_requeued(disturbed.runs[0])
    disturbed.assert_made(disturbed.runs[0], disturbed.folder)


def test_a_cancelled_job_is_submitted_again_and_goes_on(disturbed: Disturbed) -> None:
    disturbed.assert_tried_again(disturbed.runs[1], "CANCELLED")
    disturbed.assert_made(disturbed.runs[1], disturbed.folder)


def test_a_job_over_its_time_limit_gets_more_and_goes_on(disturbed: Disturbed) -> None:
    disturbed.assert_tried_again(disturbed.runs[2], "TIMEOUT")
    disturbed.assert_made(disturbed.runs[2], disturbed.folder)


def test_a_preempted_job_goes_on_when_there_is_room(disturbed: Disturbed) -> None:
    """Its node was taken by a job of a partition that comes first."""
    disturbed.assert_requeued(disturbed.runs[3])
    disturbed.assert_made(disturbed.runs[3], disturbed.folder)


def test_when_snakemake_is_killed_its_jobs_are_nobodys_and_the_next_call_makes_up_for_it(
    slurm: Cluster, disturbed: Disturbed, tmp_path: Path
) -> None:
    """One job is cancelled and goes on; one ends by itself, unrecorded, and is made again."""
    cancelled, ends = runs = disturbed.runs[:2]
    targets = [f"results/lag/runs/{run}/metrics.parquet" for run in runs]
    folder = tmp_path / "run"
    stopped: dict[str, Training] = {}
    with disturbed.workflow.submitted(slurm, folder, *targets) as submission:
        wait_until("two trainings", lambda: stop_midway(folder, stopped) == 2, 120)
    assert submission.process.returncode == -signal.SIGKILL
    # A job knows how the user called Snakemake, for the commands that its messages give.
    assert f"--directory {folder} --config" in stopped[ends].process.environ()[OPTIONS]
    slurm.call("scancel", stopped[cancelled].job)
    stopped[ends].process.resume()
    wait_until("no job is left", lambda: not slurm.call("squeue", "-h"), 60)
    assert (folder / targets[1]).exists()
    clone = Clone(disturbed.workflow.code, folder)
    assert clone.snakemake("--unlock", config="overlay").status == 0
    with disturbed.workflow.submitted(slurm, folder, *targets) as submission:
        assert submission.finish(120) == 0, submission.output.read_text()[-5000:]
    disturbed.assert_made(cancelled, folder)
    disturbed.assert_made(ends, folder, resumed=False)
    # Both are known for what they are: nothing is to be done, and after an edit both are.
    assert clone.plan(*targets, config="overlay").jobs == set()
    edited = clone.to_edit(tmp_path / "edited")
    edited.append("lib/zscope/training.py", "\nEDITED = True\n")
    plan = edited.plan(*targets, config="overlay")
    assert {w for rule, w in plan.jobs if rule == "train_run"} == {f"run={run}" for run in runs}
