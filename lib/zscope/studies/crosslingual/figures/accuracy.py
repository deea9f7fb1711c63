"""Is one language answered better? Unpatched outputs, the same problems in both languages."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zscope.figures import style
from zscope.stats import mcnemar_exact, wilson_interval
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import Tables, select


@style.styled
def draw(tables: Tables) -> Figure:
    answers = answered(tables)
    if answers.empty:
        return style.nothing_to_draw("there are no unpatched outputs", tables.count())
    categories = sorted(answers["category"].unique())
    fig = style.figure(style.DOUBLE, 0.26 * len(categories) + 1.6)
    rate, pairs, kinds = fig.subplots(1, 3, width_ratios=(1.1, 1, 1.3))
    style.panel_title(rate, "a  accuracy")
    panel(rate, tables)
    style.panel_title(pairs, "b  right in one language")
    _discordant(pairs, tables, answers)
    style.panel_title(kinds, "c  by category")
    _categories(kinds, tables, answers, categories)
    style.legend(fig, {f"prompts in {n}": c for n, c in model_marks.LANGUAGES.items()})
    tests = [f"{m}: p = {asymmetry(select(answers, model=m)):.2g}" for m in tables.models]
    style.note(
        fig,
        tables.count(counts(answers)),
        "Right: a well-formed answer with the right number.",
        model_marks.dots_note(tables.models, "95 % Wilson interval"),
        f"Exact McNemar test of zh against en on the same problems: {'; '.join(tests)}.",
    )
    return fig


def answered(tables: Tables) -> pd.DataFrame:
    """A row a (model, problem, language of the prompt) with category and correct."""
    rows = tables.get("crosslingual_outputs", space="none", design="none")
    prompt = rows["direction"].astype(str).str.rpartition("->")[2] if len(rows) else ""
    # Every patched layer has the same unpatched outputs.
    rows = rows.assign(prompt=prompt).drop_duplicates(["model", "problem", "prompt"])
    return rows[["model", "problem", "category", "prompt", "correct"]]


def counts(answers: pd.DataFrame) -> pd.DataFrame:
    """The rate of right answers by model and language: value, Wilson interval, n problems."""
    grouped = answers.groupby(["model", "prompt"], sort=False)["correct"]
    out = grouped.agg(hits="sum", n="count").reset_index()
    out["value"] = out["hits"] / out["n"]
    out["ci_low"], out["ci_high"] = wilson_interval(out["hits"].to_numpy(), out["n"].to_numpy())
    return out


def panel(ax: Axes, tables: Tables) -> None:
    """Accuracy of every model, a column a language."""
    answers = answered(tables)
    if answers.empty:
        style.not_applicable(ax, "there are no unpatched outputs")
        return
    rates = counts(answers)
    for place, (language, colour) in enumerate(model_marks.LANGUAGES.items()):
        of = select(rates, prompt=language)
        model_marks.model_dots(
            ax, place, of, tables.models, colour, name=language, horizontal=False
        )
    style.baseline(ax, tables.gate, "gate")
    style.share_axis(ax, "right answers (share)")
    ax.set_xticks(range(len(model_marks.LANGUAGES)), list(model_marks.LANGUAGES))
    ax.set_xlim(-0.6, len(model_marks.LANGUAGES) - 0.4)
    ax.set_xlabel("language of the prompt")


def asymmetry(answers: pd.DataFrame) -> float:
    """Exact McNemar p of one model's answers; NaN unless problems were asked in both languages."""
    both = answers.pivot(index="problem", columns="prompt", values="correct")
    if not {"zh", "en"} <= set(both.columns):
        return float("nan")
    both = both[["zh", "en"]].dropna().astype(bool)
    return mcnemar_exact(both["zh"].to_numpy(), both["en"].to_numpy())


def _discordant(ax: Axes, tables: Tables, answers: pd.DataFrame) -> None:
    models = tables.models
    width = 0.38
    for i, model in enumerate(models):
        both = select(answers, model=model).pivot(
            index="problem", columns="prompt", values="correct"
        )
        for j, language in enumerate(model_marks.LANGUAGES):
            other = next(name for name in model_marks.LANGUAGES if name != language)
            if not {language, other} <= set(both.columns):
                continue
            only = int((both[language].eq(True) & both[other].eq(False)).sum())
            ax.bar(
                i + (j - 0.5) * width,
                only,
                width,
                color=model_marks.LANGUAGES[language],
                label=f"_only {language}",
            )
    ax.set_ylabel("right in this language\nonly (problems)")
    ax.set_ylim(0, max(3.0, ax.get_ylim()[1]))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    shown = [i for i in range(len(models)) if i % -(-len(models) // 4) == 0]
    ax.set_xticks(shown, [_short(models[i]) for i in shown])
    ax.set_xlim(-0.7, len(models) - 0.3)
    ax.set_xlabel("model")


def _short(model: str) -> str:
    return model.removeprefix("tiny-") if model.startswith("tiny-s") else model


def _categories(ax: Axes, tables: Tables, answers: pd.DataFrame, categories: list[str]) -> None:
    rates = answers.groupby(["model", "category", "prompt"])["correct"].mean().reset_index()
    rates = rates.rename(columns={"correct": "value"}).assign(ci_low=np.nan, ci_high=np.nan)
    for place, category in enumerate(categories):
        for offset, (language, colour) in zip(
            (-0.2, 0.2), model_marks.LANGUAGES.items(), strict=True
        ):
            model_marks.model_dots(
                ax,
                place + offset,
                select(rates, category=category, prompt=language),
                tables.models,
                colour,
                name=language,
                width=0.36,
            )
    ax.set_yticks(range(len(categories)), [c.replace("_", " ") for c in categories])
    ax.set_ylabel("category of problem")
    ax.set_ylim(len(categories) - 0.4, -0.6)
    ax.set_xlim(-0.03, 1.05)
    ax.set_xticks([0, 0.5, 1])
    ax.set_xlabel("right answers (share)")
