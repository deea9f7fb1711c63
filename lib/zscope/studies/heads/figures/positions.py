"""How far back does each head look, and how much of it rests on the first key?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.heads.figures.lookups import naming_rows
from zscope.studies.heads.head_sets import heads_text
from zscope.studies.heads.tables import PROFILES, SCORES

NEEDS = (PROFILES, SCORES)
OF_A_SUBJECT = True
LABELLED = 6  # named heads whose profile has a colour of its own


@style.styled
def draw(tables: Tables) -> Figure:
    subject = str(tables.declared["subject"])
    profiles, scores = tables.get(PROFILES), tables.get(SCORES)
    if profiles.empty:
        return style.nothing_to_draw(f"the positional detector was not asked of {subject}")
    model = str(profiles["model"].iloc[0])
    fig = style.figure(style.DOUBLE, 2.9)
    left, right = fig.subplots(1, 2, width_ratios=[1.4, 1])
    named = _profiles(left, select(profiles, model=model), naming_rows(scores, model, "positional"))
    _sinks(right, select(scores, model=model, detector="first"))
    others = style.line("other heads", style.GREY, linewidth=0.6)
    style.legend(fig, {}, extra=[*named, others])
    n_models = profiles["model"].nunique()
    style.note(
        fig,
        f"{model}" + (f", one of {n_models} models of {subject}." if n_models > 1 else "."),
        f"Bars: {tables.percent} intervals over sequences. Left, dashed: attention spread evenly. "
        "Right: a dot is a head on text; on the dashed line what it attends to is what it writes.",
    )
    return fig


def _profiles(ax: Axes, rows: pd.DataFrame, names: pd.DataFrame) -> list[object]:
    """A line per head; handles of the named ones with the highest scores."""
    style.panel_title(ax, "By offset")
    best = names[names["named"].astype(bool)].nlargest(LABELLED, "value")
    places = list(zip(best["layer"], best["head"], strict=True))
    colours = dict(zip(places, style.QUALITATIVE, strict=False))
    for (layer, head), of in rows.groupby(["layer", "head"]):
        if (layer, head) not in colours:
            x, y = numbers(of["offset"]), numbers(of["value"])
            ax.plot(x, y, color=style.GREY, linewidth=0.4, alpha=0.5, label="_model other")
    for (layer, head), colour in colours.items():
        of = select(rows, layer=layer, head=head)
        x, y = numbers(of["offset"]), numbers(of["value"])
        ax.vlines(x, numbers(of["ci_low"]), numbers(of["ci_high"]), color=colour, linewidth=0.9)
        ax.plot(x, y, color=colour, linewidth=1.2, marker="o", markersize=2, label="_model named")
    null = rows.drop_duplicates("offset")
    on_top = {**style.DASHED, "color": style.BLACK, "zorder": 3}
    ax.plot(numbers(null["offset"]), numbers(null["null"]), **on_top)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("offset (tokens)")
    ax.set_ylabel("weight on the key so far back")
    return [
        style.line(heads_text([(int(x), int(h))]), colour) for (x, h), colour in colours.items()
    ]


def _sinks(ax: Axes, rows: pd.DataFrame) -> None:
    """Weight on the first key, by attention and by contribution."""
    style.panel_title(ax, "First key")
    text = rows[rows["stream"] == "text"]
    by = {w: of.set_index(["layer", "head"])["raw"] for w, of in text.groupby("weights")}
    if not {"attention", "contribution"} <= by.keys():
        style.not_applicable(ax, "patterns are signed, and no shares")
        return
    both = pd.concat([by["attention"], by["contribution"]], axis=1, keys=["x", "y"]).dropna()
    ax.plot([0, 1], [0, 1], **style.DASHED)
    ax.scatter(both["x"], both["y"], s=6, color=style.BLUE, linewidths=0, label="_heads")
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("attention")
    ax.set_ylabel("share of what the head writes")
