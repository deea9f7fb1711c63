"""Ablations at one position as a page: a table per prompt, a row per condition.

The tables are plain HTML, so they are read and printed without the script, which sorts and filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from zscope.pages.markup import (
    MINUS,
    escape,
    groups,
    number_text,
    page,
    records,
    sort_key,
    token_html,
)
from zscope.studies.heads.pages.asset_files import ABLATIONS_SCRIPT
from zscope.studies.heads.pages.condition_summary import CHANGED, KL_MEAN, KL_MEDIAN
from zscope.studies.heads.pages.frames import checked
from zscope.studies.heads.tables import (
    AS_IT_IS,
    CONDITION_SUMMARY,
    CONTINUATIONS,
    LOGIT_DOWN,
    LOGIT_UP,
    ONE_SHOT,
    P_DOWN,
    P_UP,
    PERSISTENT,
    PROMPT_CONDITIONS,
    PROMPT_SHIFTS,
    PROMPT_TOKENS,
    RANKINGS,
)

_TEXT, _NUMBER = "text", "number"
_HEADS = {
    LOGIT_UP: "logit up",
    LOGIT_DOWN: "logit down",
    P_UP: "p up",
    P_DOWN: "p down",
}
_WHAT = {
    LOGIT_UP: "Tokens whose logit, centred over the vocabulary, rises most, in nats",
    LOGIT_DOWN: "Tokens whose logit, centred over the vocabulary, falls most, in nats",
    P_UP: "Tokens whose probability rises most: p_ablated - p_base",
    P_DOWN: "Tokens whose probability falls most: p_ablated - p_base",
}
_COLUMNS = (
    ("condition", _TEXT, "", "What is ablated"),
    ("base", _TEXT, "", "The run that the row is compared with"),
    ("predicted", _TEXT, "", "The likeliest next token; \u2260: another one than the base's"),
    ("KL (nats)", _NUMBER, "", "KL(base, ablated) of the next token"),
    ("log p", _NUMBER, "", "Log probability of the base's likeliest token, in nats"),
    ("change", _NUMBER, "", "Change of that log probability from the base, in nats"),
    *((_HEADS[r], _NUMBER, r.partition("_")[0], _WHAT[r]) for r in RANKINGS),
)
_MODES = {
    PERSISTENT: "What is written with the edit in every step; sorted by the first other token",
    ONE_SHOT: "What is written with the edit in the first step alone; sorted likewise",
}
Key = tuple[Any, ...]


def ablation_page(
    tokens: pd.DataFrame,
    conditions: pd.DataFrame,
    shifts: pd.DataFrame,
    summary: pd.DataFrame | None = None,
    continuations: pd.DataFrame | None = None,
    *,
    subject: str,
    level: float,
) -> str:
    """The page, from tables heads_prompt_tokens, _conditions, _shifts, heads_condition_summary and
    heads_continuations.

    Prompts and conditions stand in the order of their first rows. level: of the intervals of the
    summary, which may be left out, as the continuations may. Raises DataError as `checked`.
    """
    tokens, conditions = checked(tokens, PROMPT_TOKENS), checked(conditions, PROMPT_CONDITIONS)
    shifts = checked(shifts, PROMPT_SHIFTS).sort_values("rank", kind="stable")
    moved: dict[Key, list[str]] = {}
    first: dict[Key, float] = {}
    for s in records(shifts):
        key = (s.prompt, s.t, s.condition, s.ranking)
        first.setdefault(key, s.value)
        moved.setdefault(key, []).append(
            f"<li>{token_html(s.token, s.token_id)} {_change(s.value)}</li>"
        )
    written = {} if continuations is None else _written(checked(continuations, CONTINUATIONS))
    by_prompt = dict(groups(tokens, "prompt"))
    sections: list[str] = []
    families: dict[str, None] = {}
    for number, ((prompt, t), rows) in enumerate(groups(conditions, ["prompt", "t"])):
        of_prompt = by_prompt.get(prompt)
        family = "" if of_prompt is None else str(of_prompt["family"].iloc[0])
        families[family] = None
        line = "" if of_prompt is None else _tokens(of_prompt, int(t))
        caption = f"Ablations at t = {int(t)} of {prompt}"
        sections.append(
            f'<section class="prompt" id="prompt-{number}" data-family="{escape(family)}">\n'
            f"<h2>{escape(prompt)} <small>{escape(family)}, t = {int(t)}</small></h2>\n{line}\n"
            f"{_table(rows, moved, first, written, caption)}\n</section>"
        )
    labels = dict(zip(conditions["condition"], conditions["label"], strict=True))
    overview = "" if summary is None else _summary(summary, labels, level)
    title = f"Ablations at one position: {subject}"
    body = "\n".join(
        [
            f"<header><h1>{escape(title)}</h1>{_INTRODUCTION}</header>",
            overview,
            _filters([f for f in families if f], len(sections), len(conditions)),
            *(sections or ["<p>No prompt was run.</p>"]),
        ]
    )
    return page(title, f"<main>\n{body}\n</main>", ABLATIONS_SCRIPT)


def _tokens(tokens: pd.DataFrame, t: int) -> str:
    """The prompt's tokens, of which t and t - 1 have a frame and a name."""
    names = {t: "t", t - 1: f"t{MINUS}1"}
    items = []
    for row in records(tokens.sort_values("position")):
        name = names.get(row.position)
        kind = {t: ' class="at-t"', t - 1: ' class="before-t"'}.get(row.position, "")
        mark = f"<small>{name}</small>" if name else ""
        items.append(f"<li{kind}>{token_html(row.token, row.token_id)}{mark}</li>")
    return f'<ol class="tokens" aria-label="tokens of the prompt">{"".join(items)}</ol>'


