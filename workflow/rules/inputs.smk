# What the rules are made from: the plan of each study in the config, and functions of wildcards.

from functools import cache

from zscope.models import tables as model_tables
from zscope.models.identity import model_digest, model_files
from zscope.models.subjects import Subject
from zscope.overview import asset_files as overview_files
from zscope.pages.asset_files import PLAIN as PLAIN_PAGE, digest as page_digest
from zscope.studies.components import tables as components_tables
from zscope.studies.components.dictionaries import tables as dictionaries_tables
from zscope.studies.components.decomposition import tables as decomposition_tables
from zscope.studies.components.decomposition.plan import decomposed
from zscope.studies.components.study import ComponentsPlan
from zscope.studies.crosslingual import tables as crosslingual_tables
from zscope.studies.crosslingual.study import CrosslingualPlan
from zscope.studies.heads import tables as heads_tables
from zscope.studies.heads.pages import asset_files
from zscope.studies.heads.registry import detector_asks, detector_module
from zscope.studies.heads.sources import prompted_module, source_module
from zscope.studies.heads.study import HEAD_MAP, PAGE, HeadsPlan
from zscope.studies.lag import tables as lag_tables
from zscope.studies.lag.probes.registry import PROBES as LAG_PROBES, probe_module
from zscope.studies.lag.study import LagPlan
from zscope.studies.toylang import tables as toylang_tables
from zscope.studies.toylang.study import ToylangPlan
from zscope.text import word_lists
from zscope.text.passages import PASSAGE_LANGUAGES, packaged_folder, passage_files
from zscope.text.prompts import PACKAGED
from zscope.text.tables import ROWS

if CONFIG.lag:
    LAG = PLANS["lag"] = checked(LagPlan(CONFIG.lag, SOURCES).check)

if CONFIG.toylang:
    TOYLANG = PLANS["toylang"] = ToylangPlan(CONFIG.toylang)
    TOYLANG_LANGUAGE = CONFIG.toylang.run.language.model_dump()
    TOYLANG_READOUTS = CONFIG.toylang.readouts.model_dump()

if CONFIG.crosslingual:
    CROSSLINGUAL = PLANS["crosslingual"] = CrosslingualPlan(CONFIG.crosslingual)
    CROSSLINGUAL_Z = CONFIG.crosslingual.z.model_dump()
CROSSLINGUAL_MODEL = "results/crosslingual/models/{model}"


def trained_subjects():
    """What the other studies train, as subjects of those that ask models, by their names for them."""
    found = {}
    if CONFIG.toylang:
        for name, runs in TOYLANG.conditions.items():
            found[f"toylang/{name}"] = Subject(
                f"toylang/{name}",
                "toylang",
                {r.name: f"results/toylang/runs/{r.name}/checkpoints.safetensors" for r in runs},
                settings={"language": CONFIG.toylang.conditions[name].language.model_dump()},
            )
    if CONFIG.crosslingual and CROSSLINGUAL.trained:
        weights = {m: f"{CROSSLINGUAL_MODEL}/weights".format(model=m) for m in CROSSLINGUAL.trained}
        rows = ROWS.path.format(study="crosslingual", name="problems")
        found["crosslingual/tiny"] = Subject(
            "crosslingual/tiny", "tiny", weights, [rows] * len(weights)
        )
    if CONFIG.lag:
        first = {sweep: runs[0].condition for sweep, runs in LAG.sweeps.items()}
        for name, condition in {**{c: c for c in LAG.conditions}, **first}.items():
            runs = LAG.conditions[condition]
            found[f"lag/{name}"] = Subject(
                f"lag/{name}",
                "lag",
                {r: f"results/lag/runs/{r}/checkpoints.safetensors" for r in runs},
                [ROWS.path.format(study="lag", name=LAG.facts_of(r)) for r in runs],
            )
    return found


