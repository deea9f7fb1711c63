# Parameter decomposition: a decomposition for each seed -> what its components do -> figures, pages.


rule recover_planted_components:
    """Decompose a target whose components are known, under every penalty and seed."""
    output:
        planted=decomposition_tables.PLANTED.path,
    log:
        "logs/recover_planted_components/{model}.log",
    benchmark:
        "results/benchmarks/recover_planted_components/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.components.mem_mb),
        runtime=growing(CONFIG.components.runtime_minutes),
    params:
        tracked=lambda wildcards: tracked(
            "components/recover_planted_components.py",
            planted=decomposition_planted(wildcards),
            study_seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/components/recover_planted_components.py"


rule decompose_toy_model:
    """Decompose one model of the toy language; a killed job resumes at its last evaluation."""
    input:
        weights=decomposition_weights,
    output:
        training=decomposition_tables.TRAINING.path,
        checkpoints=decomposition_tables.CHECKPOINTS,
    log:
        "logs/decompose_toy_model/{subject}/{run}.log",
    benchmark:
        "results/benchmarks/decompose_toy_model/{subject}/{run}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.components.mem_mb),
        runtime=growing(CONFIG.components.runtime_minutes),
    params:
        tracked=lambda wildcards: tracked(
            "components/decompose_toy_model.py",
            training=CONFIG.components.decomposition.training.model_dump(),
            **decomposition_of(wildcards),
        ),
    script:
        "../scripts/components/decompose_toy_model.py"


rule measure_decomposition:
    """Measure a decomposition's evidence, its components, and what their ablation does."""
    input:
        weights=decomposition_weights,
        checkpoints=rules.decompose_toy_model.output.checkpoints,
    output:
        **{table.short: table.path for table in decomposition_tables.MEASURED},
    log:
        "logs/measure_decomposition/{subject}/{run}.log",
    benchmark:
        "results/benchmarks/measure_decomposition/{subject}/{run}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.components.mem_mb),
        runtime=growing(CONFIG.components.runtime_minutes),
    params:
        tracked=lambda wildcards: tracked(
            "components/measure_decomposition.py",
            config=CONFIG.components.decomposition.model_dump(
                exclude={"subject", "trainings", "seeds", "training", "planted", "page_layers"}
            ),
            bootstrap=BOOTSTRAP,
            **decomposition_of(wildcards),
        ),
    script:
        "../scripts/components/measure_decomposition.py"


rule compare_decompositions:
    """Compare the decompositions of one model, and say which primitives have components."""
    input:
        checkpoints=decompositions(decomposition_tables.CHECKPOINTS),
        weights=decompositions("weights"),
        components=decompositions(decomposition_tables.COMPONENTS.path),
        tests=decompositions(decomposition_tables.TESTS.path),
    output:
        similarity=decomposition_tables.SIMILARITY.path,
        verdicts=decomposition_tables.VERDICTS.path,
    log:
        "logs/compare_decompositions/{subject}.log",
    benchmark:
        "results/benchmarks/compare_decompositions/{subject}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        tracked=lambda wildcards: tracked(
            "components/compare_decompositions.py",
            runs=[{"model": run.model, "seed": run.seed} for run in decompositions_of(wildcards)],
            study_seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/components/compare_decompositions.py"


rule make_layer_page:
    """Make the page of a layer's components, and its Markdown twin."""
    input:
        components=decomposition_tables.COMPONENTS.path,
        tokens=decomposition_tables.TOKENS.path,
        importance=decomposition_tables.IMPORTANCE.path,
        partners=decomposition_tables.PARTNERS.path,
    output:
        page=decomposition_tables.PAGE,
        twin=decomposition_tables.TWIN,
    log:
        "logs/make_layer_page/{subject}/{run}-{layer}.log",
    benchmark:
        "results/benchmarks/make_layer_page/{subject}/{run}-{layer}.tsv"
    wildcard_constraints:
        layer="[0-9]+",
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "components/make_layer_page.py", assets=page_digest(PLAIN_PAGE)
        ),
    script:
        "../scripts/components/make_layer_page.py"
