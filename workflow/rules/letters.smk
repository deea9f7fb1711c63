# Correct-letter heads: a small experiment in one job.

from zscope.studies.components.letters import tables as letters_tables


rule train_letters:
    """Train models that answer with the label of an option, and see what they answer by."""
    output:
        readouts=letters_tables.READOUTS.path,
    log:
        "logs/train_letters/all.log",
    benchmark:
        "results/benchmarks/train_letters/all.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(CONFIG.components.runtime_minutes),
    params:
        tracked=lambda wildcards: tracked(
            "components/train_letters.py",
            letters=CONFIG.components.letters.model_dump(),
            seed=CONFIG.components.seed,
            bootstrap=BOOTSTRAP,
        ),
    script:
        "../scripts/components/train_letters.py"
