# The cross-lingual Z study: problems -> models -> activations and patched outputs -> measurements
# -> verdicts -> figures.

CROSSLINGUAL = CrosslingualPlan(CONFIG.crosslingual)
# The model that is read, for every rule that loads it.
LANGUAGE_MODEL = {
    "model": CONFIG.crosslingual.model.model_dump(),
    "dtype": CONFIG.crosslingual.dtype,
    "device": CONFIG.device,
}
Z = CONFIG.crosslingual.z.model_dump()
OF_MODEL = "results/crosslingual/models/{model}"


def crosslingual_weights(wildcards):
    """The folder of the weights, where we train them."""
    seed = checked(find, CROSSLINGUAL.models, wildcards.model, "model")
    return [] if seed is None else f"{OF_MODEL}/weights"


def crosslingual_folder(wildcards):
    """The files of a model that lies in a folder: another model there makes all stale."""
    path = CONFIG.crosslingual.model.path
    if path is None:
        return []
    return [os.path.join(path, "config.json"), *sorted(glob(os.path.join(path, "*.safetensors")))]


def crosslingual_tables(wildcards):
    """The tables that a figure shows, by name, of every model."""
    names = checked(find, crosslingual_needs.NEEDS, wildcards.figure, "figure of the study")
    return {
        name: expand(OF_STUDY[name], model=CROSSLINGUAL.models)
        for name in dict.fromkeys(["crosslingual_models", *names])
        if name in OF_STUDY
    }


rule make_problems:
    """Generate the parallel problems, or read the hand-written ones."""
    input:
        file=CONFIG.crosslingual.problems.file or [],
    output:
        problems="results/crosslingual/problems.parquet",
    log:
        "logs/make_problems/all.log",
    benchmark:
        "results/benchmarks/make_problems/all.tsv"
    # Seconds, and once: not worth a place in a cluster's queue.
    localrule: True
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/make_problems.py", problems=CONFIG.crosslingual.problems.model_dump()
        ),
    script:
        "../scripts/crosslingual/make_problems.py"


rule train_tiny_model:
    """Train the embedded bilingual model with one seed."""
    output:
        weights=directory(f"{OF_MODEL}/weights"),
        training=f"{OF_MODEL}/training.parquet",
        timing=f"{OF_MODEL}/timing.parquet",
    log:
        "logs/train_tiny_model/{model}.log",
    benchmark:
        "results/benchmarks/train_tiny_model/{model}.tsv"
    priority: 1  # the longest job, and much waits for it
    resources:
        mem_mb=growing(4000),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/train_tiny_model.py",
            tiny=CONFIG.crosslingual.tiny.model_dump(),
            seed=checked(find, CROSSLINGUAL.models, wildcards.model, "model"),
            device=CONFIG.device,
        ),
    script:
        "../scripts/crosslingual/train_tiny_model.py"


rule answer_problems:
    """Let the model answer every problem in both languages, unpatched."""
    input:
        problems=rules.make_problems.output.problems,
        weights=crosslingual_weights,
        folder=crosslingual_folder,
    output:
        outputs=f"{OF_MODEL}/outputs/unpatched.parquet",
    log:
        "logs/answer_problems/{model}.log",
    benchmark:
        "results/benchmarks/answer_problems/{model}.tsv"
    resources:
        mem_mb=growing(CONFIG.crosslingual.mem_mb),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/answer_problems.py",
            generation=CONFIG.crosslingual.generation.model_dump(),
            **LANGUAGE_MODEL,
        ),
    script:
        "../scripts/crosslingual/answer_problems.py"


rule extract_activations:
    """Write the hidden states of every prompt at every layer, once."""
    input:
        problems=rules.make_problems.output.problems,
        weights=crosslingual_weights,
        folder=crosslingual_folder,
    output:
        activations=directory(f"{OF_MODEL}/activations"),
    log:
        "logs/extract_activations/{model}.log",
    benchmark:
        "results/benchmarks/extract_activations/{model}.tsv"
    resources:
        mem_mb=growing(CONFIG.crosslingual.mem_mb),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/extract_activations.py",
            activations=CONFIG.crosslingual.activations.model_dump(),
            batch_size=CONFIG.crosslingual.generation.batch_size,
            **LANGUAGE_MODEL,
        ),
    script:
        "../scripts/crosslingual/extract_activations.py"


