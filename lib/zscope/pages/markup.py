"""The frame of a page, and text in it. Nothing reaches a page but through `escape` or JSON."""

from __future__ import annotations

import html
import json
import math
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zscope.pages.asset_files import STYLE
from zscope.pages.visible import is_plain, token_title, visible

MINUS = "\u2212"
# In JSON all of these may be escapes, and then nothing in it can end the script or begin a comment.
_IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def records(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows, whose columns are attributes: of what type, the frame does not know."""
    return iter(frame.itertuples(index=False))


def groups(frame: pd.DataFrame, by: str | list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Rows that agree in a column, or in several, in the order of the first of each."""
    return iter(frame.groupby(by, sort=False))


def escape(text: object) -> str:
    """The text for an element or an attribute in quotes. Lone surrogates, which UTF-8 cannot hold,
    become question marks."""
    return html.escape(str(text).encode("utf-8", "replace").decode(), quote=True)


def token_html(text: str, token_id: int) -> str:
    """A token with its blanks shown; its id, and what is not ASCII in it, as a title."""
    kind = "tok" if is_plain(text) else "tok wide"
    title = escape(token_title(text, token_id))
    return f'<bdi class="{kind}" title="{title}">{escape(visible(text))}</bdi>'


def number_text(value: float | None, *, sign: bool = False) -> str:
    """Three decimals, or two digits of what would be 0.000; "" for None and NaN."""
    if value is None or not math.isfinite(value):
        return ""
    size = abs(value)
    text = f"{size:.1e}" if 0 < size < 0.0005 else f"{size:.3f}"
    before = MINUS if value < 0 else "+" if sign and value > 0 else ""
    return before + text


def sort_key(value: float | None) -> str:
    """An attribute by which a column of numbers is sorted; without one a cell comes last."""
    return "" if value is None or not math.isfinite(value) else f' data-sort="{value:.9g}"'


def rounded(values: np.ndarray) -> list[float | None]:
    """Numbers for JSON with five digits; null where they are not finite."""
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values.ravel().tolist()]


def as_json(data: Any) -> str:
    """JSON that is safe within a script element, also in one whose text says `</script>`."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).translate(_IN_SCRIPT)


def page(
    title: str,
    body: str,
    script: Path | None = None,
    data: Any = None,
    styles: Sequence[Path] = (STYLE,),
) -> str:
    """A whole page. body: markup; script, styles: files of this package; data: as JSON.

    The page's policy lets nothing run but this script, and nothing be loaded from anywhere.
    """
    style = "".join(file.read_text("utf-8") for file in styles)
    code = "" if script is None else script.read_text("utf-8")
    scripts = _digest(code) if code else "'none'"
    # `default-src` forbids every load and connection; a digest allows just what is written here.
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {_digest(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    block = (
        ""
        if data is None
        else f'<script type="application/json" id="data">{as_json(data)}</script>\n'
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon, or browsers would ask for one.
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>{style}</style>\n</head>\n<body>\n{body}\n{block}"
        + (f"<script>{code}</script>\n" if code else "")
        + "</body>\n</html>\n"
    )


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
