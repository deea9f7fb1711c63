"""Hidden states of prompts, one Parquet file per layer; extracted once and read without the model.

    folder/layer=00/part-0000.parquet    input of layer 0 (the embeddings)
    folder/layer=LL/part-0000.parquet    LL = n_layers: after the last one, before the final norm

Columns: problem, language, token (its place among the prompt's real tokens, from 0; tokens of
examples in front count, and have no rows), position_from_end (0 is the last token), state
(fixed_size_list of float16 or float32, d long). One row per token; the rows of a prompt are
consecutive and in order. One row group per batch. The metadata hold the provenance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.core.errors import DataError, rebuild
from zscope.core.files import atomic_folder
from zscope.core.jobs import progress
from zscope.models.language_model import LanguageModel, residual_states
from zscope.studies.crosslingual.config import Position0
from zscope.studies.crosslingual.problems.parallel import Language, Problem
from zscope.studies.crosslingual.problems.prompt_tokens import encode_prompts, shared_examples
from zscope.studies.crosslingual.space.updates import largest_norm, norms_of, positions_used
from zscope.tables.files import PROVENANCE

Dtype = Literal["float16", "float32"]
_Prompt: TypeAlias = tuple[str, int, Float[np.ndarray, "tokens d"]]
FIXED = {
    "problem": pa.string(),
    "language": pa.string(),
    "token": pa.int32(),
    "position_from_end": pa.int32(),
}


@dataclass(frozen=True, eq=False)
class States:
    """The states of one layer and language, padded on the left.

    problems: ids, row by row, in the order in which they were extracted. states: [n, seq, d] in
    the dtype they were saved in, 0 on padding. mask: 1 for a real token. first: the place of their
    first token in the prompt; above 0 examples stand in front.
    """

    problems: tuple[str, ...]
    states: Float[Tensor, "n seq d"]
    mask: Int[Tensor, "n seq"]
    first: int = 0

    @cached_property
    def norms(self) -> Float[Tensor, "n seq"]:
        """Of the states, in float32."""
        return norms_of(self.states)

    @cached_property
    def massive(self) -> Bool[Tensor, "n seq"]:
        """The real tokens whose state is massive."""
        real = self.mask.bool()
        return real & (self.norms > largest_norm(self.norms[real]))

    def used(self, position_0: Position0) -> Bool[Tensor, "n seq"]:
        """The tokens that count: all, or none that collects attention (the first of a prompt, and
        massive ones). Raises DataError if a prompt has none left."""
        if position_0 == "include":
            return positions_used(self.mask)
        return positions_used(self.mask, self.first == 0, self.massive)


Layer = Mapping[Language, States]


def extract(
    lm: LanguageModel,
    problems: Sequence[Problem],
    languages: Sequence[Language],
    folder: str | Path,
    dtype: Dtype = "float32",
    batch_size: int = 32,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write the states of every prompt at every layer to `folder`, whole or not at all.

    Layers 0 to n_layers - 1 are their inputs, layer n_layers is the final residual. Memory is of
    one batch, however many problems there are. Raises DataError if a state is not finite in
    `dtype` (float16 ends at 65504, which massive activations pass), or if ids repeat.
    """
    ids = [p.id for p in problems]
    if len(set(ids)) != len(ids):
        raise DataError("two problems have the same id: their states could not be told apart")
    work = [
        (language, problems[start : start + batch_size])
        for language in languages
        for start in range(0, len(problems), batch_size)
    ]
    schema = pa.schema(
        {**FIXED, "state": pa.list_(pa.from_numpy_dtype(dtype), lm.d_model)},
        metadata={PROVENANCE: json.dumps(dict(provenance or {}), sort_keys=True)},
    )
    with atomic_folder(Path(folder)) as temporary, ExitStack() as stack:
        writers = []
        for layer in range(lm.n_layers + 1):
            file = _file(temporary, layer)
            file.parent.mkdir()
            writer = pq.ParquetWriter(
                file,
                schema,
                compression="none",  # the noise of floats does not compress
                use_dictionary=["problem", "language"],
                write_statistics=False,
                write_page_checksum=True,
            )
            writers.append(stack.enter_context(writer))
        for language, batch in progress(work, desc="extract"):
            for writer, rows in zip(writers, _tables(lm, batch, language, schema), strict=True):
                writer.write_table(rows)
        stack.close()  # the folder is renamed when its files are whole


