"""What breaks in a run is named in a few lines, leaves nothing half-written, and can be mended."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clones import Clone, Finished
from zscope.errors import ZscopeError
from zscope.models.checkpoints import load_tensors

pytestmark = pytest.mark.slow


def one_run(clone: Clone) -> str:
    """The id of a run of the sweep z_order_sweep."""
    return next(p.parent.name for p in sorted(clone.folder.glob("results/lag/runs/*parity1*/*")))


def message(done: Finished) -> str:
    """The error as the job printed it."""
    assert done.status != 0, done.output
    assert "Traceback" not in done.output, done.output[-5000:]
    start = done.output.index("\nError: ") + 1
    return done.output[start : done.output.index("failed with exit status", start)]


def content(path: Path) -> object:
    """What a file says, or the kind of error that reading it raises."""
    try:
        if path.suffix == ".safetensors":
            return {k: t.tolist() for k, t in load_tensors(path)[0].items()}
        return pq.read_table(path).to_pydict()
    except (ZscopeError, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        return type(error)


def flip_a_bit_that_matters(path: Path) -> None:
    """Flip a bit; one that changes nothing that is read (padding, statistics) is no damage."""
    whole, before = path.read_bytes(), content(path)
    for at in range(len(whole) // 3, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        if content(path) != before:
            return
    raise AssertionError(f"no bit of {path} matters")


@pytest.mark.parametrize(
    ("damaged", "target"),
    [
        ("results/lag/runs/{run}/facts.parquet", "results/lag/runs/{run}/metrics.parquet"),
        (
            "results/lag/runs/{run}/checkpoints.safetensors",
            "results/lag/probes/{condition}/logit_lens.parquet",
        ),
        (
            "results/lag/runs/{run}/metrics.parquet",
            "results/lag/conditions/{condition}/curves.parquet",
        ),
        (
            "results/lag/sweeps/z_order_sweep/onsets.parquet",
            "results/figures/lag/z_order_sweep.svg",
        ),
    ],
    ids=["facts", "checkpoints", "metrics", "onsets"],
)
@pytest.mark.parametrize("how", ["truncated", "bit"])
def test_a_damaged_file_is_named_with_the_command_that_rebuilds_it(
    copied: Clone, damaged: str, target: str, how: str
) -> None:
    run = one_run(copied)
    names = {"run": run, "condition": run.rpartition("-s")[0]}
    path = copied.folder / damaged.format(**names)
    whole = path.read_bytes()
    if how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        flip_a_bit_that_matters(path)
    done = copied.snakemake(target.format(**names), "--force", "--allowed-rules", *RULE[target])
    error = message(done)
    assert damaged.format(**names) in error
    assert len(error.splitlines()) <= 4
    rebuild = re.search(r"snakemake --cores all --force (\S+)", error)
    assert rebuild, error
    again = copied.snakemake("--force", rebuild[1])
    assert again.status == 0, again.output[-5000:]
    assert path.read_bytes() == whole
    assert copied.snakemake(target.format(**names)).status == 0


RULE = {
    "results/lag/runs/{run}/metrics.parquet": ["train_run"],
    "results/lag/probes/{condition}/logit_lens.parquet": ["measure_probe"],
    "results/lag/conditions/{condition}/curves.parquet": ["summarise_condition"],
    "results/figures/lag/z_order_sweep.svg": ["draw_study_figure"],
}


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    fresh: Clone,
) -> None:
    fresh.edit(
        "config/smoke.yaml",
        "data: {n_unique_b: 20, n_facts: 80}",
        "data: {n_unique_b: 20, n_facts: 80}\n      training: {lr: 1.0e+30}",
    )
    plan = fresh.plan()
    run = next(w for rule, w in sorted(plan.jobs) if rule == "train_run" and "lr1e+30" in w)
    name = run.removeprefix("run=")
    done = fresh.snakemake(f"results/lag/runs/{name}/metrics.parquet")
    error = message(done)
    assert name in error
    step = int(re.search(r"not finite at step (\d+)", error)[1])
    kept = fresh.folder / re.search(r"of step (\d+), is (\S+)", error)[2]
    tensors, _ = load_tensors(kept)
    assert all(t.isfinite().all() for t in tensors.values())
    assert step < 30
    assert "learning rate" in error
    assert not list(fresh.folder.glob(f"results/lag/runs/{name}/*.safetensors"))


def test_a_missing_intermediate_is_made_again(copied: Clone) -> None:
    run = one_run(copied)
    metrics = f"results/lag/runs/{run}/metrics.parquet"
    (copied.folder / metrics).unlink()
    assert copied.plan().jobs == set()  # nobody who is out of date needs it
    plan = copied.plan(metrics)
    trained = {w for rule, w in plan.jobs if rule == "train_run"}
    assert trained == {f"run={run}"}


@pytest.fixture
def small_disk(fresh: Clone) -> Iterator[Clone]:
    """A folder whose results lie on a file system of 64 KiB."""
    results = fresh.folder / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(results)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root alone")
    yield fresh
    subprocess.run(["umount", str(results)], check=True)


def test_a_full_disk_is_named_and_training_goes_on_when_there_is_room(small_disk: Clone) -> None:
    jobs = sorted(w for rule, w in small_disk.plan().jobs if rule == "train_run")
    name = next(w for w in jobs if "parity1" in w).removeprefix("run=")
    folder = Path(f"results/lag/runs/{name}")
    done = small_disk.snakemake(str(folder / "metrics.parquet"))
    assert done.status != 0
    assert re.search("no space left on device", done.output, re.I), done.output[-3000:]
    assert "Error: no space left on device while writing" in done.output, done.output[-3000:]
    assert not list((small_disk.folder / folder).glob("*.safetensors"))
    assert not list((small_disk.folder / folder).rglob("*.tmp"))
    room = ["mount", "-o", "remount,size=64m", str(small_disk.folder / "results")]
    subprocess.run(room, check=True)
    again = small_disk.snakemake(str(folder / "metrics.parquet"))
    assert again.status == 0, again.output[-3000:]
