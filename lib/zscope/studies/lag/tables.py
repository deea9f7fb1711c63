"""Tables of the lag study."""

from __future__ import annotations

from zscope.tables.schema import (
    BOOL,
    FLOAT,
    INT,
    INTERVAL,
    METRIC,
    SEED,
    STEP,
    TEXT,
    VALUE,
    Column,
    N,
    Table,
)

RUN = Column("run", TEXT, "", "the run's id: its condition and its random seed")
SWEEP = Column("sweep", TEXT, "", "the sweep's name in the config")
CONDITION = Column("condition", TEXT, "", "readable id of the run's config without its random seed")
SOURCE = Column("source", TEXT, "", '"training", or the name of the probe')
LABEL = Column("label", TEXT, "", "the values that vary in the sweep, in words")
MEMBER = (SWEEP, CONDITION, RUN, SEED, LABEL)  # a run as a member of a sweep
SPLIT = Column("split", TEXT, "", '"train" or "held_out"')
MEASURED = Column("value", FLOAT, "nats, or a share", "the measurement; null: undefined", True)
LAST_STEP = Column("last_step", INT, "optimizer steps", "the last step that was evaluated")

# Units of time besides steps, and the training metric that counts them.
CLOCKS = {"examples": "examples_seen", "epochs per fact": "epochs_per_fact"}

