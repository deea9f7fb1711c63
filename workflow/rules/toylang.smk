# The toy language and tensor transformers: language -> runs -> readouts of the weights, ablations and
# experiments -> onsets and claims -> figures.

TOYLANG = ToylangPlan(CONFIG.toylang)
TOY_LANGUAGE = CONFIG.toylang.run.language.model_dump()
TOY_READOUTS = CONFIG.toylang.readouts.model_dump()
OF_RUN = "results/toylang/runs/{run}"
OF_CONDITION = "results/toylang/conditions/{condition}"


def toy_run(wildcards):
    """What a run is made from."""
    run = checked(find, TOYLANG.runs, wildcards.run, "run")
    return {"config": CONFIG.toylang.conditions[run.condition].model_dump(), "seed": run.seed}


def toy_runs(conditions):
    """The runs of a condition, which is one of `conditions`."""

    def of_condition(wildcards):
        return checked(find, conditions, wildcards.condition, "condition that is measured so")

    return of_condition


def toy_checkpoints(conditions):
    """The checkpoints of a condition's runs, by seed."""

    def of_condition(wildcards):
        names = [run.name for run in toy_runs(conditions)(wildcards)]
        return expand(f"{OF_RUN}/checkpoints.safetensors", run=names)

    return of_condition


def toy_tables(wildcards):
    """The tables that a figure shows, by name, of every run and condition that has one."""
    names = checked(find, toylang_needs.NEEDS, wildcards.figure, "figure of the study")
    return {name: TOY_TABLES[name] for name in names}


rule make_toy_language:
    """Sample the reference's language; find its true rules and the least loss of each primitive."""
    output:
        sequences="results/toylang/sequences.parquet",
        rules="results/toylang/rules.parquet",
        floors="results/toylang/floors.parquet",
    log:
        "logs/make_toy_language/all.log",
    benchmark:
        "results/benchmarks/make_toy_language/all.tsv"
    # Seconds, and once: not worth a place in a cluster's queue.
    localrule: True
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/make_toy_language.py",
            language=TOY_LANGUAGE,
            n_sequences=CONFIG.toylang.n_sequences,
            floor_sequences=CONFIG.toylang.floor_sequences,
            rule_sequences=CONFIG.toylang.rule_sequences,
        ),
    script:
        "../scripts/toylang/make_toy_language.py"


rule train_toy_run:
    """Train one run; a killed one goes on from its last checkpoint."""
    output:
        training=f"{OF_RUN}/training.parquet",
        timing=f"{OF_RUN}/timing.parquet",
        checkpoints=f"{OF_RUN}/checkpoints.safetensors",
    log:
        "logs/train_toy_run/{run}.log",
    benchmark:
        "results/benchmarks/train_toy_run/{run}.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "toylang/train_toy_run.py", **toy_run(wildcards), **DEVICE
        ),
    script:
        "../scripts/toylang/train_toy_run.py"


rule read_toy_weights:
    """Read the weights of every checkpoint of one condition, without data."""
    input:
        rules=rules.make_toy_language.output.rules,
        checkpoints=toy_checkpoints(TOYLANG.read),
    output:
        readouts=f"{OF_CONDITION}/readouts.parquet",
        matrices=f"{OF_CONDITION}/matrices.parquet",
        search=f"{OF_CONDITION}/search.parquet",
        degrees=f"{OF_CONDITION}/degrees.parquet",
    log:
        "logs/read_toy_weights/{condition}.log",
    benchmark:
        "results/benchmarks/read_toy_weights/{condition}.tsv"
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/read_toy_weights.py",
            seeds=[run.seed for run in toy_runs(TOYLANG.read)(wildcards)],
            language=TOY_LANGUAGE,
            readouts=TOY_READOUTS,
        ),
    script:
        "../scripts/toylang/read_toy_weights.py"


