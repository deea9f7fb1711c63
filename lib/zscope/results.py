"""Results in a notebook: the tables there are, a table with its units, a trained model.

import zscope

zscope.results.tables()
zscope.results.read("lag/sweeps/z_order_sweep/summary")
zscope.results.model("lag/runs/<run>", step=1400)

Names are paths below a results folder, ./results unless another is given. docs/notebooks.md shows
more.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq

from zscope.core.errors import CheckpointError, TableError
from zscope.studies.registry import all_tables
from zscope.tables.read import read_provenance, read_table, table_name

if TYPE_CHECKING:
    from zscope.models.language_model import LanguageModel
    from zscope.models.tensor_transformer import TensorTransformer
    from zscope.models.transformer import Transformer

RESULTS = "results"
CHECKPOINTS = "checkpoints.safetensors"
WEIGHTS = "weights"  # a Hugging Face folder


def tables(results: str | Path = RESULTS) -> pd.DataFrame:
    """The tables in a results folder, one per row: name, path (for `read`), rows, row_is.

    Raises TableError if there is no such folder, or if a file in it is damaged.
    """
    known, found = all_tables(), []
    for name in _names(results):
        path = _path(results, name)
        if table := known.get(table_name(path)):
            found.append((table.name, name, pq.read_metadata(path).num_rows, table.row))
    return pd.DataFrame(found, columns=["name", "path", "rows", "row_is"])


def read(name: str, results: str | Path = RESULTS) -> pd.DataFrame:
    """The table at `name`, such as "lag/sweeps/k_sweep/onsets".

    `frame.attrs` says what it is: "table" (its name), "row" (the meaning of a row), "units" and
    "meanings" (by column), and "provenance" (config slice, code digest, versions).

    Raises TableError if there is no such table, with those there are, or if it is damaged.
    """
    name = name.removesuffix(".parquet")
    path = _path(results, name)
    if not path.is_file():
        there = list(tables(results).path)
        raise TableError(f"{path}: no such table\n{_there(name, there, 'tables')}")
    return read_file(path)


def read_file(path: str | Path) -> pd.DataFrame:
    """`read` of a Parquet file anywhere. Raises TableError if it is not a table of zscope."""
    table = all_tables().get(table_name(path))
    if table is None:
        raise TableError(f"{path}: not a table of zscope")
    frame = read_table(path, table)
    frame.attrs = {
        "table": table.name,
        "row": table.row,
        "units": {column.name: column.unit for column in table.columns},
        "meanings": {column.name: column.meaning for column in table.columns},
        "provenance": read_provenance(path),
    }
    return frame


def model(
    name: str, step: int | None = None, results: str | Path = RESULTS
) -> Transformer | TensorTransformer | LanguageModel:
    """The model of a run, such as "lag/runs/<run>", at a step (None: the last), on the CPU in eval
    mode. "crosslingual/models/<model>", or "models/<name>" of a model that the config names, is a
    LanguageModel (its `model` and `tokenizer`).

    Raises CheckpointError if there is no such model or step, with those there are, or if a file is
    damaged.
    """
    folder = Path(results, name)
    if (folder / CHECKPOINTS).is_file():
        return _trained(folder / CHECKPOINTS, name.partition("/")[0], step)
    if not (folder / WEIGHTS).is_dir():
        places = (f"*/*/*/{CHECKPOINTS}", f"*/*/*/{WEIGHTS}", f"models/*/{WEIGHTS}")
        files = (f for place in places for f in Path(results).glob(place))
        there = sorted(file.parent.relative_to(results).as_posix() for file in files)
        raise CheckpointError(f"{folder}: no model here\n{_there(name, there, 'models')}")
    if step is not None:
        raise CheckpointError(f"{folder}: only the last weights are kept here, so give no step")
    import torch

    from zscope.models.identity import IDENTITY
    from zscope.models.language_model import load_language_model
    from zscope.models.named import load_named

    cpu = torch.device("cpu")
    if (folder / WEIGHTS / IDENTITY).is_file():
        return load_named(folder.name, folder / WEIGHTS, cpu, torch.float32, known=False)
    return load_language_model({"tiny": True}, cpu, torch.float32, folder / WEIGHTS)


def _trained(path: Path, study: str, step: int | None) -> Transformer | TensorTransformer:
    from zscope.models.checkpoints import CheckpointFile
    from zscope.models.tensor_checkpoints import load_tensor_model
    from zscope.models.transformer import Transformer, TransformerConfig

    file = CheckpointFile(path)
    step = file.steps[-1] if step is None else step
    if study == "toylang":
        return load_tensor_model(file, step)
    model = Transformer(TransformerConfig(**file.shape))
    model.load_state_dict(file.load(step))
    return model.eval().requires_grad_(False)


def _names(results: str | Path) -> list[str]:
    """The names of all Parquet files but the stored activations, in order."""
    root = Path(results)
    if not root.is_dir():
        raise TableError(
            f"{root.absolute()}: no such folder\n"
            'run the workflow, or name its results: zscope.results.read(..., results="...")'
        )
    found = (p.relative_to(root).with_suffix("") for p in root.rglob("*.parquet"))
    return sorted(p.as_posix() for p in found if "activations" not in p.parts)


def _path(results: str | Path, name: str) -> Path:
    return Path(results, f"{name}.parquet")


def _there(wrong: str, names: Sequence[str], what: str) -> str:
    """The names below the folder `wrong`; else a close one; else those of the nearest folder."""
    folder = wrong.rstrip("/")
    close = get_close_matches(wrong, names, n=1, cutoff=0.8)
    while folder:
        inside = [name for name in names if name.startswith(f"{folder}/")]
        if inside and (folder == wrong.rstrip("/") or not close):
            more = f" and {len(inside) - 8} more" if len(inside) > 8 else ""
            return f"in {folder} there are {', '.join(inside[:8])}{more}"
        folder = folder.rpartition("/")[0]
    if close:
        return f"did you mean {close[0]}?"
    folders = sorted({name.rpartition("/")[0] for name in names})
    return f"there are {len(names)} {what}, in {', '.join(folders[:8]) or 'no folder'}"
