"""What a model goes on to write under each condition, greedily.

    persistent   the edit in every step, at the position that is the last one then
    one-shot     the edit in the first step alone; what follows is the clean model's

Every step runs the whole sequence, so an edit of one step leaves nothing behind but the token that
was written. Conditions are run together, each in its own rows of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from zscope.models.attention_view import AttentionView, Edit
from zscope.models.head_edits import continue_greedily, in_rows, persistent
from zscope.studies.heads.prompted.conditions import Condition
from zscope.studies.heads.prompted.readouts import Texts
from zscope.studies.heads.tables import AS_IT_IS, ONE_SHOT, PERSISTENT
from zscope.tables.schema import Row

ROWS = 128  # sequences that are run together


def continued(
    view: AttentionView,
    tokens: Int[Tensor, "batch seq"],
    conditions: Sequence[Condition],
    firsts: Int[Tensor, "condition batch"],
    n: int,
    prompts: Sequence[int],
) -> dict[tuple[str, str], Int[Tensor, "batch n"]]:
    """The continuations by condition and mode, those of the base as (AS_IT_IS, AS_IT_IS).

    firsts: the first token under each condition, which the predictions already know. prompts: the
    numbers of the prompts of the batch.
    """
    base = continue_greedily(view, tokens, n, persistent(()))
    found = {(AS_IT_IS, AS_IT_IS): base}
    at_once = max(1, ROWS // len(tokens))
    for start in range(0, len(conditions), at_once):
        some = conditions[start : start + at_once]
        always = _persistent(view, tokens, some, firsts[start : start + at_once], n, prompts)
        found |= {(c.id, PERSISTENT): x for c, x in zip(some, always, strict=True)}
    for c, x in zip(conditions, _one_shot(view, tokens, base, firsts, n), strict=True):
        found[c.id, ONE_SHOT] = x
    return found


def _persistent(
    view: AttentionView,
    tokens: Int[Tensor, "batch seq"],
    conditions: Sequence[Condition],
    firsts: Int[Tensor, "condition batch"],
    n: int,
    prompts: Sequence[int],
) -> Int[Tensor, "condition batch n"]:
    batch, seq = tokens.shape
    start = torch.cat([tokens.repeat(len(conditions), 1), firsts.reshape(-1, 1)], 1)

    def edits(step: int) -> list[Edit]:
        every = (c.edits(seq + step, prompts) for c in conditions)
        return in_rows([(slice(i * batch, (i + 1) * batch), of) for i, of in enumerate(every)])

    rest = continue_greedily(view, start, n - 1, edits)
    return torch.cat([start[:, seq:], rest], 1).view(len(conditions), batch, n)


def _one_shot(
    view: AttentionView,
    tokens: Int[Tensor, "batch seq"],
    base: Int[Tensor, "batch n"],
    firsts: Int[Tensor, "condition batch"],
    n: int,
) -> Int[Tensor, "condition batch n"]:
    """A first token that is the base's goes on as the base; each other one is run once."""
    found = base.expand(len(firsts), *base.shape).clone()
    others = (firsts != base[:, 0]).nonzero().tolist()
    new = list(dict.fromkeys((row, int(firsts[c, row])) for c, row in others))
    if not new:
        return found
    rows = torch.tensor([row for row, _ in new], device=tokens.device)
    first = torch.tensor([[token] for _, token in new], device=tokens.device)
    start = torch.cat([tokens[rows], first], 1)
    runs = torch.cat([first, continue_greedily(view, start, n - 1, persistent(()))], 1)
    for c, row in others:
        found[c, row] = runs[new.index((row, int(firsts[c, row])))]
    return found


def continuation_rows(
    found: Int[Tensor, " n"], base: Int[Tensor, " n"], texts: Texts
) -> Iterator[Row]:
    """Rows of table heads_continuations of one continuation, from the column `step` on."""
    ids = found.tolist()
    differ = (found != base).nonzero().flatten().tolist()
    for step, (token, text) in enumerate(zip(ids, texts(ids), strict=True), 1):
        yield {
            "step": step,
            "token_id": token,
            "token": text,
            "first_step": differ[0] + 1 if differ else None,
        }
