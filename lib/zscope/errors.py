"""The errors that a user can cause.

Their message is all that is shown: a few lines that name the file, key or path and the way out.
Anything else that is raised is a bug of ours and is shown with its traceback.
"""


class ZscopeError(Exception):
    """Base of every error whose message is meant for the user."""


class ConfigError(ZscopeError):
    """A key of the configuration is unknown, of the wrong type, or impossible."""


class DataError(ZscopeError):
    """Data that were asked for cannot exist, or contradict each other."""


class TableError(ZscopeError):
    """A Parquet table is missing, damaged, or has other columns than its schema."""


class CheckpointError(ZscopeError):
    """A safetensors file is missing, damaged, or of another model."""


class TrainingError(ZscopeError):
    """Training cannot go on (a loss that is not finite, a gate that is not met)."""
