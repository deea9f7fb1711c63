# The cross-lingual Z study: problems -> models -> activations, spaces, patched outputs and fits
# -> measurements -> verdicts -> figures.


rule make_problems:
    """Generate the parallel problems, or read the hand-written ones."""
    input:
        file=CONFIG.crosslingual.problems.file or [],
    output:
        problems=crosslingual_tables.PROBLEMS.path,
    log:
        "logs/make_problems/all.log",
    benchmark:
        "results/benchmarks/make_problems/all.tsv"
    # Seconds, and once: not worth a place in a cluster's queue.
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/make_problems.py",
            problems=CONFIG.crosslingual.problems.model_dump(),
        ),
    script:
        "../scripts/crosslingual/make_problems.py"


rule list_problem_rows:
    """List problems with their answers as the embedded model reads them, for studies of that model."""
    output:
        rows=ROWS.path.format(study="crosslingual", name="problems"),
    log:
        "logs/list_problem_rows/all.log",
    benchmark:
        "results/benchmarks/list_problem_rows/all.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/list_problem_rows.py",
            n=800,
            seed=CONFIG.crosslingual.problems.seed,
        ),
    script:
        "../scripts/crosslingual/list_problem_rows.py"


rule train_tiny_model:
    """Train the embedded bilingual model with one seed."""
    output:
        weights=directory(f"{CROSSLINGUAL_MODEL}/weights"),
        training=crosslingual_tables.TRAINING.path,
        timing=crosslingual_tables.TIMING.path,
    log:
        "logs/train_tiny_model/{model}.log",
    benchmark:
        "results/benchmarks/train_tiny_model/{model}.tsv"
    priority: 1  # the longest job, and much waits for it
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/train_tiny_model.py",
            tiny=CONFIG.crosslingual.tiny.model_dump(),
            seed=checked(find, CROSSLINGUAL.trained, wildcards.model, "embedded model"),
            device=CONFIG.device,
        ),
    script:
        "../scripts/crosslingual/train_tiny_model.py"


rule describe_model:
    """Write the model's shape, and the layers and dimensions of the config as whole numbers."""
    input:
        weights=crosslingual_weights,
    output:
        model=crosslingual_tables.MODELS.path,
        sizes=crosslingual_tables.SIZES.path,
    log:
        "logs/describe_model/{model}.log",
    benchmark:
        "results/benchmarks/describe_model/{model}.tsv"
    # Seconds: it reads the model's config.json alone.
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/describe_model.py",
            dtype=crosslingual_subject(wildcards)["dtype"],
            trained=crosslingual_subject(wildcards)["trained"],
            z=CONFIG.crosslingual.z.model_dump(include={"layers", "k"}),
        ),
    script:
        "../scripts/crosslingual/describe_model.py"


rule answer_problems:
    """Let the model answer every problem in both languages, unpatched."""
    input:
        problems=rules.make_problems.output.problems,
        weights=crosslingual_weights,
    output:
        outputs=crosslingual_outputs("unpatched"),
    log:
        "logs/answer_problems/{model}.log",
    benchmark:
        "results/benchmarks/answer_problems/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.crosslingual.mem_mb),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/answer_problems.py",
            generation=CONFIG.crosslingual.generation.model_dump(),
            subject=crosslingual_subject(wildcards),
        ),
    script:
        "../scripts/crosslingual/answer_problems.py"


rule summarise_accuracy:
    """Rates and tests of right answers, unpatched and while training."""
    input:
        outputs=rules.answer_problems.output.outputs,
        training=crosslingual_training,
    output:
        accuracy=crosslingual_tables.ACCURACY.path,
    log:
        "logs/summarise_accuracy/{model}.log",
    benchmark:
        "results/benchmarks/summarise_accuracy/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/summarise_accuracy.py",
            level=CONFIG.bootstrap.level,
        ),
    script:
        "../scripts/crosslingual/summarise_accuracy.py"


