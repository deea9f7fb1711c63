"""The figure of verdicts says what the table says, of one model and of several that differ."""

from __future__ import annotations

import pandas as pd
import pytest

import fake_heads
from zscope.figures.tables import Tables
from zscope.studies.heads.figures.verdicts import draw
from zscope.studies.heads.tables import SUMMARY


def drawn(models: list[str], **changes: object) -> tuple[list[str], list[str]]:
    """The texts and the words of the marks, with columns of the first model changed."""
    table = fake_heads.study(models)[SUMMARY.name].copy()
    of = (table["model"] == models[0]) & (table["detector"] == "induction")
    for column, value in changes.items():
        table.loc[of, column] = value
    (ax,) = draw(Tables({SUMMARY.name: pd.DataFrame(table)}, 0.95, {})).axes
    marks = [str(line.get_label()) for line in ax.lines]
    return [t.get_text() for t in ax.texts], [m for m in marks if m.startswith("_verdict")]


def test_the_effect_of_one_model_has_its_interval() -> None:
    texts, _ = drawn(["m"], value=1.5, ci_low=-0.25, ci_high=1.75, control=0.125)
    assert "1.50 [\u22120.25, 1.75]\ncontrol 0.12" in texts


def test_effects_of_several_models_are_a_range() -> None:
    texts, marks = drawn(["a", "b"], value=1.5, control=-0.001)
    assert "1.50 to 2.00\ncontrol 0.00" in texts
    assert len(marks) == 2 * len(fake_heads.STREAMS)


@pytest.mark.parametrize("word", ["none", "cannot be told"])
def test_a_mark_is_the_word_of_its_model(word: str) -> None:
    _, before = drawn(["a", "b"])
    _, after = drawn(["a", "b"], verdict=word)
    assert f"_verdict {word}" not in before
    assert after.count(f"_verdict {word}") == 1
