"""How the embedded model learns: loss and exact accuracy in each language over training."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import count, gate_of
from zscope.studies.crosslingual.tables import ACCURACY, TRAINING

NEEDS = (TRAINING, ACCURACY)
ONLY_TRAINED = True
STYLES = {"held_out": "-", "train": (0, (1, 1))}
LANGUAGES = {**model_marks.LANGUAGES, "both": style.BLACK}
NAMES = {"held_out": "held-out operands", "train": "training batches"}


@style.styled
def draw(tables: Tables) -> Figure:
    # The training loss is the mean over the batches since the last evaluation, of both languages.
    losses = tables.get(TRAINING).replace({"metric": {"train_loss": "loss"}})
    losses = select(losses, metric="loss")
    exact = tables.get(ACCURACY, metric="exact_accuracy").assign(split="held_out")
    if losses.empty:
        return style.nothing_to_draw("the model was not trained here", count(tables))
    fig = style.figure(style.DOUBLE, 2.8)
    splits = [split for split in STYLES if split in set(losses["split"])]
    loss, share = fig.subplots(1, 2)
    for ax, rows in ((loss, losses), (share, exact)):
        for language, colour in LANGUAGES.items():
            for split in splits:
                of = select(rows, language=language, split=split)
                model_marks.model_lines(ax, of, colour, x="step", linestyle=STYLES[split])
        ax.set_xlim(0, float(losses["step"].max()) * 1.02)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: style.short_number(step)))
        ax.set_xlabel("optimizer steps")
    style.panel_title(loss, "a  loss")
    loss.set_ylabel("loss (nats per completion token)")
    style.panel_title(share, "b  exact sentences")
    style.share_axis(share, "accuracy (share)")
    style.baseline(share, gate_of(tables), "gate")
    style.legend(
        fig,
        {f"prompts in {name}": colour for name, colour in model_marks.LANGUAGES.items()},
        extra=[style.line(NAMES[s], linestyle=STYLES[s]) for s in splits if len(splits) > 1],
    )
    style.note(
        fig,
        count(tables, exact, of="texts per language"),
        "Training batches hold both languages." if "train" in splits else "",
        model_marks.lines_note(tables),
    )
    return fig
