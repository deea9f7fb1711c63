# Attribution patching: exhaustive and estimated effects of every node -> scores -> verdicts -> figures.

from zscope.studies.components.attribution import tables as attribution_tables


rule measure_attribution:
    """Patch every node of a condition's models, and estimate what that does, on pairs of prompts."""
    input:
        weights=attribution_weights,
    output:
        **{table.short: table.path for table in attribution_tables.OF_TOY},
    log:
        "logs/measure_attribution/{subject}.log",
    benchmark:
        "results/benchmarks/measure_attribution/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.components.mem_mb),
        runtime=growing(CONFIG.components.runtime_minutes),
    params:
        tracked=lambda wildcards: tracked(
            "components/measure_attribution.py",
            subject=attribution_subject(wildcards),
            pairs=CONFIG.components.attribution.pairs.model_dump(),
            seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/components/measure_attribution.py"


rule score_attribution:
    """Score every method of attribution on the nodes of a condition's models."""
    input:
        nodes=attribution_tables.NODES.path,
    output:
        scores=attribution_tables.SCORES.path,
        work=attribution_tables.WORK.path,
    log:
        "logs/score_attribution/{subject}.log",
    benchmark:
        "results/benchmarks/score_attribution/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        tracked=lambda wildcards: tracked(
            "components/score_attribution.py",
            attribution=CONFIG.components.attribution.model_dump(
                include={"large", "missed", "top", "draws"}
            ),
            seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/components/score_attribution.py"


rule summarise_attribution:
    """Say of every method whether it finds what exhaustive patching finds, over all trainings."""
    input:
        scores=COMPONENTS.files(attribution_tables.SCORES),
    output:
        summary=attribution_tables.SUMMARY.path,
    log:
        "logs/summarise_attribution/all.log",
    benchmark:
        "results/benchmarks/summarise_attribution/all.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "components/summarise_attribution.py",
            verdict=CONFIG.components.attribution.verdict.model_dump(),
        ),
    script:
        "../scripts/components/summarise_attribution.py"


rule measure_pretrained_attribution:
    """Estimate what every z of a language model does, and patch those that seem to do most."""
    input:
        weights=attribution_named_weights,
        texts=attribution_texts,
    output:
        **{table.short: table.path for table in attribution_tables.OF_PRETRAINED},
    log:
        "logs/measure_pretrained_attribution/{subject}.log",
    benchmark:
        "results/benchmarks/measure_pretrained_attribution/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.components.mem_mb),
        runtime=growing(CONFIG.components.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "components/measure_pretrained_attribution.py",
            name=attribution_named(wildcards).name,
            dtype=attribution_named(wildcards).dtype,
            pretrained=CONFIG.components.attribution.pretrained.model_dump(),
            draws=CONFIG.components.attribution.draws,
            seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
            device=CONFIG.device,
        ),
    script:
        "../scripts/components/measure_pretrained_attribution.py"