FACTS = Table(
    "lag_facts",
    "a training or held-out sequence",
    "results/lag/facts/{facts}.parquet",
    (
        Column("base", INT, "", "index of B"),
        Column("candidate", INT, "", "index of A among the k targets of B"),
        Column("z_index", INT, "", "index of z; -1 without z"),
        Column("b", TEXT, "", "B as it is written"),
        Column("z", TEXT, "", "z as it is written; empty without z"),
        Column("a", TEXT, "", "A as it is written"),
        SPLIT,
    ),
    ("base", "candidate", "z_index"),
)
METRICS = Table(
    "lag_metrics",
    "a metric of a run at an evaluation",
    "results/lag/runs/{run}/metrics.parquet",
    (RUN, STEP, SPLIT, METRIC, VALUE, *INTERVAL, N),
    ("run", "step", "split", "metric"),
)
TIMING = Table(
    "lag_timing",
    "an evaluation (the one table that differs between repeats)",
    "results/lag/runs/{run}/timing.parquet",
    (RUN, STEP, Column("seconds", FLOAT, "s", "wall time so far, evaluations included")),
    ("run", "step"),
)
PROBE = Table(
    "lag_probe",
    "a probe's measurement on a checkpoint",
    "results/lag/probes/{condition}/{probe}.parquet",
    (
        RUN,
        SEED,
        STEP,
        Column("probe", TEXT, "", "the probe's name"),
        Column("layer", INT, "", "block, from 0; null: not of a layer", True),
        Column("head", INT, "", "head, from 0; null: not of a head", True),
        METRIC,
        MEASURED,
        *INTERVAL,
        N,
    ),
    ("run", "step", "probe", "layer", "head", "metric"),
)
RUNS = Table(
    "lag_runs",
    "a run, with its settings",
    "results/lag/sweeps/{sweep}/runs.parquet",
    (
        *MEMBER,
        Column("task", TEXT, "", "bz_to_a, az_to_b, b_to_a or a_to_b"),
        Column("k", INT, "", "targets A of every B"),
        Column("design", TEXT, "", "fixed_bases or fixed_facts"),
        Column("n_unique_b", INT, "", "number of bases B"),
        Column("n_facts", INT, "", "number of (B, A) pairs"),
        Column("n_rows", INT, "", "number of sequences"),
        Column("z_code", TEXT, "", "random or parity; empty without z"),
        Column("z_order", INT, "", "order of the parity code; 0 without one"),
        Column("has_z", BOOL, "", "whether the sequence holds z"),
        Column("n_candidates", INT, "", "targets consistent with the source without z"),
        Column("log_k", FLOAT, "nats", "ln(n_candidates): first-token loss without z"),
        Column("chance_set_mass", FLOAT, "a share", "set mass under a uniform first guess"),
        Column("uniform_first_loss", FLOAT, "nats", "first-token loss of that guess"),
        Column("n_layers", INT, "", "blocks"),
        Column("d_model", INT, "", "width of the residual stream"),
        Column("lr", FLOAT, "", "peak learning rate"),
        Column("batch_size", INT, "rows", "rows of a batch"),
        Column("lr_over_batch", FLOAT, "1/rows", "learning rate over batch size"),
        Column("steps", INT, "optimizer steps", "length of training"),
        Column("eval_every", INT, "optimizer steps", "steps between evaluations"),
    ),
    ("sweep", "run", "label"),
)
CURVES = Table(
    "lag_curves",
    "a step of a run's scalar series",
    "results/lag/sweeps/{sweep}/curves.parquet",
    (*MEMBER, SOURCE, METRIC, STEP, MEASURED, *INTERVAL),
    ("sweep", "run", "label", "source", "metric", "step"),
)
ONSETS = Table(
    "lag_onsets",
    "when a metric of a run set in",
    "results/lag/sweeps/{sweep}/onsets.parquet",
    (
        *MEMBER,
        SOURCE,
        METRIC,
        Column("onset_step", INT, "optimizer steps", "the onset by `rule`; null: censored", True),
        Column("censored", BOOL, "", "true: not within the run's steps"),
        LAST_STEP,
        Column("threshold", FLOAT, "as the metric", "the threshold in the metric's units"),
        Column("rule", TEXT, "", "definition of the onset, in words"),
        Column("after_z_gap", INT, "optimizer steps", "onset_step minus the z gap's", True),
        Column("last_after_z_gap", INT, "optimizer steps", "the same of last_step", True),
    ),
    ("sweep", "run", "label", "source", "metric"),
)
PHASES = Table(
    "lag_phases",
    "an evaluation of a run",
    "results/lag/sweeps/{sweep}/phases.parquet",
    (*MEMBER, STEP, Column("phase", TEXT, "", "nothing (learned), knows_b (ignores z), or uses_z")),
    ("sweep", "run", "label", "step"),
)
SUMMARY = Table(
    "lag_summary",
    "a quantity of a condition, over its seeds",
    "results/lag/sweeps/{sweep}/summary.parquet",
    (
        SWEEP,
        CONDITION,
        LABEL,
        SOURCE,
        METRIC,
        Column("unit", TEXT, "", "steps, examples, or epochs per fact"),
        Column("n", INT, "seeds", "runs"),
        Column("n_censored", INT, "seeds", "runs in which it never set in"),
        Column("median", FLOAT, "unit", "Kaplan-Meier median; null: beyond the last step", True),
        Column("ci_low", FLOAT, "unit", "bootstrap over seeds; null: beyond the last step", True),
        Column("ci_high", FLOAT, "unit", "bootstrap over seeds; null: beyond the last step", True),
    ),
    ("sweep", "condition", "label", "source", "metric", "unit"),
)
ALIGNMENT = Table(
    "lag_alignment",
    "when a metric set in relative to the z gap, over the runs of a sweep",
    "results/lag/sweeps/{sweep}/alignment.parquet",
    (
        SWEEP,
        SOURCE,
        METRIC,
        Column("median", FLOAT, "optimizer steps", "null: beyond the last step", True),
        Column("ci_low", FLOAT, "optimizer steps", "order statistic; null: as median", True),
        Column("ci_high", FLOAT, "optimizer steps", "order statistic; null: as median", True),
        Column("coverage", FLOAT, "a share", "the interval's true level; lower with few runs"),
        Column("n", INT, "runs", "runs whose z gap set in"),
        Column("n_censored", INT, "runs", "of these, runs in which the metric never set in"),
        Column("n_left_out", INT, "runs", "other runs: their z gap never set in"),
    ),
    ("sweep", "source", "metric"),
)
LINEAR = Table(
    "lag_linear",
    "a loss of a linear baseline at a step",
    "results/lag/linear/losses.parquet",
    (
        Column("task", TEXT, "", "ill_conditioned_regression or planted_selector"),
        Column("series", TEXT, "", "total, or component"),
        SEED,
        STEP,
        Column("component", INT, "", "index of the singular direction; -1: all"),
        Column("value", FLOAT, "loss", "squared error, or nats"),
    ),
    ("task", "series", "seed", "step", "component"),
)


def _of_condition(name: str, table: Table) -> Table:
    """The same table for one condition on its own, before a sweep gathers it."""
    leave = {"sweep", "label", "design", "after_z_gap", "last_after_z_gap"}
    return Table(
        name,
        table.row,
        table.path.replace("sweeps/{sweep}", "conditions/{condition}"),
        tuple(c for c in table.columns if c.name not in leave),
        tuple(k for k in table.key if k not in leave),
    )


CONDITION_RUNS = _of_condition("lag_condition_runs", RUNS)
CONDITION_CURVES = _of_condition("lag_condition_curves", CURVES)
CONDITION_ONSETS = _of_condition("lag_condition_onsets", ONSETS)
CONDITION_PHASES = _of_condition("lag_condition_phases", PHASES)
GATHERED = {
    RUNS: CONDITION_RUNS,
    CURVES: CONDITION_CURVES,
    ONSETS: CONDITION_ONSETS,
    PHASES: CONDITION_PHASES,
}
"""The tables that a sweep gathers from its conditions."""
OF_SWEEP = (*GATHERED, SUMMARY, ALIGNMENT)

TABLES = (FACTS, METRICS, TIMING, PROBE, *OF_SWEEP, LINEAR, *GATHERED.values())
