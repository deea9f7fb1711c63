"""Do models answer by the label or by the place, and does their attention show which?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.letters.tables import READOUTS as LETTERS_READOUTS

NEEDS = (LETTERS_READOUTS,)
ANSWERS = {
    "label": ("true label", style.BLUE),
    "letter_of_position": ("letter of the position", style.VERMILLION),
}
ATTENTION = {
    "attention_label": ("to the label", style.BLUE),
    "attention_content": ("to the content", style.GREEN),
}
TESTED = ("in order", "permuted")


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(LETTERS_READOUTS)
    if rows.empty:
        return style.nothing_to_draw("no model was trained on letters")
    shares, seeds = sorted(rows["permuted"].unique()), sorted(rows["seed"].unique())
    layers = sorted(int(x) for x in rows["layer"].dropna().unique())
    fig = style.figure(style.DOUBLE, 3.6)
    axes = fig.subplots(1, 2)
    places = [(share, tested) for share in shares for tested in TESTED]
    _panel(axes[0], rows, places, "tested", ANSWERS, seeds)
    on_permuted = select(rows, tested="permuted")
    of_layers = [(share, layer) for share in shares for layer in layers]
    _panel(axes[1], on_permuted, of_layers, "layer", ATTENTION, seeds)
    _ticks(axes[0], [f"trained {s:.0%}\npermuted\n{tested}" for s, tested in places])
    _ticks(axes[1], [f"trained {s:.0%}\npermuted\nlayer {x}" for s, x in of_layers])
    style.share_axis(axes[0], "share of answers")
    style.share_axis(axes[1], "attention from the end")
    axes[0].set_xlabel("training, and prompts that are tested")
    axes[1].set_xlabel("training, and layer (permuted prompts)")
    style.panel_title(axes[0], "what is answered")
    style.panel_title(axes[1], "what heads attend to")
    every = dict([*ANSWERS.values(), *ATTENTION.values()])
    handles = [style.dot(name, colour) for name, colour in every.items()]
    style.legend(fig, {}, extra=[*handles, style.line("chance, or other options")], columns=5)
    style.note(
        fig,
        f"{count_seeds(len(seeds), of='condition')} Left, a dot is one seed with its "
        f"{tables.percent} interval; right, one head of one seed. Permuted prompts are those "
        "whose label is not the letter of the position.",
    )
    return fig


def _ticks(ax: Axes, words: list[str]) -> None:
    ax.set_xticks(range(len(words)), words)
    ax.set_xlim(-0.5, len(words) - 0.5)


def _panel(
    ax: Axes,
    rows: pd.DataFrame,
    places: Sequence[tuple[float, object]],
    column: str,
    metrics: dict[str, tuple[str, str]],
    seeds: list[int],
) -> None:
    for x, (share, value) in enumerate(places):
        for at, (metric, (name, colour)) in zip((x - 0.18, x + 0.18), metrics.items(), strict=True):
            here = select(rows, permuted=share, metric=metric, **{column: value})
            ax.hlines(
                numbers(here["null"]), at - 0.15, at + 0.15, color=style.GREY, linewidth=0.6,
                label="_null",
            )  # fmt: skip
            marks.group_dots(
                ax, at, here, seeds, colour, by="seed", name=name, width=0.28, horizontal=False
            )
