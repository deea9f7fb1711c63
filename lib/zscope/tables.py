"""Every Parquet table's columns in one place; reading, atomic writing, provenance.

Tables are long: one row a measurement. docs/tables.md is generated from TABLES.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zscope.errors import TableError
from zscope.files import atomic_path

PROVENANCE = b"zscope.provenance"
DIGEST = b"zscope.sha256"  # of the provenance
TABLE = b"zscope.table"


@dataclass(frozen=True)
class Column:
    """A column: its Arrow type, unit ("" if it has none) and one-line meaning."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table: what a row is, its columns, where it lies, and which columns identify a row."""

    name: str
    row: str
    path: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, c.nullable) for c in self.columns])


INT, FLOAT, TEXT, BOOL = pa.int64(), pa.float64(), pa.string(), pa.bool_()
RUN = Column("run", TEXT, "", "the run's id: its condition and seed")
SEED = Column("seed", INT, "", "the run's seed")
SWEEP = Column("sweep", TEXT, "", "the sweep's name in the config")
CONDITION = Column("condition", TEXT, "", "the run's config without its seed, as a readable id")
STEP = Column("step", INT, "optimizer steps", "steps done; 0 is the untrained model")
METRIC = Column("metric", TEXT, "", "what was measured (docs/lag.md defines each)")
SOURCE = Column("source", TEXT, "", '"training", or the name of the probe')
LABEL = Column("label", TEXT, "", "what varies in the sweep, in words")
MEMBER = (SWEEP, CONDITION, RUN, SEED, LABEL)  # a run as a member of a sweep
INTERVAL = (
    Column("ci_low", FLOAT, "as value", "lower end of the interval; null: none", True),
    Column("ci_high", FLOAT, "as value", "upper end of the interval; null: none", True),
)
VALUE = Column("value", FLOAT, "nats, or a share", "the measurement; losses are in nats")
N = Column("n", INT, "examples", "examples that the value is a mean of")

# Units of time besides steps, and the training metric that counts them.
CLOCKS = {"examples": "examples_seen", "epochs per fact": "epochs_per_fact"}

