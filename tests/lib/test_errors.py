"""The command that rebuilds a damaged output can be copied, whatever its name and the call."""

import shlex

from zscope.errors import OPTIONS, rebuild


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