def _written(continuations: pd.DataFrame) -> dict[Key, str]:
    """The cell of each continuation, by prompt, t, condition and mode."""
    cells = {}
    by = ["prompt", "t", "condition", "mode"]
    for key, rows in groups(continuations.sort_values("step", kind="stable"), by):
        step = None if pd.isna(rows["first_step"].iloc[0]) else int(rows["first_step"].iloc[0])
        items = []
        for row in records(rows):
            kind = ' class="other"' if row.step == step else ""
            items.append(f"<span{kind}>{token_html(row.token, row.token_id)}</span>")
        note = "" if step is None else f" <small>other from {step}</small>"
        cells[key] = f'<td class="written"{sort_key(step)}>{"".join(items)}{note}</td>'
    return cells


def _table(
    rows: pd.DataFrame,
    moved: Mapping[Key, list[str]],
    first: Mapping[Key, float],
    written: Mapping[Key, str],
    caption: str,
) -> str:
    """Base runs in a body of their own, which stays on top, then the ablations."""
    labels = dict(zip(rows["condition"], rows["label"], strict=True))
    predicted = dict(zip(rows["condition"], rows["predicted_id"], strict=True))
    bodies: dict[bool, list[str]] = {True: [], False: []}
    place = (rows["prompt"].iloc[0], rows["t"].iloc[0])
    modes = [m for m in _MODES if any(key[:2] == place and key[3] == m for key in written)]
    for row in records(rows):
        is_base = pd.isna(row.base)
        changed = not is_base and row.predicted_id != predicted.get(row.base)
        base = "base run" if is_base else labels.get(row.base, row.base)
        key = (row.prompt, row.t, row.condition)
        cells = [
            f'<th scope="row" title="{escape(row.condition)}">{escape(row.label)}</th>',
            f"<td>{escape(base)}</td>",
            f"<td>{token_html(row.predicted, row.predicted_id)}{_UNEQUAL if changed else ''}</td>",
            _number(row.kl),
            _number(row.log_p),
            _number(row.log_p_change, sign=True),
        ]
        for ranking in RANKINGS:
            items = "".join(moved.get((*key, ranking), []))
            cells.append(
                f'<td class="{ranking.partition("_")[0]}"{sort_key(first.get((*key, ranking)))}>'
                f"{f'<ol>{items}</ol>' if items else ''}</td>"
            )
        for mode in modes:
            cells.append(written.get((*key, AS_IT_IS if is_base else mode), "<td></td>"))
        kl = "" if is_base else f' data-kl="{row.kl:.9g}"'
        bodies[is_base].append(f"<tr{kl}{' data-changed' if changed else ''}>{''.join(cells)}</tr>")
    return _frame(
        caption,
        (*_COLUMNS, *((mode, _NUMBER, "written", _MODES[mode]) for mode in modes)),
        f'<tbody class="bases">{"".join(bodies[True])}</tbody>\n'
        f'<tbody class="rows">{"".join(bodies[False])}</tbody>',
    )


