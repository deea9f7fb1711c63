# What the rules of lag.smk are made from: the plan, and functions of wildcards.

LAG = checked(LagPlan.of, CONFIG.lag, SOURCES)


def lag_run(wildcards):
    return checked(find, LAG.runs, wildcards.run, "run").resolved


def lag_condition_runs(wildcards):
    return checked(find, LAG.conditions, wildcards.condition, "condition")


def lag_sweep(wildcards):
    return checked(find, LAG.sweeps, wildcards.sweep, "sweep")


def lag_figure_probes(wildcards):
    """The probe tables that a figure of one condition shows."""
    wanted = checked(find, FIGURE_PROBES, wildcards.figure, "figure of a condition")
    return [
        f"results/lag/probes/{wildcards.condition}/{probe}.parquet"
        for probe in LAG.probes[wildcards.condition]
        if probe in wanted
    ]


def lag_figure_sweep(name):
    """The path of table `name` of the sweep that a figure shows."""

    def path(wildcards):
        sweep = checked(find, LAG.figures, wildcards.figure, "figure")
        return f"results/lag/sweeps/{sweep}/{name}.parquet"

    return path
