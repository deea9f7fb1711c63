"""The cluster that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import PACKAGES, Cluster, cluster, missing_programs


@pytest.fixture(scope="session")
def needs_slurm() -> None:
    missing = missing_programs()
    if missing:
        packages = " ".join(PACKAGES)
        pytest.skip(f"no {', '.join(missing)} here (apt-get install {packages})")


@pytest.fixture(scope="session")
def slurm(needs_slurm: None) -> Iterator[Cluster]:
    """Four nodes without GPUs, one with two fake ones. sacct is there, and fails."""
    with cluster() as running:
        yield running
