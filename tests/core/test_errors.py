"""Errors say what there is, and give commands that can be copied and typed anywhere."""

import os
import shlex
from pathlib import Path

import pytest

from zscope.core.errors import (
    OPTIONS,
    RECORD,
    SNAKEFILE,
    ConfigError,
    find,
    rebuild,
    record_call,
    start_anew,
)


def command(path):
    return shlex.split(rebuild(path).removeprefix("rebuild it: "))


def test_the_command_names_the_output_as_one_word(tmp_path, monkeypatch):
    monkeypatch.delenv(OPTIONS, raising=False)
    path = tmp_path / "a b; rm -r $HOME"
    assert command(path) == ["snakemake", "--cores", "all", "--force", str(path)]


def test_what_the_call_was_given_comes_after_the_output(monkeypatch):
    monkeypatch.setenv(OPTIONS, "--configfile 'my config.yaml' --config device=cpu")
    given = ["--configfile", "my config.yaml", "--config", "device=cpu"]
    assert command("x.parquet") == ["snakemake", "--cores", "all", "--force", "x.parquet", *given]


HEAD = ["snakemake", "--cores", "all", "--force"]
CALL = ["--configfile", "/a b/qwen.yaml", "--config", "lag=null"]


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """The folder of a run of this clone's workflow that was called with CALL, from elsewhere."""
    monkeypatch.delenv(OPTIONS, raising=False)
    run = tmp_path / "runs/my qwen"
    (run / "results/lag").mkdir(parents=True)
    monkeypatch.chdir(run)
    record_call(str(SNAKEFILE), CALL)
    monkeypatch.chdir(tmp_path)
    return run


@pytest.mark.parametrize("typed", ["runs/my qwen/results/lag/x.parquet", "absolute", "in it"])
def test_outside_a_job_the_command_names_the_target_the_run_and_its_last_call(
    run_folder, monkeypatch, typed
):
    path = Path("results/lag/x.parquet")
    where = ["--directory", str(run_folder)]
    if typed == "in it":
        monkeypatch.chdir(run_folder)
        given, where = path, []
    else:
        given = run_folder / path if typed == "absolute" else Path(typed)
    assert command(given) == [*HEAD, str(path), "--snakefile", str(SNAKEFILE), *where, *CALL]


def test_in_the_clone_itself_the_command_is_short(run_folder, monkeypatch):
    (run_folder / "workflow").mkdir()
    (run_folder / "workflow/Snakefile").touch()
    monkeypatch.chdir(run_folder)
    record_call(str(run_folder / "workflow/Snakefile"), [])
    assert command("results/lag/x.parquet") == [*HEAD, "results/lag/x.parquet"]
    assert command(run_folder / "results/lag/x.parquet") == [*HEAD, "results/lag/x.parquet"]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}"])
def test_a_run_without_a_record_is_of_this_clone(run_folder, content):
    record = run_folder / RECORD
    record.unlink()
    if content is not None:
        record.write_text(content)
    path = run_folder / "results/x.parquet"
    where = ["--snakefile", str(SNAKEFILE), "--directory", str(run_folder)]
    assert command(path) == [*HEAD, "results/x.parquet", *where]


def test_the_run_is_the_folder_that_snakemake_ran_in(run_folder):
    for path in ("results/results/x", "results/lag/results/y"):
        assert command(run_folder / path)[4] == path
    inner = run_folder / "results/inner"
    (inner / os.path.dirname(RECORD)).mkdir(parents=True)
    assert command(inner / "results/x")[4] == "results/x"


def test_a_state_is_removed_from_wherever_the_command_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(start_anew("my runs/.resume-1").removeprefix("start the run anew: "))
    assert words == ["rm", "-r", str(tmp_path / "my runs/.resume-1")]


def test_a_name_that_is_not_there_is_an_error_that_lists_those_there_are():
    known = {"tasks": 1, "k_sweep": 2}
    assert find(known, "k_sweep", "sweep") == 2
    with pytest.raises(ConfigError) as caught:
        find(known, "lr_sweep", "sweep")
    assert str(caught.value) == "no sweep lr_sweep; there are tasks, k_sweep"
