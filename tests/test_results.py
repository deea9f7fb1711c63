"""Results in a notebook: docs/notebooks.md runs, and a mistake is answered with what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import zscope
from closures import import_closure
from zscope.core.errors import CheckpointError, TableError, ZscopeError
from zscope.models.checkpoints import join, save_tensors
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.lag.tables import RUNS, SUMMARY
from zscope.tables.schema import Table
from zscope.tables.write import write_table

ROOT = Path(__file__).parents[1]
PLAIN = {"int": 1, "float": 0.5, "text": "a", "bool": False}
PROVENANCE = {"code": "abc", "slice": {"sweep": "z_order_sweep"}, "versions": {"python": "3.12"}}
SHAPE = TransformerConfig(1, 8, 2, 8, 5, 7)
TENSOR_SHAPE = TensorConfig(9, 6, 2, 2, 8, 4)


def row(table: Table, **given: object) -> dict[str, Any]:
    """A row with these values, and something of the right type in every other column."""
    return {c.name: given.get(c.name, PLAIN[c.type]) for c in table.columns}


def save_run(folder: Path, models: dict[int, Any], shape: Any) -> None:
    """The checkpoints of a run, as the workflow writes them."""
    parts = {step: folder / f"{step}.part" for step in models}
    for step, model in models.items():
        save_tensors(model.state_dict(), parts[step], {"step": step})
    join(parts, folder / "checkpoints.safetensors", shape, PROVENANCE)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small results folder; the test runs beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results"
    sweep = folder / "lag/sweeps/z_order_sweep"
    summary = [
        row(SUMMARY, metric=m, unit=u) for m in ("lag", "z_gap") for u in ("steps", "examples")
    ]
    write_table(summary, sweep / "summary.parquet", SUMMARY, PROVENANCE)
    write_table([row(RUNS, run="order-1-s0")], sweep / "runs.parquet", RUNS, PROVENANCE)
    models = {step: Transformer(SHAPE).init_weights(step) for step in (0, 20)}
    save_run(folder / "lag/runs/order-1-s0", models, SHAPE)
    tensors = {step: TensorTransformer(TENSOR_SHAPE).init_weights(step) for step in (0, 4)}
    save_run(folder / "toylang/runs/reference-s0", tensors, TENSOR_SHAPE)
    (folder / "other").mkdir()
    pd.DataFrame({"a": [1]}).to_parquet(folder / "other/stranger.parquet")
    return folder


def test_the_page_about_notebooks_runs(results: Path, capsys: pytest.CaptureFixture) -> None:
    page = (ROOT / "docs/notebooks.md").read_text()
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(block, found)
    assert len(found["lag"]) == 1
    assert found["logits"].shape == (1, 4, SHAPE.d_vocab)
    assert "did you mean lag/sweeps/z_order_sweep/summary?" in capsys.readouterr().out


def test_tables_are_listed_with_their_rows(results: Path) -> None:
    tables = zscope.results.tables()
    assert tables.to_dict("records") == [
        {
            "name": "lag_runs",
            "path": "lag/sweeps/z_order_sweep/runs",
            "rows": 1,
            "row_is": RUNS.row,
        },
        {
            "name": "lag_summary",
            "path": "lag/sweeps/z_order_sweep/summary",
            "rows": 4,
            "row_is": SUMMARY.row,
        },
    ]
    assert zscope.results.tables(results).equals(tables)


def test_every_listed_path_can_be_read_with_units_and_provenance(results: Path) -> None:
    for listed in zscope.results.tables().itertuples():
        frame = zscope.results.read(listed.path)
        assert len(frame) == listed.rows
        assert frame.attrs["table"] == listed.name
        assert frame.attrs["row"] == listed.row_is
        assert list(frame.attrs["units"]) == list(frame.columns) == list(frame.attrs["meanings"])
        assert frame.attrs["provenance"] == PROVENANCE
    assert frame.attrs["units"]["n"] == "seeds"
    assert frame.attrs["units"]["sweep"] == ""


def test_results_may_lie_anywhere(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    frame = zscope.results.read("lag/sweeps/z_order_sweep/runs.parquet", results=results)
    assert list(frame.run) == ["order-1-s0"]
    assert zscope.results.model("lag/runs/order-1-s0", results=results).config == SHAPE
    with pytest.raises(TableError, match="/results: no such folder"):
        zscope.results.tables()


@pytest.mark.parametrize(("step", "wanted"), [(None, 20), (20, 20), (0, 0)])
def test_a_checkpoint_becomes_the_model_of_its_study(
    results: Path, step: int | None, wanted: int
) -> None:
    model = zscope.results.model("lag/runs/order-1-s0", step=step)
    truth = Transformer(SHAPE).init_weights(wanted).state_dict()
    assert isinstance(model, Transformer)
    assert not model.training
    assert all(torch.equal(p, truth[name]) for name, p in model.state_dict().items())
    toy = zscope.results.model("toylang/runs/reference-s0", step=0)
    assert isinstance(toy, TensorTransformer)
    assert toy.config == TENSOR_SHAPE


def test_the_embedded_language_model_is_loaded_with_its_tokenizer(results: Path) -> None:
    from zscope.studies.crosslingual.config import TinyShape
    from zscope.studies.crosslingual.problems.parallel import generate
    from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen

    model, tokenizer = build_tiny_qwen(TinyShape(n_layers=2), 0)
    save_tiny_qwen(model, tokenizer, results / "crosslingual/models/tiny-s0/weights")
    found = zscope.results.model("crosslingual/models/tiny-s0")
    ids, mask = found.encode([generate(1, 0, held_out=True)[0].prompt("en")])
    with torch.no_grad():
        assert found.model(input_ids=ids, attention_mask=mask).logits.isfinite().all()
        assert torch.equal(found.model(ids).logits, model.eval()(ids).logits)
    with pytest.raises(CheckpointError, match="only the last weights are kept"):
        zscope.results.model("crosslingual/models/tiny-s0", step=3)


def test_a_named_model_is_loaded_by_its_name(results: Path, tmp_path: Path) -> None:
    from zscope.models.fetching import fetch_model
    from zscope.models.registry import ModelSource
    from zscope.studies.crosslingual.config import TinyShape
    from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen

    model, tokenizer = build_tiny_qwen(TinyShape(n_layers=2), 0)
    save_tiny_qwen(model, tokenizer, tmp_path / "saved")
    source = ModelSource(path=str(tmp_path / "saved"))
    row = fetch_model("mine", source, results / "models/mine/weights", None)
    found = zscope.results.model("models/mine")
    assert found.name == f"mine@{row['digest']}"
    ids = torch.arange(2, 30)[None]
    with torch.no_grad():
        assert torch.equal(found.model(ids).logits, model.eval()(ids).logits)
    with pytest.raises(CheckpointError, match="in models there are models/mine"):
        zscope.results.model("models/other")


@pytest.mark.parametrize(
    ("read", "parts"),
    [
        ('read("lag/sweeps/z_order_sweep")', ["no such table", "z_order_sweep/runs, lag/"]),
        ('read("lag/sweeps/z_order_swep/runs")', ["did you mean lag/sweeps/z_order_sweep/runs?"]),
        ('read("~")', ["there are 2 tables, in lag/sweeps/z_order_sweep"]),
        ('read("other/stranger")', ["not a table of zscope"]),
        ('read("runs", results="elsewhere")', ["elsewhere: no such folder", "run the workflow"]),
        ('model("lag/runs/order-1-s0", step=7)', ["no step 7", "(0, 20)"]),
        ('model("lag/runs/order-1-s1")', ["no model here", "did you mean lag/runs/order-1-s0?"]),
        ('model("toylang/runs")', ["in toylang/runs there are toylang/runs/reference-s0"]),
        ('model("toylang/runs/none")', ["in toylang/runs there are toylang/runs/reference-s0"]),
        ('read("lag/tables")', ["in lag there are lag/sweeps/z_order_sweep/runs, lag/"]),
        ('model("~")', ["there are 2 models, in lag/runs, toylang/runs"]),
    ],
)
def test_a_mistake_is_answered_with_what_there_is(
    results: Path, read: str, parts: list[str]
) -> None:
    with pytest.raises(ZscopeError) as caught:
        eval(f"zscope.results.{read}", {"zscope": zscope})
    text = str(caught.value)
    assert len(text.splitlines()) <= 2
    for part in parts:
        assert part in text


def test_importing_zscope_is_light_and_results_load_without_torch() -> None:
    heavy = {"torch", "pandas", "pyarrow", "pydantic"}
    code = (
        "import sys, zscope; print(*{m.split('.')[0] for m in sys.modules}); "
        "zscope.results.tables; print(*{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    light, after = done.stdout.splitlines()
    assert not heavy & set(light.split())
    assert "torch" not in after.split()


def test_no_job_depends_on_the_notebook_functions() -> None:
    closure = import_closure(ROOT / "lib/zscope/core/jobs.py", search=[ROOT / "lib"])
    assert ROOT / "lib/zscope/__init__.py" in closure
    assert ROOT / "lib/zscope/results.py" not in closure


def test_zscope_has_no_other_lazy_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'result'"):
        _ = zscope.result
