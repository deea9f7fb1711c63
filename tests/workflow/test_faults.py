"""What breaks in a run is named in a few lines, leaves nothing half-written, and can be mended."""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clones import Clone, Finished, copy_of_finished, environment, run
from zscope.core.errors import ZscopeError
from zscope.models.checkpoints import load_tensors

pytestmark = pytest.mark.slow


def one_run(clone: Clone, condition: str = "*parity1*") -> str:
    """The id of a run of a condition, by default of the sweep z_order_sweep."""
    return min(p.name for p in clone.folder.glob(f"results/lag/runs/{condition}-s*"))


def messages(done: Finished) -> list[str]:
    """The errors as the jobs printed them; Snakemake shows each once more, from its log."""
    assert done.status != 0, done.output
    assert "Traceback" not in done.output, done.output[-5000:]
    found = re.findall(r"^(Error: .*?)failed with exit status", done.output, re.M | re.S)
    return list(dict.fromkeys(found))


def message(done: Finished) -> str:
    (error,) = messages(done)
    return error


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


@dataclass(frozen=True)
class Damage:
    """A file between two rules, and a target whose job reads it. `rule` makes the target."""

    file: str
    target: str
    rule: str


CONDITIONS = {
    "long": "bz_to_a-k1-n80-*",
    "probed": "bz_to_a-k2-n20-parity1-*-bs16-*",
    "summarised": "bz_to_a-k1-n20-*",
}
# No target needs the file of another, so that all can be damaged at once.
DAMAGES = {
    "facts": Damage(
        "results/lag/facts/{facts}.parquet",
        "results/lag/runs/{long}-s0/metrics.parquet",
        "train_run",
    ),
    "checkpoints": Damage(
        "results/lag/runs/{probed}-s0/checkpoints.safetensors",
        "results/lag/probes/{probed}/logit_lens.parquet",
        "measure_probe",
    ),
    "metrics": Damage(
        "results/lag/runs/{summarised}-s0/metrics.parquet",
        "results/lag/conditions/{summarised}/curves.parquet",
        "summarise_condition",
    ),
    "curves": Damage(
        "results/lag/sweeps/tasks/curves.parquet",
        "results/figures/lag/tasks.svg",
        "draw_figure",
    ),
    # The workflow's only files of JSON; their safetensors are checked in the same way.
    "JSON": Damage(
        "results/crosslingual/models/{model}/weights/{json}",
        "results/crosslingual/models/{model}/model.parquet",
        "describe_model",
    ),
}


def change_a_digit(path: Path) -> None:
    """So that it stays JSON, and says another thing."""
    whole = path.read_bytes()
    at = re.search(rb"hidden_size\D+(\d)", whole).start(1)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


def damage(path: Path, how: str) -> None:
    if how == "truncated":
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif path.suffix == ".json":
        change_a_digit(path)
    else:
        flip_a_bit_that_matters(path)


@dataclass(frozen=True)
class Mended:
    """Files that were damaged all at once, in two ways, and what came of them."""

    damages: dict[str, dict[str, Damage]]
    before: dict[str, dict[str, bytes]]
    errors: dict[str, list[str]]
    folder: Path


def beside(path: Path) -> dict[str, bytes]:
    """The file, or all of the embedded model's, since its job writes them together."""
    files = path.parent.iterdir() if path.suffix == ".json" else [path]
    return {p.name: p.read_bytes() for p in files if p.name[0] != "."}


def commands(errors: list[str]) -> list[list[str]]:
    """The words of the commands that errors give."""
    return [shlex.split(re.search(r"^rebuild it: (.*)$", error, re.M)[1]) for error in errors]


def rebuild(given: list[list[str]]) -> None:
    """Do as all of these commands say, from a place of its own, in one call of Snakemake."""
    head = ["snakemake", "--cores", "all", "--force"]
    assert [words[:4] for words in given] == [head] * len(given)
    (options,) = {tuple(words[5:]) for words in given}
    targets = [words[4] for words in given]
    done = run([sys.executable, "-m", *head, *targets, *options], cwd=Path("/"))
    assert done.status == 0, done.output[-5000:]


def facts_of(clone: Clone, condition: str) -> str:
    """The name of the facts of its first run, which has the data's part of the run's name."""
    data = one_run(clone, condition).partition("-L")[0]
    (file,) = clone.folder.glob(f"results/lag/facts/{data}-*-s0.parquet")
    return file.stem


