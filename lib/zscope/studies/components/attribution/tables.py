"""The tables of the attribution part."""

from __future__ import annotations

from zscope.tables.schema import FLOAT, INT, INTERVAL, TEXT, Column, N, Table

FOLDER = "results/components/attribution"
OF_SUBJECT = FOLDER + "/{subject}"

SUBJECT = Column("subject", TEXT, "", "the condition or named model, as in the config")
MODEL = Column("model", TEXT, "", "one model of it: a training seed, or the named model")
PRIMITIVE = Column("primitive", TEXT, "", "primitive that governs the answer; all: all pairs")
PAIR = Column("pair", INT, "", "pair of prompts, from 0")
METHOD = Column("method", TEXT, "", "how the effect is estimated (docs/components.md)")
KIND = Column("kind", TEXT, "", "q, k, v or z; all: every kind")
LAYER = Column("layer", INT, "", "layer, from 0")
LAYER_OR_ALL = Column("layer", INT, "", "layer, from 0; null: all kinds and layers", True)
HEAD = Column("head", INT, "", "head of the layer, from 0; for k and v the key-value head")
POSITION = Column("position", INT, "tokens", "position of the node, from 0")
EXACT = Column("exact", FLOAT, "nats", "change of the metric when the node alone is patched")

PRIMITIVES = Table(
    "components_attribution_primitives",
    "a primitive of the language, and whether pairs of prompts could be made for it",
    OF_SUBJECT + "/primitives.parquet",
    (
        SUBJECT,
        Column("primitive", TEXT, "", "the primitive; category: the category bigram"),
        Column("pairs", INT, "", "pairs that were made"),
        Column("tried", INT, "", "prompts that were tried"),
        Column("why", TEXT, "", "why there is no pair; null: there is one", True),
    ),
    ("subject", "primitive"),
)
PAIRS = Table(
    "components_attribution_pairs",
    "a pair of prompts that differ in one token",
    OF_SUBJECT + "/pairs.parquet",
    (
        SUBJECT,
        PAIR,
        Column("primitive", TEXT, "", "primitive that governs the token after the clean prompt"),
        Column("length", INT, "tokens", "length of both prompts"),
        Column("edit", INT, "tokens", "position of the token in which they differ, from 0"),
        Column("prompt", TEXT, "", "the clean prompt"),
        Column("token", TEXT, "", "its token at the edit"),
        Column("edited", TEXT, "", "the token of the corrupted prompt there"),
        Column("answer", TEXT, "", "token whose logit is measured"),
        Column("p_clean", FLOAT, "", "its probability after the clean prompt, by the program"),
        Column("p_corrupted", FLOAT, "", "the same after the corrupted prompt"),
    ),
    ("subject", "pair"),
)
EFFECTS = Table(
    "components_attribution_effects",
    "a pair of prompts in one model: the metric of both runs",
    OF_SUBJECT + "/effects.parquet",
    (
        SUBJECT,
        MODEL,
        PAIR,
        Column(
            "clean", FLOAT, "nats", "answer's logit less the mean logit, after the clean prompt"
        ),
        Column("corrupted", FLOAT, "nats", "the same after the corrupted prompt"),
    ),
    ("subject", "model", "pair"),
)
NODES = Table(
    "components_attribution_nodes",
    "a node that can have an effect, in one model on one pair",
    OF_SUBJECT + "/nodes.parquet",
    (
        SUBJECT,
        MODEL,
        PAIR,
        PRIMITIVE,
        KIND,
        LAYER,
        HEAD,
        POSITION,
        EXACT,
        Column("atp", FLOAT, "nats", "estimate of attribution patching"),
        Column("atp_qk", FLOAT, "nats", "the same with the QK fix"),
        Column("graddrop", FLOAT, "nats", "GradDrop as published; null: one layer", True),
        Column("graddrop_all", FLOAT, "nats", "the same with the undropped pass", True),
        Column("ig", FLOAT, "nats", "integrated gradients with the QK fix"),
    ),
    ("subject", "model", "pair", "kind", "layer", "head", "position"),
)
SCORES = Table(
    "components_attribution_scores",
    "a score of a method on the nodes of one kind and layer of one model",
    OF_SUBJECT + "/scores.parquet",
    (
        SUBJECT,
        MODEL,
        METHOD,
        KIND,
        LAYER_OR_ALL,
        PRIMITIVE,
        Column("metric", TEXT, "", "pearson, spearman or false_negatives (docs/components.md)"),
        Column("value", FLOAT, "", "the score; null: undefined", True),
        *INTERVAL,
        Column("null", FLOAT, "as value", "mean of the same with permuted estimates", True),
        Column("null_low", FLOAT, "as value", "lower end of the band of the permuted", True),
        Column("null_high", FLOAT, "as value", "upper end of the band of the permuted", True),
        Column("p", FLOAT, "", "rank of the value among the permuted; null: undefined", True),
        Column("draws", INT, "", "permutations"),
        Column("n", INT, "nodes", "nodes that the score is of"),
        Column("pairs", INT, "", "pairs that they are of"),
    ),
    ("subject", "model", "method", "kind", "layer", "primitive", "metric"),
)
WORK = Table(
    "components_attribution_work",
    "the work of verifying a method's first nodes in one model",
    OF_SUBJECT + "/work.parquet",
    (
        SUBJECT,
        MODEL,
        METHOD,
        PRIMITIVE,
        Column(
            "value",
            FLOAT,
            "",
            "nodes patched in the method's order until the largest effects are found, over their "
            "number; 1 is perfect",
        ),
        *INTERVAL,
        Column("worst", FLOAT, "as value", "that of the pair which needs most"),
        Column("random", FLOAT, "as value", "mean of nodes in random order"),
        Column("passes", INT, "forward passes", "cost of the estimates of a pair"),
        Column("nodes", FLOAT, "forward passes", "patched runs of a pair's live nodes, on average"),
        Column("n", INT, "pairs", "pairs that the value is a mean of"),
    ),
    ("subject", "model", "method", "primitive"),
)
DEGREES = Table(
    "components_attribution_degrees",
    "a degree of the effect of patching z, in a polynomial model",
    OF_SUBJECT + "/degrees.parquet",
    (
        SUBJECT,
        MODEL,
        LAYER,
        Column("degree", INT, "", "power of the patch's strength; 1 is attribution patching"),
        Column("value", FLOAT, "nats", "mean size of this term of the effect"),
        *INTERVAL,
        Column("atp_off", FLOAT, "nats", "largest distance of degree 1 from AtP; else null", True),
        N,
    ),
    ("subject", "model", "layer", "degree"),
)
SUMMARY = Table(
    "components_attribution_summary",
    "whether a method finds what exhaustive patching finds, over all trainings",
    FOLDER + "/summary.parquet",
    (
        SUBJECT,
        METHOD,
        KIND,
        LAYER_OR_ALL,
        Column("verdict", TEXT, "", "found, not found, or as in docs/verdicts.md"),
        Column("trainings", TEXT, "", "how many trainings say what"),
        Column("least_pearson", FLOAT, "", "least correlation of any training", True),
        Column("most_missed", FLOAT, "", "largest share of false negatives of any", True),
        Column("models", INT, "", "trainings"),
    ),
    ("subject", "method", "kind", "layer"),
)

