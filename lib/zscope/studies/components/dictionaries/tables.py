"""The tables of the dictionaries part."""

from __future__ import annotations

from zscope.tables.schema import (
    BOOL,
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
LAYER = Column(
    "layer", INT, "", "the stream before this layer; the number of layers: after the last"
)
CONDITION = Column("condition", TEXT, "", "what is planted (docs/components.md)")
VARIANT = Column("variant", TEXT, "", "l1, topk, batch_topk, gated, jump_relu or jump_relu_l0")
STRENGTH = Column("strength", FLOAT, "weight, or codes", "of the penalty; k for the TopK kin")
DICTIONARY_SEED = Column(
    "seed", INT, "", "random seed of the dictionary (planted: of the truth too)"
)
NULL = (
    Column("null", FLOAT, "as metric", "mean over random dictionaries; null: none", True),
    Column("null_low", FLOAT, "as metric", "lower end of their band; null: none", True),
    Column("null_high", FLOAT, "as metric", "upper end of their band; null: none", True),
)
N = Column("n", INT, "see docs/components.md", "what the interval resamples")

DICTIONARIES_PLANTED = Table(
    "components_dictionaries_planted",
    "a score of one dictionary against the planted directions",
    FOLDER + "/planted.parquet",
    (CONDITION, VARIANT, STRENGTH, DICTIONARY_SEED, METRIC, NUMBER, *INTERVAL, *NULL, N),
    ("condition", "variant", "strength", "seed", "metric"),
)
DICTIONARIES_MATCHES = Table(
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
OF = Column(
    "of", TEXT, "", "trained, or untrained: its twin at step 0, with random output matrices"
)
DICTIONARIES_CURVES = Table(
    "components_dictionaries_curves",
    "a measure of one dictionary of a toy model's stream",
    OF_SUBJECT + "/curves.parquet",
    (
        SUBJECT,
        MODEL,
        LAYER,
        OF,
        VARIANT,
        STRENGTH,
        DICTIONARY_SEED,
        METRIC,
        NUMBER,
        *INTERVAL,
        *NULL,
        N,
    ),
    ("subject", "model", "layer", "of", "variant", "strength", "seed", "metric"),
)
GROUP = Column("group", TEXT, "", "labels of the exact language (docs/components.md)")
LABELS = Column("labels", INT, "labels", "labels of the group")
DICTIONARIES_FEATURES = Table(
    "components_dictionaries_features",
    "how well a group of labels is read from one basis through k latents",
    OF_SUBJECT + "/features.parquet",
    (
        SUBJECT,
        MODEL,
        LAYER,
        Column("basis", TEXT, "", "dictionary, untrained, random, neurons, or a probe"),
        Column("seed", INT, "", "random seed of the dictionary, or draw; 0 where there is none"),
        Column("k", INT, "latents", "that a probe reads; 0: the whole stream"),
        GROUP,
        METRIC,
        NUMBER,
        *INTERVAL,
        Column("base_rate", FLOAT, "share", "of positions where a label is true, their mean"),
        LABELS,
        Column("n", INT, "sequences", "scored sequences"),
    ),
    ("subject", "model", "layer", "basis", "seed", "k", "group", "metric"),
)
DICTIONARIES_CAUSAL = Table(
    "components_dictionaries_causal",
    "what replacing the stream costs where one primitive governs",
    OF_SUBJECT + "/causal.parquet",
    (
        SUBJECT,
        MODEL,
        LAYER,
        Column(
            "replaced",
            TEXT,
            "",
            "by what a dictionary or a random one gives back, the mean, or nothing",
        ),
        Column("seed", INT, "", "random seed of the dictionary, or draw; 0 where there is none"),
        Column("primitive", TEXT, "", "that governs the predicted token; all: of every position"),
        METRIC,
        Column("value", FLOAT, "nats", "excess of the model as it is, or its rise"),
        *INTERVAL,
        Column("n", INT, "positions", "positions of the mean; the interval resamples sequences"),
    ),
    ("subject", "model", "layer", "replaced", "seed", "primitive", "metric"),
)
DICTIONARIES_VERDICTS = Table(
    "components_dictionaries_verdicts",
    "whether dictionaries of a toy model find a group of labels",
    OF_SUBJECT + "/verdicts.parquet",
    (
        SUBJECT,
        Column("model", TEXT, "", "a training, or all: the common word of all"),
        GROUP,
        Column("verdict", TEXT, "", "found, not found, cannot be told, varies between trainings"),
        Column("value", FLOAT, "F1", "of the best latent, less that of the untrained twin's"),
        *INTERVAL,
        Column("f1", FLOAT, "", "of the best latent, mean over dictionary seeds"),
        Column("untrained", FLOAT, "", "the same of dictionaries of the untrained twin"),
        Column("random", FLOAT, "", "the same of random dictionaries, mean over draws"),
        Column("probe", FLOAT, "", "F1 of a probe of the whole stream"),
        Column("probe_untrained", FLOAT, "", "the same of the twin's stream"),
        Column("there", BOOL, "", "whether the probe is above the twin's, by its interval"),
        Column("p", FLOAT, "", "of exchanged sequences; null: over models", True),
        Column("p_least", FLOAT, "", "the smallest that there could be; null: over models", True),
        Column(
            "rank_p", FLOAT, "", "of the rank among random dictionaries; null: over models", True
        ),
        Column("draws", INT, "dictionaries", "random dictionaries"),
        Column(
            "detectable", FLOAT, "F1", "difference found with 80 % power; null: over models", True
        ),
        LABELS,
        Column("n", INT, "sequences", "scored sequences; over models: trainings"),
    ),
    ("subject", "model", "group"),
)
DICTIONARIES_TEXT = Table(
    "components_dictionaries_text",
    "a measure of one dictionary of a pretrained model's stream, on held-out passages",
    FOLDER + "/pretrained/{subject}/text.parquet",
    (
        SUBJECT,
        LAYER,
        Column(
            "replaced",
            TEXT,
            "",
            "by what the dictionary or a random one gives back, the mean, nothing",
        ),
        VARIANT,
        STRENGTH,
        METRIC,
        NUMBER,
        *INTERVAL,
        Column("n", INT, "passages", "held-out passages, which the interval resamples"),
    ),
    ("subject", "layer", "replaced", "variant", "strength", "metric"),
)
DICTIONARIES_QK = Table(
    "components_dictionaries_qk",
    "how far an induction head's pattern is from that of its coded queries and keys",
    OF_SUBJECT + "/qk.parquet",
    (
        SUBJECT,
        MODEL,
        Column("layer", INT, "", "layer of the head, from 0"),
        Column("head", INT, "", "the head of the last layer that looks most where induction does"),
        Column("score", FLOAT, "share", "its weight on the key that induction looks for"),
        Column("training", TEXT, "", "separate, joint, joint_alone, random, or uniform attention"),
        Column("width", INT, "", "latents per dimension of the head; 0: uniform"),
        Column("codes", FLOAT, "codes", "of each query and key; 0: uniform"),
        Column("value", FLOAT, "nats", "KL of the pattern, mean over rows"),
        *INTERVAL,
        Column("n", INT, "sequences", "which the interval resamples"),
    ),
    ("subject", "model", "training", "width", "codes"),
)
OF_TOYS: tuple[Table, ...] = (
    DICTIONARIES_CURVES,
    DICTIONARIES_FEATURES,
    DICTIONARIES_CAUSAL,
    DICTIONARIES_VERDICTS,
)
"""What is measured of one condition of the toy language, in one job."""
TABLES: tuple[Table, ...] = (
    DICTIONARIES_PLANTED,
    DICTIONARIES_MATCHES,
    *OF_TOYS,
    DICTIONARIES_TEXT,
    DICTIONARIES_QK,
)
