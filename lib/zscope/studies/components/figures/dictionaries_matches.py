"""How are best cosines spread between the random level and a match?"""

from __future__ import annotations

from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.dictionaries.tables import DICTIONARIES_MATCHES
from zscope.studies.components.figures.dictionaries_looks import shown, variant_legend

NEEDS = (DICTIONARIES_MATCHES,)
BIN = 0.05
DIRECTIONS = {"truth": "truth to latent", "latent": "latent to truth"}
MOST = 3


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DICTIONARIES_MATCHES)
    if rows.empty:
        return style.nothing_to_draw("nothing was planted")
    seed = rows["seed"].iloc[0]
    first = rows[rows["strength"] == rows.groupby("variant")["strength"].transform("first")]
    first = select(first, seed=seed)
    conditions = list(first["condition"].unique())[:MOST]
    fig = style.figure(style.DOUBLE, 3.6)
    axes = fig.subplots(2, len(conditions), sharex=True, sharey="row", squeeze=False)
    for (direction, title), line in zip(DIRECTIONS.items(), axes, strict=True):
        for ax, condition in zip(line, conditions, strict=True):
            here = select(first, direction=direction, condition=condition)
            for i, (variant, (_, colour)) in enumerate(shown(here["variant"]).items()):
                of = select(here, variant=variant).sort_values("cosine")
                x = numbers(of["cosine"]) + BIN / 2
                if i == 0:
                    ax.bar(x, numbers(of["null"]), BIN, color="#D9D9D9", linewidth=0, zorder=0)
                ax.step(
                    x,
                    numbers(of["value"]),
                    where="mid",
                    color=colour,
                    linewidth=1.1,
                    label="_model",
                )
            style.panel_title(ax, f"{condition}, {title}")
            ax.set_xlim(0, 1.02)
            style.at_least(ax, 0, 0.5)
        line[0].set_ylabel("share of cosines")
    for ax in axes[1]:
        ax.set_xlabel("best cosine")
    style.legend(
        fig,
        variant_legend(first["variant"]),
        extra=[style.patch("random dictionaries", "#D9D9D9")],
        columns=6,
    )
    style.note(
        fig,
        f"One dictionary of each variant (seed {seed}); bins of {BIN:g}. Latents that never fire "
        "are left out below.",
    )
    return fig