_LAG = (
    Table(
        "lag_facts",
        "a training or held-out sequence",
        "results/lag/runs/{run}/facts.parquet",
        (
            Column("base", INT, "", "index of B"),
            Column("candidate", INT, "", "index of A among the k targets of B"),
            Column("z_index", INT, "", "index of z; -1 without z"),
            Column("b", TEXT, "", "B as it is written"),
            Column("z", TEXT, "", "z as it is written; empty without z"),
            Column("a", TEXT, "", "A as it is written"),
            Column("split", TEXT, "", '"train" or "held_out"'),
        ),
        ("base", "candidate", "z_index"),
    ),
    Table(
        "lag_metrics",
        "a metric of a run at an evaluation",
        "results/lag/runs/{run}/metrics.parquet",
        (
            RUN,
            STEP,
            Column("split", TEXT, "", '"train" or "held_out": which rows were evaluated'),
            METRIC,
            VALUE,
            *INTERVAL,
            N,
        ),
        ("run", "step", "split", "metric"),
    ),
    Table(
        "lag_timing",
        "an evaluation (the one table that differs between repeats)",
        "results/lag/runs/{run}/timing.parquet",
        (
            RUN,
            STEP,
            Column("seconds", FLOAT, "s", "wall time of training so far, evaluations included"),
        ),
        ("run", "step"),
    ),
    Table(
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
            Column(
                "value", FLOAT, "nats, bits, or a share", "the measurement; null: undefined", True
            ),
            *INTERVAL,
            N,
        ),
        ("run", "step", "probe", "layer", "head", "metric"),
    ),
    Table(
        "lag_runs",
        "a run of a sweep, with what defines it",
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
            Column(
                "chance_set_mass",
                FLOAT,
                "a share",
                "mass of the candidates under a uniform guess of the first character",
            ),
            Column("uniform_first_loss", FLOAT, "nats", "first-token loss of that uniform guess"),
            Column("n_layers", INT, "", "blocks"),
            Column("d_model", INT, "", "width of the residual stream"),
            Column("lr", FLOAT, "", "peak learning rate"),
            Column("batch_size", INT, "rows", "rows of a batch"),
            Column("lr_over_batch", FLOAT, "1/rows", "learning rate over batch size"),
            Column("steps", INT, "optimizer steps", "length of training"),
            Column("eval_every", INT, "optimizer steps", "steps between evaluations"),
        ),
        ("sweep", "run", "label"),
    ),
    Table(
        "lag_curves",
        "a scalar series of a run at a step",
        "results/lag/sweeps/{sweep}/curves.parquet",
        (
            *MEMBER,
            SOURCE,
            METRIC,
            STEP,
            Column("value", FLOAT, "nats, or a share", "the measurement; null: undefined", True),
            *INTERVAL,
        ),
        ("sweep", "run", "label", "source", "metric", "step"),
    ),
    Table(
        "lag_onsets",
        "when a metric of a run set in",
        "results/lag/sweeps/{sweep}/onsets.parquet",
        (
            *MEMBER,
            SOURCE,
            METRIC,
            Column(
                "onset_step",
                INT,
                "optimizer steps",
                "first step past the threshold for "
                "the configured number of evaluations; null: never (right-censored)",
                True,
            ),
            Column("censored", BOOL, "", "true: not within the run's steps"),
            Column("last_step", INT, "optimizer steps", "the last step that was evaluated"),
            Column("threshold", FLOAT, "as the metric", "the threshold in the metric's units"),
            Column("rule", TEXT, "", "the definition of the onset, in words"),
        ),
        ("sweep", "run", "label", "source", "metric"),
    ),
    Table(
        "lag_phases",
        "an evaluation of a run",
        "results/lag/sweeps/{sweep}/phases.parquet",
        (
            *MEMBER,
            STEP,
            Column(
                "phase",
                TEXT,
                "",
                "nothing (set mass near chance), knows_b (mass high, z ignored), uses_z",
            ),
        ),
        ("sweep", "run", "label", "step"),
    ),
    Table(
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
            Column("n_censored", INT, "seeds", "runs in which it never came"),
            Column(
                "median", FLOAT, "unit", "Kaplan-Meier median; null: beyond the last step", True
            ),
            Column(
                "ci_low", FLOAT, "unit", "bootstrap over seeds; null: beyond the last step", True
            ),
            Column(
                "ci_high", FLOAT, "unit", "bootstrap over seeds; null: beyond the last step", True
            ),
        ),
        ("sweep", "condition", "label", "source", "metric", "unit"),
    ),
    Table(
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
    ),
)

