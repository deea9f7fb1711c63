"""Where models run."""

from __future__ import annotations

import os

import torch

from zscope.errors import ConfigError


def pick_device(wanted: str) -> torch.device:
    """The device for the config's `device`: auto is cuda, else mps, else cpu.

    Raises ConfigError if the one that is asked for is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        wanted = next(name for name, there in available.items() if there)
    if not available[wanted]:
        there = ", ".join(name for name, yes in available.items() if yes)
        raise ConfigError(f"config key device: {wanted} is not available here; there is {there}")
    return torch.device(wanted)


def set_threads(threads: int) -> None:
    """Let torch use as many threads as Snakemake gave the job, or two jobs fight over the cores."""
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
