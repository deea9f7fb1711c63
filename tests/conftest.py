"""What all tests share."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from clones import Clone, Finished, copy_code, copy_of_finished

torch.set_num_threads(1)
# The first example of a test pays for imports, so the clock of a single one says nothing.
settings.register_profile("zscope", deadline=None)
settings.load_profile("zscope")


# Tests whose outcome could hang on the last bits: those that train, and those of models.
NUMERICS = (
    "models",
    "test_training.py",
    "test_tiny_qwen.py",
    "test_ard.py",
    "test_linear_baselines.py",
    "test_patching.py",
)
# Of the folder of models: what is on disk, whose bytes no arithmetic changes.
OF_FILES = ("test_checkpoints.py", "test_fetching.py", "test_identity.py")


# Files that take minutes, in the order in which workers begin them: the longest first, so that none
# is left over when all else is done. The first two are begun at once: one makes the smoke run, and
# the other asks for it only at its end.
LONGEST = (
    "workflow/test_smoke.py",
    "slurm/test_study_on_slurm.py",
    "slurm/test_faults_on_slurm.py",
    "workflow/test_kills.py",
    "workflow/test_faults.py",
    "figures/test_every_figure.py",
    "workflow/test_crosslingual.py",
    "workflow/test_named_models.py",
    "workflow/test_staleness.py",
    "studies/lag/test_training.py",
    "workflow/test_toylang.py",
    "models/test_architectures.py",
    "studies/crosslingual/test_measures.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        names = {item.path.parent.name, item.path.name}
        if names & {*NUMERICS} and not names & {*OF_FILES}:
            item.add_marker(pytest.mark.numerics)
    begun = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    if gone := [str(path) for path in begun if not path.exists()]:
        raise pytest.UsageError(f"LONGEST in tests/conftest.py names what is not there: {gone}")
    items.sort(key=lambda item: begun.get(item.path, len(begun)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Nobody should believe that the workflow was tried on a Slurm, on a real model or in a browser
    when it was not."""
    skipped = terminalreporter.stats.get("skipped", [])
    on_slurm = [report for report in skipped if "tests/slurm/" in report.nodeid]
    if on_slurm:
        reason = on_slurm[0].longrepr[2].removeprefix("Skipped: ")
        line = f"NOT TRIED ON A REAL SLURM: {len(on_slurm)} tests skipped: {reason}"
        terminalreporter.write_line(line, red=True, bold=True)
    for report in skipped:
        if "in_a_browser" in report.nodeid:
            reason = report.longrepr[2].removeprefix("Skipped: ")
            line = f"PAGES WERE NOT OPENED IN A BROWSER: {reason}"
            terminalreporter.write_line(line, red=True, bold=True)
            break
    for report in skipped:
        if "test_named_models" in report.nodeid:
            reason = report.longrepr[2].removeprefix("Skipped: ")
            line = f"NOT TRIED ON A REAL MODEL: {reason}"
            terminalreporter.write_line(line, red=True, bold=True)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Clone, Finished]:
    """The whole workflow on config/smoke.yaml, run once for all tests. Do not edit its code.

    The first process that needs it makes it, and each works on a copy of its own.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "smoke"
    done = shared / "done.json"
    with FileLock(f"{shared}.lock"):
        if not done.exists():
            clone = Clone(copy_code(shared / "code"), shared / "run")
            clone.folder.mkdir()
            done.write_text(json.dumps(asdict(clone.snakemake())))
    own = tmp_path_factory.mktemp("smoke")
    for part in ("code", "run"):
        shutil.copytree(shared / part, own / part, symlinks=True)
    return Clone(own / "code", own / "run"), Finished(**json.loads(done.read_text()))


@pytest.fixture
def finished(smoke: tuple[Clone, Finished], tmp_path: Path) -> Clone:
    """A copy of the code, to edit, over the finished smoke run: for dry runs alone."""
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    return clone.to_edit(tmp_path / "edited")


@pytest.fixture
def fresh(tmp_path: Path) -> Clone:
    """A copy of the code, to edit, and an empty folder."""
    clone = Clone(copy_code(tmp_path / "code"), tmp_path / "run")
    clone.folder.mkdir()
    return clone


@pytest.fixture
def copied(smoke: tuple[Clone, Finished], tmp_path: Path) -> Clone:
    """A copy of the code and of the finished smoke run, to run again."""
    return copy_of_finished(smoke, tmp_path)