rule measure_weights:
    """Measure the weights of every layer, and write its Z."""
    input:
        weights=crosslingual_weights,
        folder=crosslingual_folder,
    output:
        model=f"{OF_MODEL}/model.parquet",
        weights=f"{OF_MODEL}/weights.parquet",
        spaces=f"{OF_MODEL}/spaces.safetensors",
    log:
        "logs/measure_weights/{model}.log",
    benchmark:
        "results/benchmarks/measure_weights/{model}.tsv"
    resources:
        mem_mb=growing(CONFIG.crosslingual.mem_mb),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/measure_weights.py", z=Z, bootstrap=BOOTSTRAP, **LANGUAGE_MODEL
        ),
    script:
        "../scripts/crosslingual/measure_weights.py"


rule measure_geometry:
    """Measure where translations and languages lie, in Z and outside it."""
    input:
        spaces=rules.measure_weights.output.spaces,
        activations=rules.extract_activations.output.activations,
    output:
        geometry=f"{OF_MODEL}/geometry.parquet",
    log:
        "logs/measure_geometry/{model}.log",
    benchmark:
        "results/benchmarks/measure_geometry/{model}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/measure_geometry.py", z=Z, bootstrap=BOOTSTRAP
        ),
    script:
        "../scripts/crosslingual/measure_geometry.py"


rule measure_updates:
    """Measure what every layer adds inside Z, and outside it (experiment B)."""
    input:
        spaces=rules.measure_weights.output.spaces,
        activations=rules.extract_activations.output.activations,
    output:
        updates=f"{OF_MODEL}/updates.parquet",
    log:
        "logs/measure_updates/{model}.log",
    benchmark:
        "results/benchmarks/measure_updates/{model}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/measure_updates.py", z=Z, bootstrap=BOOTSTRAP
        ),
    script:
        "../scripts/crosslingual/measure_updates.py"


rule fit_bridge:
    """Fit the linear map between the languages inside Z (experiment D)."""
    input:
        problems=rules.make_problems.output.problems,
        spaces=rules.measure_weights.output.spaces,
        activations=rules.extract_activations.output.activations,
    output:
        bridge=f"{OF_MODEL}/bridge.parquet",
    log:
        "logs/fit_bridge/{model}.log",
    benchmark:
        "results/benchmarks/fit_bridge/{model}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/fit_bridge.py",
            z=Z,
            bridge=CONFIG.crosslingual.bridge.model_dump(),
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/crosslingual/fit_bridge.py"


rule patch_layer:
    """Generate under every patch of one layer (experiment A)."""
    input:
        problems=rules.make_problems.output.problems,
        weights=crosslingual_weights,
        folder=crosslingual_folder,
    output:
        outputs=f"{OF_MODEL}/outputs/layer_{{layer}}.parquet",
    log:
        "logs/patch_layer/{model}/{layer}.log",
    benchmark:
        "results/benchmarks/patch_layer/{model}/{layer}.tsv"
    resources:
        mem_mb=growing(CONFIG.crosslingual.mem_mb),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/patch_layer.py",
            layer=checked(find, CROSSLINGUAL.layers, wildcards.layer, "layer"),
            patching=CONFIG.crosslingual.patching.model_dump(),
            generation=CONFIG.crosslingual.generation.model_dump(),
            z=Z,
            seed=CONFIG.crosslingual.problems.seed,
            **LANGUAGE_MODEL,
        ),
    script:
        "../scripts/crosslingual/patch_layer.py"


rule summarise_patching:
    """Rates, paired tests, and the seed's table of the patches of one model."""
    input:
        problems=rules.make_problems.output.problems,
        outputs=expand(
            rules.patch_layer.output.outputs, layer=CROSSLINGUAL.layers, allow_missing=True
        ),
    output:
        rates=f"{OF_MODEL}/patching/rates.parquet",
        tests=f"{OF_MODEL}/patching/tests.parquet",
        table=f"{OF_MODEL}/patching/table.parquet",
        html=report(
            f"{OF_MODEL}/patching/table.html",
            caption="../report/crosslingual/table.rst",
            category="Cross-lingual Z",
            subcategory="Tables",
            labels={"table": "patched outputs, {model}", "format": "html"},
        ),
        csv=f"{OF_MODEL}/patching/table.csv",
    log:
        "logs/summarise_patching/{model}.log",
    benchmark:
        "results/benchmarks/summarise_patching/{model}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/summarise_patching.py",
            verdict=CONFIG.crosslingual.verdict.model_dump(),
            z=Z,
            seed=CONFIG.crosslingual.problems.seed,
        ),
    script:
        "../scripts/crosslingual/summarise_patching.py"


