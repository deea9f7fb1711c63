"""Tables come back exactly; what their schema forbids is never written; damage is named."""

import math
import random

import numpy as np
import pandas as pd
import pytest

from zscope.core.errors import TableError
from zscope.tables.read import TABLES, read_provenance, read_table, write_table
from zscope.tables.read import read as tables

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
    write_table(rows(), path, "lag_metrics", PROVENANCE)
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
    return {"int64": i, "double": i + 0.25, "string": f"ä{i}", "bool": i % 2 == 0}[str(column.type)]


@pytest.mark.parametrize("name", TABLES)
def test_every_table_comes_back_exactly(tmp_path, name):
    columns = TABLES[name].columns
    frame = pd.DataFrame(
        [
            {c.name: None if c.nullable and i == 1 else example(c, i) for c in columns}
            for i in range(4)
        ]
    )
    write_table(frame, tmp_path / "a", name, PROVENANCE)
    found = read_table(tmp_path / "a", name)
    assert list(found.columns) == [c.name for c in columns]
    for c in columns:
        for i, value in enumerate(found[c.name]):
            if c.nullable and i == 1:
                assert pd.isna(value)
            else:
                assert value == example(c, i)
        if str(c.type) == "int64":
            assert found[c.name].dtype == ("Int64" if c.nullable else "int64")
    assert read_provenance(tmp_path / "a") == PROVENANCE


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_keeps_its_columns(tmp_path, name):
    write_table([], tmp_path / "a", name, {})
    found = read_table(tmp_path / "a", name)
    assert found.empty
    assert list(found.columns) == [c.name for c in TABLES[name].columns]


@pytest.mark.parametrize("name", TABLES)
def test_the_key_is_made_of_columns_that_a_row_has(name):
    columns = {c.name for c in TABLES[name].columns}
    assert set(TABLES[name].key) <= columns
    assert len(columns) == len(TABLES[name].columns)
    assert all(c.meaning for c in TABLES[name].columns)


def test_equal_input_gives_equal_bytes(tmp_path):
    frame = pd.DataFrame(rows())
    write_table(rows(), tmp_path / "a", "lag_metrics", PROVENANCE)
    write_table(
        frame[frame.columns[::-1]].set_index(np.arange(50) + 7),
        tmp_path / "b",
        "lag_metrics",
        dict(reversed(PROVENANCE.items())),
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_table(rows(), tmp_path / "c", "lag_metrics", {})
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_rows_keep_their_order(path):
    shuffled = random.Random(0).sample(rows(), 50)
    write_table(shuffled, path, "lag_metrics", {})
    assert read_table(path, "lag_metrics")["step"].tolist() == [r["step"] for r in shuffled]


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
    assert part in message_of(written, lambda: write_table(bad, written, "lag_metrics", {}))
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == [written.name]


def test_a_repeated_key_is_named(path):
    bad = [row(step=1), row(step=2), row(step=2, n=3)]
    text = message_of(path, lambda: write_table(bad, path, "lag_metrics", {}))
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
    message_of(path, lambda: write_table([probe, dict(probe)], path, "lag_probe", {}))
    write_table([probe, probe | {"layer": 0}], path, "lag_probe", {})


# --- damage -----------------------------------------------------------------------------------


def test_a_missing_table_names_the_command_that_rebuilds_it(path):
    for read in (lambda: read_table(path, "lag_metrics"), lambda: read_provenance(path)):
        text = message_of(path, read)
        assert "no such file" in text
        assert f"snakemake --cores all --force {path}" in text


@pytest.mark.parametrize("keep", [0, 1, 4, 100, 0.5, -1])
def test_a_truncated_table_is_found(written, keep):
    whole = written.read_bytes()
    written.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    for read in (lambda: read_table(written, "lag_metrics"), lambda: read_provenance(written)):
        assert f"--force {written}" in message_of(written, read)


@pytest.mark.parametrize("content", [b"", b"not this", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_file_of_another_kind_is_refused(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    message_of(path, lambda: read_table(path, "lag_metrics"))


def test_another_table_is_refused(written):
    text = message_of(written, lambda: read_table(written, "lag_timing"))
    assert "lag_timing" in text
    assert f"--force {written}" in text


def test_a_parquet_file_of_others_is_refused(path):
    path.parent.mkdir()
    pd.DataFrame({"a": [1]}).to_parquet(path)
    message_of(path, lambda: read_table(path, "lag_metrics"))


@pytest.mark.parametrize("region", ["data", "footer"])
def test_a_flipped_bit_is_found_or_changes_nothing(written, region):
    """Statistics and padding may change; a value, a name or the provenance may not."""
    whole, frame = written.read_bytes(), read_table(written, "lag_metrics")
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    start, stop = {"data": (0, footer), "footer": (footer, len(whole))}[region]
    rng = random.Random(0)
    messages = []
    for position in sorted(rng.sample(range(start, stop), min(300, stop - start))):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.randrange(8)
        written.write_bytes(bytes(damaged))
        try:
            pd.testing.assert_frame_equal(read_table(written, "lag_metrics"), frame)
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

    monkeypatch.setattr(tables.pq, "write_table", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_table([row()], written, "lag_metrics", {})
    assert caught.value.filename == str(written)
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == [written.name]
