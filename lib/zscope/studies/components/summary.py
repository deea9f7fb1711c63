"""Method by question: what each part found against its truth, in one table. No torch."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from zscope.studies.components.dictionaries.tables import ALL_MODELS
from zscope.tables.schema import Row
from zscope.verdicts import tally

OVER_ALL = "all"
"""The kind of nodes of a row that is over every kind and layer."""
EFFECTS = "the effect of every node, as exhaustive patching gives it"
DICTIONARY = "sparse dictionary, best latent"
COMPONENTS = "parameter decomposition"
STRICT = "strict"


def summary_rows(
    attribution: pd.DataFrame, dictionaries: pd.DataFrame, decomposition: pd.DataFrame
) -> Iterator[Row]:
    """Rows of table components_summary, from the verdict tables of the three parts.

    Attribution has a row per method and kind of nodes in its first and last layer; dictionaries one
    per group of labels; decompositions one per primitive, by the rule of the verdict.
    """
    for row in attribution.to_dict("records"):
        whole = row["kind"] == OVER_ALL
        where = EFFECTS if whole else f"effects of {row['kind']} in layer {int(row['layer'])}"
        yield {
            **{"part": "attribution", "subject": row["subject"], "method": row["method"]},
            **{"question": where, "verdict": row["verdict"], "tally": row["trainings"]},
            "n": row["models"],
        }
    for (subject, group), rows in dictionaries.groupby(["subject", "group"], sort=False):
        over_all = rows["model"] == ALL_MODELS
        models, whole = rows[~over_all], rows[over_all]
        yield {
            **{"part": "dictionaries", "subject": subject, "method": DICTIONARY},
            **{"question": f"labels of {group}", "verdict": whole["verdict"].iloc[0]},
            **{"tally": tally(models["verdict"].tolist()), "n": len(models)},
        }
    for row in decomposition[decomposition["rule"] == STRICT].to_dict("records"):
        yield {
            **{"part": "decomposition", "subject": row["model"], "method": COMPONENTS},
            "question": f"components of {row['primitive']} alone",
            **{"verdict": row["verdict"], "tally": row["tally"], "n": row["seeds"]},
        }
