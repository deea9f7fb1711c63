"""Start a Slurm on loopback in the folder that is named, keep it, and end all of it.

    python keeper.py FOLDER

Prints "ready" when every node is idle. A line on its standard input is the name of a dead node to
start again. When that input closes, because its owner (`cluster.py`) closed it, was interrupted or
was killed, all ends. The daemons stay in the foreground as its children; what they leave behind
becomes its child too, because it is a subreaper. So its descendants are the whole cluster, jobs
included.

Needs no root, no systemd, no cgroups, no database, and writes nothing outside FOLDER. Standard
library only: it also runs under the system's Python, as a user who cannot read this one's.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

READY = "ready"
NODES = ("n1", "n2", "n3", "n4")
GPU_NODE = "g1"
PARTITION, GPU_PARTITION = "batch", "accelerated"
URGENT_PARTITION = "urgent"  # its jobs take the nodes of PARTITION from others
# Two GPUs in name only: Slurm counts them and hands out their numbers, and opens nothing.
GPU_FILES = ("/dev/null", "/dev/zero")
# Memory is only counted. One core a node, so that each runs one job at a time.
SHAPE = "CPUs=1 Boards=1 SocketsPerBoard=1 CoresPerSocket=1 ThreadsPerCore=1 RealMemory=16000"
SECONDS_TO_START = 30.0
SECONDS_TO_END = 20.0
PR_SET_CHILD_SUBREAPER = 36


def reserve_ports(count: int) -> tuple[int, socket.socket]:
    """The first of `count` free ports in a row, and what keeps another cluster from taking them.

    The reservation is a socket with an abstract name, which is gone with the process that holds it.
    """
    for base in range(17000, 32000, 20):
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0zscope-slurm-{base}")
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            held.close()
        else:
            return base, held
    raise RuntimeError(f"no {count} free ports in a row between 17000 and 32000")


def slurm_conf(folder: Path, base: int) -> str:
    host, user = socket.gethostname().partition(".")[0], pwd.getpwuid(os.getuid()).pw_name
    loopback = "NoAddrCache"
    with suppress(OSError):
        if socket.gethostbyname(host).startswith("127."):
            loopback += ",NoInAddrAny,NoCtldInAddrAny"  # listen on what the host name stands for
    names = (*NODES, GPU_NODE)
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={base + i} {SHAPE} "
        + (f"Gres=gpu:{len(GPU_FILES)} " if name == GPU_NODE else "")
        + "State=UNKNOWN"
        for i, name in enumerate(names, start=1)
    )
    return f"""\
ClusterName=zscope
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={base}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job starts no sooner than cred_expire, two minutes by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters={loopback}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=5
JobAcctGatherType=jobacct_gather/none
# sacct is there and fails, as on many clusters.
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
KillWait=2
MinJobAge=3600
JobRequeue=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
DefMemPerCPU=500
{nodes}
PartitionName={PARTITION} Nodes={",".join(NODES)} Default=YES MaxTime=12:00:00 State=UP
PartitionName={URGENT_PARTITION} Nodes={",".join(NODES)} MaxTime=1:00:00 PriorityTier=2 State=UP
PartitionName={GPU_PARTITION} Nodes={GPU_NODE} MaxTime=12:00:00 State=UP
"""


def srun_wrapper(folder: Path, srun: str) -> str:
    """The jobstep plugin drops SLURM_CONF before its srun; only a cluster that is not configured
    in /etc/slurm needs it back."""
    return f'#!/bin/sh\nSLURM_CONF="{folder}/slurm.conf" exec {srun} "$@"\n'


def write_files(folder: Path, base: int, srun: str) -> None:
    for name in ("bin", "log", "state", "keys", *(f"spool.{n}" for n in (*NODES, GPU_NODE))):
        (folder / name).mkdir()
    (folder / "keys").chmod(0o700)
    (folder / "keys/munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "keys/munge.key").chmod(0o600)
    (folder / "slurm.conf").write_text(slurm_conf(folder, base))
    gpus = [f"NodeName={GPU_NODE} Name=gpu File={file}\n" for file in GPU_FILES]
    (folder / "gres.conf").write_text("".join(gpus))
    (folder / "bin/srun").write_text(srun_wrapper(folder, srun))
    (folder / "bin/srun").chmod(0o755)


def munged(folder: Path) -> list[str]:
    return [
        *("munged", "--foreground", "--num-threads=2"),
        f"--key-file={folder}/keys/munge.key",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/keys/munged.log",
        f"--seed-file={folder}/keys/munged.seed",
    ]


def slurmd(node: str) -> list[str]:
    return ["slurmd", "-D", "-N", node]


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a daemon that stays in the foreground."""
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with (folder / "log" / f"{command[0]}.out").open("ab") as out:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder
        )


def wait_for(what: str, true: Callable[[], bool], daemons: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not true():
        dead = [d.args for d in daemons if d.poll() is not None]
        if dead:
            raise RuntimeError(f"{dead} ended before {what}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {what} within {SECONDS_TO_START:.0f} s")
        time.sleep(0.05)


def all_idle(folder: Path) -> bool:
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    done = subprocess.run(
        ["sinfo", "-h", "-N", "-o", "%N %T"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    states = dict(line.split() for line in done.stdout.splitlines())
    return states == dict.fromkeys((*NODES, GPU_NODE), "idle")


def descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # ended meanwhile
            for child in map(int, task.read_text().split()):
                yield child
                yield from descendants(child)


def end_descendants() -> None:
    """Kill every descendant, and those that appear meanwhile, until there is none."""
    deadline = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < deadline:
        for pid in descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)
    raise RuntimeError(f"still there: {list(descendants(os.getpid()))}")


def tails(folder: Path) -> str:
    """The ends of the daemons' logs, to say why they did not start."""
    logs = sorted((folder / "log").glob("*"))
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


def keep(folder: Path) -> None:
    base, reservation = reserve_ports(len(NODES) + 2)
    srun = shutil.which("srun")
    assert srun is not None
    write_files(folder, base, srun)
    with reservation:
        try:
            daemons = [start(munged(folder), folder)]
            wait_for("socket of munged", (folder / "munge.socket").exists, daemons)
            daemons.append(start(["slurmctld", "-D", "-c"], folder))
            daemons += [start(slurmd(node), folder) for node in (*NODES, GPU_NODE)]
            wait_for("idle nodes", lambda: all_idle(folder), daemons)
            print(READY, flush=True)
            for line in sys.stdin:
                start(slurmd(line.strip()), folder)
        except RuntimeError as error:
            raise SystemExit(f"{error}\n{tails(folder)}") from None
        finally:
            end_descendants()


if __name__ == "__main__":
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep(Path(sys.argv[1]).resolve())