def _tables(
    lm: LanguageModel, problems: Sequence[Problem], language: Language, schema: pa.Schema
) -> Iterator[pa.Table]:
    """The rows of one batch, layer by layer."""
    examples = shared_examples(problems, language)
    tokens = encode_prompts(lm, examples, [p.query(language) for p in problems])
    states = residual_states(lm, tokens.ids, tokens.mask, range(lm.n_layers + 1))
    used = tokens.query_mask.bool()
    lengths = used.sum(1).cpu().numpy()
    token = np.concatenate([np.arange(n) for n in lengths])
    columns = [
        np.repeat(np.array([p.id for p in problems], object), lengths),
        np.repeat(np.array([language], object), lengths.sum()),
        token + tokens.n_examples,
        np.repeat(lengths, lengths) - 1 - token,
    ]
    fixed = [pa.array(c, t) for c, t in zip(columns, FIXED.values(), strict=True)]
    dtype = str(schema.field("state").type.value_type.to_pandas_dtype().__name__)
    for layer in range(lm.n_layers + 1):
        values = states[layer][used].to(getattr(torch, dtype)).cpu()
        if not bool(values.isfinite().all()):
            raise _not_finite(states[layer][used], layer, dtype)
        flat = pa.array(values.numpy().ravel())
        rows = pa.FixedSizeListArray.from_arrays(flat, lm.d_model)
        yield pa.table([*fixed, rows], schema=schema)


def _not_finite(state: Float[Tensor, "tokens d"], layer: int, dtype: str) -> DataError:
    if bool(state.isfinite().all()):
        return DataError(
            f"a state at layer {layer} is {float(state.abs().max()):.4g}, past the end of {dtype} "
            f"({torch.finfo(getattr(torch, dtype)).max:.0f})\n"
            "extract in float32: set the activations' dtype to float32"
        )
    return DataError(f"a state at layer {layer} is not finite: the model's own dtype overflows")


def layers_of(folder: str | Path) -> tuple[int, ...]:
    """The layers that were extracted, from 0 to n_layers. Raises DataError if there are none."""
    found = sorted(int(p.name.removeprefix("layer=")) for p in Path(folder).glob("layer=[0-9]*"))
    if not found:
        raise DataError(f"{folder}: holds no activations\n{rebuild(folder)}")
    return tuple(found)


def read_layer(folder: str | Path, layer: int) -> dict[Language, States]:
    """The states of one layer, by language, each with the same problems in the same order.

        zh, en = (states[language] for language in ("zh", "en"))
        pool(zh.states, zh.used("exclude"))   # of space.updates

    Raises DataError if the layer is not there, or its file is damaged.
    """
    return {
        language: _padded(prompts) for language, prompts in _prompts(Path(folder), layer).items()
    }


def _prompts(folder: Path, layer: int) -> dict[Language, list[_Prompt]]:
    """(problem, place of its first token, states) of every prompt, by language."""
    found: dict[Language, list[_Prompt]] = {}
    for problem, language, first, state in _rows(folder, layer):
        found.setdefault(language, []).append((problem, first, state))
    orders = {tuple(problem for problem, *_ in prompts) for prompts in found.values()}
    if len(orders) > 1:
        raise DataError(f"{folder}: layer {layer}: a language lacks problems\n{rebuild(folder)}")
    return found


def _rows(
    folder: Path, layer: int
) -> Iterator[tuple[str, Language, int, Float[np.ndarray, "tokens d"]]]:
    """Prompt by prompt, in the order of the file."""
    if layer not in (there := layers_of(folder)):
        raise DataError(
            f"{folder}: no layer {layer}: there are {there[0]} to {there[-1]}\n{rebuild(folder)}"
        )
    file = _file(folder, layer)
    try:
        table = pq.read_table(file, partitioning=None, page_checksum_verification=True)
        problem, language, token, left = (table[name].to_numpy() for name in FIXED)
        state = table["state"].combine_chunks()
        values = state.flatten().to_numpy().reshape(len(table), state.type.list_size)
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        first = str(error).splitlines()[0][:160]
        raise DataError(f"{file}: damaged, cannot be read ({first})\n{rebuild(folder)}") from None
    stops = np.flatnonzero(left == 0) + 1
    for start, stop in zip([0, *stops], stops, strict=False):
        yield problem[start], language[start], int(token[start]), values[start:stop]


def _padded(prompts: Sequence[_Prompt]) -> States:
    lengths = [len(state) for *_, state in prompts]
    _, first, some = prompts[0]
    states = np.zeros((len(prompts), max(lengths), some.shape[1]), some.dtype)
    mask = np.zeros(states.shape[:2], np.int64)
    for i, (*_, state) in enumerate(prompts):
        states[i, -len(state) :] = state
        mask[i, -len(state) :] = 1
    problems = tuple(problem for problem, *_ in prompts)
    return States(problems, torch.from_numpy(states), torch.from_numpy(mask), first)


def _file(folder: Path, layer: int) -> Path:
    return folder / f"layer={layer:02d}" / "part-0000.parquet"