rule extract_activations:
    """Write the hidden states of every prompt at every layer, once."""
    input:
        problems=rules.make_problems.output.problems,
        weights=crosslingual_weights,
    output:
        activations=directory(f"{CROSSLINGUAL_MODEL}/activations"),
    log:
        "logs/extract_activations/{model}.log",
    benchmark:
        "results/benchmarks/extract_activations/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.crosslingual.mem_mb),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/extract_activations.py",
            activations=CONFIG.crosslingual.activations.model_dump(),
            batch_size=CONFIG.crosslingual.generation.batch_size,
            subject=crosslingual_subject(wildcards),
        ),
    script:
        "../scripts/crosslingual/extract_activations.py"


rule make_spaces:
    """Take V_Z of every layer from the weights, once."""
    input:
        weights=crosslingual_weights,
        sizes=rules.describe_model.output.sizes,
    output:
        spaces=f"{CROSSLINGUAL_MODEL}/spaces.safetensors",
    log:
        "logs/make_spaces/{model}.log",
    benchmark:
        "results/benchmarks/make_spaces/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.crosslingual.mem_mb),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/make_spaces.py",
            z={key: crosslingual_z(wildcards)[key] for key in ("kinds",)},
            subject=crosslingual_subject(wildcards),
        ),
    script:
        "../scripts/crosslingual/make_spaces.py"


rule measure_weights:
    """Measure ranks, overlaps and similarities of every layer's weights."""
    input:
        weights=crosslingual_weights,
        sizes=rules.describe_model.output.sizes,
        spaces=rules.make_spaces.output.spaces,
    output:
        weights=crosslingual_tables.WEIGHTS.path,
    log:
        "logs/measure_weights/{model}.log",
    benchmark:
        "results/benchmarks/measure_weights/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.crosslingual.mem_mb),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/measure_weights.py",
            z=crosslingual_z(wildcards),
            bootstrap=BOOTSTRAP,
            subject=crosslingual_subject(wildcards),
        ),
    script:
        "../scripts/crosslingual/measure_weights.py"


rule measure_states:
    """Measure where languages lie and what layers add, in Z and outside it (experiment B)."""
    input:
        sizes=rules.describe_model.output.sizes,
        spaces=rules.make_spaces.output.spaces,
        activations=rules.extract_activations.output.activations,
    output:
        geometry=crosslingual_tables.GEOMETRY.path,
        updates=crosslingual_tables.UPDATES.path,
        token_norms=crosslingual_tables.TOKEN_NORMS.path,
    log:
        "logs/measure_states/{model}.log",
    benchmark:
        "results/benchmarks/measure_states/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/measure_states.py",
            z=CROSSLINGUAL_Z,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/crosslingual/measure_states.py"


rule fit_bridge:
    """Fit the linear map between the languages inside Z (experiment D)."""
    input:
        problems=rules.make_problems.output.problems,
        sizes=rules.describe_model.output.sizes,
        spaces=rules.make_spaces.output.spaces,
        activations=rules.extract_activations.output.activations,
    output:
        bridge=crosslingual_tables.BRIDGE.path,
    log:
        "logs/fit_bridge/{model}.log",
    benchmark:
        "results/benchmarks/fit_bridge/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/fit_bridge.py",
            z=CROSSLINGUAL_Z,
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
        sizes=rules.describe_model.output.sizes,
        spaces=rules.make_spaces.output.spaces,
    output:
        outputs=crosslingual_outputs("layer_{layer}"),
        energy_shares=crosslingual_tables.ENERGY_SHARES.path.replace("{patched}", "layer_{layer}"),
    log:
        "logs/patch_layer/{model}/{layer}.log",
    benchmark:
        "results/benchmarks/patch_layer/{model}/{layer}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(CONFIG.crosslingual.mem_mb),
        runtime=growing(CONFIG.crosslingual.runtime_minutes),
        gpu=GPUS,
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/patch_layer.py",
            layer=checked(find, CROSSLINGUAL.layers, wildcards.layer, "layer"),
            **CROSSLINGUAL.patching_of(wildcards.layer),
            generation=CONFIG.crosslingual.generation.model_dump(),
            z={key: CROSSLINGUAL_Z[key] for key in ("kinds", "position_0")},
            seed=CONFIG.crosslingual.problems.seed,
            subject=crosslingual_subject(wildcards),
        ),
    script:
        "../scripts/crosslingual/patch_layer.py"


