"""Snakemake as it is, but asking for the state of its Slurm jobs every second, and never orphaned.

The Slurm plugin waits 10 s longer after every poll in which no job succeeded, and no option turns
that off. With the process that started it, it dies, so that a killed test leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import signal
import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    assert ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0
    Executor.next_seconds_between_status_checks = property(
        lambda self: 1.0, lambda self, seconds: None
    )
    sys.argv[0] = "snakemake"
    sys.exit(main())