MODEL = Column("model", TEXT, "", "the language model; a tiny one with its training seed")
PROBLEM = Column("problem", TEXT, "", "the problem's id")
CATEGORY = Column("category", TEXT, "", "kind of problem")
LANGUAGE = Column("language", TEXT, "", '"en", "zh", or "both"')
LAYER = Column(
    "layer", INT, "", "its input is meant; n_layers: the state before the final norm", True
)
K = Column("k", INT, "dimensions", "dimensions of the subspace; null: no subspace", True)
KIND = Column("kind", TEXT, "", "kernel of Z: qk, kq or ov; null: not of Z", True)
POOLING = Column("pooling", TEXT, "", "mean or last token of a prompt; token: every token")
POSITION_0 = Column("position_0", TEXT, "", "whether the first token is used: include, exclude")
NULL = (
    Column("null_mean", FLOAT, "as value", "mean of the null; null: none", True),
    Column("null_low", FLOAT, "as value", "lower end of the null's interval", True),
    Column("null_high", FLOAT, "as value", "upper end of the null's interval", True),
    Column("null", TEXT, "", "what the null is", True),
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
SUBSPACE_VALUE = Column("value", FLOAT, "as metric", "the measurement; null: undefined", True)

_CROSSLINGUAL = (
    Table(
        "crosslingual_problems",
        "a parallel problem",
        "results/crosslingual/problems.parquet",
        (
            PROBLEM,
            CATEGORY,
            Column("operands", TEXT, "", "the numbers that the answer is computed from"),
            Column("answer", INT, "", "the right answer"),
            Column("zh", TEXT, "", "the question in Chinese"),
            Column("en", TEXT, "", "the question in English"),
            Column("held_out", BOOL, "", "its operands are never trained on"),
        ),
        ("problem",),
    ),
    Table(
        "crosslingual_models",
        "a language model",
        "results/crosslingual/models/{model}/model.parquet",
        (
            MODEL,
            Column("name", TEXT, "", "what was loaded: id and revision, or folder"),
            Column("n_layers", INT, "", "decoder layers"),
            Column("d_model", INT, "", "width of the residual stream"),
            Column("n_heads", INT, "", "query heads"),
            Column("n_kv_heads", INT, "", "key-value heads"),
            Column("d_head", INT, "", "width of a head"),
            Column("parameters", INT, "", "parameters"),
            Column("dtype", TEXT, "", "type of the weights in memory"),
        ),
        ("model",),
    ),
    Table(
        "crosslingual_training",
        "a metric of the tiny model's training at an evaluation",
        "results/crosslingual/models/{model}/training.parquet",
        (
            MODEL,
            STEP,
            Column("split", TEXT, "", '"train" or "held_out"'),
            LANGUAGE,
            METRIC,
            VALUE,
            *INTERVAL,
            N,
        ),
        ("model", "step", "split", "language", "metric"),
    ),
    Table(
        "crosslingual_timing",
        "an evaluation of a training (it differs between repeats)",
        "results/crosslingual/models/{model}/timing.parquet",
        (MODEL, STEP, Column("seconds", FLOAT, "s", "wall time of training so far")),
        ("model", "step"),
    ),
    Table(
        "crosslingual_outputs",
        "a generated text, patched or not",
        "results/crosslingual/models/{model}/outputs/{patched}.parquet",
        (
            MODEL,
            PROBLEM,
            CATEGORY,
            *CELL,
            Column("draw", INT, "", "which random subspace; 0 elsewhere"),
            Column("source_problem", TEXT, "", "the problem the new content is of", True),
            Column("text", TEXT, "", "the raw output, without the prompt and a forced stem"),
            Column("finished", BOOL, "", "generation stopped by itself"),
            Column("answer", TEXT, "", "the extracted number; null: none", True),
            Column("status", TEXT, "", "ok, none, multiple or truncated"),
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
    ),
    Table(
        "crosslingual_rates",
        "a rate of a condition of patching",
        "results/crosslingual/models/{model}/patching/rates.parquet",
        (
            MODEL,
            *CELL,
            Column("stratum", TEXT, "", "all, or baseline_correct"),
            METRIC,
            Column("value", FLOAT, "a share", "the rate; null: no output counts", True),
            *INTERVAL,
            N,
        ),
        ("model", *CELL_KEY, "stratum", "metric"),
    ),
    Table(
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
            Column("n", INT, "problems", "problems that both have"),
        ),
        ("model", *(n for n in CELL_KEY if n != "space"), "stratum", "metric", "first", "second"),
    ),
    Table(
        "crosslingual_patched",
        "a problem in the seed's table, in the pre-declared cell",
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
    ),
    Table(
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
            SUBSPACE_VALUE,
            *NULL,
        ),
        ("model", "layer", "layer_2", "head", "kind", "k", "metric"),
    ),
    Table(
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
            SUBSPACE_VALUE,
            *INTERVAL,
            *NULL,
            Column("n", INT, "problems", "problems"),
        ),
        ("model", "layer", "k", "kind", "head", "pooling", "position_0", "metric", "null"),
    ),
    Table(
        "crosslingual_updates",
        "R(l): what a layer adds inside Z over what it adds outside",
        "results/crosslingual/models/{model}/updates.parquet",
        (
            MODEL,
            Column("layer", INT, "", "the layer that adds"),
            Column("basis_layer", INT, "", "the layer that Z is of"),
            K,
            KIND,
            LANGUAGE,
            POOLING,
            POSITION_0,
            METRIC,
            SUBSPACE_VALUE,
            *INTERVAL,
            *NULL,
            Column("z", FLOAT, "standard deviations", "against the null's draws", True),
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
    ),
    Table(
        "crosslingual_ard",
        "a measurement of a fit of lengthscales",
        "results/crosslingual/models/{model}/ard.parquet",
        (
            MODEL,
            LAYER,
            Column("objective", TEXT, "", "seed, gap, info_nce; uniform or random weights"),
            Column("basis", TEXT, "", "coordinates, pca, or z: [V_Z; V_perp]"),
            Column("init", TEXT, "", "zeros, svd_z, svd_random: what it started from", True),
            Column("penalty", FLOAT, "", "lambda of the seed's objective; null: none", True),
            K,
            METRIC,
            SUBSPACE_VALUE,
            *INTERVAL,
            *NULL,
            Column("n", INT, "", "problems, or dimensions, behind the value", True),
        ),
        ("model", "layer", "objective", "basis", "init", "penalty", "k", "metric", "null"),
    ),
    Table(
        "crosslingual_ard_history",
        "the value of an objective at a step of its fit",
        "results/crosslingual/models/{model}/ard_history.parquet",
        (
            MODEL,
            LAYER,
            Column("objective", TEXT, "", "seed, gap or info_nce"),
            Column("basis", TEXT, "", "coordinates, pca, or z"),
            Column("init", TEXT, "", "zeros, svd_z or svd_random", True),
            Column("penalty", FLOAT, "", "lambda of the seed's objective; null: none", True),
            STEP,
            METRIC,
            Column("value", FLOAT, "as metric", "the measurement"),
        ),
        ("model", "layer", "objective", "basis", "init", "penalty", "step", "metric"),
    ),
    Table(
        "crosslingual_lengthscales",
        "the fitted lengthscale of a dimension",
        "results/crosslingual/models/{model}/lengthscales.parquet",
        (
            MODEL,
            LAYER,
            Column("objective", TEXT, "", "seed, gap or info_nce"),
            Column("basis", TEXT, "", "coordinates, pca, or z"),
            Column("init", TEXT, "", "zeros, svd_z or svd_random", True),
            Column("penalty", FLOAT, "", "lambda of the seed's objective; null: none", True),
            Column("dimension", INT, "", "dimension of the basis"),
            Column("log10_lengthscale", FLOAT, "log10", "log10 of its lengthscale"),
        ),
        ("model", "layer", "objective", "basis", "init", "penalty", "dimension"),
    ),
    Table(
        "crosslingual_planted",
        "how well an objective finds planted dimensions",
        "results/crosslingual/planted.parquet",
        (
            SEED,
            Column("objective", TEXT, "", "seed, gap or info_nce"),
            Column("init", TEXT, "", "what it started from", True),
            Column("penalty", FLOAT, "", "lambda of the seed's objective; null: none", True),
            METRIC,
            Column("value", FLOAT, "as metric", "AUC, or accuracy of retrieval"),
            Column("chance", FLOAT, "as value", "what chance gives", True),
        ),
        ("seed", "objective", "init", "penalty", "metric"),
    ),
    Table(
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
            SUBSPACE_VALUE,
            *INTERVAL,
            *NULL,
            Column("p", FLOAT, "", "against the permuted pairings", True),
            Column("n", INT, "problems", "pairs"),
        ),
        (
            "model",
            "layer",
            "k",
            "kind",
            "space",
            "pooling",
            "direction",
            "metric",
            "component",
            "null",
        ),
    ),
    Table(
        "crosslingual_summary",
        "a question of the study, with the seed's answer and the controlled one",
        "results/crosslingual/models/{model}/summary.parquet",
        (
            MODEL,
            Column("question", TEXT, "", "what was asked"),
            Column("seed_criterion", TEXT, "", "the criterion of the seed"),
            Column("seed_verdict", TEXT, "", "its verdict: yes, partial, no, or undetermined"),
            Column("controlled_criterion", TEXT, "", "the criterion with its controls"),
            Column("controlled_verdict", TEXT, "", "its verdict"),
            Column("why", TEXT, "", "the numbers behind both"),
        ),
        ("model", "question"),
    ),
)


