"""Draw one figure of the cross-lingual study from the tables of all its models."""

from importlib import import_module
from typing import Any

from zscope.config.sizes import check_k, check_layer
from zscope.figures.crosslingual.data import Tables
from zscope.figures.style import save_figure
from zscope.jobs import run_job
from zscope.tables import read_tables


def main(job: Any) -> None:
    """Inputs are named by table, a path or a list with one a model."""
    tracked = job.params.tracked
    part = tracked["slice"]
    frames = read_tables(job.input)
    draw = import_module(f"zscope.figures.crosslingual.{part['figure']}").draw
    # Training seeds share a shape, so the declared shares mean the same in all models.
    shape = frames.pop("crosslingual_models").iloc[0]
    verdict, z = part["verdict"], part["z"]
    cell = {
        **{key: verdict[key] for key in ("design", "source", "where", "direction")},
        "layer": check_layer(verdict["layer"], int(shape["n_layers"])),
        "k": check_k(verdict["k"], int(shape["n_kv_heads"] * shape["d_head"])),
        "kind": z["kinds"][0],
        "position_0": z["position_0"],
        "gate": part["gate"],
    }
    figure = draw(Tables(frames, cell))
    save_figure(figure, [job.output.svg, job.output.png], tracked)


if __name__ == "__main__":
    run_job(snakemake, main)
