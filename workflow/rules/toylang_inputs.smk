# What the rules of toylang.smk are made from: the plan, and functions of wildcards.

TOYLANG = ToylangPlan(CONFIG.toylang)
TOY_LANGUAGE = CONFIG.toylang.run.language.model_dump()
TOY_READOUTS = CONFIG.toylang.readouts.model_dump()
OF_RUN = "results/toylang/runs/{run}"
OF_CONDITION = "results/toylang/conditions/{condition}"


def toy_run(wildcards):
    """What a run is made from."""
    run = checked(find, TOYLANG.runs, wildcards.run, "run")
    return {"config": CONFIG.toylang.conditions[run.condition].model_dump(), "seed": run.seed}


def toy_runs(conditions):
    """The runs of a condition, which is one of `conditions`."""

    def of_condition(wildcards):
        return checked(find, conditions, wildcards.condition, "condition that is measured so")

    return of_condition


def toy_checkpoints(conditions):
    """The checkpoints of a condition's runs, by seed."""

    def of_condition(wildcards):
        names = [run.name for run in toy_runs(conditions)(wildcards)]
        return expand(f"{OF_RUN}/checkpoints.safetensors", run=names)

    return of_condition


def toy_tables(wildcards):
    """The tables that a figure shows, by name, of every run and condition that has one."""
    names = checked(find, toylang_needs.NEEDS, wildcards.figure, "figure of the study")
    return {name: TOY_TABLES[name] for name in names}
