"""The methods that are scored, how tables and figures call them, and what they cost. No imports."""

METHODS = ("atp", "atp_qk", "graddrop", "graddrop_all", "ig")
"""See `estimates`; graddrop needs two layers."""
UNSIGNED = ("graddrop", "graddrop_all")
"""Means of absolute values, which are compared with the size of the effect."""
NAMES = {
    "atp": "AtP",
    "atp_qk": "AtP + QK fix",
    "graddrop": "GradDrop as published",
    "graddrop_all": "GradDrop + undropped pass",
    "ig": "integrated gradients + QK fix",
}
STEPS = 5
"""Midpoints of integrated gradients."""
BACKWARD = 2
"""Forward passes that a backward pass costs, by its products of matrices."""


def passes(method: str, n_layers: int) -> int:
    """Forward passes that a method costs for a pair: the two runs, and its gradients."""
    gradients = {"graddrop": n_layers, "graddrop_all": n_layers + 1, "ig": STEPS}
    return 2 + gradients.get(method, 1) * (1 + BACKWARD)
