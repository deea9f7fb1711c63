# Attention heads: sums of each detector over a subject's patterns -> scores and names -> ablations
# -> verdicts -> figures.


rule measure_detector:
    """Add up one detector over the attention patterns of every model of a subject."""
    input:
        weights=heads_weights,
        rows=heads_rows,
        texts=heads_texts,
    output:
        sums=heads_tables.SUMS,
    log:
        "logs/measure_detector/{subject}/{detector}.log",
    benchmark:
        "results/benchmarks/measure_detector/{subject}/{detector}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.heads.mem_mb),
        runtime=growing(CONFIG.heads.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "heads/measure_detector.py",
            uses=[heads_detector(wildcards.detector), heads_source(wildcards)],
            subject=heads_subject(wildcards),
            detectors=CONFIG.heads.detectors.model_dump(include={"max_offset"}),
            streams=CONFIG.heads.streams.model_dump(),
            seed=CONFIG.heads.seed,
            device=CONFIG.device,
        ),
    script:
        "../scripts/heads/measure_detector.py"


rule score_heads:
    """Score every head of a subject under every detector, and name heads."""
    input:
        sums=expand(
            rules.measure_detector.output.sums, detector=HEADS.detectors, allow_missing=True
        ),
    output:
        scores=heads_tables.SCORES.path,
        detectors=heads_tables.DETECTORS.path,
    log:
        "logs/score_heads/{subject}.log",
    benchmark:
        "results/benchmarks/score_heads/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        tracked=lambda wildcards: tracked(
            "heads/score_heads.py",
            uses=[heads_detector(name) for name in HEADS.detectors],
            subject=heads_subject(wildcards)["name"],
            detectors=CONFIG.heads.detectors.model_dump(),
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/heads/score_heads.py"


rule ablate_heads:
    """Screen every head of a subject by first order, and ablate those that matter, and random ones."""
    input:
        weights=heads_weights,
        rows=heads_rows,
        texts=heads_texts,
        scores=rules.score_heads.output.scores,
        detectors=rules.score_heads.output.detectors,
    output:
        screen=heads_tables.SCREEN.path,
        ablations=heads_tables.ABLATIONS.path,
    log:
        "logs/ablate_heads/{subject}.log",
    benchmark:
        "results/benchmarks/ablate_heads/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.heads.mem_mb),
        runtime=growing(CONFIG.heads.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "heads/ablate_heads.py",
            uses=[heads_source(wildcards)],
            subject=heads_subject(wildcards),
            ablation=CONFIG.heads.ablation.model_dump(),
            streams=CONFIG.heads.streams.model_dump(),
            seed=CONFIG.heads.seed,
            alpha=CONFIG.heads.verdict.alpha,
            bootstrap=BOOTSTRAP,
            device=CONFIG.device,
        ),
    script:
        "../scripts/heads/ablate_heads.py"


rule measure_head_parts:
    """Measure what heads of a subject do at offsets, to later patterns, to names and other tokens."""
    input:
        weights=heads_weights,
        rows=heads_rows,
        texts=heads_texts,
        scores=rules.score_heads.output.scores,
    output:
        **{table.short: table.path for table in heads_tables.OF_PARTS},
    log:
        "logs/measure_head_parts/{subject}.log",
    benchmark:
        "results/benchmarks/measure_head_parts/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.heads.mem_mb),
        runtime=growing(CONFIG.heads.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "heads/measure_head_parts.py",
            uses=[heads_source(wildcards), *map(heads_detector, HEADS.detectors)],
            subject=heads_subject(wildcards),
            parts=CONFIG.heads.parts.model_dump(),
            detectors=CONFIG.heads.detectors.model_dump(),
            streams=CONFIG.heads.streams.model_dump(),
            seed=CONFIG.heads.seed,
            bootstrap=BOOTSTRAP,
            device=CONFIG.device,
        ),
    script:
        "../scripts/heads/measure_head_parts.py"


rule judge_heads:
    """Say of every detector of a subject whether it names heads, and whether these are needed."""
    input:
        scores=rules.score_heads.output.scores,
        detectors=rules.score_heads.output.detectors,
        ablations=rules.ablate_heads.output.ablations,
    output:
        verdicts=heads_tables.VERDICTS.path,
    log:
        "logs/judge_heads/{subject}.log",
    benchmark:
        "results/benchmarks/judge_heads/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        tracked=lambda wildcards: tracked(
            "heads/judge_heads.py",
            draws=CONFIG.heads.ablation.draws,
            alpha=CONFIG.heads.verdict.alpha,
        ),
    script:
        "../scripts/heads/judge_heads.py"


rule summarise_heads:
    """Put the verdicts of all subjects into one table."""
    input:
        verdicts=HEADS.files(heads_tables.VERDICTS),
    output:
        summary=heads_tables.SUMMARY.path,
        csv=report(
            "results/heads/summary.csv",
            caption="../report/caption.rst",
            category=TITLES["heads"],
            subcategory="Tables",
            labels={"table": "summary", "format": "csv"},
        ),
    log:
        "logs/summarise_heads/all.log",
    benchmark:
        "results/benchmarks/summarise_heads/all.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        caption=caption("heads", "summary"),
        tracked=lambda wildcards: tracked("heads/summarise_heads.py"),
    script:
        "../scripts/heads/summarise_heads.py"


TARGETS["heads"] = rules.summarise_heads.output


rule heads:
    """Every figure and table of the heads study."""
    input:
        targets("heads"),
    localrule: True
