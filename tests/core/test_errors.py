"""The commands that errors give can be copied, whatever the names and wherever they are typed."""

import shlex

from zscope.core.errors import OPTIONS, rebuild, start_anew


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
