"""What do later layers attend to under an ablation at the last position of a prompt?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.heads.tables import (
    ABLATED,
    CHANGE,
    CLEAN,
    CONDITION_ATTENTION,
    FARTHER,
    FIRST_KEY,
    MOVED,
)

NEEDS = (CONDITION_ATTENTION,)
OF_A_SUBJECT = True
SHOWN = ("set-previous", "set-induction", "values-t1-", "values-previous-but-first-all", "set-")
ROWS = 4
PANELS = {CLEAN: "as it is", ABLATED: "ablated", CHANGE: "change"}


@style.styled
def draw(tables: Tables) -> Figure:
    subject = str(tables.declared["subject"])
    every = tables.get(CONDITION_ATTENTION)
    if every.empty:
        return style.nothing_to_draw(f"no layer of {subject} is behind an ablation")
    rows = select(every, prompts=every["prompts"].iloc[0])
    conditions = _shown(rows)
    keys = _in_order(rows)
    n_layers = 1 + int(rows["layer"].max())
    height = 1.15 + 0.045 * max(n_layers, 8)
    fig = style.figure(style.DOUBLE, height * len(conditions) + 0.6)
    lines = style.stacked(fig, *[height] * len(conditions))
    drawn = rows[rows["condition"].isin(conditions)]
    # One scale for what is and for what becomes of it, and one for all changes.
    largest = {
        name: max(float(drawn.loc[drawn["metric"].isin(of), "value"].abs().max()), 1e-9)
        for name, of in (("weight", (CLEAN, ABLATED)), (CHANGE, (CHANGE,)))
    }
    moved = select(drawn, metric=MOVED)
    farthest = max(float(np.nanmax(moved[["value", "ci_high"]].to_numpy(float))), 1e-9)
    signed = bool((drawn.loc[drawn["metric"] == CLEAN, "value"] < 0).any())
    for line, condition in zip(lines, conditions, strict=True):
        of = select(drawn, condition=condition)
        line.suptitle(str(of["label"].iloc[0]), x=0.01, ha="left")
        axes = line.subplots(1, len(PANELS) + 1, sharey=True, width_ratios=[1, 1, 1, 0.55])
        images: dict[str, AxesImage] = {}
        for ax, (metric, title) in zip(axes, PANELS.items(), strict=False):
            scale = CHANGE if metric == CHANGE else "weight"
            both = metric == CHANGE or signed
            of_metric = select(of, metric=metric)
            images[scale] = _map(ax, of_metric, keys, n_layers, largest[scale], both)
            style.panel_title(ax, title)
        axes[0].set_ylabel("layer")
        _moved(axes[-1], select(of, metric=MOVED), farthest)
        for scale, label in (("weight", "attention"), (CHANGE, "change")):
            line.colorbar(images[scale], ax=list(axes), shrink=0.8, label=label, pad=0.01)
    n = int(rows["n"].max())
    style.note(
        fig,
        f"{rows['model'].iloc[0]}, up to {n} prompts: attention of the last position t, mean of "
        "heads. Layers behind the first that is edited; the others keep their patterns.",
        f"Right: how much of it moved, whatever the direction; bars: {tables.percent} intervals "
        "over prompts.",
    )
    return fig


def _shown(rows: pd.DataFrame) -> list[str]:
    """The declared conditions that there are."""
    there = list(dict.fromkeys(rows["condition"]))
    ranked = [c for prefix in SHOWN for c in there if c.startswith(prefix)]
    return (list(dict.fromkeys(ranked)) or there)[:ROWS]


def _in_order(rows: pd.DataFrame) -> list[str]:
    """Keys from the first to the query itself."""
    offsets = sorted({int(x) for x in rows["offset"].dropna()}, reverse=True)
    groups = [k for k in (FIRST_KEY, FARTHER) if k in set(rows["keys"])]
    return [*groups, *(f"t-{offset}" for offset in offsets)]


def _map(
    ax: Axes, rows: pd.DataFrame, keys: list[str], n_layers: int, largest: float, both: bool
) -> AxesImage:
    values = np.full((n_layers, len(keys)), np.nan)
    for layer, key, value in zip(rows["layer"], rows["keys"], rows["value"], strict=True):
        values[int(layer), keys.index(str(key))] = value
    image = ax.imshow(
        values,
        cmap="RdBu_r" if both else "Blues",
        vmin=-largest if both else 0,
        vmax=largest,
        origin="lower",
        aspect="auto",
        interpolation="none",
    )
    ax.set_facecolor("0.9")
    ax.set_xticks(range(len(keys)), keys, rotation=90)
    ax.set_xlabel("key")
    return image


def _moved(ax: Axes, rows: pd.DataFrame, farthest: float) -> None:
    style.panel_title(ax, "moved")
    value, low, high = (rows[c].astype(float) for c in ("value", "ci_low", "ci_high"))
    ax.hlines(rows["layer"], low, high, color=style.VERMILLION, linewidth=0.9)
    ax.plot(value, rows["layer"], color=style.VERMILLION, marker="o", markersize=2, linewidth=0.8,
            label="_moved")  # fmt: skip
    ax.axvline(0, **style.DASHED)
    ax.set_xlim(-0.05 * farthest, 1.05 * farthest)
    ax.set_xlabel("share")
