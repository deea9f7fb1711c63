"""Tables of the cross-lingual study."""

from __future__ import annotations

from zscope.models.tables import SHAPE
from zscope.tables.schema import (
    BOOL,
    FLOAT,
    INT,
    INTERVAL,
    METRIC,
    NUMBER,
    SEED,
    STEP,
    TEXT,
    VALUE,
    Column,
    N,
    Table,
)

MODEL = Column("model", TEXT, "", "the language model; a tiny one with its training seed")
PROBLEM = Column("problem", TEXT, "", "the problem's id")
CATEGORY = Column("category", TEXT, "", "kind of problem")
LANGUAGE = Column("language", TEXT, "", '"en", "zh", or "both"')
LAYER = Column("layer", INT, "", "layer, at its input; n_layers: before the final norm", True)
K = Column("k", INT, "dimensions", "dimensions of the subspace; null: no subspace", True)
KIND = Column("kind", TEXT, "", "kernel of Z: qk, kq or ov; null: no Z", True)
POOLING = Column("pooling", TEXT, "", "mean or last token of a prompt; token: every token")
POSITION_0 = Column(
    "position_0", TEXT, "", "whether the first token and massive ones are used: include, exclude"
)
MATCHED_ON = Column(
    "matched_on",
    TEXT,
    "",
    "the states whose energy the draws hold as Z does; null: not matched",
    True,
)
NULL = (
    Column("null_mean", FLOAT, "as value", "mean of the null; null: none", True),
    Column("null_low", FLOAT, "as value", "lower end of the null's interval", True),
    Column("null_high", FLOAT, "as value", "upper end of the null's interval", True),
    Column("null", TEXT, "", "name of the null", True),
    Column("draws", INT, "draws", "draws of the null; null: it has none", True),
    MATCHED_ON,
)
# A condition of patching; the unpatched output of a prompt has space none.
CELL = (
    LAYER,
    K,
    KIND,
    Column("design", TEXT, "", "none, mean, ot, site_answer or site_language"),
    Column("space", TEXT, "", "what is replaced: none, z, z_perp, full, random, energy, ..._perp"),
    Column("source", TEXT, "", "none, matched, mismatched, own, placebo or mean (necessity)"),
    Column("where", TEXT, "", "none, prefill, or all: which tokens are patched"),
    POSITION_0,
    Column("direction", TEXT, "", "language of the source -> language of the prompt"),
)
CELL_KEY = tuple(c.name for c in CELL)

# A fit of lengthscales (experiment C).
FIT = (
    Column("objective", TEXT, "", "original, gap or info_nce; uniform or random: no fit"),
    Column("basis", TEXT, "", "coordinates, pca, or z: [V_Z; V_perp]"),
    Column("init", TEXT, "", "what it started from: zeros, svd_z or svd_random", True),
    Column("penalty", FLOAT, "", "lambda of the original objective; null: none", True),
)
FIT_KEY = tuple(c.name for c in FIT)

