"""Tables of the toy language study."""

from __future__ import annotations

from zscope.tables.schema import (
    FLOAT,
    INT,
    INTERVAL,
    METRIC,
    NUMBER,
    SEED,
    STEP,
    TEXT,
    Column,
    N,
    Table,
)

REFERENCE = "reference"
"""The condition that the others are compared with."""
BEHAVIOUR, WEIGHTS = "behaviour", "weights"
"""Kinds of onsets."""

CONDITION = Column("condition", TEXT, "", "the model and language, without the seed")
RUN = (CONDITION, SEED)
PRIMITIVE = Column("primitive", TEXT, "", "primitive that governs the predicted token; all: any")
READOUT = Column("readout", TEXT, "", "direct, rules, window, ... (docs/toylang.md has them)")
ITEM = Column("item", TEXT, "", "rule, head or pair of heads; all: none in particular")
COUNT = Column("n", INT, "as metric", "items that the value averages or counts")
KIND = Column("kind", TEXT, "", "behaviour (excess) or weights (a readout)")

SEQUENCES = Table(
    "toylang_sequences",
    "a token of a sampled sequence",
    "results/toylang/sequences.parquet",
    (
        Column("sequence", INT, "", "index of the sequence"),
        Column("position", INT, "tokens", "place in it, from 0"),
        Column("token", TEXT, "", "the word"),
        Column("primitive", TEXT, "", "primitive that governed its choice; start: position 0"),
        Column("p", FLOAT, "share", "its probability given the tokens before it"),
        Column("entropy", FLOAT, "nats", "of the exact distribution it was drawn from"),
    ),
    ("sequence", "position"),
)
RULES = Table(
    "toylang_rules",
    "a true rule of single tokens, found by editing prefixes",
    "results/toylang/rules.parquet",
    (
        Column("primitive", TEXT, "", "primitive that governs where it applies"),
        Column("key", TEXT, "", "token before; null: the query alone decides", True),
        Column("query", TEXT, "", "last token of the prefix"),
        Column("output", TEXT, "", "token whose probability moves most"),
        Column("effect", FLOAT, "share", "mean change of its probability"),
        Column("min_distance", INT, "tokens", "least distance key to query; null: no key", True),
        Column("max_distance", INT, "tokens", "largest distance seen; null: no key", True),
        Column("n", INT, "contexts", "contexts in which it was seen"),
    ),
    ("primitive", "key", "query", "output"),
)
FLOORS = Table(
    "toylang_floors",
    "a metric of one primitive of the language",
    "results/toylang/floors.parquet",
    (
        PRIMITIVE,
        Column("metric", TEXT, "", "frequency, floor (mean entropy), nll, gap (nll - floor)"),
        Column("value", FLOAT, "share, or nats", "the measurement"),
        Column("se", FLOAT, "as value", "standard error over sequences"),
        *INTERVAL,
        Column("n", INT, "tokens", "tokens that it governs in the sample"),
    ),
    ("primitive", "metric"),
)
TRAINING = Table(
    "toylang_training",
    "a metric of one primitive at an evaluation",
    "results/toylang/runs/{run}/training.parquet",
    (
        *RUN,
        STEP,
        Column("split", TEXT, "", '"train" or "held_out"'),
        PRIMITIVE,
        METRIC,
        Column("value", FLOAT, "nats", "the measurement (learning rates have no unit)"),
        *INTERVAL,
        N,
    ),
    ("condition", "seed", "step", "split", "primitive", "metric"),
)
TIMING = Table(
    "toylang_timing",
    "an evaluation of a training (it differs between repeats)",
    "results/toylang/runs/{run}/timing.parquet",
    (*RUN, STEP, Column("seconds", FLOAT, "s", "wall time of training so far")),
    ("condition", "seed", "step"),
)
READOUTS = Table(
    "toylang_readouts",
    "a number read from the weights at a checkpoint",
    "results/toylang/conditions/{condition}/readouts.parquet",
    (*RUN, STEP, READOUT, ITEM, METRIC, NUMBER, COUNT),
    ("condition", "seed", "step", "readout", "item", "metric"),
)
MATRICES = Table(
    "toylang_matrices",
    "a cell of a matrix read from the weights of the last checkpoint",
    "results/toylang/conditions/{condition}/matrices.parquet",
    (
        *RUN,
        READOUT,
        ITEM,
        Column("row", TEXT, "", "word (of the query, key or name) or rule"),
        Column("column", TEXT, "", "word, or distance in tokens"),
        Column("value", FLOAT, "as readout", "from the weights"),
        Column("truth", FLOAT, "as readout", "of the language; null: there is none", True),
    ),
    ("condition", "seed", "readout", "item", "row", "column"),
)
SEARCH = Table(
    "toylang_search",
    "a triple of the rule search at the last checkpoint, in the order of its rank",
    "results/toylang/conditions/{condition}/search.parquet",
    (
        *RUN,
        Column("rank", INT, "", "1: the largest dP of the triples that can occur"),
        Column("query", TEXT, "", "last token"),
        Column("key", TEXT, "", "token before it"),
        Column("output", TEXT, "", "token that is made likelier"),
        Column("boost", FLOAT, "nats", "T: what the key adds to its logit, by all paths"),
        Column("d_prob", FLOAT, "share", "dP: what it adds to its probability"),
        Column("primitive", TEXT, "", "of the true rule; null: no rule is like it", True),
        Column("precision", FLOAT, "share", "true rules among the triples up to this rank"),
        Column("recall", FLOAT, "share", "of all true rules, those up to this rank"),
    ),
    ("condition", "seed", "rank"),
)
ABLATIONS = Table(
    "toylang_ablations",
    "a primitive's excess with heads ablated, at the last checkpoint",
    "results/toylang/conditions/{condition}/ablations.parquet",
    (
        *RUN,
        Column("chosen_by", TEXT, "", "none, induction, rules, suppression, single or random"),
        Column("heads", TEXT, "", 'ablated heads, as "L0H3+L1H1"; empty: none'),
        Column("draw", INT, "", "which random set; 0 for the others"),
        PRIMITIVE,
        METRIC,
        Column("value", FLOAT, "nats", "excess over the floor; change: minus the intact model's"),
        *INTERVAL,
        N,
    ),
    ("condition", "seed", "chosen_by", "heads", "draw", "primitive", "metric"),
)
DEGREES = Table(
    "toylang_degrees",
    "the effect of an exact patch, by polynomial degree",
    "results/toylang/conditions/{condition}/degrees.parquet",
    (
        *RUN,
        Column("patch", TEXT, "", "the patched head, and what its output is set to"),
        Column("reads", TEXT, "", "where the logit is read: here, later"),
        Column("degree", INT, "", "power of the patch's strength; 0: the whole effect"),
        Column("value", FLOAT, "nats", "mean part of the logit's change at strength 1"),
        Column("share", FLOAT, "share", "mean |part| over the sum of the mean |parts|"),
        Column("error", FLOAT, "nats", "largest difference from running the patched model"),
        N,
    ),
    ("condition", "seed", "patch", "reads", "degree"),
)
PHENOMENA = Table(
    "toylang_phenomena",
    "a measure of one of the three experiments, at the last checkpoint",
    "results/toylang/conditions/{condition}/phenomena.parquet",
    (
        *RUN,
        Column("experiment", TEXT, "", "suppression, error_correction or reuse"),
        Column("case", TEXT, "", "which prefixes, or which heads"),
        Column("x", FLOAT, "as case", "distance in tokens, or number of wrong repeats", True),
        METRIC,
        NUMBER,
        *INTERVAL,
        Column("truth", FLOAT, "as metric", "of the language; null: there is none", True),
        N,
    ),
    ("condition", "seed", "experiment", "case", "x", "metric"),
)
ONSETS = Table(
    "toylang_onsets",
    "the onset of a primitive in one run",
    "results/toylang/onsets.parquet",
    (
        *RUN,
        KIND,
        PRIMITIVE,
        METRIC,
        Column("threshold", FLOAT, "as metric", "value that the metric has to pass"),
        Column("onset", INT, "optimizer steps", "first step past it; null: never", True),
        Column("last_step", INT, "optimizer steps", "last step that was measured"),
    ),
    ("condition", "seed", "kind", "primitive", "metric"),
)
ONSET_SUMMARY = Table(
    "toylang_onset_summary",
    "the onset of a primitive over the seeds of a condition",
    "results/toylang/onset_summary.parquet",
    (
        CONDITION,
        KIND,
        PRIMITIVE,
        METRIC,
        Column("median", FLOAT, "optimizer steps", "Kaplan-Meier; null: beyond the last", True),
        Column("ci_low", FLOAT, "optimizer steps", "lower end; null: one seed, or beyond", True),
        Column("ci_high", FLOAT, "optimizer steps", "upper end; null: as ci_low", True),
        Column("n", INT, "runs", "seeds"),
        Column("n_censored", INT, "runs", "seeds in which it never set in"),
    ),
    ("condition", "kind", "primitive", "metric"),
)
COMPARISONS = Table(
    "toylang_comparisons",
    "the onset of a primitive in a condition against the reference, over shared seeds",
    "results/toylang/comparisons.parquet",
    (
        CONDITION,
        Column("reference", TEXT, "", "the condition it is compared with"),
        Column("how", TEXT, "", "removed, delayed, or model"),
        Column("changed", TEXT, "", "primitive that was removed or delayed, or the model"),
        PRIMITIVE,
        Column("shift", FLOAT, "doublings", "median over seeds of log2(onset / reference's)", True),
        *INTERVAL,
        Column("p", FLOAT, "", "exact sign test over seeds; null: not tested", True),
        Column("p_adjusted", FLOAT, "", "after Holm, over the tested rows of the table", True),
        Column(
            "verdict", TEXT, "", "later, earlier, all later, all earlier, never, changed or unclear"
        ),
        Column("n", INT, "runs", "shared seeds"),
        Column("n_censored", INT, "runs", "seeds among them in which either never set in"),
    ),
    ("condition", "primitive"),
)
SUMMARY = Table(
    "toylang_summary",
    "a claim of the study, and whether it held",
    "results/toylang/summary.parquet",
    (
        CONDITION,
        Column("claim", TEXT, "", "id of the claim"),
        Column("text", TEXT, "", "the claim as a sentence"),
        Column("measured", TEXT, "", "the result in words"),
        Column(
            "verdict", TEXT, "", "yes (all seeds), partly, no, unclear, cannot be told, described"
        ),
        Column("value", FLOAT, "as unit", "median over seeds; null: not one number", True),
        Column("low", FLOAT, "as unit", "least over seeds; null: as value, or a comparison", True),
        Column("high", FLOAT, "as unit", "largest over seeds; null: as low", True),
        *INTERVAL,
        Column("unit", TEXT, "", "unit of value, low, high and the interval"),
        Column("p", FLOAT, "", "of an exact test over seeds; null: not tested", True),
        Column("n", INT, "runs", "seeds"),
        Column("n_held", INT, "runs", "seeds on which it held; null: a comparison", True),
    ),
    ("condition", "claim"),
)

OF_RUNS = (TRAINING, READOUTS, ABLATIONS, DEGREES, PHENOMENA)
"""The tables that the summaries are made from."""
OF_WEIGHTS = (READOUTS, MATRICES, SEARCH, DEGREES)
"""The tables of conditions whose weights can be read."""
SUMMARIES = (ONSETS, ONSET_SUMMARY, COMPARISONS, SUMMARY)
OF_LANGUAGE = (SEQUENCES, RULES, FLOORS)
TABLES = (*OF_LANGUAGE, TRAINING, TIMING, *OF_WEIGHTS, ABLATIONS, PHENOMENA, *SUMMARIES)
