"""The tables of the dictionaries part."""

from __future__ import annotations

from zscope.tables.schema import (
    FLOAT,
    INT,
    INTERVAL,
    METRIC,
    NUMBER,
    TEXT,
    Column,
    Table,
)

FOLDER = "results/components/dictionaries"
OF_SUBJECT = FOLDER + "/subjects/{subject}"
EXPORT = OF_SUBJECT + "/sae"
"""Folder of a dictionary in the layout of SAELens, beside the tables of the subject."""
ALL_MODELS = "all"
"""The model of a row that is over all models of a subject."""

SUBJECT = Column("subject", TEXT, "", "the subject, as in the config")
MODEL = Column("model", TEXT, "", "one model of it: a training seed, or the named model")
LAYER = Column("layer", INT, "", "the stream before this layer; the number of layers: after the last")
CONDITION = Column("condition", TEXT, "", "what is planted (docs/components.md)")
VARIANT = Column("variant", TEXT, "", "l1, topk, batch_topk, gated, jump_relu or jump_relu_l0")
STRENGTH = Column("strength", FLOAT, "weight, or codes", "of the penalty; k for the TopK kin")
DICTIONARY_SEED = Column("seed", INT, "", "random seed of the dictionary (planted: of the truth too)")
NULL = (
    Column("null", FLOAT, "as metric", "mean over random dictionaries; null: none", True),
    Column("null_low", FLOAT, "as metric", "lower end of their band; null: none", True),
    Column("null_high", FLOAT, "as metric", "upper end of their band; null: none", True),
)
N = Column("n", INT, "see docs/components.md", "what the interval resamples")

PLANTED = Table(
    "components_dictionaries_planted",
    "a score of one dictionary against the planted directions",
    FOLDER + "/planted.parquet",
    (CONDITION, VARIANT, STRENGTH, DICTIONARY_SEED, METRIC, NUMBER, *INTERVAL, *NULL, N),
    ("condition", "variant", "strength", "seed", "metric"),
)
MATCHES = Table(
    "components_dictionaries_matches",
    "a bin of the histogram of best cosines of one dictionary of planted inputs",
    FOLDER + "/matches.parquet",
    (
        CONDITION,
        VARIANT,
        STRENGTH,
        DICTIONARY_SEED,
        Column("direction", TEXT, "", "truth: best latent of each; latent: best truth of each"),
        Column("cosine", FLOAT, "", "left edge of the bin, which is 0.05 wide"),
        Column("value", FLOAT, "share", "of the best cosines, in this bin"),
        Column("null", FLOAT, "share", "the same of random dictionaries, their mean"),
        Column("n", INT, "directions or latents", "cosines in the histogram"),
    ),
    ("condition", "variant", "strength", "seed", "direction", "cosine"),
)
TABLES: tuple[Table, ...] = (PLANTED, MATCHES)
