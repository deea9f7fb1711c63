"""A real Slurm on loopback, for tests: starting it, stopping it, asking it, and its nodes' death.

`keeper.py` says what it is made of.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from keeper import READY, slurmd

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "srun", "scancel")
# Daemons are not on every user's path.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


def wait_until(what: str, true: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up."""

    folder: Path
    keeper: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's programs, and Snakemake, need to find this cluster."""
        path = os.pathsep.join([str(self.folder / "bin"), PATH])
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def call(self, *command: str) -> str:
        """The output of one of Slurm's programs, which must succeed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> dict[str, dict[str, str]]:
        """What Slurm says of every job, ended ones too, by id."""
        lines = self.call("scontrol", "--oneliner", "show", "job").splitlines()
        pairs = [[w.partition("=") for w in line.split() if "=" in w] for line in lines]
        every = [{key: value for key, _, value in job} for job in pairs]
        return {job["JobId"]: job for job in every if "JobId" in job}

    def node_states(self) -> dict[str, str]:
        lines = self.call("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return {name: state.rstrip("*") for name, state in (line.split() for line in lines)}

    def processes(self) -> list[psutil.Process]:
        """Every process of the cluster that lives: daemons and jobs."""
        every = psutil.Process(self.keeper.pid).children(recursive=True)
        return [p for p in every if status(p) not in (psutil.STATUS_ZOMBIE, None)]

    def crash(self, node: str) -> None:
        """What a power cut does: SIGKILL for the node's slurmd and for all that runs there."""
        daemon = next(p for p in self.processes() if arguments(p)[1:] == slurmd(node)[1:])
        doomed = [daemon]
        for step in [p for p in self.processes() if name(p) == "slurmstepd"]:
            below = step.children(recursive=True)
            if any(node_of(p) == node for p in below):
                doomed += [step, *below]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def revive(self, node: str) -> None:
        assert self.keeper.stdin
        print(node, file=self.keeper.stdin, flush=True)
        wait_until(f"{node} is idle", lambda: self.node_states()[node] == "idle", 30)

    @property
    def base_port(self) -> int:
        lines = (self.folder / "slurm.conf").read_text().splitlines()
        return next(int(x.partition("=")[2]) for x in lines if x.startswith("SlurmctldPort="))


def arguments(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def status(process: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        return process.status()
    return None


def name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return process.name()
    return ""


def node_of(process: psutil.Process) -> str | None:
    """The node that a job's process runs on."""
    with suppress(psutil.Error):
        return process.environ().get("SLURMD_NODENAME")
    return None


@contextmanager
def cluster(user: str | None = None, python: str = sys.executable) -> Iterator[Cluster]:
    """A cluster, run by `user` (None: by this one), that is gone afterwards."""
    # Not in pytest's folders, which others may not enter: munged refuses such a place.
    folder = Path(tempfile.mkdtemp(prefix="zscope-slurm-")).resolve()
    try:
        folder.chmod(0o755)
        if user is not None:
            shutil.chown(folder, user)
        with launched(folder, user, python) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@contextmanager
def launched(folder: Path, user: str | None, python: str) -> Iterator[Cluster]:
    keeper = subprocess.Popen(
        [python, str(Path(__file__).with_name("keeper.py")), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": PATH},
        start_new_session=True,  # a Ctrl-C for the tests is not for the cluster
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
    )
    assert keeper.stdin
    assert keeper.stdout
    assert keeper.stderr
    try:
        if keeper.stdout.readline().strip() != READY:
            raise RuntimeError(f"Slurm did not start: {keeper.stderr.read()}")
        yield Cluster(folder, keeper)
    finally:
        keeper.stdin.close()
        status = keeper.wait(timeout=60)
        errors = keeper.stderr.read()
        keeper.stdout.close()
        keeper.stderr.close()
    assert status == 0, errors
