"""Tables of the heads study."""

from __future__ import annotations

from zscope.tables.schema import (
    BOOL,
    FLOAT,
    INT,
    INTERVAL,
    TEXT,
    Column,
    Table,
)

YES, PATTERN_ONLY, EFFECT_ONLY, NONE, SKIPPED = (
    "yes",
    "pattern only",
    "effect without pattern",
    "none",
    "skipped",
)
"""Words of a verdict, beside those of docs/verdicts.md for what cannot be told, or varies."""

SET, OUTSIDE = "set", "outside"
"""Sets of heads: those that a detector names, and where it names none the first of the screen."""
THEMSELVES, RANKED = -1, -2
"""Instead of the number of a random set: the heads themselves, on the sequences that their effect
is measured on, and on those on which they are ranked among the sets."""
LESS = "_less_"
"""Joins a behaviour and its control, where a row is of the difference of their effects."""
ALL_MODELS = "all"
"""The model of a row that is over all models of a subject."""

FOLDER = "results/heads/subjects/{subject}"
SUMS = FOLDER + "/sums/{detector}.safetensors"
"""What a detector adds up over the patterns of a subject: no table, but the input of all scores."""

SUBJECT = Column("subject", TEXT, "", "the subject, as in the config")
MODEL = Column("model", TEXT, "", "one model of it: a training seed, or the named model")
LAYER = Column("layer", INT, "", "layer, from 0")
HEAD = Column("head", INT, "", "query head of the layer, from 0")
DETECTOR = Column("detector", TEXT, "", "what the head is asked to do (docs/heads.md)")
STREAM = Column("stream", TEXT, "", "sequences that it is asked on: text, random, repeats, ...")
BEHAVIOUR = Column("behaviour", TEXT, "", "what the ablation is measured on (docs/heads.md)")
HEADS = Column("heads", TEXT, "", 'ablated heads, as "L0H3+L1H1"')
P = Column("p", FLOAT, "", "of the sign flips; null: undefined", True)

