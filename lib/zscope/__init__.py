"""zscope: causal interpretability of transformers, as a library that a Snakemake workflow calls."""