def named_subjects():
    """The models that the config names, as subjects."""
    return {
        name: Subject(
            name, "named", {name: model_tables.WEIGHTS.format(model=name)}, dtype=source.dtype
        )
        for name, source in CONFIG.models.items()
    }


trained = trained_subjects()

if CONFIG.heads:
    # The cross-lingual study may run without the embedded model.
    studies = sorted({name.partition("/")[0] for name in trained})
    HEADS = PLANS["heads"] = checked(
        HeadsPlan(CONFIG.heads, trained, named_subjects(), studies, SOURCES).check
    )

if CONFIG.components:
    COMPONENTS = PLANS["components"] = checked(
        ComponentsPlan(CONFIG.components, trained, named_subjects(), SOURCES).check
    )


wildcard_constraints:
    **dict.fromkeys(("facts", "run", "condition", "sweep", "probe", "model"), "[^/]+"),
    **dict.fromkeys(("subject", "detector", "prompts"), "[^/]+"),
    study="[a-z]+",


# --- named models


def named_model(name):
    return checked(find, CONFIG.models, name, "model in the config's models")


@cache
def model_source(name):
    """Where a named model comes from. A folder comes with the digest of its files, so that others
    make stale what was made from them."""
    source = named_model(name)
    unread = {"dtype", "terms", "accept_terms"}
    digest = None if source.path is None else checked(model_digest, source.path)
    return {"source": source.model_dump(exclude=unread), "digest": digest}


def model_source_files(wildcards):
    """The files of a model in a folder. What they hold is in the digest, so their dates do not
    count. Of a run, the folder that its training writes."""
    source = named_model(wildcards.model)
    if source.study:
        return f"{CROSSLINGUAL_MODEL}/weights".format(model=source.run)
    return [] if source.path is None else [ancient(str(file)) for file in model_files(source.path)]


# --- the page of a run


def page_studies():
    """What the page shows of each study: its figures with their captions, and its pages."""
    return {
        study: {
            "figures": [
                {
                    "name": name,
                    "group": drawn.group,
                    "caption": caption(study, drawn.module.name, **drawn.declared),
                }
                for name, drawn in plan.drawings.items()
            ],
            "pages": [str(file) for file in TARGETS[study] if str(file).endswith(".html")],
        }
        for study, plan in PLANS.items()
    }


# --- figures


def drawing(wildcards):
    plan = checked(find, PLANS, wildcards.study, "study in the config")
    return checked(find, plan.drawings, wildcards.figure, "figure")


def figure_caption(wildcards):
    figure = drawing(wildcards)
    return caption(wildcards.study, figure.module.name, **figure.declared)


# --- the lag study


def lag_run(wildcards):
    return checked(find, LAG.runs, wildcards.run, "run").resolved


def lag_runs(wildcards):
    """The runs of a condition."""
    return checked(find, LAG.conditions, wildcards.condition, "condition")


def lag_configs(wildcards):
    return {run: LAG.runs[run].resolved for run in lag_runs(wildcards)}


def lag_facts(run):
    """The file of a run's facts."""
    return lag_tables.FACTS.path.format(facts=checked(LAG.facts_of, run))


def lag_probe(wildcards):
    checked(find, LAG_PROBES, wildcards.probe, "probe")
    return probe_module(wildcards.probe)


def lag_sweep(wildcards):
    return checked(find, LAG.sweeps, wildcards.sweep, "sweep")


# --- the toy language


def toylang_run(wildcards):
    """The settings and the seed of a run."""
    run = checked(find, TOYLANG.runs, wildcards.run, "run")
    return {"config": CONFIG.toylang.conditions[run.condition].model_dump(), "seed": run.seed}


def toylang_runs(conditions, wildcards):
    """The runs of a condition, which is one of `conditions`, by seed."""
    return checked(find, conditions, wildcards.condition, "measured condition")


def toylang_checkpoints(conditions):
    """The checkpoints of a condition's runs."""
    return lambda wildcards: expand(
        rules.train_toy_run.output.checkpoints,
        run=[run.name for run in toylang_runs(conditions, wildcards)],
    )


