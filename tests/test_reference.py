"""The reference pages and the editors' schema say what the code says, about everything."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from closures import import_closure
from zscope.config.base import Section
from zscope.reference import COMMAND, SCHEMA, blocks, main, pages, schema, stale
from zscope.studies.config import Config
from zscope.studies.registry import all_tables

ROOT = Path(__file__).parents[1]
TABLES = all_tables()
PAGES = pages()
KEYS = [(block.path, key) for block in blocks() for key in block.keys]
COLUMNS = [(table.name, column) for table in TABLES.values() for column in table.columns]


def all_sections():
    """Every section of the modules that make up config.yaml."""
    lib = ROOT / "lib"
    files = import_closure(lib / "zscope/studies/config.py", search=[lib])
    modules = {".".join(p.relative_to(lib).with_suffix("").parts) for p in files}
    pending, found = [Section], set()
    while pending:
        below = pending.pop().__subclasses__()
        # The sections that others inherit from stand for no block of the file.
        found.update(s for s in below if s.__module__ in modules and not s.__subclasses__())
        pending += below
    return found


@pytest.mark.parametrize("name", PAGES)
def test_generated_files_are_in_step(name):
    assert name not in stale(ROOT), f"to fix: {COMMAND}"


@pytest.mark.parametrize(("path", "key"), KEYS, ids=[f"{p}.{k.name}" for p, k in KEYS])
def test_every_key_is_documented(path, key):
    assert len(key.meaning) > 10
    assert key.meaning[0].isupper() or key.meaning.startswith("lr")
    assert key.type
    assert key.default or "See [" in key.meaning
    assert "Annotated" not in key.type
    assert "typing" not in key.type


def test_every_section_has_its_block_and_every_key_its_row():
    sections = all_sections()
    found = list(blocks())
    assert len({b.path for b in found}) == len(found)
    assert sum(len(b.keys) for b in found) == sum(len(s.model_fields) for s in sections)
    assert all(b.meaning for b in found)


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{t}.{c.name}" for t, c in COLUMNS])
def test_every_column_is_documented(table, column):
    assert column.meaning.strip()
    assert f"| `{column.name}` |" in PAGES["docs/tables.md"].split(f"\n## {table}\n")[1]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_tables_key_is_made_of_its_columns(table):
    assert set(table.key) <= {c.name for c in table.columns}
    assert table.row
    assert table.path.endswith(".parquet")


@pytest.mark.parametrize("page", ["docs/config.md", "docs/tables.md"])
def test_a_pages_links_lead_somewhere(page):
    text = PAGES[page]
    headings = {line[3:] for line in text.splitlines() if line.startswith("## ")}
    anchors = {
        "".join(c for c in h.lower() if c.isalnum() or c in "_- ").replace(" ", "-")
        for h in headings
    }
    links = {part.split(")")[0] for part in text.split("](#")[1:]}
    assert links == anchors


def test_bounds_units_and_defaults_are_shown():
    rows = {(path, key.name): key for path, key in KEYS}
    assert rows["lag.run.training", "lr"].allowed == "> 0"
    assert rows["lag.run.training", "lr"].default == "`0.001`"
    assert rows["lag.run.training", "steps"].unit == "optimizer steps"
    assert rows["lag.run", "init_seed"].allowed == "≥ 0, ≤ 4294967295"
    assert rows["lag.run", "init_seed"].type == "integer or null"
    assert rows["lag.sweeps.<name>", "seeds"].default == "required"
    assert rows["lag.sweeps.<name>", "seeds"].type == "list of integers"
    assert rows["toylang.run.language.skip", "rules"].type == "list of lists of texts"
    assert rows["toylang", "models"].meaning.endswith(
        "See [`toylang.run.model`](#toylangrunmodel)."
    )
    assert rows["", "device"].allowed == "`auto`, `cpu`, `cuda`, `mps`"


# --- the schema ----------------------------------------------------------------------------

VALIDATOR = jsonschema.Draft202012Validator(json.loads(schema()))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)
    assert VALIDATOR.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda f: f.name)
def test_every_shipped_config_fits_the_schema_and_names_it_if_it_stands_alone(file):
    text = file.read_text()
    VALIDATOR.validate(yaml.safe_load(text))
    if file.name == "config.yaml":
        assert f"# yaml-language-server: $schema=../{SCHEMA}\n" in text


@pytest.mark.parametrize(
    "raw",
    [
        {"devise": "cpu"},
        {"device": "gpu"},
        {"lag": {"run": {"data": {"kk": 1}}}},
        {"lag": {"run": {"training": {"lr": 0}}}},
        {"lag": {"run": {"init_seed": -1}}},
        {"lag": {"run": {"data": {"n_facts": 0}}}},
        {"lag": {"sweeps": {"a": {"data": {"kk": 1}}}}},
        {"lag": {"sweeps": {"a": {"grid": {"k": [1]}}}}},
        {"lag": {"sweeps": {"a": {"seeds": [-1]}}}},
        {"lag": {"figures": {"ksweep": "a"}}},
    ],
    ids=str,
)
def test_the_schema_catches_in_the_editor(raw):
    assert not VALIDATOR.is_valid(raw)


def test_the_schema_has_every_key():
    properties = set(VALIDATOR.schema["properties"])
    for definition in VALIDATOR.schema["$defs"].values():
        properties |= set(definition["properties"])
    assert properties == {key.name for _, key in KEYS}
    assert set(VALIDATOR.schema["properties"]) == set(Config.model_fields)


# --- the command ---------------------------------------------------------------------------


def test_check_says_how_to_fix_and_the_command_fixes(tmp_path, capsys):
    (tmp_path / "pyproject.toml").touch()
    assert main(["--check", "--root", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "docs/config.md" in message
    assert message.endswith(f"to fix: {COMMAND}\n")
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / "docs/tables.md").write_text("old")
    assert main(["--check", "--root", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "docs/tables.md" in message
    assert "docs/config.md" not in message


def test_elsewhere_it_writes_nothing(tmp_path, capsys):
    assert main(["--root", str(tmp_path)]) == 1
    assert "--root" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
