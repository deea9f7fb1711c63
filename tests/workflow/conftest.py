"""Real runs of the workflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clones import Clone, Finished, copy_code


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, Finished]:
    """The whole workflow on config/smoke.yaml, run once for all tests. Do not edit its code."""
    base = tmp_path_factory.mktemp("smoke")
    clone = Clone(copy_code(base / "code"), base / "run")
    clone.folder.mkdir()
    return clone, clone.snakemake()


@pytest.fixture
def finished(smoke: tuple[Clone, Finished], tmp_path: Path) -> Clone:
    """A copy of the code, to edit, over the finished smoke run: for dry runs alone."""
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    return Clone(copy_code(tmp_path / "edited"), clone.folder)


@pytest.fixture
def fresh(tmp_path: Path) -> Clone:
    """A copy of the code, to edit, and an empty folder."""
    clone = Clone(copy_code(tmp_path / "code"), tmp_path / "run")
    clone.folder.mkdir()
    return clone


@pytest.fixture
def copied(smoke: tuple[Clone, Finished], tmp_path: Path) -> Clone:
    """A copy of the code and of the finished smoke run, to run again."""
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    shutil.copytree(clone.folder, tmp_path / "again", symlinks=True)
    return Clone(copy_code(tmp_path / "edited"), tmp_path / "again")
