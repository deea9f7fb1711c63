# Sparse dictionaries: planted data, and activations of models -> dictionaries -> scores -> figures.


rule score_planted_dictionaries:
    """Train dictionaries on inputs with planted directions, and score them against these."""
    output:
        planted=dictionaries_tables.DICTIONARIES_PLANTED.path,
        matches=dictionaries_tables.DICTIONARIES_MATCHES.path,
    log:
        "logs/score_planted_dictionaries/all.log",
    benchmark:
        "results/benchmarks/score_planted_dictionaries/all.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.components.mem_mb),
        runtime=growing(CONFIG.components.runtime_minutes),
    params:
        tracked=lambda wildcards: tracked(
            "components/score_planted_dictionaries.py",
            planted=CONFIG.components.dictionaries.planted.model_dump(),
            seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/components/score_planted_dictionaries.py"


rule score_toy_dictionaries:
    """Train dictionaries on the streams of toy models, and score them against the exact language."""
    input:
        weights=dictionaries_checkpoints,
    output:
        **{table.short.partition("_")[2]: table.path for table in dictionaries_tables.OF_TOYS},
        config=f"{dictionaries_tables.EXPORT}/cfg.json",
        sae=f"{dictionaries_tables.EXPORT}/sae_weights.safetensors",
    log:
        "logs/score_toy_dictionaries/{subject}.log",
    benchmark:
        "results/benchmarks/score_toy_dictionaries/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.components.mem_mb),
        runtime=growing(CONFIG.components.runtime_minutes),
    params:
        tracked=lambda wildcards: tracked(
            "components/score_toy_dictionaries.py",
            subject=dictionaries_subject(wildcards),
            toy=CONFIG.components.dictionaries.toy.model_dump(),
            alpha=CONFIG.components.dictionaries.alpha,
            seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/components/score_toy_dictionaries.py"


rule measure_text_dictionaries:
    """Train dictionaries on one site of a language model, and put their reconstructions back."""
    input:
        weights=lambda wildcards: list(dictionaries_pretrained(wildcards).models.values())[0],
        texts=[str(file) for file in passage_files(packaged_folder("en"))],
    output:
        text=dictionaries_tables.DICTIONARIES_TEXT.path,
    log:
        "logs/measure_text_dictionaries/{subject}.log",
    benchmark:
        "results/benchmarks/measure_text_dictionaries/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.components.mem_mb),
        runtime=growing(CONFIG.components.runtime_minutes),
    params:
        tracked=lambda wildcards: tracked(
            "components/measure_text_dictionaries.py",
            model=dictionaries_pretrained(wildcards).name,
            dtype=dictionaries_pretrained(wildcards).dtype,
            text=CONFIG.components.dictionaries.text.model_dump(),
            seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/components/measure_text_dictionaries.py"


rule compare_qk_dictionaries:
    """Compare ways to train dictionaries of the queries and keys of a toy model's induction head."""
    input:
        weights=dictionaries_checkpoints,
    output:
        qk=dictionaries_tables.DICTIONARIES_QK.path,
    log:
        "logs/compare_qk_dictionaries/{subject}.log",
    benchmark:
        "results/benchmarks/compare_qk_dictionaries/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.components.mem_mb),
        runtime=growing(CONFIG.components.runtime_minutes),
    params:
        tracked=lambda wildcards: tracked(
            "components/compare_qk_dictionaries.py",
            subject=dictionaries_subject(wildcards),
            qk=CONFIG.components.dictionaries.qk.model_dump(),
            seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/components/compare_qk_dictionaries.py"
