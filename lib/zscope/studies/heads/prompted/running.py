"""Every prompt under every condition: the rows of the tables of prompts, without their subject.

Prompts of equal length are run together, and each condition from the first layer that it edits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from zscope.core.jobs import progress
from zscope.models.attention_view import LayerHeads
from zscope.models.head_effects import logits_under
from zscope.studies.heads.config import PromptsConfig
from zscope.studies.heads.prompted.attention_at_end import AttentionAtEnd
from zscope.studies.heads.prompted.conditions import Condition
from zscope.studies.heads.prompted.continuing import continuation_rows, continued
from zscope.studies.heads.prompted.model import PromptedModel, some_of
from zscope.studies.heads.prompted.readouts import Prediction
from zscope.studies.heads.tables import AS_IT_IS
from zscope.tables.schema import Row
from zscope.text.prompt_tokens import PromptTokens

LABEL = "as it is"


@dataclass(frozen=True, eq=False)
class Found:
    """Rows by table; patterns: frames of table heads_patterns, one for each layer and prompt."""

    tokens: list[Row] = field(default_factory=list)
    conditions: list[Row] = field(default_factory=list)
    shifts: list[Row] = field(default_factory=list)
    continuations: list[Row] = field(default_factory=list)
    attention: list[Row] = field(default_factory=list)
    patterns: list[pd.DataFrame] = field(default_factory=list)


@torch.no_grad()
def run_all(model: PromptedModel, conditions: Sequence[Condition], config: PromptsConfig) -> Found:
    """The rows of every table, in the order of the prompts and the conditions."""
    generated = some_of(model.prompts, config.generated_prompts)
    shown = some_of(model.prompts, config.pattern_prompts)
    parts: dict[str, Found] = {}
    by_length = sorted(model.prompts, key=lambda p: len(p.ids))
    groups = [list(of) for _, of in groupby(by_length, key=lambda p: len(p.ids))]
    for some in progress(groups, desc=f"prompts {model.name}", total=len(groups)):
        of_each = {p.prompt.id: Found(tokens=list(p.rows())) for p in some}
        possible = [c for c in conditions if c.least_t < len(some[0].ids)]
        runs = _run(model, some, possible, config.top_k, shown, of_each)
        _continue(model, some, possible, runs, generated, config.generated_tokens, of_each)
        parts |= of_each
    together = Found()
    for prompt in model.prompts:
        for name, rows in vars(parts[prompt.prompt.id]).items():
            getattr(together, name).extend(rows)
    return together


def _run(
    model: PromptedModel,
    prompts: Sequence[PromptTokens],
    conditions: Sequence[Condition],
    top_k: int,
    shown: Sequence[PromptTokens],
    found: dict[str, Found],
) -> Int[Tensor, "condition batch"]:
    """Predictions, shifts and attention of prompts of one length. Returns the predicted tokens."""
    t = len(prompts[0].ids) - 1

    at_end = AttentionAtEnd()

    def keep(heads: LayerHeads) -> None:
        at_end.keep(heads)
        for i, p in enumerate(prompts):
            if p in shown:
                found[p.prompt.id].patterns.append(_pattern_rows(p.prompt.id, heads, i))

    def compare(case: int, heads: LayerHeads) -> None:
        if heads.layer == firsts[case]:  # what is edited in a layer leaves its pattern as it is
            return
        where = {"t": t, "condition": conditions[case].id}
        for p, rows in zip(prompts, at_end.rows(heads), strict=True):
            id_ = p.prompt.id
            found[id_].attention.extend({"prompt": id_, **where, **row} for row in rows)

    tokens = torch.tensor([p.ids for p in prompts], device=model.view.device)
    numbers = _numbers(model, prompts)
    cases = [c.edits(t, numbers) for c in conditions]
    firsts = [min(edit.layer for edit in case) for case in cases]
    every = logits_under(model.view, tokens, cases, read=[-1], visit=keep, visit_case=compare)
    base = Prediction.of(next(every)[:, 0])
    said = {"condition": AS_IT_IS, "label": LABEL, "base": None}
    for p, row in zip(prompts, base.rows(None, model.texts), strict=True):
        found[p.prompt.id].conditions.append({"prompt": p.prompt.id, "t": t, **said, **row})
    predicted = []
    for c, logits in zip(conditions, every, strict=True):
        ablated = Prediction.of(logits[:, 0])
        predicted.append(ablated.likeliest)
        moved = ablated.shifts(base, top_k, model.texts)
        for p, row, shifts in zip(prompts, ablated.rows(base, model.texts), moved, strict=True):
            where = {"prompt": p.prompt.id, "t": t, "condition": c.id}
            said = {"label": c.label, "base": AS_IT_IS}
            found[p.prompt.id].conditions.append({**where, **said, **row})
            found[p.prompt.id].shifts.extend({**where, **shift} for shift in shifts)
    return torch.stack(predicted) if predicted else torch.empty(0, len(prompts), dtype=torch.long)


def _numbers(model: PromptedModel, some: Sequence[PromptTokens]) -> list[int]:
    """Where these are among all prompts of the model."""
    ids = [p.prompt.id for p in model.prompts]
    return [ids.index(p.prompt.id) for p in some]


def _pattern_rows(prompt: str, heads: LayerHeads, i: int) -> pd.DataFrame:
    """The lower triangle of every head's pattern in one layer, of the i-th sequence."""
    pattern = heads.pattern[i].float().cpu().numpy()
    query, key = np.tril_indices(pattern.shape[1])
    n_heads, size = len(pattern), len(query)
    return pd.DataFrame(
        {
            "prompt": prompt,
            "layer": heads.layer,
            "head": np.arange(n_heads).repeat(size),
            "query": np.tile(query, n_heads),
            "key": np.tile(key, n_heads),
            "weight": pattern[:, query, key].ravel().astype(float),
        }
    )


def _continue(
    model: PromptedModel,
    prompts: Sequence[PromptTokens],
    conditions: Sequence[Condition],
    predicted: Int[Tensor, "condition batch"],
    generated: Sequence[PromptTokens],
    n: int,
    found: dict[str, Found],
) -> None:
    """Continuations of those prompts of one length that are generated from."""
    rows = [i for i, p in enumerate(prompts) if p in generated]
    if not rows:
        return
    seq = len(prompts[0].ids)
    # The last token that is written is read by nothing.
    room = n if model.context is None else min(n, model.context - seq + 1)
    tokens = torch.tensor([prompts[i].ids for i in rows], device=model.view.device)
    firsts = predicted[:, rows].to(tokens.device)
    numbers = _numbers(model, [prompts[i] for i in rows])
    written = continued(model.view, tokens, conditions, firsts, room, numbers)
    base = written[AS_IT_IS, AS_IT_IS]
    for (condition, mode), of_rows in written.items():
        for i, of_prompt, of_base in zip(rows, of_rows, base, strict=True):
            where = {"prompt": prompts[i].prompt.id, "t": seq - 1}
            where |= {"condition": condition, "mode": mode}
            found[prompts[i].prompt.id].continuations.extend(
                {**where, **row} for row in continuation_rows(of_prompt, of_base, model.texts)
            )
