# Attention heads: sums of each detector over a subject's patterns -> scores and names -> ablations
# -> verdicts -> figures. Scores and prompts -> ablations at one position -> pages.


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
        profiles=heads_tables.PROFILES.path,
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
        tracked=lambda wildcards: tracked("heads/summarise_heads.py", subjects=list(HEADS.subjects)),
    script:
        "../scripts/heads/summarise_heads.py"


rule measure_head_onsets:
    """Follow the heads that the last step names over the checkpoints of a subject's models."""
    input:
        weights=heads_checkpoints,
        rows=heads_rows,
        scores=rules.score_heads.output.scores,
        detectors=rules.score_heads.output.detectors,
    output:
        checkpoints=heads_tables.CHECKPOINTS.path,
    log:
        "logs/measure_head_onsets/{subject}.log",
    benchmark:
        "results/benchmarks/measure_head_onsets/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.heads.mem_mb),
        runtime=growing(CONFIG.heads.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "heads/measure_head_onsets.py",
            uses=[heads_source(wildcards), *map(heads_detector, HEADS.detectors)],
            subject=heads_subject(wildcards),
            onsets=CONFIG.heads.onsets.model_dump(include={"checkpoints", "draws"}),
            detectors=CONFIG.heads.detectors.model_dump(include={"max_offset", "min_rows"}),
            ablation=CONFIG.heads.ablation.model_dump(include={"trained_sequences"}),
            streams=CONFIG.heads.streams.model_dump(),
            seed=CONFIG.heads.seed,
            bootstrap=BOOTSTRAP,
            device=CONFIG.device,
        ),
    script:
        "../scripts/heads/measure_head_onsets.py"


rule summarise_head_onsets:
    """Say of every model of a subject when its heads set in, and in which order."""
    input:
        checkpoints=rules.measure_head_onsets.output.checkpoints,
    output:
        onsets=heads_tables.ONSETS.path,
        medians=heads_tables.ONSET_MEDIANS.path,
        order=heads_tables.ONSET_ORDER.path,
    log:
        "logs/summarise_head_onsets/{subject}.log",
    benchmark:
        "results/benchmarks/summarise_head_onsets/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        tracked=lambda wildcards: tracked(
            "heads/summarise_head_onsets.py",
            rule=CONFIG.heads.onsets.model_dump(include={"share", "excess", "consecutive"}),
            alpha=CONFIG.heads.verdict.alpha,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/heads/summarise_head_onsets.py"


# --- prompts and pages


rule run_prompts:
    """Run every prompt of a set as it is and under ablations at its last position."""
    input:
        weights=heads_first(heads_weights),
        rows=heads_first(heads_rows),
        texts=heads_texts,
        prompts=heads_prompts_file,
        scores=rules.score_heads.output.scores,
    output:
        prompt_tokens=heads_tables.PROMPT_TOKENS.path,
        prompt_conditions=heads_tables.PROMPT_CONDITIONS.path,
        prompt_shifts=heads_tables.PROMPT_SHIFTS.path,
        continuations=heads_tables.CONTINUATIONS.path,
        prompt_attention=heads_tables.PROMPT_ATTENTION.path,
        patterns=heads_tables.PATTERNS.path,
    log:
        "logs/run_prompts/{subject}/{prompts}.log",
    benchmark:
        "results/benchmarks/run_prompts/{subject}/{prompts}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.heads.mem_mb),
        runtime=growing(CONFIG.heads.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "heads/run_prompts.py",
            uses=[heads_prompted(wildcards)],
            subject=heads_shown(wildcards),
            own=wildcards.prompts == "own",
            prompts=CONFIG.heads.prompts.model_dump(exclude={"sets", "file"}),
            ablation=CONFIG.heads.ablation.model_dump(),
            streams=CONFIG.heads.streams.model_dump(),
            seed=CONFIG.heads.seed,
            device=CONFIG.device,
        ),
    script:
        "../scripts/heads/run_prompts.py"


