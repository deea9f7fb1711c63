"""The toy language (seed 001): its words, its exact conditionals, its generator and true rules."""
