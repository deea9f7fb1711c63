# The late disambiguation lag: facts -> runs -> probes -> conditions -> sweeps -> figures.


rule make_facts:
    """Draw the facts that all runs with the same data share."""
    output:
        facts=lag_tables.FACTS.path,
    log:
        "logs/make_facts/{facts}.log",
    benchmark:
        "results/benchmarks/make_facts/{facts}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "lag/make_facts.py", **checked(find, LAG.facts, wildcards.facts, "facts")
        ),
    script:
        "../scripts/lag/make_facts.py"


rule list_lag_rows:
    """List rows of the training data, for studies of the same models."""
    input:
        facts=rules.make_facts.output.facts,
    output:
        rows=ROWS.path.format(study="lag", name="{facts}"),
    log:
        "logs/list_lag_rows/{facts}.log",
    benchmark:
        "results/benchmarks/list_lag_rows/{facts}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "lag/list_lag_rows.py",
            n=512,
            **checked(find, LAG.facts, wildcards.facts, "facts"),
        ),
    script:
        "../scripts/lag/list_lag_rows.py"


rule train_run:
    """Train one run; a killed one resumes from its last checkpoint."""
    input:
        facts=lambda wildcards: lag_facts(wildcards.run),
    output:
        metrics=lag_tables.METRICS.path,
        timing=lag_tables.TIMING.path,
        checkpoints="results/lag/runs/{run}/checkpoints.safetensors",
    log:
        "logs/train_run/{run}.log",
    benchmark:
        "results/benchmarks/train_run/{run}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(CONFIG.lag.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "lag/train_run.py", run=lag_run(wildcards), device=CONFIG.device, bootstrap=BOOTSTRAP
        ),
    script:
        "../scripts/lag/train_run.py"


rule measure_probe:
    """Measure one probe on every checkpoint of every run of one condition."""
    input:
        checkpoints=lambda wildcards: expand(
            rules.train_run.output.checkpoints, run=lag_runs(wildcards)
        ),
        facts=lambda wildcards: [lag_facts(run) for run in lag_runs(wildcards)],
    output:
        probe=lag_tables.PROBE.path,
    log:
        "logs/measure_probe/{condition}/{probe}.log",
    benchmark:
        "results/benchmarks/measure_probe/{condition}/{probe}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(CONFIG.lag.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "lag/measure_probe.py",
            uses=[lag_probe(wildcards)],
            runs=lag_configs(wildcards),
            settings=CONFIG.lag.probes.model_dump(exclude={"names"}),
            device=CONFIG.device,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/lag/measure_probe.py"


rule summarise_condition:
    """Find the curves, onsets and phases of every run of one condition."""
    input:
        metrics=lambda wildcards: lag_tables.METRICS.paths(run=lag_runs(wildcards)),
        probes=lambda wildcards: expand(
            rules.measure_probe.output.probe,
            probe=LAG.probes[wildcards.condition],
            allow_missing=True,
        ),
    output:
        **{of_sweep.short: table.path for of_sweep, table in lag_tables.GATHERED.items()},
    log:
        "logs/summarise_condition/{condition}.log",
    benchmark:
        "results/benchmarks/summarise_condition/{condition}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        tracked=lambda wildcards: tracked(
            "lag/summarise_condition.py",
            runs=lag_configs(wildcards),
            onset=CONFIG.lag.onset.model_dump(),
        ),
    script:
        "../scripts/lag/summarise_condition.py"


rule summarise_sweep:
    """Gather the tables of a sweep's conditions, and summarise its onsets over runs."""
    input:
        **{
            of_sweep.short: lambda wildcards, table=table: table.paths(
                condition=dict.fromkeys(run.condition for run in lag_sweep(wildcards))
            )
            for of_sweep, table in lag_tables.GATHERED.items()
        },
    output:
        **{table.short: table.path for table in lag_tables.OF_SWEEP},
        csv=report(
            "results/lag/sweeps/{sweep}/summary.csv",
            caption="../report/caption.rst",
            category=TITLES["lag"],
            subcategory="Tables",
            labels={"table": "{sweep}", "format": "csv"},
        ),
    log:
        "logs/summarise_sweep/{sweep}.log",
    benchmark:
        "results/benchmarks/summarise_sweep/{sweep}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        caption=lambda wildcards: caption("lag", "summary", sweep=wildcards.sweep),
        tracked=lambda wildcards: tracked(
            "lag/summarise_sweep.py",
            members=[run.to_dict() for run in lag_sweep(wildcards)],
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/lag/summarise_sweep.py"


rule train_linear_baselines:
    """Train the linear baselines of the contrast figure."""
    output:
        losses=lag_tables.LINEAR.path,
    log:
        "logs/train_linear_baselines/all.log",
    benchmark:
        "results/benchmarks/train_linear_baselines/all.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "lag/train_linear_baselines.py", linear=CONFIG.lag.linear.model_dump()
        ),
    script:
        "../scripts/lag/train_linear_baselines.py"


TARGETS["lag"] = expand(rules.summarise_sweep.output, sweep=LAG.sweeps)


rule lag:
    """Every figure and table of the lag study."""
    input:
        targets("lag"),
    localrule: True