rule summarise_prompts:
    """Say what every ablation does over all prompts of a set."""
    input:
        prompt_conditions=rules.run_prompts.output.prompt_conditions,
        prompt_attention=rules.run_prompts.output.prompt_attention,
    output:
        condition_summary=heads_tables.CONDITION_SUMMARY.path,
        condition_attention=heads_tables.CONDITION_ATTENTION.path,
    log:
        "logs/summarise_prompts/{subject}/{prompts}.log",
    benchmark:
        "results/benchmarks/summarise_prompts/{subject}/{prompts}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked("heads/summarise_prompts.py", bootstrap=BOOTSTRAP),
    script:
        "../scripts/heads/summarise_prompts.py"


rule map_heads:
    """Put scores, exact effects and first-order effects of every head side by side."""
    input:
        scores=rules.score_heads.output.scores,
        detectors=rules.score_heads.output.detectors,
        screen=rules.ablate_heads.output.screen,
        ablations=rules.ablate_heads.output.ablations,
    output:
        map=heads_tables.MAP.path,
    log:
        "logs/map_heads/{subject}.log",
    benchmark:
        "results/benchmarks/map_heads/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "heads/map_heads.py", model=heads_shown(wildcards)["models"][0]
        ),
    script:
        "../scripts/heads/map_heads.py"


rule make_prompt_page:
    """Make the page of a set of prompts: a table for each prompt, a row for each ablation."""
    input:
        **rules.run_prompts.output,
        condition_summary=rules.summarise_prompts.output.condition_summary,
    output:
        page=report(
            PAGE.replace("{page}", "{prompts}"),
            caption="../report/caption.rst",
            category=TITLES["heads"],
            subcategory="{subject}",
            labels={"page": "{prompts}", "format": "html"},
        ),
    log:
        "logs/make_prompt_page/{subject}/{prompts}.log",
    benchmark:
        "results/benchmarks/make_prompt_page/{subject}/{prompts}.tsv"
    wildcard_constraints:
        prompts=rf"(?!{HEAD_MAP}\.)[^/]+",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        caption=caption("heads", "prompt_page"),
        tracked=lambda wildcards: tracked(
            "heads/make_prompt_page.py",
            assets=page_digest(asset_files.PROMPT_PAGE),
            subject=heads_on_page(wildcards),
            level=CONFIG.bootstrap.level,
        ),
    script:
        "../scripts/heads/make_prompt_page.py"


rule make_head_map:
    """Make the page of a subject's heads: their scores, their effects, and what they attend to."""
    input:
        map=rules.map_heads.output.map,
        ablations=rules.ablate_heads.output.ablations,
        verdicts=rules.judge_heads.output.verdicts,
        prompt_tokens=heads_map_prompts(heads_tables.PROMPT_TOKENS),
        patterns=heads_map_prompts(heads_tables.PATTERNS),
    output:
        page=report(
            PAGE.replace("{page}", HEAD_MAP),
            caption="../report/caption.rst",
            category=TITLES["heads"],
            subcategory="{subject}",
            labels={"page": "map of heads", "format": "html"},
        ),
    log:
        "logs/make_head_map/{subject}.log",
    benchmark:
        "results/benchmarks/make_head_map/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        caption=caption("heads", "head_map"),
        tracked=lambda wildcards: tracked(
            "heads/make_head_map.py",
            assets=page_digest(asset_files.HEAD_MAP),
            subject=heads_on_page(wildcards),
            asks={name: detector_asks(name) for name in HEADS.detectors},
            level=CONFIG.bootstrap.level,
        ),
    script:
        "../scripts/heads/make_head_map.py"


TARGETS["heads"] = [*rules.summarise_heads.output, *HEADS.pages]


rule heads:
    """Every figure and table of the heads study."""
    input:
        targets("heads"),
    localrule: True
