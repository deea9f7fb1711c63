"""The map of heads as a page: layers x heads, a detector to pick, and a head's patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from zscope.core.errors import DataError
from zscope.figures.frames import numbers, select
from zscope.pages.markup import escape, page, rounded
from zscope.pages.visible import is_plain, token_title, visible
from zscope.studies.heads.pages.asset_files import HEAD_MAP_SCRIPT
from zscope.studies.heads.pages.frames import checked
from zscope.studies.heads.pages.packing import pack, triangles
from zscope.studies.heads.tables import MAP, PATTERNS, PROMPT_TOKENS

MOST_BYTES = 6_000_000
"""Of a page: what a phone still opens at once."""

_NUMBERS = (
    *("raw", "null", "score", "ci_low", "ci_high", "q"),
    *("effect", "effect_low", "effect_high", "first_order", "n"),
)


@dataclass(frozen=True)
class DetectorText:
    """What the page says of a detector; detector and weights are those of table heads_map.

    label: for the list. asks: what its score measures. behaviour: whose effect is given. verdict:
    its word. reason: why it was skipped, or "".
    """

    detector: str
    weights: str
    label: str
    asks: str
    behaviour: str
    verdict: str
    reason: str = ""


def head_map_page(
    heads: pd.DataFrame,
    tokens: pd.DataFrame,
    patterns: pd.DataFrame,
    detectors: Sequence[DetectorText],
    *,
    subject: str,
    level: float,
    most_bytes: int = MOST_BYTES,
) -> str:
    """The page, from tables heads_map, heads_prompt_tokens and heads_patterns.

    Detectors and prompts stand in the order given; prompts without a pattern are left out. level:
    of all intervals. Raises DataError as `checked` and `triangles`, and if the page would have more
    than `most_bytes`.
    """
    heads, tokens = checked(heads, MAP), checked(tokens, PROMPT_TOKENS)
    # `triangles` sees whether an entry is there twice, in a tenth of the time.
    patterns = checked(patterns, PATTERNS, by_key=False)
    shapes = pd.concat([heads[["layer", "head"]], patterns[["layer", "head"]]])
    if shapes.empty:
        raise DataError("page: a map of no heads: neither a score nor a pattern is given")
    n_layers, n_heads = (int(shapes[name].max()) + 1 for name in ("layer", "head"))
    data: dict[str, Any] = {
        "layers": n_layers,
        "heads": n_heads,
        "level": f"{100 * level:g} %",
        "detectors": [_detector(heads, d, n_layers, n_heads) for d in detectors],
        "prompts": [
            _prompt(str(prompt), rows, of_prompt, n_layers, n_heads)
            for prompt, rows in tokens.groupby("prompt", sort=False)
            if not (of_prompt := select(patterns, prompt=prompt)).empty
        ],
    }
    title = f"Head map: {subject}"
    made = page(title, _BODY.replace("TITLE", escape(title)), HEAD_MAP_SCRIPT, data)
    if (size := len(made.encode())) > most_bytes:
        seqs = ", ".join(str(len(p["tokens"])) for p in data["prompts"])
        raise DataError(
            f"page: the head map of {subject} would have {size / 1e6:.1f} MB, more than "
            f"{most_bytes / 1e6:.1f}: give fewer or shorter prompts (they have {seqs} tokens)"
        )
    return made


def _detector(heads: pd.DataFrame, d: DetectorText, n_layers: int, n_heads: int) -> dict[str, Any]:
    """A detector's texts and, by column, a number or null per head, layer after layer."""
    rows = select(heads, detector=d.detector, weights=d.weights)
    place = (rows["layer"] * n_heads + rows["head"]).to_numpy(np.int64)
    columns: dict[str, list[float | None]] = {}
    for name in _NUMBERS:
        values = np.full(n_layers * n_heads, np.nan)
        values[place] = numbers(rows[name])
        columns[name] = rounded(values)
    named: list[str | None] = [None] * (n_layers * n_heads)
    for i, by in zip(place, rows["named_by"], strict=True):
        named[i] = None if pd.isna(by) else str(by)
    return {
        "label": d.label,
        "asks": d.asks,
        "behaviour": d.behaviour,
        "verdict": d.verdict,
        "reason": d.reason,
        "named": named,
        "columns": columns,
    }


def _prompt(
    prompt: str, tokens: pd.DataFrame, patterns: pd.DataFrame, n_layers: int, n_heads: int
) -> dict[str, Any]:
    tokens = tokens.sort_values("position")
    packed = pack(triangles(patterns, n_layers, n_heads, len(tokens)))
    return {
        "id": prompt,
        "tokens": [
            [visible(text), token_title(text, token_id), is_plain(text)]
            for text, token_id in zip(tokens["token"], tokens["token_id"].tolist(), strict=True)
        ],
        "scale": packed.scale,
        "packed": packed.packed,
        "signed": packed.signed,
    }


_BODY = """<main>
<header><h1>TITLE</h1>
<p>A cell is a head: its layer is the row, counted from 0, and its number the column. Hover over a
head, or go to it with Tab and the arrow keys, to read its numbers; click it, or press Enter, to see
what it attends to. A score is 0 where the null is, and 1 if all weight is on the targets. A ring
marks a head that the detector names. It does so by the pattern alone; the effect says whether the
behaviour needs the head.</p>
<noscript><p><b>This page needs its own script. The numbers are in the tables heads_map and
heads_patterns.</b></p></noscript></header>
<form class="controls kept" id="pick">
<label>Detector <select id="detector"></select></label>
<label>Colour <select id="measure"></select></label>
</form>
<p class="note" id="asks"></p>
<div class="key" id="key"></div>
<div class="map">
<div class="scroll" id="heads"></div>
<div class="beside">
<div id="details" aria-live="polite"></div>
<section id="attention" aria-labelledby="attention-title">
<h2 id="attention-title">Attention</h2>
<form class="controls kept" id="pick-prompt">
<label>Prompt <select id="prompt"></select></label>
</form>
<p class="note" id="scale"></p>
<output id="readout" aria-live="polite"></output>
<div class="scroll" id="pattern"></div>
</section>
</div>
</div>
</main>"""
