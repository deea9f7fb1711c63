"""Which heads matter at which positions, exactly and by the estimates?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.components.attribution.methods import NAMES
from zscope.studies.components.attribution.tables import (
    NODES as ATTRIBUTION_NODES,
)
from zscope.studies.components.attribution.tables import (
    PAIRS as ATTRIBUTION_PAIRS,
)
from zscope.studies.components.figures.attribution_looks import subjects_in

NEEDS = (ATTRIBUTION_NODES, ATTRIBUTION_PAIRS)
SHOWN = {"exact": "exact", "atp": NAMES["atp"], "atp_qk": NAMES["atp_qk"]}
LEAST, MOST = 6, 20  # tokens from the edit on: more than a line, and as many as have room


@style.styled
def draw(tables: Tables) -> Figure:
    nodes, pairs = tables.get(ATTRIBUTION_NODES), tables.get(ATTRIBUTION_PAIRS)
    if nodes.empty or pairs.empty:
        return style.nothing_to_draw("no nodes were patched")
    bands = []
    for subject in subjects_in(nodes):
        of_model = select(nodes, subject=subject)
        of_model = select(of_model, model=of_model["model"].iloc[0])
        last = int(of_model["layer"].max())
        pair = _shown(select(pairs, subject=subject), select(of_model, kind="k", layer=last))
        of_pair = select(of_model, pair=int(pair["pair"]))
        bands += [(subject, pair, of_pair, kind, layer) for kind, layer in (("z", 0), ("k", last))]
    fig = style.figure(style.DOUBLE, 1.5 * len(bands) + 0.7)
    axes = fig.subplots(len(bands), len(SHOWN), squeeze=False, sharex="row", sharey="row")
    for row, (subject, pair, of_pair, kind, layer) in zip(axes, bands, strict=True):
        here = select(of_pair, kind=kind, layer=layer)
        most = max(float(np.abs(here[list(SHOWN)].to_numpy(float)).max()), 1e-9)
        for ax, (column, name) in zip(row, SHOWN.items(), strict=True):
            image = _map(ax, here, column, pair, most)
            style.panel_title(ax, f"{name}: {kind}, layer {layer}")
        row[0].set_ylabel(f"{subject.partition('/')[2] or subject}\nhead")
        fig.colorbar(image, ax=list(row), label="nats", fraction=0.03, pad=0.01)
    for ax in axes[-1]:
        ax.set_xlabel("token, from the edit on")
    style.note(fig, *_notes(bands))
    return fig


def _shown(pairs: pd.DataFrame, keys: pd.DataFrame) -> pd.Series:
    """The pair in which a key does most, of those that have room."""
    fits = pairs[(pairs["length"] - pairs["edit"]).between(LEAST, MOST)]
    fits = fits if len(fits) else pairs
    of = keys[keys["pair"].isin(fits["pair"])]
    most = int(of["pair"].iloc[int(of["exact"].abs().argmax())])
    return select(fits, pair=most).iloc[0]


def _map(ax: Axes, rows: pd.DataFrame, column: str, pair: pd.Series, most: float) -> AxesImage:
    first, length = int(pair["edit"]), int(pair["length"])
    heads = int(rows["head"].max()) + 1
    grid = np.zeros((heads, length - first))
    at = rows["head"].to_numpy(int), rows["position"].to_numpy(int) - first
    grid[at] = rows[column].to_numpy(float)
    image = ax.imshow(grid, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", origin="upper")
    words = str(pair["prompt"]).split()[first:]
    step = max(1, len(words) // MOST + 1) if len(words) > MOST else 1
    ax.set_xticks(range(0, len(words), step), words[::step], rotation=90)
    ax.set_yticks(range(heads))
    return image


def _notes(bands: list[tuple[str, pd.Series, pd.DataFrame, str, int]]) -> list[str]:
    said = {}
    for subject, pair, of_pair, *_ in bands:
        said[subject] = (
            f"{of_pair['model'].iloc[0]}: \u201c{pair['token']}\u201d becomes "
            f"\u201c{pair['edited']}\u201d, answer \u201c{pair['answer']}\u201d."
        )
    rest = "White: no effect, or none possible. A scale per row."
    return [
        *said.values(),
        "Of each condition the pair in which a key of the last layer does most.",
        rest,
    ]