rule summarise_patching:
    """Rates and paired tests of the patches of one model, and the table of the declared cell."""
    input:
        problems=rules.make_problems.output.problems,
        sizes=rules.describe_model.output.sizes,
        unpatched=rules.answer_problems.output.outputs,
        outputs=expand(
            rules.patch_layer.output.outputs, layer=CROSSLINGUAL.layers, allow_missing=True
        ),
        energy_shares=expand(
            rules.patch_layer.output.energy_shares, layer=CROSSLINGUAL.layers, allow_missing=True
        ),
    output:
        rates=crosslingual_tables.RATES.path,
        draws=crosslingual_tables.DRAWS.path,
        tests=crosslingual_tables.TESTS.path,
        table=crosslingual_tables.PATCHED.path,
        html=report(
            f"{CROSSLINGUAL_MODEL}/patching/table.html",
            caption="../report/caption.rst",
            category=TITLES["crosslingual"],
            subcategory="Tables",
            labels={"table": "patched outputs, {model}", "format": "html"},
        ),
        csv=f"{CROSSLINGUAL_MODEL}/patching/table.csv",
    log:
        "logs/summarise_patching/{model}.log",
    benchmark:
        "results/benchmarks/summarise_patching/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        caption=lambda wildcards: caption("crosslingual", "table", model=wildcards.model),
        tracked=lambda wildcards: tracked(
            "crosslingual/summarise_patching.py",
            verdict=CONFIG.crosslingual.verdict.model_dump(
                exclude={"kept", "high", "margin", "alpha"}
            ),
            z={key: CROSSLINGUAL_Z[key] for key in ("kinds", "position_0")},
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/crosslingual/summarise_patching.py"


rule fit_ard:
    """Fit lengthscales to the activations of one model (experiment C)."""
    input:
        problems=rules.make_problems.output.problems,
        sizes=rules.describe_model.output.sizes,
        spaces=rules.make_spaces.output.spaces,
        activations=rules.extract_activations.output.activations,
    output:
        history=crosslingual_tables.ARD_HISTORY.path,
        lengthscales=crosslingual_tables.LENGTHSCALES.path,
    log:
        "logs/fit_ard/{model}.log",
    benchmark:
        "results/benchmarks/fit_ard/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/fit_ard.py",
            ard=CONFIG.crosslingual.ard.model_dump(exclude={"planted_seeds"}),
            z={key: CROSSLINGUAL_Z[key] for key in ("kinds", "position_0")},
            seed=CONFIG.crosslingual.problems.seed,
        ),
    script:
        "../scripts/crosslingual/fit_ard.py"


rule measure_ard:
    """Measure what the fitted lengthscales are worth."""
    input:
        problems=rules.make_problems.output.problems,
        sizes=rules.describe_model.output.sizes,
        spaces=rules.make_spaces.output.spaces,
        activations=rules.extract_activations.output.activations,
        history=rules.fit_ard.output.history,
        lengthscales=rules.fit_ard.output.lengthscales,
    output:
        ard=crosslingual_tables.ARD.path,
    log:
        "logs/measure_ard/{model}.log",
    benchmark:
        "results/benchmarks/measure_ard/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/measure_ard.py",
            ard=CONFIG.crosslingual.ard.model_dump(include={"train_share", "max_problems"}),
            z={key: CROSSLINGUAL_Z[key] for key in ("kinds", "position_0", "draws")},
            bootstrap=BOOTSTRAP,
            seed=CONFIG.crosslingual.problems.seed,
        ),
    script:
        "../scripts/crosslingual/measure_ard.py"


