"""The smallest lag study that has a job of every rule of it, as an overlay."""

from __future__ import annotations

from pathlib import Path

import yaml

RUN = {
    "steps": 600,
    "warmup_steps": 5,
    "eval_every": 40,
    "eval_examples": 32,
    "batch_size": 256,
    "checkpoint_every": 20,
    "early_checkpoints": False,
}
SMALL_LAG = {
    "toylang": None,
    "crosslingual": None,
    "bootstrap": {"resamples": 100},
    "lag": {
        "run": {
            "model": {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_mlp": 32},
            "training": RUN,
        },
        "sweeps": {
            "z_order_sweep": {
                "data": {"n_unique_b": 20},
                "training": RUN,
                "grid": {"data.z_order": [1]},
                "seeds": [0, 1],
                "probes": ["attention_to_z"],
            },
            "k_sweep": None,
            "temperature_sweep": None,
            "tasks": None,
        },
        "probes": {"n_examples": 16},
        "linear": {"regression_steps": 100, "selector_steps": 100, "seeds": [0]},
        "figures": {
            "z_order_sweep": "z_order_sweep",
            "linear_contrast": "z_order_sweep",
            "transition_alignment": None,
            "candidate_eval": None,
            "k_sweep": None,
            "temperature_sweep": None,
            "tasks": None,
        },
    },
}


def write_small(code: Path) -> None:
    """Write it as config/small.yaml of a copy of the code."""
    (code / "config/small.yaml").write_text(yaml.safe_dump(SMALL_LAG))
