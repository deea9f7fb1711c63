"""Trainings on a real Slurm whose node dies, whose job is cancelled, or whose time runs out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from clones import digests
from cluster import Cluster, wait_until
from submission import Training, Workflow, overlay

pytestmark = pytest.mark.slow

CHECKPOINT = 50  # steps between two
STEPS = 12 * CHECKPOINT


@dataclass(frozen=True)
class Disturbed:
    """Three trainings, each disturbed after its first checkpoints, and what came of them."""

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
    config = overlay(seeds=[0, 1, 2], steps=STEPS, checkpoint_every=CHECKPOINT, device="cpu")
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
        return len(first) == 3

    def all_started_again() -> bool:
        for run in first:
            training = Training.of(folder, run)
            if run not in again and training and training.process != first[run].process:
                again[run] = training
        return len(again) == 3

    with ThreadPoolExecutor() as pool, workflow.submitted(slurm, folder, *until) as submission:
        wait_until("three trainings", stopped_midway, 120)
        jobs = slurm.jobs()
        dies, is_cancelled, runs_out = runs = sorted(first)
        assert {jobs[t.job]["JobState"] for t in first.values()} == {"RUNNING"}
        dead = jobs[first[dies].job]["NodeList"]
        slurm.crash(dead)
        slurm.call("scancel", first[is_cancelled].job)
        slurm.call("scontrol", "update", f"JobId={first[runs_out].job}", "TimeLimit=1")
        # Slurm takes a minute or two over this; meanwhile the same, undisturbed.
        calm = pool.submit(workflow.run_locally, local, *until)
        wait_until("three trainings again", all_started_again, 240)
        status = submission.finish(120)
        assert status == 0, submission.output.read_text()[-5000:]
        calm.result()
    yield Disturbed(folder, digests(local), runs, first, again, slurm.jobs())
    slurm.revive(dead)


def test_when_a_node_dies_its_job_goes_on_elsewhere(disturbed: Disturbed) -> None:
    run = disturbed.runs[0]
    job = disturbed.jobs[disturbed.first[run].job]
    assert disturbed.again[run].job == job["JobId"]  # requeued, not submitted again
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    disturbed.assert_resumed(run)


def test_a_cancelled_job_is_submitted_again_and_goes_on(disturbed: Disturbed) -> None:
    disturbed.assert_tried_again(disturbed.runs[1], "CANCELLED")
    disturbed.assert_resumed(disturbed.runs[1])


def test_a_job_over_its_time_limit_gets_more_and_goes_on(disturbed: Disturbed) -> None:
    disturbed.assert_tried_again(disturbed.runs[2], "TIMEOUT")
    disturbed.assert_resumed(disturbed.runs[2])