JSON_FILES = {"bit": "config.json", "truncated": "tokenizer.json"}
BOTH_WAYS = pytest.mark.parametrize("how", JSON_FILES)


@pytest.fixture(scope="module")
def mended(smoke: tuple[Clone, Finished], tmp_path_factory: pytest.TempPathFactory) -> Mended:
    """Damage all files in both ways and make the targets; do what the errors say, once, since they
    say the same of either damage; and make the targets again."""
    copied = copy_of_finished(smoke, tmp_path_factory.mktemp("damaged"))
    (model,) = copied.folder.glob("results/crosslingual/models/*/weights")
    names = {
        **{k: one_run(copied, v).rpartition("-s")[0] for k, v in CONDITIONS.items()},
        "model": model.parent.name,
        "facts": facts_of(copied, CONDITIONS["long"]),
    }
    damages: dict[str, dict[str, Damage]] = {}
    errors: dict[str, list[str]] = {}
    for how, file in JSON_FILES.items():
        damages[how] = {
            key: Damage(d.file.format(**names, json=file), d.target.format(**names), d.rule)
            for key, d in DAMAGES.items()
        }
        of = damages[how].values()
        before = {key: beside(copied.folder / d.file) for key, d in damages[how].items()}
        for d in of:
            damage(copied.folder / d.file, how)
        targets, rules = [d.target for d in of], [d.rule for d in of]
        done = copied.snakemake("--force", *targets, "--allowed-rules", *rules)
        errors[how] = messages(done)
        if how == "bit":
            for key, d in damages[how].items():
                path = copied.folder / d.file
                path.write_bytes(before[key][path.name])
    assert sorted(commands(errors["bit"])) == sorted(commands(errors["truncated"]))
    rebuild(commands(errors["truncated"]))
    assert copied.snakemake(*targets).status == 0
    return Mended(damages, before, errors, copied.folder)


@BOTH_WAYS
@pytest.mark.parametrize("key", DAMAGES)
def test_a_damaged_file_is_named_with_the_command_that_rebuilds_it(
    mended: Mended, key: str, how: str
) -> None:
    file = mended.damages[how][key].file
    (error,) = [text for text in mended.errors[how] if file in text]
    assert len(error.splitlines()) <= (3 if key == "JSON" else 4)
    assert len(commands([error])) == 1
    assert beside(mended.folder / file) == mended.before[key]


@BOTH_WAYS
def test_nothing_else_is_called_damaged(mended: Mended, how: str) -> None:
    assert len(mended.errors[how]) == len(DAMAGES)


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
    assert step < 240
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


def mounted(*arguments: str) -> None:
    """Mount, or skip the test where that is not allowed."""
    mount = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if os.geteuid() != 0 or mount.returncode:
        pytest.skip("a file system can be mounted by root alone")


@pytest.mark.parametrize(
    ("folder", "target"),
    [
        ("results/lag/conditions/{condition}", "{folder}/curves.parquet"),
        ("results/figures/lag/{condition}", "{folder}/dashboard.svg"),
    ],
    ids=["tables", "figures"],
)
def test_a_disk_that_is_full_of_tables_or_figures_leaves_nothing_half_written(
    copied: Clone, folder: str, target: str
) -> None:
    condition = one_run(copied).rpartition("-s")[0]
    folder = folder.format(condition=condition)
    target = target.format(folder=folder)
    before = {p.name: p.read_bytes() for p in (copied.folder / folder).iterdir()}
    place = str(copied.folder / folder)
    mounted("-t", "tmpfs", "-o", "size=8k", "tmpfs", place)
    kept = Path(place, "kept")
    kept.touch()  # Snakemake removes a folder that is empty, and this one is mounted
    try:
        done = copied.snakemake(target)
        error = message(done)
        assert f"no space left on device while writing {folder}" in error
        assert len(error.splitlines()) <= 4
        assert [p for p in Path(place).rglob("*") if p.is_file()] == [kept]
        mounted("-o", "remount,size=64m", place)
        again = copied.snakemake(target)
        assert again.status == 0, again.output[-5000:]
        made = {p.name: p.read_bytes() for p in Path(place).iterdir() if p != kept}
        assert Path(target).name in made
        assert made == {name: before[name] for name in made}
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize(
    ("place", "missing", "says"),
    [
        ("results", False, "Write-protected output files for rule draw_figure"),
        ("results", True, "no access to"),
        (".", False, "no access to"),
    ],
)
def test_results_that_cannot_be_written_are_named_before_anything_is_done(
    copied: Clone, place: str, missing: bool, says: str
) -> None:
    folder = copied.folder / place
    figure = copied.folder / "results/figures/lag/z_order_sweep.svg"
    if missing:
        figure.unlink()
        figure.with_suffix(".png").unlink()
    mounted("--bind", str(folder), str(folder))
    try:
        mounted("-o", "remount,ro,bind", str(folder))
        done = copied.snakemake("--force", str(figure.relative_to(copied.folder)))
        planned = copied.snakemake("--dry-run", "lag") if place == "results" else None
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert done.status != 0
    assert "Traceback" not in done.output
    error = done.output[done.output.index(says) :]
    assert len(error.splitlines()) <= 6
    if says == "no access to":
        assert "snakemake --directory" in error
    assert figure.exists() is not missing
    if planned:  # looking is allowed
        assert planned.status == 0
        assert planned.rules == ({"draw_figure"} if missing else set())