rule fit_ard:
    """Fit lengthscales to the activations of one model (experiment C)."""
    input:
        problems=rules.make_problems.output.problems,
        spaces=rules.measure_weights.output.spaces,
        activations=rules.extract_activations.output.activations,
    output:
        measurements=f"{OF_MODEL}/ard.parquet",
        history=f"{OF_MODEL}/ard_history.parquet",
        lengthscales=f"{OF_MODEL}/lengthscales.parquet",
    log:
        "logs/fit_ard/{model}.log",
    benchmark:
        "results/benchmarks/fit_ard/{model}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/fit_ard.py",
            ard=CONFIG.crosslingual.ard.model_dump(exclude={"planted_seeds"}),
            z=Z,
            seed=CONFIG.crosslingual.problems.seed,
        ),
    script:
        "../scripts/crosslingual/fit_ard.py"


rule recover_planted:
    """Score both ARD objectives on data whose shared dimensions are known."""
    output:
        planted="results/crosslingual/planted.parquet",
    log:
        "logs/recover_planted/all.log",
    benchmark:
        "results/benchmarks/recover_planted/all.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/recover_planted.py", ard=CONFIG.crosslingual.ard.model_dump()
        ),
    script:
        "../scripts/crosslingual/recover_planted.py"


rule summarise_model:
    """Every question of the study with the seed's verdict and the controlled one."""
    input:
        model=rules.measure_weights.output.model,
        weights=rules.measure_weights.output.weights,
        outputs=rules.answer_problems.output.outputs,
        geometry=rules.measure_geometry.output.geometry,
        updates=rules.measure_updates.output.updates,
        rates=rules.summarise_patching.output.rates,
        tests=rules.summarise_patching.output.tests,
        ard=rules.fit_ard.output.measurements,
        bridge=rules.fit_bridge.output.bridge,
    output:
        summary=f"{OF_MODEL}/summary.parquet",
        csv=report(
            f"{OF_MODEL}/summary.csv",
            caption="../report/crosslingual/summary.rst",
            category="Cross-lingual Z",
            subcategory="Tables",
            labels={"table": "verdicts, {model}", "format": "csv"},
        ),
    log:
        "logs/summarise_model/{model}.log",
    benchmark:
        "results/benchmarks/summarise_model/{model}.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/summarise_model.py",
            verdict=CONFIG.crosslingual.verdict.model_dump(),
            z=Z,
        ),
    script:
        "../scripts/crosslingual/summarise_model.py"


# Where each table that a figure may show lies.
OF_STUDY = {
    "crosslingual_models": rules.measure_weights.output.model,
    "crosslingual_training": rules.train_tiny_model.output.training,
    "crosslingual_outputs": rules.answer_problems.output.outputs,
    "crosslingual_weights": rules.measure_weights.output.weights,
    "crosslingual_geometry": rules.measure_geometry.output.geometry,
    "crosslingual_updates": rules.measure_updates.output.updates,
    "crosslingual_rates": rules.summarise_patching.output.rates,
    "crosslingual_tests": rules.summarise_patching.output.tests,
    "crosslingual_ard": rules.fit_ard.output.measurements,
    "crosslingual_ard_history": rules.fit_ard.output.history,
    "crosslingual_lengthscales": rules.fit_ard.output.lengthscales,
    "crosslingual_planted": rules.recover_planted.output.planted,
    "crosslingual_bridge": rules.fit_bridge.output.bridge,
    "crosslingual_summary": rules.summarise_model.output.summary,
}




TARGETS["crosslingual"] = [
    *expand(rules.draw_crosslingual_figure.output, figure=CROSSLINGUAL.figures),
    *expand(rules.summarise_patching.output, model=CROSSLINGUAL.models),
    *expand(rules.summarise_model.output, model=CROSSLINGUAL.models),
]


rule crosslingual:
    """Every figure and table of the cross-lingual study."""
    input:
        TARGETS["crosslingual"],
    localrule: True
