"""Linear algebra of the cross-lingual study: Z from weights, its projections, nulls and bridge."""
