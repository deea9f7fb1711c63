"""Which heads matter at which positions, exactly and by the estimates?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.components.attribution.methods import NAMES
from zscope.studies.components.attribution.tables import NODES, PAIRS
from zscope.studies.components.figures.attribution_looks import subjects_in

NEEDS = (NODES, PAIRS)
SHOWN = {"exact": "exact", "atp": NAMES["atp"], "atp_qk": NAMES["atp_qk"]}
PREFERRED = "induction"  # its answer depends on heads of two layers
MOST = 20  # tokens that have room


@style.styled
def draw(tables: Tables) -> Figure:
    nodes, pairs = tables.get(NODES), tables.get(PAIRS)
    if nodes.empty or pairs.empty:
        return style.nothing_to_draw("no nodes were patched")
    bands = []
    for subject in subjects_in(nodes):
        of_subject = select(pairs, subject=subject)
        pair = _shown(of_subject)
        of_pair = select(nodes, subject=subject, pair=int(pair["pair"]))
        of_pair = select(of_pair, model=of_pair["model"].iloc[0])
        last = int(of_pair["layer"].max())
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


def _shown(pairs: pd.DataFrame) -> pd.Series:
    """The first pair of the preferred primitive that fits, else the first pair."""
    fits = pairs[pairs["length"] - pairs["edit"] <= MOST]
    wanted = select(fits, primitive=PREFERRED)
    return next(x for x in (wanted, fits, pairs) if len(x)).iloc[0]


def _map(ax: Axes, rows: pd.DataFrame, column: str, pair: pd.Series, most: float) -> object:
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
    return [*said.values(), "Zero where a node cannot have an effect. A scale per row."]
