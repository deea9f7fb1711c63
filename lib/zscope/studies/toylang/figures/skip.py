"""The skip rules in the weights: factors of the heads that matter, and their gauge-free product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import squares
from zscope.studies.toylang.figures.lookups import grid, matrix, seeds_of, seeds_text
from zscope.studies.toylang.tables import MATRICES, RULES
from zscope.toy_language.rules import Rule, rules_of

NEEDS = (MATRICES, RULES)
SHARE = 0.8  # the heads shown have this share of |QK x OV| at the rules, if MOST suffice
MOST = 3  # heads shown


@style.styled
def draw(tables: Tables) -> Figure:
    cells = matrix(tables, "skip_product")
    if cells.empty:
        return style.nothing_to_draw("no skip rule was read")
    seed = seeds_of(cells)[0]
    rules = true_rules(tables)
    qk, ov, product = (
        _by_item(select(frame, seed=seed))
        for frame in (matrix(tables, "skip_qk"), matrix(tables, "skip_ov"), cells)
    )
    whole = select(cells, seed=seed, item="all")
    total, truth = grid(whole), grid(whole, "truth")
    heads = chosen({h: m for h, m in product.items() if h in qk and h in ov}, rules)
    height = 1.65 * max(1, len(heads))
    fig = style.figure(style.DOUBLE, height + 2.5)
    upper, lower = style.stacked(fig, height, 1.75)
    axes = upper.subplots(max(1, len(heads)), 3, squeeze=False)
    if not heads:
        for ax in axes.flat:
            style.not_applicable(ax, "no head writes anything at the rules")
    limits = [squares.symmetric(*[m[h] for h in heads]) for m in (qk, ov)] + [
        squares.symmetric(*[product[h] for h in heads], total, truth)
    ]
    for row, head in zip(axes, heads, strict=False):
        _slices(row, head, (qk[head], ov[head], product[head]), rules, limits)
    left, right = lower.subplots(1, 2, sharey=True)
    style.panel_title(left, "all heads: QK x OV (nats)")
    squares.square(left, total, limits[2], squares.DIVERGING, digits=1)
    style.panel_title(right, "true change of log p (nats)")
    squares.square(right, truth, limits[2], squares.DIVERGING, digits=1)
    for ax, values in ((left, total), (right, truth)):
        _outline(ax, values, [(r.text, r.output) for r in rules])
        ax.set_xlabel("output")
    left.set_ylabel("rule")
    right.tick_params(labelleft=False)
    style.note(
        fig,
        f"{seeds_text(cells)} Shown: seed {seed}, the heads with the largest |QK x OV| at the "
        f"true rules, up to a share of {SHARE:g} (at most {MOST}).",
        "QK: pattern, no unit; OV: nats of logit for a pattern of 1. QK x OV, in nats, minus its "
        "mean over the outputs; QK and QK x OV: means over distances. Framed: true rules.",
        "The signs of QK and of OV are a choice of gauge, the sign of the product is not: a rule "
        "may be minus times minus. One colour scale per column.",
        squares.cut(total, *qk.values()),
    )
    return fig


def true_rules(tables: Tables) -> list[Rule]:
    """Every skip rule that makes its output likelier."""
    return [rule for rule in rules_of(tables.get(RULES, primitive="skip")) if rule.boosts]


def chosen(product: Mapping[str, pd.DataFrame], rules: Sequence[Rule]) -> list[str]:
    """The heads with the largest |QK OV| at the rules' outputs, until SHARE of it is reached."""
    sizes = {head: sum(abs(_own(m, rule)) for rule in rules) for head, m in product.items()}
    whole, found = sum(sizes.values()), list[str]()
    for head in sorted(sizes, key=lambda h: (-sizes[h], h)):
        if len(found) < MOST and sum(sizes[h] for h in found) < SHARE * whole:
            found.append(head)
    return found


def _own(product: pd.DataFrame, rule: Rule) -> float:
    """QK x OV at a rule's own output; 0 if the table lacks it."""
    if rule.text not in product.index or rule.output not in product.columns:
        return 0.0
    return float(product.at[rule.text, rule.output])  # type: ignore[arg-type]


def _by_item(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(item): grid(of) for item, of in cells.groupby("item", sort=True)}


def _slices(
    row: Sequence[Axes],
    head: str,
    matrices: Sequence[pd.DataFrame],
    rules: Sequence[Rule],
    limits: Sequence,
) -> None:
    titles = (f"{head}: QK", f"{head}: OV (nats)", f"{head}: QK x OV (nats)")
    for ax, title, values, norm in zip(row, titles, matrices, limits, strict=True):
        style.panel_title(ax, title)
        squares.square(ax, values, norm, squares.DIVERGING, digits=1)
    _outline(row[0], matrices[0], [(r.query, str(r.key)) for r in rules])
    _outline(row[1], matrices[1], [(str(r.key), r.output) for r in rules])
    _outline(row[2], matrices[2], [(r.text, r.output) for r in rules])
    for ax, x, y in zip(row, ("key", "output", "output"), ("query", "key", "rule"), strict=True):
        ax.set_xlabel(x)
        ax.set_ylabel(y)
    row[2].set_yticklabels(
        [str(name).split(" -> ")[0] for name in matrices[2].index[: squares.LARGEST]]
    )


def _outline(ax: Axes, values: pd.DataFrame, places: Sequence[tuple[str, str]]) -> None:
    rows, columns = (list(axis)[: squares.LARGEST] for axis in (values.index, values.columns))
    for row, column in places:
        if row in rows and column in columns:
            squares.outline(ax, rows.index(row), columns.index(column), style.GREEN)