rule ablate_toy_heads:
    """Ablate every head, the heads that the weights name, and random ones, in one condition."""
    input:
        rules=rules.make_toy_language.output.rules,
        checkpoints=toy_checkpoints(TOYLANG.measured),
    output:
        ablations=f"{OF_CONDITION}/ablations.parquet",
    log:
        "logs/ablate_toy_heads/{condition}.log",
    benchmark:
        "results/benchmarks/ablate_toy_heads/{condition}.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/ablate_toy_heads.py",
            seeds=[run.seed for run in toy_runs(TOYLANG.measured)(wildcards)],
            language=TOY_LANGUAGE,
            eval_sequences=CONFIG.toylang.run.training.eval_sequences,
            readouts=TOY_READOUTS,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/toylang/ablate_toy_heads.py"


rule measure_toy_phenomena:
    """Suppression, error correction and compositional reuse in one condition."""
    input:
        checkpoints=toy_checkpoints(TOYLANG.measured),
    output:
        phenomena=f"{OF_CONDITION}/phenomena.parquet",
    log:
        "logs/measure_toy_phenomena/{condition}.log",
    benchmark:
        "results/benchmarks/measure_toy_phenomena/{condition}.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/measure_toy_phenomena.py",
            seeds=[run.seed for run in toy_runs(TOYLANG.measured)(wildcards)],
            language=TOY_LANGUAGE,
            readouts=TOY_READOUTS,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/toylang/measure_toy_phenomena.py"


# Where the tables of runs and conditions lie, for the summary and the figures.
TOY_MEASURED = {
    "toylang_rules": rules.make_toy_language.output.rules,
    "toylang_floors": rules.make_toy_language.output.floors,
    "toylang_training": expand(rules.train_toy_run.output.training, run=TOYLANG.runs),
    "toylang_readouts": expand(rules.read_toy_weights.output.readouts, condition=TOYLANG.read),
    "toylang_matrices": expand(rules.read_toy_weights.output.matrices, condition=TOYLANG.read),
    "toylang_search": expand(rules.read_toy_weights.output.search, condition=TOYLANG.read),
    "toylang_degrees": expand(rules.read_toy_weights.output.degrees, condition=TOYLANG.read),
    "toylang_ablations": expand(
        rules.ablate_toy_heads.output.ablations, condition=TOYLANG.measured
    ),
    "toylang_phenomena": expand(
        rules.measure_toy_phenomena.output.phenomena, condition=TOYLANG.measured
    ),
}


rule summarise_toylang:
    """Onsets of every run, their medians and comparisons over seeds, and the claims of the study."""
    input:
        **TOY_MEASURED,
    output:
        onsets="results/toylang/onsets.parquet",
        onset_summary="results/toylang/onset_summary.parquet",
        comparisons="results/toylang/comparisons.parquet",
        summary="results/toylang/summary.parquet",
        csv=report(
            "results/toylang/summary.csv",
            caption="../report/toylang/summary.rst",
            category="Toy language",
            subcategory="Tables",
            labels={"table": "claims", "format": "csv"},
        ),
    log:
        "logs/summarise_toylang/all.log",
    benchmark:
        "results/benchmarks/summarise_toylang/all.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/summarise_toylang.py",
            toylang=CONFIG.toylang.model_dump(),
            comparisons=TOYLANG.comparisons,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/toylang/summarise_toylang.py"


TOY_TABLES = {
    **TOY_MEASURED,
    "toylang_onsets": rules.summarise_toylang.output.onsets,
    "toylang_onset_summary": rules.summarise_toylang.output.onset_summary,
    "toylang_comparisons": rules.summarise_toylang.output.comparisons,
    "toylang_summary": rules.summarise_toylang.output.summary,
}




TARGETS["toylang"] = [
    *expand(rules.draw_toylang_figure.output, figure=TOYLANG.figures),
    *rules.make_toy_language.output,
    *rules.summarise_toylang.output,
]


rule toylang:
    """Every figure and table of the toy language study."""
    input:
        TARGETS["toylang"],
    localrule: True
