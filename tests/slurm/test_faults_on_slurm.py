"""Trainings on a real Slurm: a node dies, a job is cancelled or preempted, or runs out of time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from clones import digests
from cluster import Cluster, wait_until
from keeper import URGENT_PARTITION
from submission import Training, Workflow, overlay

pytestmark = pytest.mark.slow

CHECKPOINT = 50  # steps between two
STEPS = 12 * CHECKPOINT


@dataclass(frozen=True)
class Disturbed:
    """Four trainings, each disturbed after its first checkpoints, and what came of them."""

    folder: Path
    undisturbed: dict[str, str]
    runs: list[str]
    first: dict[str, Training]
    again: dict[str, Training]
    jobs: dict[str, dict[str, str]]

    def assert_resumed(self, run: str) -> None:
        log = (self.folder / f"logs/train_run/{run}.log").read_text()
        assert f"{run}: resuming after step" in log
        of_run = {k: v for k, v in digests(self.folder).items() if f"/{run}/" in k}
        assert len(of_run) == 3
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
        assert second["TimeLimit"] == "01:20:00"  # twice 10 minutes for the facts and 30


@pytest.fixture(scope="module")
def disturbed(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    base = tmp_path_factory.mktemp("disturbed")
    config = overlay(seeds=[0, 1, 2, 3], steps=STEPS, checkpoint_every=CHECKPOINT, device="cpu")
    workflow = Workflow.of(base / "code", config)
    local, folder = base / "local", base / "run"
    until = ("lag", "--until", "train_run")
    first: dict[str, Training] = {}
    again: dict[str, Training] = {}

    def stopped_midway() -> bool:
        """Stop the processes in the middle of their training, so that none ends too early."""
        for part in folder.glob(f"results/lag/runs/*/.resume-*/step_{CHECKPOINT:08d}.*"):
            run = part.parts[-3]
            training = Training.of(folder, run)
            if run not in first and training:
                training.process.suspend()
                first[run] = training
        return len(first) == 4

    def all_started_again() -> bool:
        for run in first:
            training = Training.of(folder, run)
            if run not in again and training and training.process != first[run].process:
                again[run] = training
        return len(again) == 4

    with ThreadPoolExecutor() as pool, workflow.submitted(slurm, folder, *until) as submission:
        wait_until("four trainings", stopped_midway, 120)
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
    yield Disturbed(folder, digests(local), runs, first, again, jobs)
    slurm.revive(dead)


def test_when_a_node_dies_its_job_goes_on_elsewhere(disturbed: Disturbed) -> None:
    disturbed.assert_requeued(disturbed.runs[0])
    disturbed.assert_resumed(disturbed.runs[0])


def test_a_cancelled_job_is_submitted_again_and_goes_on(disturbed: Disturbed) -> None:
    disturbed.assert_tried_again(disturbed.runs[1], "CANCELLED")
    disturbed.assert_resumed(disturbed.runs[1])


def test_a_job_over_its_time_limit_gets_more_and_goes_on(disturbed: Disturbed) -> None:
    disturbed.assert_tried_again(disturbed.runs[2], "TIMEOUT")
    disturbed.assert_resumed(disturbed.runs[2])


def test_a_preempted_job_goes_on_when_there_is_room(disturbed: Disturbed) -> None:
    """Its node was taken by a job of a partition that comes first."""
    disturbed.assert_requeued(disturbed.runs[3])
    disturbed.assert_resumed(disturbed.runs[3])