SCORES = Table(
    "heads_scores",
    "a head under a detector, on a stream, by one kind of weights",
    FOLDER + "/scores.parquet",
    (
        SUBJECT,
        MODEL,
        DETECTOR,
        STREAM,
        Column("weights", TEXT, "", "attention, contribution or without_first"),
        LAYER,
        HEAD,
        Column("names", BOOL, "", "whether heads are named by these weights"),
        Column("value", FLOAT, "share", "score, (raw - null) / (1 - null); null: undefined", True),
        *INTERVAL,
        Column("raw", FLOAT, "share", "weight on the targets; null: undefined", True),
        Column("null", FLOAT, "share", "what the null puts there; null: undefined", True),
        P,
        Column("q", FLOAT, "", "p adjusted over heads and detectors; null: not tested", True),
        Column("named", BOOL, "", "by all rows: q and the lower end of the score"),
        Column("named_by_class", BOOL, "", "by the best class of query tokens"),
        Column("best_class", TEXT, "", "class with the highest lower end; null: none", True),
        Column("class_value", FLOAT, "share", "score in that class; null: none", True),
        Column("class_low", FLOAT, "share", "lower end of its interval; null: none", True),
        Column("class_high", FLOAT, "share", "upper end of its interval; null: none", True),
        Column("class_q", FLOAT, "", "adjusted over classes, heads, detectors; null: none", True),
        Column("class_rows", FLOAT, "tokens", "rows of the class; null: none", True),
        Column(
            "offset", INT, "tokens", "best offset of a family of offsets; null: no family", True
        ),
        Column("protocol_value", FLOAT, "as protocol", "the protocol's number; null: none", True),
        Column("protocol_verdict", BOOL, "", "whether it is above its threshold; false: none"),
        Column("reachable", BOOL, "", "whether one head alone could be named"),
        Column("rows", FLOAT, "tokens", "eligible query tokens"),
        Column("n", INT, "sequences", "sequences that have any"),
    ),
    ("model", "detector", "stream", "weights", "layer", "head"),
)
DETECTORS = Table(
    "heads_detectors",
    "a detector of a model, and why it was skipped",
    FOLDER + "/detectors.parquet",
    (
        SUBJECT,
        MODEL,
        Column("detector", TEXT, "", "module of the detector"),
        Column("skipped", TEXT, "", "why it does not apply; null: it does", True),
    ),
    ("model", "detector"),
)
SCREEN = Table(
    "heads_screen",
    "the first-order effect of one head on a behaviour",
    FOLDER + "/screen.parquet",
    (
        SUBJECT,
        MODEL,
        BEHAVIOUR,
        LAYER,
        HEAD,
        Column("value", FLOAT, "nats", "first-order mean ablation; > 0: it hurts"),
        Column("direct", FLOAT, "nats", "the head's own write, with END at its mean; null", True),
        Column("n", INT, "sequences", "sequences of the screen"),
    ),
    ("model", "behaviour", "layer", "head"),
)
ABLATIONS = Table(
    "heads_ablations",
    "the effect of ablating heads on a behaviour",
    FOLDER + "/ablations.parquet",
    (
        SUBJECT,
        MODEL,
        BEHAVIOUR,
        Column(
            "chosen_by", TEXT, "", "layer, screen, named, random: one head; set, outside: several"
        ),
        Column("detector", TEXT, "", "whose heads they are; empty: of none"),
        Column("draw", INT, "", "random set; -1: the heads; -2: they, where the sets are measured"),
        HEADS,
        Column("kind", TEXT, "", "what replaces z: mean, zero or resample"),
        Column("value", FLOAT, "nats", "rise of the loss, or fall of the logit difference"),
        *INTERVAL,
        Column("possible", INT, "", "other sets, or a billion if more; null: one head", True),
        Column("n", INT, "sequences", "sequences that the value averages"),
    ),
    ("model", "behaviour", "chosen_by", "detector", "draw", "heads", "kind"),
)
VERDICTS = Table(
    "heads_verdicts",
    "a detector of one model, or of all models of a subject",
    FOLDER + "/verdicts.parquet",
    (
        SUBJECT,
        Column("model", TEXT, "", "one model; all: over the models of the subject"),
        DETECTOR,
        Column("verdict", TEXT, "", "yes, pattern only, ... (docs/heads.md)"),
        Column("reason", TEXT, "", "why it was skipped, or cannot be told; null: neither", True),
        Column("protocol_heads", INT, "heads", "heads that the protocol names; null: none", True),
        Column("heads", TEXT, "", 'named heads, as "L0H3+L1H1"; empty: none'),
        Column("behaviour", TEXT, "", "what they should be needed for; null: none", True),
        Column("value", FLOAT, "nats", "effect of ablating them; null: none", True),
        *INTERVAL,
        Column("control", FLOAT, "nats", "effect on the control behaviour; null: none", True),
        Column("control_low", FLOAT, "nats", "lower end of value - control; null: none", True),
        Column("draws", INT, "", "random sets; null: none", True),
        Column("hits", INT, "", "random sets that hurt as much; null: none", True),
        Column("p", FLOAT, "", "(1 + hits) / (1 + draws); null: none", True),
        Column("p_holm", FLOAT, "", "adjusted over the detectors of a model; null: none", True),
        Column("least_p", FLOAT, "", "smallest p_holm that could be; null: none", True),
        Column("outside", TEXT, "", "heads outside the named ones; empty: none"),
        Column("outside_value", FLOAT, "nats", "effect of ablating these; null: none", True),
        Column("outside_p_holm", FLOAT, "", "as p_holm; null: none", True),
        Column("tally", TEXT, "", "how many models say what; null: one model", True),
    ),
    ("subject", "model", "detector"),
)
SUMMARY = Table(
    "heads_summary",
    "the same, of all subjects",
    "results/heads/summary.parquet",
    VERDICTS.columns,
    VERDICTS.key,
)

# --- what heads do part by part

OFFSET = Column("offset", INT, "tokens", "how far the key is behind the query; 0: its own")
EXACT = Column("exact", BOOL, "", "whether the head was run at its mean; false: first order")
CLASS = Column("token_class", TEXT, "", "the class of query tokens that is asked; null: all", True)


def _with_interval(name: str, unit: str, meaning: str) -> tuple[Column, ...]:
    """A measurement that may be undefined, and the ends of its interval."""
    ends = (("ci_low", "lower"), ("ci_high", "upper"))
    return (
        Column(name, FLOAT, unit, f"{meaning}; null: undefined", True),
        *(Column(f"{name}_{x}", FLOAT, unit, f"{y} end; null: none", True) for x, y in ends),
    )


