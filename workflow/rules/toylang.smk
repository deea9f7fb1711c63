# The toy language and tensor transformers: language -> runs -> readouts of the weights, ablations and
# experiments -> onsets and claims -> figures.


rule make_toy_language:
    """Sample the reference's language, and find its true rules."""
    output:
        sequences=toylang_tables.SEQUENCES.path,
        rules=toylang_tables.RULES.path,
    log:
        "logs/make_toy_language/all.log",
    benchmark:
        "results/benchmarks/make_toy_language/all.tsv"
    # It takes seconds and runs once: not worth a place in a cluster's queue.
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/make_toy_language.py",
            language=TOYLANG_LANGUAGE,
            n_sequences=CONFIG.toylang.n_sequences,
            rule_sequences=CONFIG.toylang.rule_sequences,
        ),
    script:
        "../scripts/toylang/make_toy_language.py"


rule measure_toy_floors:
    """Measure how often each primitive of the language governs, and the least loss of any model."""
    output:
        floors=toylang_tables.FLOORS.path,
    log:
        "logs/measure_toy_floors/all.log",
    benchmark:
        "results/benchmarks/measure_toy_floors/all.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/measure_toy_floors.py",
            language=TOYLANG_LANGUAGE,
            floor_sequences=CONFIG.toylang.floor_sequences,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/toylang/measure_toy_floors.py"


rule train_toy_run:
    """Train one run; a killed one resumes from its last checkpoint."""
    output:
        training=toylang_tables.TRAINING.path,
        timing=toylang_tables.TIMING.path,
        checkpoints="results/toylang/runs/{run}/checkpoints.safetensors",
    log:
        "logs/train_toy_run/{run}.log",
    benchmark:
        "results/benchmarks/train_toy_run/{run}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "toylang/train_toy_run.py",
            device=CONFIG.device,
            bootstrap=BOOTSTRAP,
            **toylang_run(wildcards),
        ),
    script:
        "../scripts/toylang/train_toy_run.py"


rule read_toy_weights:
    """Read the weights of every checkpoint of one condition, without data."""
    input:
        rules=toylang_tables.RULES.path,
        checkpoints=toylang_checkpoints(TOYLANG.read),
    output:
        **{table.short: table.path for table in toylang_tables.OF_WEIGHTS},
    log:
        "logs/read_toy_weights/{condition}.log",
    benchmark:
        "results/benchmarks/read_toy_weights/{condition}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/read_toy_weights.py",
            seeds=[run.seed for run in toylang_runs(TOYLANG.read, wildcards)],
            language=TOYLANG_LANGUAGE,
            readouts=TOYLANG_READOUTS,
        ),
    script:
        "../scripts/toylang/read_toy_weights.py"


rule ablate_toy_heads:
    """Ablate every head, the heads that the weights name, and random ones, in one condition."""
    input:
        rules=toylang_tables.RULES.path,
        checkpoints=toylang_checkpoints(TOYLANG.measured),
    output:
        ablations=toylang_tables.ABLATIONS.path,
    log:
        "logs/ablate_toy_heads/{condition}.log",
    benchmark:
        "results/benchmarks/ablate_toy_heads/{condition}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/ablate_toy_heads.py",
            seeds=[run.seed for run in toylang_runs(TOYLANG.measured, wildcards)],
            language=TOYLANG_LANGUAGE,
            eval_sequences=CONFIG.toylang.run.training.eval_sequences,
            readouts=TOYLANG_READOUTS,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/toylang/ablate_toy_heads.py"


rule measure_toy_phenomena:
    """Measure suppression, error correction and compositional reuse in one condition."""
    input:
        checkpoints=toylang_checkpoints(TOYLANG.measured),
    output:
        phenomena=toylang_tables.PHENOMENA.path,
    log:
        "logs/measure_toy_phenomena/{condition}.log",
    benchmark:
        "results/benchmarks/measure_toy_phenomena/{condition}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "toylang/measure_toy_phenomena.py",
            seeds=[run.seed for run in toylang_runs(TOYLANG.measured, wildcards)],
            language=TOYLANG_LANGUAGE,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/toylang/measure_toy_phenomena.py"


rule summarise_toylang:
    """Find the onsets of every run, summarise and compare them, and test the claims of the study."""
    input:
        **{table.short: TOYLANG.files(table) for table in toylang_tables.OF_RUNS},
    output:
        **{table.short: table.path for table in toylang_tables.SUMMARIES},
        csv=report(
            "results/toylang/summary.csv",
            caption="../report/caption.rst",
            category=TITLES["toylang"],
            subcategory="Tables",
            labels={"table": "claims", "format": "csv"},
        ),
    log:
        "logs/summarise_toylang/all.log",
    benchmark:
        "results/benchmarks/summarise_toylang/all.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        caption=caption("toylang", "summary"),
        tracked=lambda wildcards: tracked(
            "toylang/summarise_toylang.py",
            toylang=CONFIG.toylang.model_dump(),
            comparisons=TOYLANG.comparisons,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/toylang/summarise_toylang.py"


TARGETS["toylang"] = [
    *rules.make_toy_language.output,
    *rules.measure_toy_floors.output,
    *rules.summarise_toylang.output,
]


rule toylang:
    """Every figure and table of the toy language study."""
    input:
        targets("toylang"),
    localrule: True