def _of_condition(table: Table) -> Table:
    """The same table for one condition on its own, before a sweep gathers it."""
    leave = {"sweep", "label", "design"}
    return Table(
        table.name.replace("lag_", "lag_condition_"),
        table.row.replace("of a sweep", "of a condition"),
        table.path.replace("sweeps/{sweep}", "conditions/{condition}"),
        tuple(c for c in table.columns if c.name not in leave),
        tuple(k for k in table.key if k not in leave),
    )


_PER_CONDITION = ("lag_runs", "lag_curves", "lag_onsets", "lag_phases")
TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        *_LAG,
        *(_of_condition(t) for t in _LAG if t.name in _PER_CONDITION),
        *_CROSSLINGUAL,
    )
}


def write_table(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    path: str | Path,
    name: str,
    provenance: Mapping[str, Any],
) -> None:
    """Write `rows` as table `name`, whole or not at all, sorted by nothing: in the order given.

    The bytes depend on the rows and the provenance alone. Raises TableError if a column is missing,
    unknown, of another type, null where it may not be, or if two rows have the same key.
    """
    table = TABLES[name]
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    names = [c.name for c in table.columns]
    if frame.empty:
        frame = pd.DataFrame({n: [] for n in names})
    missing, unknown = set(names) - set(frame.columns), set(frame.columns) - set(names)
    if missing or unknown:
        raise TableError(
            f"{path}: table {name} has other columns than its schema "
            f"(missing: {sorted(missing)}, unknown: {sorted(unknown)})"
        )
    frame = frame[names]
    for c in table.columns:
        if not c.nullable and frame[c.name].isna().any():
            raise TableError(f"{path}: column {c.name} of table {name} holds a null or NaN")
    try:
        arrow = pa.Table.from_pandas(frame, table.schema, preserve_index=False, safe=True)
    except (pa.ArrowException, OverflowError) as error:
        raise TableError(f"{path}: table {name}: {error}") from None
    if table.key and frame.duplicated(list(table.key)).any():
        twice = frame.loc[frame.duplicated(list(table.key)), list(table.key)].iloc[0].to_dict()
        raise TableError(f"{path}: table {name} has two rows with {twice}")
    text = json.dumps(dict(provenance), sort_keys=True).encode()
    metadata = {
        TABLE: name.encode(),
        PROVENANCE: text,
        DIGEST: sha256(text).hexdigest().encode(),
    }
    with atomic_path(Path(path)) as temporary:
        pq.write_table(
            arrow.replace_schema_metadata(metadata),
            temporary,
            compression="zstd",
            write_page_checksum=True,
        )


