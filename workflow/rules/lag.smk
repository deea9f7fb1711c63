# The late disambiguation lag: facts -> runs -> probes -> conditions -> sweeps -> figures.

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


wildcard_constraints:
    run="[^/]+",
    condition="[^/]+",
    sweep="[^/]+",
    probe="[^/]+",
    figure="[^/]+",


rule make_facts:
    """Draw the facts of one run."""
    output:
        facts="results/lag/runs/{run}/facts.parquet",
    log:
        "logs/make_facts/{run}.log",
    benchmark:
        "results/benchmarks/make_facts/{run}.tsv"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked("lag/make_facts.py", run=lag_run(wildcards)),
    script:
        "../scripts/lag/make_facts.py"


rule train_run:
    """Train one run; a killed one goes on from its last checkpoint."""
    input:
        facts=rules.make_facts.output.facts,
    output:
        metrics="results/lag/runs/{run}/metrics.parquet",
        timing="results/lag/runs/{run}/timing.parquet",
        checkpoints="results/lag/runs/{run}/checkpoints.safetensors",
    log:
        "logs/train_run/{run}.log",
    benchmark:
        "results/benchmarks/train_run/{run}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(CONFIG.lag.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked("lag/train_run.py", run=lag_run(wildcards), **DEVICE),
    script:
        "../scripts/lag/train_run.py"


rule measure_probe:
    """Measure one probe on every checkpoint of every seed of one condition."""
    input:
        checkpoints=lambda wildcards: expand(
            rules.train_run.output.checkpoints, run=lag_condition_runs(wildcards)
        ),
        facts=lambda wildcards: expand(
            rules.make_facts.output.facts, run=lag_condition_runs(wildcards)
        ),
    output:
        probe="results/lag/probes/{condition}/{probe}.parquet",
    log:
        "logs/measure_probe/{condition}/{probe}.log",
    benchmark:
        "results/benchmarks/measure_probe/{condition}/{probe}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(CONFIG.lag.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "lag/measure_probe.py",
            uses=[checked(find, PROBES, wildcards.probe, "probe").module],
            probe=wildcards.probe,
            module=PROBES[wildcards.probe].module,
            runs={run: LAG.runs[run].resolved for run in lag_condition_runs(wildcards)},
            settings=CONFIG.lag.probes.model_dump(exclude={"names"}),
            **DEVICE,
        ),
    script:
        "../scripts/lag/measure_probe.py"


rule summarise_condition:
    """Curves, onsets and phases of every seed of one condition."""
    input:
        metrics=lambda wildcards: expand(
            "results/lag/runs/{run}/metrics.parquet", run=lag_condition_runs(wildcards)
        ),
        probes=lambda wildcards: expand(
            rules.measure_probe.output.probe,
            probe=LAG.probes[wildcards.condition],
            allow_missing=True,
        ),
    output:
        runs="results/lag/conditions/{condition}/runs.parquet",
        curves="results/lag/conditions/{condition}/curves.parquet",
        onsets="results/lag/conditions/{condition}/onsets.parquet",
        phases="results/lag/conditions/{condition}/phases.parquet",
    log:
        "logs/summarise_condition/{condition}.log",
    benchmark:
        "results/benchmarks/summarise_condition/{condition}.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        tracked=lambda wildcards: tracked(
            "lag/summarise_condition.py",
            condition=wildcards.condition,
            runs={run: LAG.runs[run].resolved for run in lag_condition_runs(wildcards)},
            onset=CONFIG.lag.onset.model_dump(),
        ),
    script:
        "../scripts/lag/summarise_condition.py"


rule summarise_sweep:
    """The tables of a sweep's conditions in one, and medians over seeds."""
    input:
        **{
            table: lambda wildcards, table=table: expand(
                f"results/lag/conditions/{{condition}}/{table}.parquet",
                condition=dict.fromkeys(r.condition for r in lag_sweep(wildcards)),
            )
            for table in ("runs", "curves", "onsets", "phases")
        },
    output:
        runs="results/lag/sweeps/{sweep}/runs.parquet",
        curves="results/lag/sweeps/{sweep}/curves.parquet",
        onsets="results/lag/sweeps/{sweep}/onsets.parquet",
        phases="results/lag/sweeps/{sweep}/phases.parquet",
        summary="results/lag/sweeps/{sweep}/summary.parquet",
        csv=report(
            "results/lag/sweeps/{sweep}/summary.csv",
            caption="../report/lag/summary.rst",
            category="Lag",
            subcategory="Tables",
            labels={"table": "{sweep}", "format": "csv"},
        ),
    log:
        "logs/summarise_sweep/{sweep}.log",
    benchmark:
        "results/benchmarks/summarise_sweep/{sweep}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        tracked=lambda wildcards: tracked(
            "lag/summarise_sweep.py",
            sweep=wildcards.sweep,
            members=[r.to_dict() for r in lag_sweep(wildcards)],
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/lag/summarise_sweep.py"


rule train_linear_baselines:
    """Train the linear baselines of the contrast figure."""
    output:
        losses="results/lag/linear/losses.parquet",
    log:
        "logs/train_linear_baselines/all.log",
    benchmark:
        "results/benchmarks/train_linear_baselines/all.tsv"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "lag/train_linear_baselines.py", linear=CONFIG.lag.linear.model_dump()
        ),
    script:
        "../scripts/lag/train_linear_baselines.py"






TARGETS["lag"] = [
    *expand(rules.draw_study_figure.output, figure=LAG.figures),
    *[
        path
        for condition in LAG.conditions
        for path in expand(
            rules.draw_condition_figure.output,
            condition=condition,
            figure=LAG.condition_figures(condition),
        )
    ],
    *expand(rules.summarise_sweep.output, sweep=LAG.sweeps),
]


rule lag:
    """Every figure and table of the lag study."""
    input:
        TARGETS["lag"],
    localrule: True