# --- language models

FAMILY = Column("family", TEXT, "", "ioi: sentences with an indirect object; repeats: of a text")
PRETRAINED_PAIRS = Table(
    "components_attribution_pretrained_pairs",
    "a pair of prompts of a language model",
    OF_SUBJECT + "/pretrained_pairs.parquet",
    (
        SUBJECT,
        FAMILY,
        PAIR,
        Column("length", INT, "tokens", "length of both prompts"),
        Column("edit", INT, "tokens", "position in which they differ, from 0"),
        Column("prompt", TEXT, "", "the clean prompt"),
        Column("answer", TEXT, "", "its answer"),
        Column("other", TEXT, "", "the answer of the corrupted prompt"),
        Column("clean", FLOAT, "nats", "logit of the answer less that of the other, clean"),
        Column("corrupted", FLOAT, "nats", "the same, corrupted"),
        Column("nodes", INT, "", "z nodes from the edit on"),
        Column("patched", INT, "", "those that were patched"),
    ),
    ("subject", "family", "pair"),
)
PRETRAINED_NODES = Table(
    "components_attribution_pretrained_nodes",
    "z of a head at a position of a language model, patched exactly",
    OF_SUBJECT + "/pretrained_nodes.parquet",
    (
        SUBJECT,
        FAMILY,
        PAIR,
        LAYER,
        HEAD,
        POSITION,
        Column("chosen", TEXT, "", "top: by its estimate; random: drawn from all others"),
        EXACT,
        Column("atp", FLOAT, "nats", "estimate of attribution patching"),
    ),
    ("subject", "family", "pair", "layer", "head", "position"),
)
PRETRAINED_SCORES = Table(
    "components_attribution_pretrained_scores",
    "attribution in a language model on one family of pairs, scored on the nodes patched exactly",
    OF_SUBJECT + "/pretrained_scores.parquet",
    (
        SUBJECT,
        FAMILY,
        Column(
            "metric",
            TEXT,
            "",
            "pearson_top, pearson_random or large_elsewhere (docs/components.md)",
        ),
        Column("value", FLOAT, "", "the score; null: undefined", True),
        *INTERVAL,
        Column("null", FLOAT, "as value", "mean of permuted estimates; null: none", True),
        Column("null_low", FLOAT, "as value", "lower end of their band", True),
        Column("null_high", FLOAT, "as value", "upper end of their band", True),
        Column("n", INT, "nodes", "nodes that the score is of"),
        Column("pairs", INT, "", "pairs that they are of"),
    ),
    ("subject", "family", "metric"),
)

OF_TOY: tuple[Table, ...] = (PRIMITIVES, PAIRS, EFFECTS, NODES, DEGREES)
OF_SCORES: tuple[Table, ...] = (SCORES, WORK)
OF_PRETRAINED: tuple[Table, ...] = (PRETRAINED_PAIRS, PRETRAINED_NODES, PRETRAINED_SCORES)
TABLES: tuple[Table, ...] = (*OF_TOY, *OF_SCORES, SUMMARY, *OF_PRETRAINED)
