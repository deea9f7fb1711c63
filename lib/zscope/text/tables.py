"""Tables of texts."""

from __future__ import annotations

from zscope.tables.schema import FLOAT, INT, INTERVAL, METRIC, TEXT, Column, Table

MODEL_LOSS = Table(
    "models_loss",
    "the loss of a model on the texts of a language",
    "results/models/{model}/loss.parquet",
    (
        Column("model", TEXT, "", "the model's name in the config"),
        Column("language", TEXT, "", '"en" or "zh": the package\'s texts; else the user\'s folder'),
        METRIC,
        Column("value", FLOAT, "nats", "mean of -log p, per token or per character"),
        *INTERVAL,
        Column("total", INT, "tokens or characters", "those that were predicted"),
        Column("n", INT, "passages", "passages, which the interval resamples"),
    ),
    ("model", "language", "metric"),
)