def test_the_second_of_two_workflows_in_one_folder_stops_and_the_first_goes_on(
    copied: Clone,
) -> None:
    target = "results/figures/lag/z_order_sweep.svg"
    before = (copied.folder / target).read_bytes()
    first = subprocess.Popen(
        copied.command("--force", target),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        cwd=copied.code,
    )
    locks = copied.folder / ".snakemake/locks"
    while first.poll() is None and not (locks.is_dir() and any(locks.iterdir())):
        time.sleep(0.02)
    # The first must still be at work when the second looks for the lock.
    os.kill(first.pid, signal.SIGSTOP)
    second = copied.snakemake("--force", target)
    os.kill(first.pid, signal.SIGCONT)
    output, _ = first.communicate(timeout=300)
    assert second.status != 0
    assert "cannot be locked" in second.output
    assert "no other Snakemake process" in second.output.replace("\n", " ")
    assert "Traceback" not in second.output
    assert second.jobs == set()
    assert first.returncode == 0, output[-5000:]
    assert (copied.folder / target).read_bytes() == before


def shift_dates(folder: Path, days: Callable[[], float]) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            date = time.time() + 86400 * days()
            os.utime(path, (date, date))


def test_finished_results_stay_finished_whatever_their_dates(copied: Clone) -> None:
    """Small inputs are compared by checksum, and the rest of what counts is in no date."""
    rng = random.Random(0)
    for days in (lambda: 400.0, lambda: -400.0, lambda: rng.uniform(-400, 400)):
        shift_dates(copied.folder / "results", days)
        assert copied.plan("lag").jobs == set()


def test_a_clock_that_was_set_back_is_named_and_nothing_loops(copied: Clone) -> None:
    """Inputs from the future: the job is made once, and what is wrong is said."""
    target = "results/figures/lag/z_order_sweep.svg"
    before = (copied.folder / target).read_bytes()
    sweep = copied.folder / "results/lag/sweeps/z_order_sweep"
    shift_dates(sweep, lambda: 1.0)
    done = copied.snakemake("--force", target)
    assert done.status != 0
    assert done.output.count("rule draw_figure;") == 1
    assert "clock skew" in done.output
    shift_dates(sweep, lambda: 0.0)
    again = copied.snakemake(target)
    assert again.status == 0, again.output[-5000:]
    assert (copied.folder / target).read_bytes() == before


def test_a_training_that_is_resumed_under_another_clock_is_the_same(
    smoke: tuple[Clone, Finished], fresh: Clone
) -> None:
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    run = one_run(clone)
    target = f"results/lag/runs/{run}/metrics.parquet"
    process = subprocess.Popen(
        fresh.command(target),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    while not list(fresh.folder.glob(f"results/lag/runs/{run}/.resume-*/state.safetensors")):
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert fresh.snakemake("--unlock").status == 0
    for days in (-400.0, 400.0):
        killed = Clone(fresh.code, fresh.folder.with_name(f"{days:+.0f}"))
        shutil.copytree(fresh.folder, killed.folder, symlinks=True)
        folder = killed.folder / "results/lag/runs" / run
        shift_dates(folder, lambda days=days: days)
        for facts in killed.folder.glob("results/lag/facts/*.parquet"):
            os.utime(facts, (1e9, 1e9))  # from the future is another test's
        again = killed.snakemake(target)
        assert again.status == 0, again.output[-5000:]
        assert "resuming after step" in again.output
        for name in ("metrics.parquet", "checkpoints.safetensors"):
            ours, theirs = folder / name, clone.folder / f"results/lag/runs/{run}/{name}"
            assert ours.read_bytes() == theirs.read_bytes()


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
