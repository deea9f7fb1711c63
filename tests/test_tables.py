"""Tables come back exactly; what their schema forbids is never written; damage is named."""

import math
import random
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from zscope.core.errors import TableError
from zscope.studies.lag.tables import METRICS, PROBE, TIMING
from zscope.studies.registry import all_tables
from zscope.tables import write
from zscope.tables.read import read_provenance, read_table, read_tables
from zscope.tables.schema import FLOAT, Column, Table
from zscope.tables.write import write_csv, write_table

TABLES = all_tables()

PROVENANCE = {"slice": {"seed": 3}, "text": "ä", "nothing": None}


def row(**values):
    return {
        "run": "r",
        "step": 0,
        "split": "train",
        "metric": "loss",
        "value": 0.5,
        "ci_low": 0.4,
        "ci_high": 0.6,
        "n": 10,
    } | values


def rows(n=50):
    rng = np.random.default_rng(0)
    return [row(step=i, value=float(rng.normal()), ci_low=None if i % 3 else 0.1) for i in range(n)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "metrics.parquet"


@pytest.fixture
def written(path):
    write_table(rows(), path, METRICS, PROVENANCE)
    return path


def message_of(path, read):
    with pytest.raises(TableError) as caught:
        read()
    text = str(caught.value)
    assert str(path) in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 3
    return text


def example(column, i):
    return {"int": i, "float": i + 0.25, "text": f"ä{i}", "bool": i % 2 == 0}[column.type]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_table_comes_back_exactly(tmp_path, table):
    columns = table.columns
    frame = pd.DataFrame(
        [
            {c.name: None if c.nullable and i == 1 else example(c, i) for c in columns}
            for i in range(4)
        ]
    )
    write_table(frame, tmp_path / "a", table, PROVENANCE)
    found = read_table(tmp_path / "a", table)
    assert list(found.columns) == [c.name for c in columns]
    for c in columns:
        for i, value in enumerate(found[c.name]):
            if c.nullable and i == 1:
                assert pd.isna(value)
            else:
                assert value == example(c, i)
        if c.type == "int":
            assert found[c.name].dtype == ("Int64" if c.nullable else "int64")
    assert read_provenance(tmp_path / "a") == PROVENANCE


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_an_empty_table_keeps_its_columns(tmp_path, table):
    write_table([], tmp_path / "a", table, {})
    found = read_table(tmp_path / "a", table)
    assert found.empty
    assert list(found.columns) == [c.name for c in table.columns]
    assert read_tables([], table).equals(found.astype(object))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_key_is_made_of_columns_that_a_row_has(table):
    columns = {c.name for c in table.columns}
    assert set(table.key) <= columns
    assert len(columns) == len(table.columns)
    assert all(c.meaning for c in table.columns)


def test_no_two_tables_have_a_name_or_a_place_in_common():
    assert len({table.path for table in TABLES.values()}) == len(TABLES)
    for study in {table.study for table in TABLES.values()}:
        room = "" if study in ("models", "text") else "studies."
        tables = import_module(f"zscope.{room}{study}.tables")
        # A study of several parts has the tables of each in a module of its own.
        modules = {f"{part}_": f"{room}{study}.{part}" for part in getattr(tables, "PARTS", {})}
        named = {
            prefix + n.lower().removeprefix(prefix): v
            for prefix, module in (modules or {"": f"{room}{study}"}).items()
            for n, v in vars(import_module(f"zscope.{module}.tables")).items()
            if isinstance(v, Table)
        }
        if modules:  # and what it says of them together in its own
            named |= {n.lower(): v for n, v in vars(tables).items() if isinstance(v, Table)}
        assert {t.short: t for t in tables.TABLES} == named


def test_equal_input_gives_equal_bytes(tmp_path):
    frame = pd.DataFrame(rows())
    write_table(rows(), tmp_path / "a", METRICS, PROVENANCE)
    write_table(
        frame[frame.columns[::-1]].set_index(np.arange(50) + 7),
        tmp_path / "b",
        METRICS,
        dict(reversed(PROVENANCE.items())),
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_table(rows(), tmp_path / "c", METRICS, {})
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_rows_keep_their_order(path):
    shuffled = random.Random(0).sample(rows(), 50)
    write_table(shuffled, path, METRICS, {})
    assert read_table(path, METRICS)["step"].tolist() == [r["step"] for r in shuffled]


# --- what the schema forbids ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "part"),
    [
        ([{k: v for k, v in row().items() if k != "n"}], r"missing: ['n']"),
        ([row(extra=1)], r"unknown: ['extra']"),
        ([row(value=None)], "column value"),
        ([row(value=math.nan)], "column value"),
        ([row(run=None)], "column run"),
        ([row(n=None)], "column n"),
        ([row(), row(value=1.0)], "two rows with"),
        ([row(step=0.5)], "lag_metrics"),
        ([row(step="first")], "lag_metrics"),
        ([row(value="high")], "lag_metrics"),
        ([row(metric=3)], "lag_metrics"),
        ([row(step=2**70)], "lag_metrics"),
        ([row(run={"a": 1})], "lag_metrics"),
    ],
)
def test_rows_that_break_the_schema_are_refused_and_the_old_file_stays(written, bad, part):
    before = written.read_bytes()
    assert part in message_of(written, lambda: write_table(bad, written, METRICS, {}))
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == [written.name]


def test_a_repeated_key_is_named(path):
    bad = [row(step=1), row(step=2), row(step=2, n=3)]
    text = message_of(path, lambda: write_table(bad, path, METRICS, {}))
    assert "'step': 2" in text
    assert not path.exists()


def test_null_layers_of_the_same_metric_are_one_key(path):
    probe = {
        "run": "r",
        "seed": 0,
        "step": 0,
        "probe": "p",
        "layer": None,
        "head": None,
        "metric": "m",
        "value": 1.0,
        "ci_low": None,
        "ci_high": None,
        "n": 1,
    }
    message_of(path, lambda: write_table([probe, dict(probe)], path, PROBE, {}))
    write_table([probe, probe | {"layer": 0}], path, PROBE, {})


# --- damage -----------------------------------------------------------------------------------


def test_a_missing_table_names_the_command_that_rebuilds_it(path):
    for read in (lambda: read_table(path, METRICS), lambda: read_provenance(path)):
        text = message_of(path, read)
        assert "no such file" in text
        assert f"snakemake --cores all --force {path}" in text


@pytest.mark.parametrize("keep", [0, 1, 4, 100, 0.5, -1])
def test_a_truncated_table_is_found(written, keep):
    whole = written.read_bytes()
    written.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    for read in (lambda: read_table(written, METRICS), lambda: read_provenance(written)):
        assert f"--force {written}" in message_of(written, read)


@pytest.mark.parametrize("content", [b"", b"not this", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_file_of_another_kind_is_refused(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    message_of(path, lambda: read_table(path, METRICS))


def test_another_table_is_refused(written):
    text = message_of(written, lambda: read_table(written, TIMING))
    assert "lag_timing" in text
    assert f"--force {written}" in text


def test_a_parquet_file_of_others_is_refused(path):
    path.parent.mkdir()
    pd.DataFrame({"a": [1]}).to_parquet(path)
    message_of(path, lambda: read_table(path, METRICS))


@pytest.mark.parametrize("region", ["data", "footer"])
def test_a_flipped_bit_is_found_or_changes_nothing(written, region):
    """Statistics and padding may change; a value, a name or the provenance may not."""
    whole, frame = written.read_bytes(), read_table(written, METRICS)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    start, stop = {"data": (0, footer), "footer": (footer, len(whole))}[region]
    rng = random.Random(0)
    messages = []
    for position in sorted(rng.sample(range(start, stop), min(300, stop - start))):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.randrange(8)
        written.write_bytes(bytes(damaged))
        try:
            pd.testing.assert_frame_equal(read_table(written, METRICS), frame)
            assert read_provenance(written) == PROVENANCE
        except TableError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(f"--force {written}" in message for message in messages)


@pytest.mark.parametrize("when", ["at the start", "half-way"])
def test_a_full_disk_leaves_the_old_table_and_nothing_else(written, monkeypatch, when):
    before = written.read_bytes()

    def full(_arrow, temporary, **_):
        if when == "half-way":
            temporary.write_bytes(before[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.pq, "write_table", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_table([row()], written, METRICS, {})
    assert caught.value.filename == str(written)
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == [written.name]


# --- what a table is --------------------------------------------------------------------------


def test_the_files_of_a_table_are_its_path_with_every_combination_of_wildcards():
    table = Table("lag_t", "a row", "results/{a}/{b}.parquet", ())
    assert table.paths(a=["x", "y"], b="z") == ["results/x/z.parquet", "results/y/z.parquet"]
    assert table.paths(a=[], b="z") == []
    assert (table.study, table.short) == ("lag", "t")


def test_a_table_has_an_interval_if_it_has_the_end_of_one():
    def table(*names):
        return Table("lag_t", "a row", "t", tuple(Column(n, FLOAT, "", "it") for n in names))

    assert table("value", "ci_low").has_interval
    assert table("shift_ci_low").has_interval
    assert table("null_low").has_interval
    assert not table("value", "low_pass").has_interval


def test_a_frame_for_people_is_written_whole_or_not_at_all(tmp_path):
    frame = pd.DataFrame({"a": [1, None], "text": ["x, y", "ä"]})
    write_csv(frame, tmp_path / "f" / "a.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "f" / "a.csv"), frame)
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["a.csv"]