# --- the cross-lingual study


def crosslingual_trained(wildcards):
    """Whether a model is trained here; raises for one that the study does not measure."""
    return checked(find, CROSSLINGUAL.measured, wildcards.model, "model") is not None


def crosslingual_subject(wildcards):
    """How a model is read, for every rule that loads it."""
    trained = crosslingual_trained(wildcards)
    return {
        "trained": trained,
        "dtype": "float32" if trained else CONFIG.models[wildcards.model].dtype,
        "device": CONFIG.device,
    }


def crosslingual_z(wildcards):
    """The subspaces of a model's weights: of one that nothing else is measured of, the main kernel
    alone, which the figures show."""
    if wildcards.model in CROSSLINGUAL.models:
        return CROSSLINGUAL_Z
    return {**CROSSLINGUAL_Z, "kinds": CROSSLINGUAL_Z["kinds"][:1]}


def crosslingual_weights(wildcards):
    """The folder of a model's weights: trained here, or fetched."""
    trained = crosslingual_trained(wildcards)
    return f"{CROSSLINGUAL_MODEL}/weights" if trained else model_tables.WEIGHTS


def crosslingual_training(wildcards):
    """The table of a model's training, if it was trained here."""
    return crosslingual_tables.TRAINING.path if crosslingual_trained(wildcards) else []


def crosslingual_outputs(patched):
    """The path of the generated texts of a patch."""
    return crosslingual_tables.OUTPUTS.path.format(model="{model}", patched=patched)


# --- heads


def heads_asked(wildcards):
    return checked(find, HEADS.subjects, wildcards.subject, "subject")


def heads_subject(wildcards):
    """A subject as its jobs read it: the names of its models, and how they are loaded."""
    subject = heads_asked(wildcards)
    return {
        "name": subject.name,
        "source": subject.source,
        "models": list(subject.models),
        "settings": dict(subject.settings),
        "dtype": subject.dtype,
    }


def heads_weights(wildcards):
    """The weights of each model of a subject."""
    return list(heads_asked(wildcards).models.values())


def heads_checkpoints(wildcards):
    """The checkpoints of each model of a subject that has any."""
    found = checked(find, HEADS.checkpointed, wildcards.subject, "subject with checkpoints")
    return list(found.models.values())


def heads_rows(wildcards):
    """The rows that each model of a subject was trained on, if that is how its text is known."""
    return list(heads_asked(wildcards).rows)


def heads_texts(wildcards):
    """The package's texts and lists of words, for a model of running text."""
    if heads_asked(wildcards).source != "named":
        return []
    return [str(file) for file in (*passage_files(packaged_folder("en")), *word_lists.FILES)]


def heads_source(wildcards):
    return source_module(heads_asked(wildcards).source)


def heads_detector(name):
    return checked(detector_module, name)


# Prompts are run through the first model of a subject, which the pages show.


def heads_first(of):
    """The first of what `heads_weights` or `heads_rows` give."""
    return lambda wildcards: of(wildcards)[:1]


def heads_shown(wildcards):
    subject = heads_subject(wildcards)
    return {**subject, "models": subject["models"][:1]}


def heads_on_page(wildcards):
    """What a page calls its subject: with the model that it shows, where there are several."""
    subject = heads_subject(wildcards)
    first, *others = subject["models"]
    return (
        f"{subject['name']} ({first}, one of {len(others) + 1} models)"
        if others
        else subject["name"]
    )


def heads_prompts_file(wildcards):
    """The file of a set of prompts, if it has one; raises for a set that the subject does not have."""
    sets = HEADS.prompt_sets(heads_asked(wildcards).path)
    checked(find, dict.fromkeys(sets), wildcards.prompts, "set of prompts")
    return {"crafted": str(PACKAGED), "own": CONFIG.heads.prompts.file}.get(wildcards.prompts, [])


