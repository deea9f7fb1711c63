"""Errors say what there is, and give commands that can be copied and typed anywhere."""

import shlex

import pytest

from zscope.core.errors import OPTIONS, ConfigError, find, rebuild, start_anew


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
