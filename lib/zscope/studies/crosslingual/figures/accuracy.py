"""Is one language answered better? Unpatched outputs, the same problems in both languages."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import count, gate_of, models_of
from zscope.studies.crosslingual.tables import ACCURACY

NEEDS = (ACCURACY,)


@style.styled
def draw(tables: Tables) -> Figure:
    rates = tables.get(ACCURACY, metric="accuracy")
    if rates.empty:
        return style.nothing_to_draw("there are no unpatched outputs", count(tables))
    categories = sorted({*rates["category"]} - {"all"})
    fig = style.figure(style.DOUBLE, 0.26 * len(categories) + 1.6)
    rate, pairs, kinds = fig.subplots(1, 3, width_ratios=(1.1, 1, 1.3))
    style.panel_title(rate, "a  accuracy")
    panel(rate, tables)
    style.panel_title(pairs, "b  right in one language")
    _discordant(pairs, tables)
    style.panel_title(kinds, "c  by category")
    _categories(kinds, tables, rates, categories)
    style.legend(fig, {f"prompts in {n}": c for n, c in model_marks.LANGUAGES.items()})
    tests = tables.get(ACCURACY, metric="mcnemar_p")
    found = zip(tests["model"], tests["value"], strict=True)
    shown = "; ".join(f"{model}: p = {p:.2g}" for model, p in found)
    style.note(
        fig,
        count(tables, select(rates, category="all")),
        "Right: a well-formed, right answer.",
        model_marks.dots_note(tables, "Wilson interval"),
        f"Exact McNemar test of zh against en on the same problems: {shown}." if shown else "",
    )
    return fig


def panel(ax: Axes, tables: Tables) -> None:
    """Accuracy of every model, one column per language."""
    rates = tables.get(ACCURACY, metric="accuracy", category="all")
    if rates.empty:
        style.not_applicable(ax, "there are no unpatched outputs")
        return
    for place, (language, colour) in enumerate(model_marks.LANGUAGES.items()):
        of, models = select(rates, language=language), models_of(tables)
        model_marks.model_dots(ax, place, of, models, colour, name=language, horizontal=False)
    style.baseline(ax, gate_of(tables), "gate")
    style.share_axis(ax, "right answers (share)")
    ax.set_xticks(range(len(model_marks.LANGUAGES)), list(model_marks.LANGUAGES))
    ax.set_xlim(-0.6, len(model_marks.LANGUAGES) - 0.4)
    ax.set_xlabel("language of the prompt")


def _discordant(ax: Axes, tables: Tables) -> None:
    models, width = models_of(tables), 0.38
    for j, (language, colour) in enumerate(model_marks.LANGUAGES.items()):
        of = tables.get(ACCURACY, metric="only_right", language=language)
        for model, only in zip(of["model"], of["value"], strict=True):
            place = models.index(model) + (j - 0.5) * width
            ax.bar(place, only, width, color=colour, label=f"_only {language}")
    ax.set_ylabel("right in this language\nonly (problems)")
    ax.set_ylim(0, max(3.0, ax.get_ylim()[1]))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    shown = [i for i in range(len(models)) if i % -(-len(models) // 4) == 0]
    ax.set_xticks(shown, [_short(models[i]) for i in shown])
    ax.set_xlim(-0.7, len(models) - 0.3)
    ax.set_xlabel("model")


def _short(model: str) -> str:
    return model.removeprefix("tiny-") if model.startswith("tiny-s") else model


def _categories(ax: Axes, tables: Tables, rates: pd.DataFrame, categories: list[str]) -> None:
    offsets = dict(zip(model_marks.LANGUAGES, (-0.2, 0.2), strict=True))
    for place, category in enumerate(categories):
        for language, colour in model_marks.LANGUAGES.items():
            of = select(rates, category=category, language=language)
            at, models = place + offsets[language], models_of(tables)
            model_marks.model_dots(ax, at, of, models, colour, name=language, width=0.36)
    names = [category.replace("_", " ") for category in categories]
    model_marks.name_axis(ax, names, "category of problem")
    model_marks.share_axis(ax, "right answers (share)")
