"""A study on a real Slurm, through workflow/profiles/slurm: what is asked for, what comes out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from clones import PART, Clone, Finished, digests, of_plan, rules_of
from cluster import Cluster
from keeper import GPU_NODE, GPU_PARTITION, PARTITION
from submission import Workflow, overlay

pytestmark = pytest.mark.slow

LOCAL = {
    "make_toy_language",
    "measure_toy_floors",
    "make_problems",
    "list_lag_rows",
    "list_problem_rows",
    "describe_model",
    "summarise_verdicts",
}


def test_sacct_is_broken_here(slurm: Cluster) -> None:
    """So what follows shows that a broken sacct does not hang a run."""
    done = subprocess.run(["sacct"], env=slurm.environment, capture_output=True, check=False)
    assert done.returncode != 0


def test_every_rule_of_the_smoke_config_through_the_profile_makes_what_the_local_run_makes(
    slurm: Cluster, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    before = set(slurm.jobs())
    workflow = Workflow.smoke(tmp_path / "code")
    nothing = Clone(workflow.code, tmp_path)
    probed = dict(nothing.plan("results/lag/sweeps/z_order_sweep/summary.parquet").jobs)
    condition = probed["summarise_condition"].removeprefix("condition=")
    targets = (*PART, f"results/figures/lag/{condition}/dashboard.svg")
    planned = nothing.plan(*targets)
    with workflow.submitted(slurm, tmp_path / "run", *targets) as submission:
        assert submission.finish(1200) == 0, submission.output.read_text()[-5000:]
    jobs = {i: job for i, job in slurm.jobs().items() if i not in before}
    assert {job["JobState"] for job in jobs.values()} == {"COMPLETED"}
    assert {job["Partition"] for job in jobs.values()} == {PARTITION}
    assert {job["Account"] for job in jobs.values()} == {"my-account"}
    # Asked for only now: another worker may be making it meanwhile.
    smoke: tuple[Clone, Finished] = request.getfixturevalue("smoke")
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    # Every rule but those of components, whose jobs are of no other kind than the others'; every
    # table, checkpoint and figure that is made, byte for byte.
    assert planned.rules == done.rules - rules_of("components")
    assert digests(submission.folder) == of_plan(digests(clone.folder), planned)

    # Seconds whose number does not grow are spent beside Snakemake; other steps of seconds share
    # jobs, which ask for no more than one of them needs.
    comments = sorted(job["Comment"] for job in jobs.values())
    assert not [c for c in comments if any(rule in c for rule in LOCAL)]
    grouped = dict(pair.split("=") for pair in workflow.profile["groups"])
    submitted = [rule for rule, _ in planned.jobs if rule not in LOCAL]
    alone = [rule for rule in submitted if rule not in grouped]
    # The tables of one sweep hang together, and not with those of another.
    sweeps = [rule for rule in submitted if grouped.get(rule) == "sweep"]
    others = set(grouped.values()) - {"sweep"}
    assert len(jobs) == len(alone) + len(sweeps) + len(others), comments
    # Facts share a job, 20 at a time; no training does.
    n_facts = len([w for rule, w in planned.jobs if rule == "make_facts"])
    facts = [c for c in comments if "make_facts" in c]
    assert len(facts) == -(-n_facts // 20)
    assert not [c for c in facts if "train_run" in c]
    trained = [c for c in comments if "train_run" in c]
    assert len(trained) == len([w for rule, w in planned.jobs if rule == "train_run"])
    assert {job["NumCPUs"] for job in jobs.values()} == {"1"}
    assert all("mem=4000M" in j["TRES"] for j in jobs.values() if "train_run" in j["Comment"])

    # What Slurm said of good jobs is kept.
    kept = {p.stem for p in (submission.folder / ".snakemake/slurm_logs").rglob("*.log")}
    assert kept == set(jobs)


def test_a_gpu_job_asks_for_a_gpu_where_there_are_some(slurm: Cluster, tmp_path: Path) -> None:
    config = overlay(seeds=[0], steps=30, checkpoint_every=15, device="cuda")
    workflow = Workflow.of(tmp_path / "code", config)
    before = set(slurm.jobs())
    folder = tmp_path / "run"
    with workflow.submitted(slurm, folder, "lag", "--until", "train_run", "--retries", "0") as run:
        status = run.finish(120)
        output = run.output.read_text()
    trained = [
        j for i, j in slurm.jobs().items() if i not in before and "train_run" in j["Comment"]
    ]
    assert [(j["Partition"], j["NodeList"]) for j in trained] == [(GPU_PARTITION, GPU_NODE)]
    assert "gpu:1" in trained[0]["TresPerJob"]
    if torch.cuda.is_available():
        assert status == 0, output[-5000:]
    else:
        assert status != 0
        (log,) = folder.glob("logs/train_run/*.log")
        assert "config key device: cuda is not available here" in log.read_text()
        assert "config key device: cuda is not available here" in output
        assert trained[0]["JobState"] == "FAILED"
