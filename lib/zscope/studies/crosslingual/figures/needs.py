"""Which tables each figure of the cross-lingual study is drawn from. Imports nothing."""

NEEDS: dict[str, tuple[str, ...]] = {
    "training": ("crosslingual_training",),
    "accuracy": ("crosslingual_outputs",),
    "ranks": ("crosslingual_weights",),
    "overlap": ("crosslingual_weights",),
    "similarity": ("crosslingual_weights",),
    "geometry": ("crosslingual_geometry",),
    "language_energy": ("crosslingual_geometry",),
    "patching": ("crosslingual_rates",),
    "patching_grid": ("crosslingual_tests",),
    "necessity": ("crosslingual_rates",),
    "updates": ("crosslingual_updates",),
    "ard_degeneracy": ("crosslingual_ard", "crosslingual_ard_history"),
    "ard_spectrum": ("crosslingual_lengthscales",),
    "ard_overlap": ("crosslingual_ard",),
    "retrieval": ("crosslingual_ard",),
    "planted": ("crosslingual_planted",),
    "bridge": ("crosslingual_bridge",),
    "dashboard": (
        "crosslingual_outputs",
        "crosslingual_rates",
        "crosslingual_updates",
        "crosslingual_ard",
        "crosslingual_bridge",
        "crosslingual_summary",
    ),
}
