"""zscope: causal interpretability of transformers, as a library that a Snakemake workflow calls."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`zscope.results`, loaded when a notebook first asks for it: `import zscope` stays light."""
    if name == "results":
        from importlib import import_module

        # A computed name is not followed by the code digests, so no job depends on `results`.
        return import_module(f"zscope.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