def read_table(path: str | Path, name: str) -> pd.DataFrame:
    """Read table `name`; nullable integers come back as Int64.

    Raises TableError, with the command that rebuilds the file, if it is missing or damaged.
    """

    def read(file: Path) -> pd.DataFrame:
        arrow = pq.read_table(file, partitioning=None, page_checksum_verification=True)
        found = arrow.schema.remove_metadata()
        if not found.equals(TABLES[name].schema):
            raise TableError(
                f"{path}: not a {name} table of this version: its columns are {found.names}\n"
                f"{_way(path)}"
            )
        return arrow.to_pandas(integer_object_nulls=True)

    frame = _open(path, read)
    for c in TABLES[name].columns:
        if c.nullable and c.type == INT:
            frame[c.name] = frame[c.name].astype("Int64")
    return frame


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The provenance that `write_table` put into the file. Raises TableError as read_table."""

    def read(file: Path) -> dict[str, Any]:
        metadata = pq.read_schema(file).metadata or {}
        text = metadata.get(PROVENANCE, b"")
        # Parquet's checksums are of the data pages alone.
        if metadata.get(DIGEST, b"") != sha256(text).hexdigest().encode():
            raise ValueError("its provenance has changed")
        return json.loads(text)

    return _open(path, read)


def table_name(path: str | Path) -> str:
    """The name of the table that a file holds. Raises TableError as read_table."""
    metadata = _open(path, lambda p: pq.read_schema(p)).metadata or {}
    name = metadata.get(TABLE, b"").decode()
    if name not in TABLES:
        raise TableError(f"{path}: not a table of zscope")
    return name


def _open(path: str | Path, reader: Any) -> Any:
    if not Path(path).exists():
        raise TableError(f"{path}: no such file\n{_way(path)}")
    try:
        return reader(Path(path))
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).splitlines()[0][:160]
        raise TableError(f"{path}: damaged, cannot be read ({first})\n{_way(path)}") from None


def _way(path: str | Path) -> str:
    return f"rebuild it: snakemake --cores all --force {path}"
