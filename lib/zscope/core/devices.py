"""The device that models run on."""

from __future__ import annotations

import torch

from zscope.core.errors import ConfigError


def pick_device(wanted: str) -> torch.device:
    """The device for the config's `device`: auto is cuda, else mps, else cpu.

    Raises ConfigError if the requested device is not available.
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