OFFSETS = Table(
    "heads_offsets",
    "a head at an offset: what its layer takes from that key through it",
    FOLDER + "/offsets.parquet",
    (
        SUBJECT,
        MODEL,
        LAYER,
        HEAD,
        OFFSET,
        Column("value", FLOAT, "share", "1 - |other heads| / |all heads|; null: undefined", True),
        *INTERVAL,
        Column("n", INT, "sequences", "sequences that the value averages"),
    ),
    ("model", "layer", "head", "offset"),
)
LAYER_OFFSETS = Table(
    "heads_layer_offsets",
    "a layer at an offset: the share of its attention output that goes with the values there",
    FOLDER + "/layer_offsets.parquet",
    (
        SUBJECT,
        MODEL,
        LAYER,
        OFFSET,
        Column("value", FLOAT, "share", "along the output; null: undefined", True),
        *INTERVAL,
        Column("n", INT, "sequences", "sequences that the value averages"),
    ),
    ("model", "layer", "offset"),
)
REDUNDANCY = Table(
    "heads_redundancy",
    "the best previous-token head at an offset: whether it makes the values there redundant",
    FOLDER + "/redundancy.parquet",
    (
        SUBJECT,
        MODEL,
        LAYER,
        HEAD,
        OFFSET,
        Column("value", FLOAT, "share", "1 - beside / alone; null: undefined", True),
        *INTERVAL,
        *_with_interval("alone", "nats", "KL by losing the layer's values at the offset"),
        Column("beside", FLOAT, "nats", "the same behind a run with the head at its mean"),
        Column("n", INT, "sequences", "sequences, each at its last position"),
    ),
    ("model", "layer", "head", "offset"),
)
UNDER_ABLATION = Table(
    "heads_under_ablation",
    "a named head's share on its targets with one earlier head at its mean",
    FOLDER + "/under_ablation.parquet",
    (
        SUBJECT,
        MODEL,
        DETECTOR,
        LAYER,
        HEAD,
        CLASS,
        Column("ablated_layer", INT, "", "layer of the head at its mean"),
        Column("ablated_head", INT, "", "the head at its mean"),
        EXACT,
        Column("value", FLOAT, "share", "weight on the targets with that head at its mean"),
        *INTERVAL,
        *_with_interval("clean", "share", "weight on the targets in a run as it is"),
        *_with_interval("change", "share", "value - clean, over the same sequences"),
        Column("rows", FLOAT, "tokens", "query tokens that are counted"),
        Column("n", INT, "sequences", "sequences that have any"),
    ),
    ("model", "detector", "layer", "head", "ablated_layer", "ablated_head"),
)
IOI = Table(
    "heads_ioi",
    "a head at the end of sentences with an indirect object",
    FOLDER + "/ioi.parquet",
    (
        SUBJECT,
        MODEL,
        LAYER,
        HEAD,
        Column("name_mover", BOOL, "", "by the rule of docs/heads.md"),
        Column("s_inhibition", BOOL, "", "by the rule of docs/heads.md"),
        Column("copy_suppression", BOOL, "", "by the rule of docs/heads.md"),
        Column("protocol_verdict", BOOL, "", "S-inhibition by the protocol: s2 > .1, raw copy < 0"),
        EXACT,
        *_with_interval("direct", "logits", "the head's own write, at its mean, on IO - S"),
        *_with_interval("total", "logits", "IO - S with the head at its mean, less without"),
        *_with_interval("indirect", "logits", "total - direct"),
        Column("direct_q", FLOAT, "", "sign flips, adjusted over heads; null: undefined", True),
        Column("indirect_q", FLOAT, "", "the same of indirect; null: undefined", True),
        *_with_interval("io", "share", "attention from the end to the indirect object"),
        *_with_interval("s1", "share", "to the subject's first place"),
        *_with_interval("s2", "share", "to the subject's second place"),
        *_with_interval("abc", "share", "to a third name in that place"),
        Column("abc_score_low", FLOAT, "share", "lower end, (s2 - abc) / (1 - abc); null", True),
        *_with_interval("copying", "share", "names whose own logit the weights raise most"),
        *_with_interval("suppression", "share", "names whose own logit they lower most"),
        Column("chance", FLOAT, "share", "of copying and suppression, 1 / names"),
        Column("raw_copy", FLOAT, "logits", "the protocol's copy score over the names"),
        Column("n", INT, "prompts", "sentences"),
    ),
    ("model", "layer", "head"),
)
OV = Table(
    "heads_ov",
    "a head's weights on a class of tokens",
    FOLDER + "/ov.parquet",
    (
        SUBJECT,
        MODEL,
        LAYER,
        HEAD,
        Column("measure", TEXT, "", "succession, predecessor, copy or suppression"),
        Column("token_class", TEXT, "", "ordinal class; all: of these together; names"),
        Column("value", FLOAT, "share", "tokens that are mapped so"),
        *INTERVAL,
        Column("chance", FLOAT, "share", "one in the class's size"),
        Column("p", FLOAT, "", "so many by chance; one-sided, exact"),
        Column("q", FLOAT, "", "p adjusted over heads"),
        Column("raw_copy", FLOAT, "logits", "the protocol's copy score; null: no copy row", True),
        Column("raw_copy_low", FLOAT, "logits", "lower end of its interval; null: none", True),
        Column("raw_copy_high", FLOAT, "logits", "upper end of its interval; null: none", True),
        Column("n", INT, "tokens", "tokens that can be mapped so"),
    ),
    ("model", "layer", "head", "measure", "token_class"),
)
OF_PARTS = (OFFSETS, LAYER_OFFSETS, REDUNDANCY, UNDER_ABLATION, IOI, OV)

TABLES = (SCORES, DETECTORS, SCREEN, ABLATIONS, VERDICTS, SUMMARY, *OF_PARTS)