def heads_prompted(wildcards):
    return prompted_module(heads_asked(wildcards).source)


def heads_map_prompts(table):
    """A table of the last set of prompts of a subject, whose patterns its map shows."""

    def path(wildcards):
        prompts = HEADS.prompt_sets(heads_asked(wildcards).path)[-1]
        return table.path.format(subject=wildcards.subject, prompts=prompts)

    return path


# --- components: attribution


def attribution_toy(wildcards):
    """A condition of the toy language, of those that the study asks."""
    return checked(find, COMPONENTS.toy, wildcards.subject, "condition")


def attribution_weights(wildcards):
    """The checkpoints of each model of a condition."""
    return list(attribution_toy(wildcards).models.values())


def attribution_subject(wildcards):
    """A condition as its job reads it."""
    subject = attribution_toy(wildcards)
    return {
        "name": subject.name,
        "models": list(subject.models),
        "settings": dict(subject.settings),
    }


def attribution_named(wildcards):
    """A named model, of those that the study asks."""
    return checked(find, COMPONENTS.pretrained, wildcards.subject, "model")


def attribution_named_weights(wildcards):
    """The folder of a named model's weights."""
    return list(attribution_named(wildcards).models.values())


def attribution_texts(wildcards):
    """The package's texts and lists of words that prompts are made of."""
    return [str(file) for file in (*passage_files(packaged_folder("en")), *word_lists.FILES)]


# --- components: dictionaries


def dictionaries_toy(wildcards):
    return checked(find, COMPONENTS.toy, wildcards.subject, "condition of the toy language")


def dictionaries_pretrained(wildcards):
    return checked(find, COMPONENTS.pretrained, wildcards.subject, "pretrained model")


def dictionaries_subject(wildcards):
    """A condition of the toy language as its job reads it."""
    subject = dictionaries_toy(wildcards)
    return {
        "name": subject.name,
        "models": list(subject.models),
        "settings": dict(subject.settings),
    }


def dictionaries_checkpoints(wildcards):
    """The checkpoints of each model of a condition."""
    return list(dictionaries_toy(wildcards).models.values())


# --- components: decomposition


def decomposition_planted(wildcards):
    """The settings of a planted target."""
    planted = {p.kind: p for p in CONFIG.components.decomposition.planted}
    return checked(find, planted, wildcards.model, "planted target").model_dump()


def decomposition_run(wildcards):
    runs = decomposed(CONFIG.components.decomposition, COMPONENTS.toy)
    return checked(find, runs, wildcards.run, "decomposition")


def decomposition_pages():
    """The page of every layer of every decomposition, and its Markdown twin."""
    config = CONFIG.components.decomposition
    return [
        path.format(subject=run.subject, run=run.name, layer=layer)
        for run in decomposed(config, COMPONENTS.toy).values()
        for layer in config.page_layers
        for path in (decomposition_tables.PAGE, decomposition_tables.TWIN)
    ]


def decomposition_weights(wildcards):
    """The checkpoints of the model that is decomposed."""
    return decomposition_run(wildcards).weights


def decomposition_of(wildcards):
    """What every job of a decomposition is told of it."""
    run = decomposition_run(wildcards)
    return {
        "model": run.model,
        "seed": run.seed,
        "language": COMPONENTS.toy[run.subject].settings["language"],
        "study_seed": CONFIG.components.seed,
    }


def decompositions_of(wildcards):
    """All decompositions of a subject."""
    runs = decomposed(CONFIG.components.decomposition, COMPONENTS.toy)
    return [run for run in runs.values() if run.subject == wildcards.subject]


def decompositions(path):
    """A file of each decomposition of a subject; "weights": of the model that is decomposed."""

    def files(wildcards):
        return [
            run.weights if path == "weights" else path.format(subject=run.subject, run=run.name)
            for run in decompositions_of(wildcards)
        ]

    return files