PROBLEMS = Table(
    "crosslingual_problems",
    "a parallel problem",
    "results/crosslingual/problems.parquet",
    (
        PROBLEM,
        CATEGORY,
        Column("operands", TEXT, "", "the numbers that the answer is computed from"),
        Column("answer", TEXT, "", "the right answer; of kind line_class the class's English name"),
        Column("kind", TEXT, "", "how an answer is read: text_number, line_number or line_class"),
        Column("examples_zh", TEXT, "", "what stands in front of the Chinese question"),
        Column("examples_en", TEXT, "", "what stands in front of the English question"),
        Column("zh", TEXT, "", "the question in Chinese"),
        Column("en", TEXT, "", "the question in English"),
        Column("held_out", BOOL, "", "its operands are never trained on"),
    ),
    ("problem",),
)
MODELS = Table(
    "crosslingual_models",
    "a language model",
    "results/crosslingual/models/{model}/model.parquet",
    (
        MODEL,
        Column("name", TEXT, "", "what was loaded: its name and a digest of its files"),
        *SHAPE,
        Column("dtype", TEXT, "", "type of the weights in memory"),
    ),
    ("model",),
)
SIZES = Table(
    "crosslingual_sizes",
    "a size of the model; or a layer or k that the config asks for, as a whole number",
    "results/crosslingual/models/{model}/sizes.parquet",
    (
        MODEL,
        Column("size", TEXT, "", "the model's own n_layers, d_model and n_heads; layer or k of z"),
        Column("given", TEXT, "", "as the config gives it; null: the model's own", True),
        Column("value", INT, "layers, dimensions or heads", "the whole number that it is here"),
    ),
    ("model", "size", "given"),
)
TRAINING = Table(
    "crosslingual_training",
    "a metric of the tiny model's training at an evaluation",
    "results/crosslingual/models/{model}/training.parquet",
    (MODEL, STEP, Column("split", TEXT, "", '"train" or "held_out"'), LANGUAGE, METRIC, VALUE, N),
    ("model", "step", "split", "language", "metric"),
)
TIMING = Table(
    "crosslingual_timing",
    "an evaluation of a training (it differs between repeats)",
    "results/crosslingual/models/{model}/timing.parquet",
    (MODEL, STEP, Column("seconds", FLOAT, "s", "wall time of training so far")),
    ("model", "step"),
)
OUTPUTS = Table(
    "crosslingual_outputs",
    "a generated text, patched or not",
    "results/crosslingual/models/{model}/outputs/{patched}.parquet",
    (
        MODEL,
        PROBLEM,
        CATEGORY,
        *CELL,
        Column("draw", INT, "", "which random subspace; 0 elsewhere"),
        Column("source_problem", TEXT, "", "the problem whose states were put in", True),
        Column("text", TEXT, "", "the raw output, without the prompt and a forced stem"),
        Column("finished", BOOL, "", "generation stopped by itself"),
        Column("answer", TEXT, "", "the extracted number or class; null: none", True),
        Column("status", TEXT, "", "ok, none, multiple, unclear or truncated"),
        Column("language", TEXT, "", "en, zh, mixed, or undetermined"),
        Column("degenerate", BOOL, "", "the text repeats itself"),
        Column("well_formed", BOOL, "", "only well-formed outputs count as answers"),
        Column("correct", BOOL, "", "well-formed, and the right answer"),
        Column("baseline_correct", BOOL, "", "the unpatched output of the prompt is correct"),
        Column("changed", BOOL, "", "well-formed answer other than the unpatched one", True),
        Column(
            "source_answer",
            BOOL,
            "",
            "well-formed, and the answer of the source; null: source without another answer",
            True,
        ),
        Column("language_changed", BOOL, "", "language other than the unpatched one", True),
    ),
    ("model", "problem", *CELL_KEY, "draw"),
)
ACCURACY = Table(
    "crosslingual_accuracy",
    "a count, rate or test of right answers without patching",
    "results/crosslingual/models/{model}/accuracy.parquet",
    (
        MODEL,
        METRIC,
        Column("step", INT, "optimizer steps", "of training; null: the finished model", True),
        Column("category", TEXT, "", 'kind of problem, or "all"'),
        LANGUAGE,
        Column("value", FLOAT, "as metric", "a share, a number of problems, or a p value"),
        *INTERVAL,
        Column("n", INT, "problems", "problems behind the value"),
    ),
    ("model", "metric", "step", "category", "language"),
)
ENERGY_SHARES = Table(
    "crosslingual_energy_shares",
    "an energy-matched subspace of patching, and the energy that it is matched on",
    "results/crosslingual/models/{model}/patching/energy_shares/{patched}.parquet",
    (
        MODEL,
        LAYER,
        K,
        KIND,
        Column("space", TEXT, "", "energy, or energy_perp: outside it"),
        POSITION_0,
        Column("direction", TEXT, "", "language of the source -> language of the prompt"),
        MATCHED_ON,
        Column("draw", INT, "", "which random subspace"),
        Column("energy_share", FLOAT, "a share", "energy of matched_on in this subspace"),
        Column("z_energy_share", FLOAT, "a share", "the same in Z; of energy_perp: outside Z"),
    ),
    ("model", "layer", "k", "kind", "space", "position_0", "direction", "matched_on", "draw"),
)
RATES = Table(
    "crosslingual_rates",
    "a rate of a condition of patching",
    "results/crosslingual/models/{model}/patching/rates.parquet",
    (
        MODEL,
        *CELL,
        Column("stratum", TEXT, "", "all, baseline_correct, or both_correct: the source too"),
        METRIC,
        Column("value", FLOAT, "a share", "the rate; null: no output counts", True),
        *INTERVAL,
        N,
    ),
    ("model", *CELL_KEY, "stratum", "metric"),
)
DRAWS = Table(
    "crosslingual_draws",
    "a rate of one random subspace that a verdict compares with",
    "results/crosslingual/models/{model}/patching/draws.parquet",
    (
        MODEL,
        *CELL,
        Column("draw", INT, "", "which random subspace"),
        Column("stratum", TEXT, "", "all, baseline_correct, or both_correct: the source too"),
        METRIC,
        Column("value", FLOAT, "a share", "the rate"),
        N,
        Column("energy_share", FLOAT, "a share", "energy of matched_on in this subspace", True),
        Column("z_energy_share", FLOAT, "a share", "the same in Z; of ..._perp: outside Z", True),
        MATCHED_ON,
    ),
    ("model", *CELL_KEY, "draw", "stratum", "metric"),
)
TESTS = Table(
    "crosslingual_tests",
    "a paired comparison of two subspaces on the same problems",
    "results/crosslingual/models/{model}/patching/tests.parquet",
    (
        MODEL,
        *(c for c in CELL if c.name != "space"),
        Column("stratum", TEXT, "", "all, or baseline_correct"),
        METRIC,
        Column("first", TEXT, "", "a subspace"),
        Column("second", TEXT, "", "the one that it is compared with"),
        Column("value", FLOAT, "a share", "rate of the first minus rate of the second", True),
        *INTERVAL,
        Column("p", FLOAT, "", "two-sided paired test", True),
        Column("p_holm", FLOAT, "", "after Holm's correction over the family", True),
        Column("test", TEXT, "", "the test's name"),
        Column("p_least_above", FLOAT, "", "smallest p, had the first been 1 everywhere", True),
        Column("p_least_below", FLOAT, "", "smallest p, had the first been 0 everywhere", True),
        Column("sd", FLOAT, "a share", "standard deviation of the paired differences", True),
        Column("n", INT, "problems", "problems that both have"),
        Column("n_units", INT, "units", "units whose signs are flipped: the same operands are one"),
        Column("draws", INT, "draws", "random subspaces of the second; null: it is none", True),
        Column("draws_above", INT, "draws", "those with the first's rate or a higher one", True),
        Column("draws_below", INT, "draws", "those with the first's rate or a lower one", True),
        MATCHED_ON,
    ),
    ("model", *(n for n in CELL_KEY if n != "space"), "stratum", "metric", "first", "second"),
)
PATCHED = Table(
    "crosslingual_patched",
    "a problem with its patched outputs in the declared cell",
    "results/crosslingual/models/{model}/patching/table.parquet",
    (
        MODEL,
        PROBLEM,
        Column("prompt", TEXT, "", "the question"),
        Column("right_answer", TEXT, "", "its answer"),
        Column("source_answer", TEXT, "", "the answer of the source problem", True),
        Column("original", TEXT, "", "unpatched output"),
        Column("z_patched", TEXT, "", "output with the source's Z"),
        Column("z_perp_patched", TEXT, "", "output with the source's complement of Z"),
        Column("full_patched", TEXT, "", "output with everything of the source"),
    ),
    ("model", "problem"),
)
WEIGHTS = Table(
    "crosslingual_weights",
    "a measurement of weights alone",
    "results/crosslingual/models/{model}/weights.parquet",
    (
        MODEL,
        LAYER,
        Column("layer_2", INT, "", "the other layer, of a similarity", True),
        Column("head", INT, "", "head, from 0; null: all heads together", True),
        KIND,
        K,
        METRIC,
        NUMBER,
        *NULL,
    ),
    ("model", "layer", "layer_2", "head", "kind", "k", "metric"),
)
GEOMETRY = Table(
    "crosslingual_geometry",
    "a measurement of where translations and languages lie",
    "results/crosslingual/models/{model}/geometry.parquet",
    (
        MODEL,
        LAYER,
        K,
        KIND,
        Column("head", INT, "", "Z of this head alone; null: of all heads", True),
        POOLING,
        POSITION_0,
        METRIC,
        NUMBER,
        *INTERVAL,
        *NULL,
        Column("n", INT, "problems", "problems"),
    ),
    ("model", "layer", "k", "kind", "head", "pooling", "position_0", "metric", "null"),
)
TOKEN_NORMS = Table(
    "crosslingual_token_norms",
    "the lengths of one layer's states in one language",
    "results/crosslingual/models/{model}/token_norms.parquet",
    (
        MODEL,
        LAYER,
        LANGUAGE,
        Column("n", INT, "tokens", "real tokens of the prompts, without those of examples"),
        Column("massive", INT, "tokens", "those left out wherever position_0 is exclude"),
        Column("median_norm", FLOAT, "", "median of the norms"),
        Column("largest_norm", FLOAT, "", "largest norm"),
    ),
    ("model", "layer", "language"),
)
UPDATES = Table(
    "crosslingual_updates",
    "a measurement of R(l): what a layer adds inside Z over what it adds outside",
    "results/crosslingual/models/{model}/updates.parquet",
    (
        MODEL,
        Column("layer", INT, "", "the layer that adds; null: over all layers", True),
        Column("basis_layer", INT, "", "the layer whose Z it is"),
        K,
        KIND,
        LANGUAGE,
        POOLING,
        POSITION_0,
        METRIC,
        NUMBER,
        *INTERVAL,
        *NULL,
        Column("z", FLOAT, "standard deviations", "against the null's draws", True),
        Column("p", FLOAT, "", "rank among the null's draws, one-sided", True),
        Column("n", INT, "problems", "problems"),
    ),
    (
        "model",
        "layer",
        "basis_layer",
        "k",
        "kind",
        "language",
        "pooling",
        "position_0",
        "metric",
        "null",
    ),
)
UPDATES_NULL = "energy_output"
"""The null of UPDATES that the verdict compares with: spaces that hold Z's share of the layer's
output, which the update becomes part of."""
ARD = Table(
    "crosslingual_ard",
    "a measurement of a fit of lengthscales",
    "results/crosslingual/models/{model}/ard.parquet",
    (
        MODEL,
        LAYER,
        *FIT,
        K,
        METRIC,
        NUMBER,
        *INTERVAL,
        *NULL,
        Column("n", INT, "", "problems, or dimensions, behind the value", True),
    ),
    ("model", "layer", *FIT_KEY, "k", "metric", "null"),
)
ARD_HISTORY = Table(
    "crosslingual_ard_history",
    "the value of an objective at a step of its fit",
    "results/crosslingual/models/{model}/ard_history.parquet",
    (MODEL, LAYER, *FIT, STEP, METRIC, Column("value", FLOAT, "as metric", "the measurement")),
    ("model", "layer", *FIT_KEY, "step", "metric"),
)
LENGTHSCALES = Table(
    "crosslingual_lengthscales",
    "the fitted lengthscale of a dimension",
    "results/crosslingual/models/{model}/lengthscales.parquet",
    (
        MODEL,
        LAYER,
        *FIT,
        Column("dimension", INT, "", "dimension of the basis"),
        Column("log10_lengthscale", FLOAT, "log10", "log10 of its lengthscale"),
    ),
    ("model", "layer", *FIT_KEY, "dimension"),
)
PLANTED = Table(
    "crosslingual_planted",
    "how well an objective finds planted dimensions",
    "results/crosslingual/planted.parquet",
    (
        SEED,
        Column("objective", TEXT, "", "original, gap or info_nce"),
        Column("init", TEXT, "", "what it started from", True),
        Column("penalty", FLOAT, "", "lambda of the original objective; null: none", True),
        METRIC,
        Column("value", FLOAT, "as metric", "AUC, or accuracy of retrieval"),
        Column("chance", FLOAT, "as value", "the value by chance", True),
    ),
    ("seed", "objective", "init", "penalty", "metric"),
)
BRIDGE = Table(
    "crosslingual_bridge",
    "a measurement of the linear map between the languages in a subspace",
    "results/crosslingual/models/{model}/bridge.parquet",
    (
        MODEL,
        LAYER,
        K,
        KIND,
        Column("space", TEXT, "", "z, or the mean over draws of random or energy spaces"),
        POOLING,
        Column("direction", TEXT, "", "en->zh or zh->en"),
        METRIC,
        Column("component", INT, "", "index of a singular value; null: none", True),
        NUMBER,
        *INTERVAL,
        *NULL,
        Column("p", FLOAT, "", "against the permuted pairings", True),
        Column("n", INT, "problems", "pairs"),
    ),
    ("model", "layer", "k", "kind", "space", "pooling", "direction", "metric", "component", "null"),
)
SUMMARY = Table(
    "crosslingual_summary",
    "a research question: the verdict by the original protocol's rule and by the controlled one",
    "results/crosslingual/models/{model}/summary.parquet",
    (
        MODEL,
        Column("question", TEXT, "", "the question's id (docs/crosslingual.md)"),
        Column("text", TEXT, "", "the question, for people"),
        Column("protocol_criterion", TEXT, "", "the original protocol's rule"),
        Column("protocol_verdict", TEXT, "", "yes, partial, no, or cannot be told"),
        Column("controlled_criterion", TEXT, "", "the rule with its controls"),
        Column("controlled_verdict", TEXT, "", "yes, partial, no, or cannot be told"),
        NUMBER,
        *INTERVAL,
        *NULL,
        Column("p", FLOAT, "", "of the controlled rule's paired test; null: it has none", True),
        Column("p_draws", FLOAT, "", "rank among the null's draws; null: it has none", True),
        Column("p_least", FLOAT, "", "smallest p that both tests could have reached", True),
        Column("detectable", FLOAT, "as value", "effect found in 80 % of studies; inf: none", True),
        Column("n", INT, "", "problems, pairs, heads or layers behind the value", True),
        Column("numbers", TEXT, "", "the numbers behind both verdicts, for people"),
    ),
    ("model", "question"),
)
VERDICTS = Table(
    "crosslingual_verdicts",
    "a research question over all trainings: the verdicts of the models, as one",
    "results/crosslingual/verdicts.parquet",
    (
        Column("family", TEXT, "", "tiny: the embedded model, all seeds; or the one named model"),
        Column("question", TEXT, "", "the question's id (docs/crosslingual.md)"),
        Column("text", TEXT, "", "the question, for people"),
        Column("protocol_verdict", TEXT, "", "as below, by the original protocol's rule"),
        Column("protocol_tally", TEXT, "", "how many models say what"),
        Column(
            "controlled_verdict",
            TEXT,
            "",
            "yes, partial, no, cannot be told, or varies between trainings",
        ),
        Column("controlled_tally", TEXT, "", "how many models say what"),
        Column("low", FLOAT, "as value", "smallest value among the models", True),
        Column("high", FLOAT, "as value", "largest value among the models", True),
        Column("n_models", INT, "models", "trainings, or the one model"),
    ),
    ("family", "question"),
)

TABLES = (
    PROBLEMS,
    MODELS,
    SIZES,
    TRAINING,
    TIMING,
    OUTPUTS,
    ACCURACY,
    ENERGY_SHARES,
    RATES,
    DRAWS,
    TESTS,
    PATCHED,
    WEIGHTS,
    GEOMETRY,
    TOKEN_NORMS,
    UPDATES,
    ARD,
    ARD_HISTORY,
    LENGTHSCALES,
    PLANTED,
    BRIDGE,
    SUMMARY,
    VERDICTS,
)
