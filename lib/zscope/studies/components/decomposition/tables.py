"""Tables of the decomposition part."""

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

FOLDER = "results/components/decomposition/{subject}"
RUN = FOLDER + "/{run}"
CHECKPOINTS = RUN + "/decomposition.safetensors"
"""The components and the importance network of a decomposition at the end of each phase."""

PAGE = RUN + "/layer-{layer}.html"
TWIN = RUN + "/layer-{layer}.md"
"""Every component of a layer for people, as a page and as Markdown."""

MODEL = Column("model", TEXT, "", "the run whose model is decomposed")
SEED = Column("seed", INT, "", "seed of the decomposition")
PHASE = Column("phase", TEXT, "", "stochastic, or adversarial: the training phase that had ended")
MATRIX = Column("matrix", TEXT, "", 'matrix, as "1.q2": layer and name')
COMPONENT = Column("component", INT, "", "component of the matrix, from 0")
PRIMITIVE = Column("primitive", TEXT, "", "primitive that governs the positions; all: every one")
HEAD = Column("head", INT, "", "head of the layer, from 0")
OF = (MODEL, SEED, PHASE)

PLANTED = Table(
    "components_decomposition_planted",
    "One score of a decomposition of a planted target.",
    "results/components/decomposition/planted/{model}.parquet",
    (
        Column("kind", TEXT, "", "the planted target"),
        Column("seed", INT, "", "seed of the target and of its decomposition"),
        Column("penalty", FLOAT, "", "b of the penalty"),
        STEP,
        Column("matrix", TEXT, "", "matrix; all: of the whole decomposition"),
        METRIC,
        NUMBER,
        Column("null_low", FLOAT, "as value", "of as many random components: low end", True),
        Column("null_high", FLOAT, "as value", "of as many random components: high end", True),
        Column("svd", FLOAT, "as value", "of the singular vectors", True),
    ),
    ("kind", "seed", "penalty", "step", "matrix", "metric"),
)
TRAINING = Table(
    "components_decomposition_training",
    "One monitor at one step of a decomposition.",
    RUN + "/training.parquet",
    (MODEL, SEED, STEP, METRIC, NUMBER),
    ("model", "seed", "step", "metric"),
)
RECONSTRUCTION = Table(
    "components_decomposition_reconstruction",
    "How far the masked decomposition is from the target, or from the language.",
    RUN + "/reconstruction.parquet",
    (
        *OF,
        Column("masks", TEXT, "", "kind of mask (docs/components.md)"),
        Column("attack_steps", INT, "", "sign steps of the adversary; -1: none", False),
        PRIMITIVE,
        METRIC,
        Column("value", FLOAT, "nats", "mean over positions"),
        *INTERVAL,
        N,
    ),
    ("model", "seed", "phase", "masks", "attack_steps", "primitive", "metric"),
)
MATRICES = Table(
    "components_decomposition_matrices",
    "One matrix of a decomposition.",
    RUN + "/matrices.parquet",
    (
        *OF,
        Column("matrix", TEXT, "", "matrix; all: all together"),
        Column("delta", FLOAT, "", "|Delta| / |W|"),
        Column("alive", INT, "components", "components of mean importance above 0.01"),
        Column("components", INT, "components", "all components"),
        Column("used", FLOAT, "components", "components of importance above 0 at a position, mean"),
        *INTERVAL,
        N,
    ),
    ("model", "seed", "phase", "matrix"),
)
COMPONENTS = Table(
    "components_decomposition_components",
    "One component.",
    RUN + "/components.parquet",
    (
        *OF,
        MATRIX,
        COMPONENT,
        Column("importance", FLOAT, "", "mean importance over positions"),
        Column("alive", BOOL, "", "whether it is above 0.01"),
        Column("firings", INT, "positions", "positions where it is above 0.1"),
        Column("norm", FLOAT, "", "|U||V|"),
        Column("activation", FLOAT, "", "mean of V . x, |V| = 1, where it fires"),
        Column("spread", FLOAT, "", "entropy of its norms by head over ln of the number of heads"),
        Column("head", INT, "", "head with the largest norm"),
        Column("share", FLOAT, "", "share of this head in the squared norm"),
    ),
    ("model", "seed", "phase", "matrix", "component"),
)
SPREAD_NULL = Table(
    "components_decomposition_spread_null",
    "One random vector of as many heads as the components have.",
    RUN + "/spread_null.parquet",
    (
        *OF,
        Column("draw", INT, "", "vector, from 0"),
        Column("spread", FLOAT, "", "entropy of its norms by head over ln of the number of heads"),
        Column("share", FLOAT, "", "share of the largest head in the squared norm"),
    ),
    ("model", "seed", "phase", "draw"),
)
HEAD_NORMS = Table(
    "components_decomposition_head_norms",
    "One alive component in one head.",
    RUN + "/head_norms.parquet",
    (
        *OF,
        MATRIX,
        COMPONENT,
        HEAD,
        Column("norm", FLOAT, "", "|U_h||V|; for o, of V's slice"),
        Column("weighted", FLOAT, "", "norm times the mean activation where it fires"),
    ),
    ("model", "seed", "phase", "matrix", "component", "head"),
)
IMPORTANCE = Table(
    "components_decomposition_importance",
    "One alive component on the positions of one primitive.",
    RUN + "/importance.parquet",
    (
        *OF,
        MATRIX,
        COMPONENT,
        PRIMITIVE,
        Column("importance", FLOAT, "", "mean importance there"),
        Column("elsewhere", FLOAT, "", "mean importance at all other positions"),
        Column("lift", FLOAT, "", "their ratio; null: never important elsewhere", True),
        Column("chosen", BOOL, "", "whether the rule of the verdict chooses it"),
        Column("chosen_loosely", BOOL, "", "whether the looser rule does"),
    ),
    ("model", "seed", "phase", "matrix", "component", "primitive"),
)
TOKENS = Table(
    "components_decomposition_tokens",
    "One token that an alive component reads or writes.",
    RUN + "/tokens.parquet",
    (
        *OF,
        MATRIX,
        COMPONENT,
        Column("side", TEXT, "", "reads, or writes"),
        Column("rank", INT, "", "rank among the tokens, from 0"),
        Column("token", TEXT, "", "the token"),
        Column("value", FLOAT, "", "V . E, or the logit that U writes, less the mean over tokens"),
    ),
    ("model", "seed", "phase", "matrix", "component", "side", "rank"),
)
RISES = Table(
    "components_decomposition_rises",
    "The rise of one primitive's excess when a set of components, or a head, is ablated.",
    RUN + "/rises.parquet",
    (
        *OF,
        Column(
            "set",
            TEXT,
            "",
            "components (chosen), in_head (of them what is in one head), random (sets like them), "
            "head (at its mean)",
        ),
        Column("rule", TEXT, "", "rule that chose: strict or loose; none for a head"),
        Column("chosen_for", TEXT, "", "primitive that they are chosen for; none for a head"),
        Column("draw", INT, "", "number of the random set; -1: the set itself"),
        Column("head", TEXT, "", "the head; empty for whole components"),
        Column("components", INT, "components", "size of the set"),
        Column("importance", FLOAT, "", "geometric mean of their mean importances", True),
        Column("norm", FLOAT, "", "geometric mean of their norms", True),
        PRIMITIVE,
        METRIC,
        Column("value", FLOAT, "nats", "rise of the mean excess"),
        *INTERVAL,
        N,
    ),
    ("model", "seed", "phase", "set", "rule", "chosen_for", "draw", "head", "primitive"),
)
TESTS = Table(
    "components_decomposition_tests",
    "The tests of the components that a rule chooses for one primitive.",
    RUN + "/tests.parquet",
    (
        *OF,
        Column("rule", TEXT, "", "strict (of the verdict), or loose"),
        Column("chosen_for", TEXT, "", "the primitive"),
        Column("components", INT, "components", "size of the set"),
        Column("effect", FLOAT, "nats", "rise on it less the random sets' mean", True),
        Column("effect_p", FLOAT, "", "p over sequences", True),
        Column("effect_least_p", FLOAT, "", "smallest possible p", True),
        Column("rank", INT, "draws", "random sets whose rise on it is as large", True),
        Column("elsewhere", TEXT, "", "the other primitive that suffers most; none: no set"),
        Column("selectivity", FLOAT, "nats", "rise on it less rise there", True),
        Column("selectivity_p", FLOAT, "", "p over sequences", True),
        Column("selectivity_least_p", FLOAT, "", "smallest possible p", True),
        Column("selectivity_rank", INT, "draws", "random sets that are as selective", True),
        Column("sequences", INT, "sequences", "sequences that have the primitive", True),
        Column("draws", INT, "draws", "random sets"),
        Column("found", TEXT, "", "yes, no, or cannot be told"),
    ),
    ("model", "seed", "phase", "rule", "chosen_for"),
)
PAIRS = Table(
    "components_decomposition_pairs",
    "One pair of a query's and a key's component at one offset.",
    RUN + "/pairs.parquet",
    (
        *OF,
        Column("layer", INT, "", "layer, from 0"),
        Column("factor", INT, "", "score factor: 1, or 2"),
        Column("head", INT, "", "head of the layer; -1: sum over heads"),
        Column("chosen_on", TEXT, "", "all, or the primitive whose queries the pair is large on"),
        Column("rank", INT, "", "rank of the pair, from 0"),
        Column("query", INT, "", "component of the query's matrix"),
        Column("key", INT, "", "component of the key's matrix"),
        Column("offset", INT, "tokens", "how far the key lies back"),
        Column("value", FLOAT, "score", "share in the score factor at mean activations"),
    ),
    ("model", "seed", "phase", "layer", "factor", "head", "chosen_on", "rank", "offset"),
)
COACTIVATION = Table(
    "components_decomposition_coactivation",
    "One pair of a key's and a value's component of a layer.",
    RUN + "/coactivation.parquet",
    (
        *OF,
        Column("layer", INT, "", "layer, from 0"),
        Column("key_matrix", TEXT, "", "k1 or k2"),
        Column("key", INT, "", "its component"),
        Column("value_component", INT, "", "component of v"),
        Column("key_firings", INT, "positions", "positions where the key's component fires"),
        Column("value_firings", INT, "positions", "positions where the value's component fires"),
        Column("together", INT, "positions", "positions where both fire"),
        Column("phi", FLOAT, "", "correlation of their firings"),
        Column("null_low", FLOAT, "as phi", "against another sequence's values: low end"),
        Column("null_high", FLOAT, "as phi", "against another sequence's values: high end"),
        Column("jaccard", FLOAT, "", "both over either"),
        Column("value_given_key", FLOAT, "", "P(value fires | key fires)"),
        Column("key_given_value", FLOAT, "", "P(key fires | value fires)"),
    ),
    ("model", "seed", "phase", "layer", "key_matrix", "key", "value_component"),
)
PARTNERS = Table(
    "components_decomposition_partners",
    "One partner of a component: a key's of a query's, a value's of a key's.",
    RUN + "/partners.parquet",
    (
        *OF,
        MATRIX,
        COMPONENT,
        Column("partner_matrix", TEXT, "", "matrix of the partner"),
        Column("partner", INT, "", "component of it"),
        Column("rank", INT, "", "rank among the partners, from 0"),
        Column("value", FLOAT, "", "share of the score, summed over heads; or phi of firings"),
        Column("offset", INT, "tokens", "where the share of the score is largest; 0 for phi"),
    ),
    ("model", "seed", "phase", "matrix", "component", "partner_matrix", "rank"),
)
BUILDUP = Table(
    "components_decomposition_buildup",
    "Divergence with so many components at each position.",
    RUN + "/buildup.parquet",
    (
        *OF,
        Column("order", TEXT, "", "importance: the largest there; random: any"),
        Column("components", INT, "components", "how many, over all matrices"),
        PRIMITIVE,
        METRIC,
        Column("value", FLOAT, "nats", "KL from the target"),
        *INTERVAL,
        N,
    ),
    ("model", "seed", "phase", "order", "components", "primitive"),
)
LOGITS = Table(
    "components_decomposition_logits",
    "One logit of the target and of the reconstruction, at a random position and token.",
    RUN + "/logits.parquet",
    (
        *OF,
        Column("sample", INT, "", "sample, from 0"),
        Column("target", FLOAT, "logit", "the target's, less the mean over tokens"),
        Column("reconstruction", FLOAT, "logit", "with g as masks, less the mean over tokens"),
    ),
    ("model", "seed", "phase", "sample"),
)
INDUCTION = Table(
    "components_decomposition_induction",
    "One head's induction score without one component.",
    RUN + "/induction.parquet",
    (
        *OF,
        Column("matrix", TEXT, "", "matrix of the component; none: nothing is ablated"),
        Column("component", INT, "", "the component; -1: nothing is ablated"),
        Column("head", INT, "", "head of the last layer"),
        Column("score", FLOAT, "", "share of its |pattern| on the targets"),
        Column("drop", FLOAT, "", "how much the ablation lowers it"),
        Column("rise", FLOAT, "nats", "rise of induction's excess, of the whole model"),
    ),
    ("model", "seed", "phase", "matrix", "component", "head"),
)
ATTENTION = Table(
    "components_decomposition_attention",
    "One key of one query, before and after the ablation of a primitive's components.",
    RUN + "/attention.parquet",
    (
        *OF,
        Column("chosen_for", TEXT, "", "primitive whose components are ablated"),
        Column("layer", INT, "", "layer, from 0"),
        HEAD,
        Column("query", INT, "tokens", "position of the query"),
        Column("key", INT, "tokens", "position of the key"),
        Column("token", TEXT, "", "token at the key"),
        Column("before", FLOAT, "", "pattern of the target"),
        Column("after", FLOAT, "", "pattern without the components"),
    ),
    ("model", "seed", "phase", "chosen_for", "layer", "head", "key"),
)
READOUTS = Table(
    "components_decomposition_readouts",
    "One token whose logit moves at a position without a primitive's components.",
    RUN + "/readouts.parquet",
    (
        *OF,
        Column("chosen_for", TEXT, "", "primitive whose components are ablated"),
        Column("components", INT, "components", "how many"),
        Column("query", INT, "tokens", "the position"),
        Column("next", TEXT, "", "the token that follows it"),
        Column("where", TEXT, "", "everywhere, or query: ablated at this position alone"),
        Column("side", TEXT, "", "up, or down"),
        Column("rank", INT, "", "rank, from 0"),
        Column("token", TEXT, "", "the token"),
        Column("change", FLOAT, "logit", "change, less the mean over tokens"),
    ),
    ("model", "seed", "phase", "chosen_for", "where", "side", "rank"),
)
SIMILARITY = Table(
    "components_decomposition_similarity",
    "How alike the components of two decompositions of one model are.",
    FOLDER + "/similarity.parquet",
    (
        MODEL,
        PHASE,
        Column("first", INT, "", "seed of one decomposition"),
        Column("second", INT, "", "seed of the other"),
        MATRIX,
        Column("alive", INT, "components", "alive components of the first"),
        Column("value", FLOAT, "", "mean of the best |cosine| of U V^T, from the first"),
        Column("null_low", FLOAT, "", "the same of random components: low end"),
        Column("null_high", FLOAT, "", "the same of random components: high end"),
    ),
    ("model", "phase", "first", "second", "matrix"),
)
VERDICTS = Table(
    "components_decomposition_verdicts",
    "Whether a primitive has components of its own.",
    FOLDER + "/verdicts.parquet",
    (
        MODEL,
        Column("rule", TEXT, "", "strict (the verdict), or loose (shown beside it)"),
        Column("primitive", TEXT, "", "the primitive"),
        Column("verdict", TEXT, "", "found, not found, cannot be told, varies between trainings"),
        Column("tally", TEXT, "", "what the decompositions say"),
        Column("seeds", INT, "", "decompositions"),
    ),
    ("model", "rule", "primitive"),
)

MEASURED = (
    RECONSTRUCTION,
    MATRICES,
    COMPONENTS,
    SPREAD_NULL,
    HEAD_NORMS,
    IMPORTANCE,
    TOKENS,
    RISES,
    TESTS,
    PAIRS,
    COACTIVATION,
    PARTNERS,
    BUILDUP,
    LOGITS,
    INDUCTION,
    ATTENTION,
    READOUTS,
)
"""What is measured of one decomposition."""
SUMMARIES = (SIMILARITY, VERDICTS)
TABLES: tuple[Table, ...] = (PLANTED, TRAINING, *MEASURED, *SUMMARIES)