def _summary(summary: pd.DataFrame, labels: Mapping[str, str], level: float) -> str:
    percent = f"{100 * level:g} % interval"
    columns = (
        ("condition", _TEXT, "", "What is ablated"),
        ("base", _TEXT, "", "The run that the row is compared with"),
        ("other token", _NUMBER, "", "Share of prompts with another likeliest token"),
        (percent, _NUMBER, "", "Wilson's, of that share; sorted by its lower end"),
        ("KL, mean", _NUMBER, "", "Mean of KL(base, ablated) over prompts, in nats"),
        (percent, _NUMBER, "", "Bootstrap over prompts, of the mean; sorted by its lower end"),
        ("KL, median", _NUMBER, "", "Median of KL(base, ablated) over prompts, in nats"),
        (percent, _NUMBER, "", "Distribution-free, of the median; sorted by its lower end"),
        ("n", _NUMBER, "", "Prompts"),
    )
    frame = checked(summary, CONDITION_SUMMARY)
    lines = []
    for (condition, label, base), rows in groups(frame, ["condition", "label", "base"]):
        cells = [
            f'<th scope="row" title="{escape(condition)}">{escape(label)}</th>',
            f"<td>{escape(labels.get(base, base))}</td>",
        ]
        metrics = rows.set_index("metric")
        for metric in (CHANGED, KL_MEAN, KL_MEDIAN):
            row: Any = metrics.loc[metric]
            ends = [number_text(row["ci_low"]), number_text(row["ci_high"])]
            interval = f"[{', '.join(ends)}]" if all(ends) else ""
            cells += [
                _number(row["value"]),
                f'<td class="number"{sort_key(row["ci_low"])}>{interval}</td>',
            ]
        cells.append(f'<td class="number"{sort_key(rows["n"].iloc[0])}>{rows["n"].iloc[0]}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    table = _frame("All prompts", columns, f'<tbody class="rows">{"".join(lines)}</tbody>')
    return f'<section id="summary">\n<h2>All prompts</h2>\n{table}\n</section>'


def _frame(caption: str, columns: Sequence[tuple[str, str, str, str]], bodies: str) -> str:
    """A table whose heads are buttons: of a name, a kind, a class and an explanation."""
    heads = "".join(
        f'<th scope="col" data-kind="{kind}"{f" class={group}" if group else ""}>'
        f'<button type="button" title="{escape(what)}">{escape(name)}</button></th>'
        for name, kind, group, what in columns
    )
    return (
        f'<div class="wide-table" tabindex="0" role="region" aria-label="{escape(caption)}">\n'
        f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"{bodies}\n</table>\n</div>"
    )


def _filters(families: list[str], n_prompts: int, n_rows: int) -> str:
    options = "".join(f"<option>{escape(f)}</option>" for f in families)
    return (
        '<form class="controls" id="filters" hidden>\n'
        '<label>Condition or predicted token <input type="search" id="filter-text"></label>\n'
        f'<label>Family <select id="filter-family"><option value="">all</option>{options}'
        "</select></label>\n"
        '<label>KL at least <input type="number" id="filter-kl" min="0" step="any"></label>\n'
        '<label class="check"><input type="checkbox" id="filter-changed"> '
        "another token is predicted</label>\n"
        '<label>Show changes of <select id="show"><option value="both">logits and p</option>'
        '<option value="logit">logits</option><option value="p">p</option></select></label>\n'
        f'<output id="count" aria-live="polite">{n_rows} rows, {n_prompts} prompts</output>\n'
        "</form>"
    )


def _number(value: float | None, *, sign: bool = False) -> str:
    value = None if pd.isna(value) else value
    return f'<td class="number"{sort_key(value)}>{number_text(value, sign=sign)}</td>'


def _change(value: float) -> str:
    kind = "down" if value < 0 else "up"
    return f'<span class="{kind}">{number_text(value, sign=True)}</span>'


_UNEQUAL = ' <abbr class="changed" title="another token than the base\'s">\u2260</abbr>'
_INTRODUCTION = (
    "<p>Each table is one prompt. The edit is made at position <b>t</b>, and the token after t is "
    "predicted; a value at t\u22121 is that of the token before. KL and log p are in nats. Logits "
    "are centred over the vocabulary, so that a rise of all of them does not count. The largest "
    "changes of logits are often of tokens that nobody predicts: the changes of p beside them say "
    "what matters. Some prompts are continued greedily: with the edit in every step, where t moves "
    "with the text, and with the edit in the first step alone.</p>"
    '<p class="signs">\u2423 is a blank, \u21b5 a line break, \u21e5 a tab, \u27e8U+200B\u27e9 a '
    "character that is not seen; a token with a dotted line is not plain ASCII. Headings sort: "
    "once, again for the other way, and a third time for the order of the study.</p>"
)
