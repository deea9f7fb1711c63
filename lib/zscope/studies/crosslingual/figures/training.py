"""How the embedded model learns: loss and exact accuracy in each language over training."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from zscope.figures import style
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import Tables, select

PANELS = (
    ("loss", "a  loss", "loss (nats a completion token)"),
    ("exact_accuracy", "b  exact sentences", "accuracy (share)"),
)
STYLES = {"held_out": "-", "train": (0, (1, 1))}
LANGUAGES = {**model_marks.LANGUAGES, "both": style.BLACK}
NAMES = {"held_out": "held-out operands", "train": "training batches"}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get("crosslingual_training")
    if rows.empty:
        return style.nothing_to_draw("the model was not trained here", tables.count())
    # The mean over the batches since the last evaluation, of both languages.
    rows = rows.assign(metric=rows["metric"].replace("train_loss", "loss"))
    fig = style.figure(style.DOUBLE, 2.8)
    splits = [split for split in STYLES if split in set(rows["split"])]
    for ax, (metric, title, label) in zip(fig.subplots(1, 2), PANELS, strict=True):
        style.panel_title(ax, title)
        for language, colour in LANGUAGES.items():
            for split in splits:
                of = select(rows, metric=metric, language=language, split=split)
                model_marks.model_lines(ax, of, colour, x="step", linestyle=STYLES[split])
        ax.set_ylabel(label)
        if metric == "exact_accuracy":
            style.share_axis(ax, label)
            style.baseline(ax, tables.gate, "gate")
        ax.set_xlim(0, float(rows["step"].max()) * 1.02)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: style.short_number(step)))
        ax.set_xlabel("optimizer steps")
    style.legend(
        fig,
        {f"prompts in {name}": colour for name, colour in model_marks.LANGUAGES.items()},
        extra=[style.line(NAMES[s], linestyle=STYLES[s]) for s in splits if len(splits) > 1],
    )
    style.note(
        fig,
        tables.count(
            select(rows, metric="exact_accuracy", split="held_out"), of="texts a language"
        ),
        "Training batches hold both languages." if "train" in splits else "",
        model_marks.lines_note(tables.models),
    )
    return fig
