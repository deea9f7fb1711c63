"""The tables of named models, which belong to no study. Standard library only."""

from __future__ import annotations

from zscope.tables.schema import FLOAT, INT, INTERVAL, METRIC, TEXT, Column, Table

SHAPE = (
    Column("n_layers", INT, "", "decoder layers"),
    Column("d_model", INT, "", "width of the residual stream"),
    Column("n_heads", INT, "", "query heads"),
    Column("n_kv_heads", INT, "", "key-value heads"),
    Column("d_head", INT, "", "width of a head"),
    Column("parameters", INT, "", "parameters"),
)
"""Columns of a language model's shape."""
FETCHED = Table(
    "models_fetched",
    "a model that the config names, as it was fetched",
    "results/models/{model}/model.parquet",
    (
        Column("model", TEXT, "", "its name in the config"),
        Column("source", TEXT, "", "study, package, hub or path"),
        Column("origin", TEXT, "", "the run, the packages, the hub's id, or the folder"),
        Column(
            "version", TEXT, "", "of the packages; the hub's commit; null: a run or a folder", True
        ),
        Column(
            "sha256",
            TEXT,
            "",
            "of the weights as they were fetched: one GGUF file, its parts joined, or the "
            "safetensors files, one after the other in order of their names",
        ),
        Column("licence", TEXT, "", "the config's note; null: none", True),
        Column("architecture", TEXT, "", "the class of transformers"),
        *SHAPE,
        Column("digest", TEXT, "", "names the content of the folder, whatever the source"),
    ),
    ("model",),
)
LOSS = Table(
    "models_loss",
    "the loss of a model on the texts of a language",
    "results/models/{model}/loss.parquet",
    (
        Column("model", TEXT, "", "the model's name in the config"),
        Column("language", TEXT, "", "en or zh"),
        METRIC,
        Column("value", FLOAT, "nats", "mean of -log p, per token or per character"),
        *INTERVAL,
        Column("total", INT, "tokens or characters", "those that were predicted"),
        Column("n", INT, "passages", "passages, which the interval resamples"),
    ),
    ("model", "language", "metric"),
)
TABLES = (FETCHED, LOSS)
WEIGHTS = "results/models/{model}/weights"
"""The folder with the model's files, beside its table."""
