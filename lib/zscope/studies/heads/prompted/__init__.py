"""Short prompts, ablations at their last position, and what these change."""