rule recover_planted:
    """Score both ARD objectives on data whose shared dimensions are known."""
    output:
        planted=crosslingual_tables.PLANTED.path,
    log:
        "logs/recover_planted/all.log",
    benchmark:
        "results/benchmarks/recover_planted/all.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        tracked=lambda wildcards: tracked(
            "crosslingual/recover_planted.py",
            ard=CONFIG.crosslingual.ard.model_dump(
                exclude={"layers", "bases", "train_share", "max_problems"}
            ),
        ),
    script:
        "../scripts/crosslingual/recover_planted.py"


rule summarise_model:
    """Answer every question of the study by the original protocol's rule and the controlled one."""
    input:
        sizes=rules.describe_model.output.sizes,
        accuracy=rules.summarise_accuracy.output.accuracy,
        weights=rules.measure_weights.output.weights,
        geometry=rules.measure_states.output.geometry,
        updates=rules.measure_states.output.updates,
        rates=rules.summarise_patching.output.rates,
        draws=rules.summarise_patching.output.draws,
        tests=rules.summarise_patching.output.tests,
        ard=rules.measure_ard.output.ard,
        bridge=rules.fit_bridge.output.bridge,
    output:
        summary=crosslingual_tables.SUMMARY.path,
        csv=report(
            f"{CROSSLINGUAL_MODEL}/summary.csv",
            caption="../report/caption.rst",
            category=TITLES["crosslingual"],
            subcategory="Tables",
            labels={"table": "verdicts, {model}", "format": "csv"},
        ),
    log:
        "logs/summarise_model/{model}.log",
    benchmark:
        "results/benchmarks/summarise_model/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        caption=lambda wildcards: caption("crosslingual", "summary", model=wildcards.model),
        tracked=lambda wildcards: tracked(
            "crosslingual/summarise_model.py",
            verdict=CONFIG.crosslingual.verdict.model_dump(),
            z={key: CROSSLINGUAL_Z[key] for key in ("kinds", "position_0")},
            level=CONFIG.bootstrap.level,
        ),
    script:
        "../scripts/crosslingual/summarise_model.py"


rule summarise_verdicts:
    """Take the verdicts of all models as one: trainings that disagree have none."""
    input:
        summaries=expand(rules.summarise_model.output.summary, model=CROSSLINGUAL.models),
    output:
        verdicts=crosslingual_tables.VERDICTS.path,
        csv=report(
            "results/crosslingual/verdicts.csv",
            caption="../report/caption.rst",
            category=TITLES["crosslingual"],
            subcategory="Tables",
            labels={"table": "verdicts over all models", "format": "csv"},
        ),
    log:
        "logs/summarise_verdicts/all.log",
    benchmark:
        "results/benchmarks/summarise_verdicts/all.tsv"
    # Seconds, and once: not worth a place in a cluster's queue.
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        caption=lambda wildcards: caption("crosslingual", "verdicts"),
        tracked=lambda wildcards: tracked(
            "crosslingual/summarise_verdicts.py",
            families=CROSSLINGUAL.family_of,
        ),
    script:
        "../scripts/crosslingual/summarise_verdicts.py"


TARGETS["crosslingual"] = [
    *expand(rules.summarise_patching.output, model=CROSSLINGUAL.models),
    *expand(rules.summarise_model.output, model=CROSSLINGUAL.models),
    *rules.summarise_verdicts.output,
    *expand(rules.measure_weights.output, model=CONFIG.crosslingual.weights_only),
    *expand(rules.measure_model_loss.output, model=CONFIG.crosslingual.named),
]


rule crosslingual:
    """Every figure and table of the cross-lingual study."""
    input:
        targets("crosslingual"),
    localrule: True
