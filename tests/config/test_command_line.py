"""What is typed after `snakemake` means what it means in a file, or is an error."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from zscope.config.command_line import check_once, config_values, target_in
from zscope.core.errors import ConfigError


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("toylang=null", {"toylang": None}),
        ("toylang=", {"toylang": None}),
        ("device=cpu", {"device": "cpu"}),
        (
            "crosslingual={generation: {strict: false}, z: {k: [8, 0.5]}}",
            {"crosslingual": {"generation": {"strict": False}, "z": {"k": [8, 0.5]}}},
        ),
        ("lag={'run': {'data': {'unique_first_char': True}}}",
         {"lag": {"run": {"data": {"unique_first_char": True}}}}),
        ("lag={figures: {k_sweep: 'a=b'}}", {"lag": {"figures": {"k_sweep": "a=b"}}}),
    ],
)  # fmt: skip
def test_values_of_the_command_line(word: str, value: object) -> None:
    assert config_values([word]) == [value]


TEXTS = st.text("ab {}[]:,#'é研\\", max_size=6)


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=8,
    )
)
def test_a_value_means_what_it_means_in_a_file(value: object) -> None:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    assert config_values([f"lag={text}"]) == [yaml.safe_load(f"lag: {text}")]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("lag={", "--config lag: no YAML: line 1"),
        ("lag={sweeps: {}, sweeps: {}}", "--config lag: key sweeps is there twice, in line 1"),
    ],
)
def test_a_value_that_is_no_yaml(word: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_values([word])
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        ("lag -n --configfile a --cores 1 --configfile b c", "--configfile a b c"),
        ("--configfiles a.yaml --configfile=b.yaml", "--configfile a.yaml b.yaml"),
        ("--config a=1 -n -C b=2 c=3", "--config a=1 b=2 c=3"),
    ],
)
def test_an_option_of_which_snakemake_keeps_the_last_alone(words: str, instead: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_once(words.split())
    assert str(caught.value).splitlines()[-1].strip() == f"Write it once: {instead}"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "lag --configfile a.yaml b.yaml --config a=1 b=--config",
        "--configfile a.yaml -- --configfile",
        "--cores 1 --cores 2",
    ],
)
def test_options_that_are_there_once(words: str) -> None:
    check_once(words.split())


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/home/me/runs/qwen/results/a b/x.svg", "results/a b/x.svg"),
        ("/home/me/runs/../runs/qwen/results/x.svg", "results/x.svg"),
        ("runs/qwen/results/x.svg", "results/x.svg"),  # as the shell sees it
        ("results/x.svg", None),
        ("results/./x.svg", None),
        ("lag", None),
        ("/home/me/results/x.svg", None),
        ("/home/me/runs/qwen/config/x.yaml", None),
    ],
)
def test_the_name_of_a_target(target: str, name: str | None) -> None:
    assert target_in("/home/me/runs/qwen", target, "/home/me") == name


def test_a_target_is_known_through_links(tmp_path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/results").symlink_to(tmp_path / "disk")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for folder in ("run", "link"):
        assert target_in(str(tmp_path / folder), f"{tmp_path}/{folder}/results/x", "/") == (
            "results/x"
        )
    (tmp_path / "run/results").unlink()
    assert target_in(str(tmp_path / "run"), f"{tmp_path}/link/results/x", "/") == "results/x"
