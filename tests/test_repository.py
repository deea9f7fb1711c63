"""The files that install, lock and cite the project agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WANTED = [
    Requirement(r) for r in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
]
LOCKED = [
    line
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
VERSIONS = {canonicalize_name(name): v for name, _, v in (line.partition("==") for line in LOCKED)}


@pytest.mark.parametrize("line", LOCKED)
def test_the_lock_is_plain_versions(line):
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)
    assert not re.match("nvidia|cuda|triton", line)


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_what_is_wanted_is_locked_to_a_version_that_will_do(wanted):
    assert wanted.specifier.contains(VERSIONS[canonicalize_name(wanted.name)]), "make lock"


def test_torch_is_pinned_exactly():
    (torch,) = (r for r in WANTED if r.name == "torch")
    assert str(torch.specifier) == "==2.13.0"


def test_conda_installs_what_pyproject_says():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    *conda, pip = environment["dependencies"]
    # No path: Snakemake copies the file.
    assert pip == {"pip": PROJECT["dependencies"]}
    assert {c.partition("=")[0] for c in conda} == {"python", "pip", "graphviz"}
    (python,) = (c.partition("=")[2] for c in conda if c.startswith("python"))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)


def test_the_citation_is_a_citation():
    """The required keys of the Citation File Format 1.2.0, here and in every reference."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["type"] in ("software", "dataset")
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


def test_every_make_target_says_what_it_is_for():
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)", makefile, re.M)
    for target in phony.split():
        assert re.search(rf"^{target}:.*## \w", makefile, re.M), target
