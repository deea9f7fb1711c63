# What the rules of crosslingual.smk are made from: the plan, and functions of wildcards.

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
