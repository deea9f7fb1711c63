"""Problems as table crosslingual_problems, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from zscope.studies.crosslingual.problems.parallel import Problem
from zscope.studies.crosslingual.tables import PROBLEMS
from zscope.tables.read import read_table


def problem_rows(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Rows of table crosslingual_problems; operands are joined by commas."""
    return [
        {
            "problem": p.id,
            "category": p.category,
            "operands": ",".join(map(str, p.operands)),
            "answer": str(p.answer),
            "kind": p.kind,
            "examples_zh": p.examples_zh,
            "examples_en": p.examples_en,
            "zh": p.zh,
            "en": p.en,
            "held_out": p.held_out,
        }
        for p in problems
    ]


def read_problems(path: str | Path) -> list[Problem]:
    """The problems of the table, in its order. Raises TableError as read_table."""
    return [
        Problem(
            r["problem"],
            r["category"],
            tuple(int(x) if x.isdecimal() else float(x) for x in r["operands"].split(",") if x),
            r["answer"] if r["kind"] == "line_class" else int(r["answer"]),
            r["zh"],
            r["en"],
            bool(r["held_out"]),
            r["kind"],
            r["examples_zh"],
            r["examples_en"],
        )
        for r in read_table(path, PROBLEMS).to_dict("records")
    ]


def read_categories(path: str | Path, problems: Sequence[str]) -> Shaped[np.ndarray, " n"]:
    """The categories of these problems, in their order."""
    table = read_table(path, PROBLEMS).set_index("problem")
    return table["category"].loc[list(problems)].to_numpy(str)
