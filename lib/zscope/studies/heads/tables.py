"""Tables of the heads study."""

from __future__ import annotations

from zscope.tables.schema import (
    BOOL,
    FLOAT,
    INT,
    INTERVAL,
    METRIC,
    NUMBER,
    STEP,
    TEXT,
    Column,
    N,
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
LOGIT_UP, LOGIT_DOWN, P_UP, P_DOWN = RANKINGS = ("logit_up", "logit_down", "p_up", "p_down")
"""By the change of the logit, centred over the vocabulary, and by p_ablated - p_base."""
AS_IT_IS, PERSISTENT, ONE_SHOT = ("base", "persistent", "one-shot")
"""Of generated tokens: no edit, the edit in every step, and in the first alone."""
FIRST_KEY, FARTHER, ALL_KEYS = ("first", "farther", "all")
"""Groups of keys, beside single ones: key 0, those beyond the largest offset, and every key."""
CLEAN, ABLATED, CHANGE, MOVED = ("clean", "ablated", "change", "moved")
"""Attention as it is, under an ablation, the difference, and how much of it moved."""
ALL_MODELS = "all"
"""The model of a row that is over all models of a subject."""

SCORE, EFFECT, ON_CONTROL, EXCESS = "score", "effect", "effect_on_control", "excess"
"""What is followed over checkpoints."""
NAMED, OTHER, RANDOM_SET, OF_MODEL = "named", "other", "random", "model"
"""Whose it is, beside SET: a named head, another one of its layer, a random set, the model."""
PATTERN, BEHAVIOUR_THERE = "pattern", "behaviour"
"""What sets in, beside EFFECT."""

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
PROFILES = Table(
    "heads_profiles",
    "a head at an offset: how much of its weight lies so far back",
    FOLDER + "/profiles.parquet",
    (
        SUBJECT,
        MODEL,
        STREAM,
        Column("weights", TEXT, "", "attention, or contribution where patterns are signed"),
        LAYER,
        HEAD,
        Column("offset", INT, "tokens", "how far the key is behind the query; 0: its own"),
        Column("value", FLOAT, "share", "mean weight on that key; null: undefined", True),
        *INTERVAL,
        Column("null", FLOAT, "share", "the same with attention spread evenly; null", True),
        Column("n", INT, "sequences", "sequences that the value averages"),
    ),
    ("model", "stream", "layer", "head", "offset"),
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

# --- over checkpoints

QUANTITY = Column("quantity", TEXT, "", "pattern, effect or behaviour (docs/heads.md)")
CHECKPOINTS = Table(
    "heads_checkpoints",
    "what is followed over the training of a model, at one checkpoint",
    FOLDER + "/checkpoints.parquet",
    (
        SUBJECT,
        MODEL,
        DETECTOR,
        STEP,
        Column("metric", TEXT, "", "score, effect, effect_on_control or excess"),
        Column(
            "chosen_by",
            TEXT,
            "",
            "named: one head of the last step; other: one of its layer; set: all named; "
            "random: a set like it; model",
        ),
        Column("heads", TEXT, "", 'the heads, as "L0H3+L1H1"; empty: of the whole model'),
        Column("like", TEXT, "", "of others and random sets: the named heads; empty: themselves"),
        Column("query_class", TEXT, "", "class of query tokens of the score; null: all", True),
        Column("offset", INT, "tokens", "offset of the score; null: no family", True),
        Column("value", FLOAT, "nats, or a share", "the measurement; null: undefined", True),
        *INTERVAL,
        Column("null", FLOAT, "share", "what the score's null is; null: no score", True),
        Column("n", INT, "sequences", "sequences that the value is over"),
    ),
    ("model", "detector", "step", "metric", "chosen_by", "heads", "like"),
)
ONSETS = Table(
    "heads_onsets",
    "an onset of one model",
    FOLDER + "/onsets.parquet",
    (
        SUBJECT,
        MODEL,
        DETECTOR,
        Column("heads", TEXT, "", "heads that the last step names; empty: none"),
        QUANTITY,
        Column("onset", INT, "optimizer steps", "null: not by the last step (censored)", True),
        Column("last_step", INT, "optimizer steps", "the last checkpoint"),
        Column("threshold", FLOAT, "nats, or a share", "that is passed; null: none", True),
    ),
    ("model", "detector", "quantity"),
)
ONSET_MEDIANS = Table(
    "heads_onset_medians",
    "the onset of a quantity over the models of a subject",
    FOLDER + "/onset_medians.parquet",
    (
        SUBJECT,
        DETECTOR,
        QUANTITY,
        Column("median", FLOAT, "optimizer steps", "Kaplan-Meier; null: beyond the last", True),
        *INTERVAL,
        Column("n", INT, "models", "models"),
        Column("n_censored", INT, "models", "models without this onset"),
    ),
    ("detector", "quantity"),
)
ONSET_ORDER = Table(
    "heads_onset_order",
    "whether one onset comes before another, over the models of a subject",
    FOLDER + "/onset_order.parquet",
    (
        SUBJECT,
        DETECTOR,
        Column("first", TEXT, "", "the quantity that is declared to set in first"),
        Column("second", TEXT, "", "the one that is declared to set in later"),
        Column("median", FLOAT, "optimizer steps", "second less first; null: infinite", True),
        *INTERVAL,
        Column("coverage", FLOAT, "share", "of the interval; null: none", True),
        Column("later", INT, "models", "models in which the second is later, or never came"),
        Column("earlier", INT, "models", "models in which it is earlier, or the first never came"),
        Column("n", INT, "models", "models in which heads are named"),
        Column("p", FLOAT, "", "exact two-sided sign test"),
        Column("p_holm", FLOAT, "", "adjusted over the rows of the subject"),
        Column("least_p", FLOAT, "", "smallest p_holm that could be"),
        Column("verdict", TEXT, "", "yes, no or cannot be told (docs/heads.md)"),
    ),
    ("detector", "first", "second"),
)
OF_CHECKPOINTS = (CHECKPOINTS, ONSETS, ONSET_MEDIANS, ONSET_ORDER)
"""Of the subjects whose models have checkpoints alone."""


# --- prompts and pages

PROMPTS_FOLDER = FOLDER + "/prompts/{prompts}"
FIRST_MODEL = Column("model", TEXT, "", "the first model of the subject, which is shown")
PROMPT = Column("prompt", TEXT, "", "id of the prompt")
TOKEN = (
    Column("token_id", INT, "", "the token's id in the vocabulary"),
    Column("token", TEXT, "", "what it stands for, with its blanks"),
)
CONDITION = (
    PROMPT,
    Column("t", INT, "tokens", "position of the ablation and the prediction, from 0"),
    Column("condition", TEXT, "", "id of the ablation, or of a base run"),
)

PROMPT_TOKENS = Table(
    "heads_prompt_tokens",
    "a token of a prompt",
    PROMPTS_FOLDER + "/tokens.parquet",
    (
        SUBJECT,
        FIRST_MODEL,
        PROMPT,
        Column("family", TEXT, "", "kind of prompt"),
        Column("position", INT, "tokens", "place in the prompt, from 0"),
        *TOKEN,
    ),
    ("model", "prompt", "position"),
)
PROMPT_CONDITIONS = Table(
    "heads_prompt_conditions",
    "one prediction: a prompt under an ablation, or as it is",
    PROMPTS_FOLDER + "/conditions.parquet",
    (
        SUBJECT,
        FIRST_MODEL,
        *CONDITION,
        Column("label", TEXT, "", "the condition in words"),
        Column("base", TEXT, "", "condition that it is compared with; null: it is a base", True),
        Column("predicted_id", INT, "", "id of the likeliest token"),
        Column("predicted", TEXT, "", "the likeliest token"),
        Column("kl", FLOAT, "nats", "KL(base, ablated) of the next token; null: a base", True),
        Column("log_p", FLOAT, "nats", "log probability of the base's likeliest token"),
        Column("log_p_change", FLOAT, "nats", "minus the base's log_p; null: a base", True),
    ),
    ("model", "prompt", "t", "condition"),
)
PROMPT_SHIFTS = Table(
    "heads_prompt_shifts",
    "a token that an ablation moves most",
    PROMPTS_FOLDER + "/shifts.parquet",
    (
        SUBJECT,
        FIRST_MODEL,
        *CONDITION,
        Column("ranking", TEXT, "", "logit_up, logit_down, p_up or p_down"),
        Column("rank", INT, "", "1: moved most"),
        *TOKEN,
        Column(
            "value",
            FLOAT,
            "nats, or a share",
            "change of the centred logit, or of p, from the base",
        ),
    ),
    ("model", "prompt", "t", "condition", "ranking", "rank"),
)
CONTINUATIONS = Table(
    "heads_continuations",
    "a token that a model generates after a prompt, greedily",
    PROMPTS_FOLDER + "/continuations.parquet",
    (
        SUBJECT,
        FIRST_MODEL,
        *CONDITION,
        Column("mode", TEXT, "", "base: as it is; persistent: edited in every step; one-shot"),
        Column("step", INT, "tokens", "place behind the prompt, from 1"),
        *TOKEN,
        Column("first_step", INT, "tokens", "first that is not the base's; null: none", True),
    ),
    ("model", "prompt", "t", "condition", "mode", "step"),
)
KEYS = (
    Column("keys", TEXT, "", "first: key 0; farther: all others beyond; else t-OFFSET; all"),
    Column("offset", INT, "tokens", "from the query back to the key; null: several keys", True),
)
PROMPT_ATTENTION = Table(
    "heads_prompt_attention",
    "what a layer attends to at the end of a prompt, on average over its heads",
    PROMPTS_FOLDER + "/attention.parquet",
    (
        SUBJECT,
        FIRST_MODEL,
        *CONDITION,
        Column("layer", INT, "", "a layer behind the first that is edited, from 0"),
        *KEYS,
        Column("weight", FLOAT, "as metric", "under the ablation; for all keys: see moved"),
        Column("clean", FLOAT, "as metric", "as it is; for all keys 0"),
    ),
    ("model", "prompt", "t", "condition", "layer", "keys"),
)
CONDITION_ATTENTION = Table(
    "heads_condition_attention",
    "what a layer attends to under an ablation, over all prompts",
    PROMPTS_FOLDER + "/attention_summary.parquet",
    (
        SUBJECT,
        FIRST_MODEL,
        Column("prompts", TEXT, "", "set of prompts"),
        Column("condition", TEXT, "", "id of the ablation"),
        Column("label", TEXT, "", "the condition in words"),
        Column("layer", INT, "", "a layer behind the first that is edited, from 0"),
        *KEYS,
        METRIC,
        NUMBER,
        *INTERVAL,
        N,
    ),
    ("model", "prompts", "condition", "layer", "keys", "metric"),
)
CONDITION_SUMMARY = Table(
    "heads_condition_summary",
    "a measure of an ablation over all prompts",
    PROMPTS_FOLDER + "/summary.parquet",
    (
        SUBJECT,
        FIRST_MODEL,
        Column("condition", TEXT, "", "id of the ablation"),
        Column("label", TEXT, "", "the condition in words"),
        Column("base", TEXT, "", "condition that it is compared with"),
        METRIC,
        NUMBER,
        *INTERVAL,
        N,
    ),
    ("model", "condition", "metric"),
)
MAP = Table(
    "heads_map",
    "a head under a detector, with its effect on the detector's behaviour",
    FOLDER + "/map.parquet",
    (
        SUBJECT,
        FIRST_MODEL,
        DETECTOR,
        Column("weights", TEXT, "", "attention, contribution or without_first"),
        LAYER,
        HEAD,
        Column("score", FLOAT, "share", "(raw - null) / (1 - null); null: undefined", True),
        *INTERVAL,
        Column("raw", FLOAT, "share", "weight on the targets; null: undefined", True),
        Column("null", FLOAT, "share", "what the null puts there; null: undefined", True),
        Column("q", FLOAT, "", "adjusted p of raw > null; null: not tested", True),
        Column("named_by", TEXT, "", "all, or the class of tokens; null: not named", True),
        Column("effect", FLOAT, "nats", "exact mean ablation; > 0: needed; null: not run", True),
        Column("effect_low", FLOAT, "nats", "lower end of the effect's interval", True),
        Column("effect_high", FLOAT, "nats", "upper end of the effect's interval", True),
        Column("first_order", FLOAT, "nats", "first-order estimate; null: not run", True),
        N,
    ),
    ("model", "detector", "weights", "layer", "head"),
)
PATTERNS = Table(
    "heads_patterns",
    "an entry of a head's attention pattern on a prompt",
    PROMPTS_FOLDER + "/patterns.parquet",
    (
        SUBJECT,
        FIRST_MODEL,
        PROMPT,
        LAYER,
        HEAD,
        Column("query", INT, "tokens", "position that attends, from 0"),
        Column("key", INT, "tokens", "position that is attended to, at most the query's"),
        Column("weight", FLOAT, "share", "the pattern; bilinear ones are signed, and no shares"),
    ),
    ("model", "prompt", "layer", "head", "query", "key"),
)
OF_PROMPTS = (
    PROMPT_TOKENS,
    PROMPT_CONDITIONS,
    PROMPT_SHIFTS,
    CONTINUATIONS,
    PROMPT_ATTENTION,
    CONDITION_SUMMARY,
    CONDITION_ATTENTION,
    PATTERNS,
)
TABLES = (
    SCORES,
    PROFILES,
    DETECTORS,
    SCREEN,
    ABLATIONS,
    VERDICTS,
    SUMMARY,
    *OF_PARTS,
    *OF_CHECKPOINTS,
    *OF_PROMPTS,
    MAP,
)
