"""The cluster of the tests itself: it is a Slurm, it is private, and nothing is left of it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster import Cluster, cluster, name, wait_until
from keeper import GPU_PARTITION

pytestmark = pytest.mark.slow


def names(processes: list[psutil.Process]) -> set[str]:
    return {name(p) for p in processes}


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_two_clusters_at_once_and_nothing_left(slurm: Cluster) -> None:
    with cluster() as other:
        assert other.base_port != slurm.base_port
        job = other.call("sbatch", "--parsable", "-D", "/", "-o", "/dev/null", "--wrap=sleep 600")
        wait_until("it runs", lambda: other.jobs()[job.strip()]["JobState"] == "RUNNING", 30)
        assert job.strip() not in slurm.jobs() or slurm.jobs()[job.strip()]["JobName"] != "wrap"
        wait_until("its step runs", lambda: "sleep" in names(other.processes()), 30)
        processes = other.processes()
        assert {"munged", "slurmctld", "slurmd", "slurmstepd", "sleep"} <= names(processes)
    assert not alive(processes)
    assert not other.folder.exists()
    assert set(slurm.node_states().values()) <= {"idle", "allocated"}


def test_when_the_tests_are_killed_the_cluster_ends(needs_slurm: None) -> None:
    code = (
        "import time; from cluster import cluster\n"
        "with cluster() as c: print(c.keeper.pid, c.folder, flush=True); time.sleep(600)"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    owner = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert owner.stdout
    with owner.stdout:
        pid, folder = owner.stdout.readline().split()
    try:
        keeper = psutil.Process(int(pid))
        processes = [keeper, *keeper.children(recursive=True)]
        assert len(processes) > 5
        owner.kill()
        owner.wait()
        wait_until("all ends", lambda: not alive(processes), 30)
    finally:
        owner.kill()
        shutil.rmtree(folder)


def test_it_needs_no_root(needs_slurm: None) -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if os.getuid() != 0 or python is None:
        pytest.skip("not root, so that the other tests show it; or no python3 for everybody")
    with cluster("nobody", python) as other:
        nobody = pwd.getpwnam("nobody")
        done = subprocess.run(
            ["srun", "-n1", "-D", "/", "id", "-un"],
            env=other.environment,
            user="nobody",
            group=nobody.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "nobody\n"), done.stderr
        assert {p.username() for p in other.processes()} == {"nobody"}


def test_each_job_gets_the_gpus_that_it_asks_for(slurm: Cluster) -> None:
    ask = ("srun", "-n1", "-D", "/", "-p", GPU_PARTITION)
    assert slurm.call(*ask, "--gpus=1", "printenv", "CUDA_VISIBLE_DEVICES").strip() in ("0", "1")
    assert slurm.call(*ask, "--gpus=2", "printenv", "CUDA_VISIBLE_DEVICES") == "0,1\n"
