"""What holds of the house: who imports whom, what rules and profiles say, how fast a dry run is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from clones import ROOT, TARGETS, Clone, environment, with_cpu_seconds
from closures import external_imports, import_closure
from zscope.models.tables import LOSS
from zscope.studies.components.attribution.tables import PRETRAINED_NODES
from zscope.studies.components.dictionaries.tables import DICTIONARIES_TEXT
from zscope.studies.registry import TITLES

LIB = ROOT / "lib"
PACKAGE = LIB / "zscope"
HEAVY = {"torch", "transformer_lens", "transformers"}
SCRIPTS = ROOT / "workflow/scripts"
STUDIES = tuple(TITLES)
MODULES = sorted(PACKAGE.rglob("*.py"))
# Each room may import the rooms of its own line and of the lines before it.
FLOORS = (
    {"core"},
    {"config", "tables", "stats", "verdicts"},
    {"models", "figures", "pages"},
    {"training", "toy_language", "text"},
    {"studies"},
    {"reference", "show", "compare", "results", "overview"},
)
# What every study's folder has, so that who knows one knows all.
OF_A_STUDY = ("__init__.py", "config.py", "study.py", "tables.py", "answers.py", "figures")


def room(path: Path) -> str:
    """The first part of a module's name below zscope."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def floor(name: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if name in rooms)


def closure(*roots: Path) -> set[Path]:
    return set(import_closure(*roots, search=[LIB])) - {PACKAGE / "__init__.py"}


def study_of(path: Path) -> str | None:
    """The study in whose folder a module of the library is."""
    parts = path.relative_to(PACKAGE).parts if path.is_relative_to(PACKAGE) else ()
    return parts[1] if len(parts) > 2 and parts[0] == "studies" else None


def direct_imports(path: Path) -> set[Path]:
    """The modules of zscope that a module names in its imports, for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            file = LIB.joinpath(*name.split(".")).with_suffix(".py")
            if name.startswith("zscope.") and file.is_file():
                found.add(file)
    return found - {path}


# --- who imports whom --------------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_has_the_files_of_a_study(study: str) -> None:
    folder = PACKAGE / "studies" / study
    assert not [name for name in OF_A_STUDY if not (folder / name).exists()]
    assert (ROOT / f"workflow/rules/{study}.smk").exists()
    assert (ROOT / f"workflow/report/{study}.rst").exists()
    assert (ROOT / f"docs/{study}.md").exists()
    assert (ROOT / f"tests/studies/{study}").is_dir()


def test_every_folder_of_a_study_is_listed() -> None:
    folders = {p.name for p in (PACKAGE / "studies").iterdir() if p.is_dir()}
    assert folders - {"__pycache__"} == set(STUDIES)


@pytest.mark.parametrize("study", STUDIES)
def test_no_study_is_in_the_import_closure_of_another(study: str) -> None:
    """Of scripts and of modules: an edit of one study makes nothing of another stale."""
    roots = [*(SCRIPTS / study).glob("*.py"), *(PACKAGE / "studies" / study).rglob("*.py")]
    assert len(roots) > 10
    assert {study_of(path) for path in closure(*roots)} <= {study, None}


def test_the_bench_imports_no_study() -> None:
    bench = [m for m in MODULES if m.parent != PACKAGE or m.stem in {"stats", "training"}]
    bench = [m for m in bench if room(m) not in ("studies", "overview")]
    assert len(bench) > 30
    assert {room(path) for path in closure(*bench)} <= {r for f in FLOORS[:4] for r in f}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_imports_go_to_the_same_floor_or_below(module: Path) -> None:
    if module == PACKAGE / "__init__.py":
        return
    above = {p for p in direct_imports(module) if floor(room(p)) > floor(room(module))}
    assert not above


def test_imports_make_no_circle() -> None:
    graph = TopologicalSorter({path: direct_imports(path) for path in MODULES})
    graph.prepare()  # raises CycleError, which names the modules


def test_figures_plans_and_summaries_import_no_torch() -> None:
    light = [SCRIPTS / "draw_figure.py", *SCRIPTS.glob("*/summarise_*.py")]
    light += [PACKAGE / "studies" / s / n for s in STUDIES for n in OF_A_STUDY[1:5]]
    light += [p for s in STUDIES for p in (PACKAGE / "studies" / s / "figures").glob("*.py")]
    for file in light:
        assert not HEAVY & external_imports(file, search=[LIB]), file


def test_the_library_knows_nothing_of_snakemake() -> None:
    for file in LIB.rglob("*.py"):
        assert "snakemake" not in external_imports(file, search=[]), file


def test_no_table_is_named_at_run_time() -> None:
    """Tables are objects: a text that is the name of one stands in its definition alone."""
    names = {t.name for s in STUDIES for t in import_module(f"zscope.studies.{s}.tables").TABLES}
    for file in [*MODULES, *SCRIPTS.rglob("*.py")]:
        texts = {
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not names & texts or file.name == "tables.py", file


def test_parsing_the_snakefile_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from snakemake.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "print('LOADED', *sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    arguments = ["--list-rules", "--snakefile", str(ROOT / "workflow/Snakefile")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
        cwd=ROOT,
    )
    loaded = set(re.search("LOADED (.*)", done.stdout)[1].split())
    assert "zscope" in loaded
    assert not loaded & HEAVY


# --- rules and profiles ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """(rule, what Snakemake prints of the job) of every job of the smoke config."""
    clone = Clone(ROOT, tmp_path_factory.mktemp("planned"))
    return [(rule, block) for rule, block in clone.plan().blocks if rule not in TARGETS]


def test_every_job_has_a_log_a_benchmark_and_resources(planned: list[tuple[str, str]]) -> None:
    assert len({rule for rule, _ in planned}) > 15
    for rule, block in planned:
        assert re.search(rf"^ +log: logs/{rule}/.+\.log", block, re.M), block
        assert re.search(rf"^ +benchmark: results/benchmarks/{rule}/.+\.tsv", block, re.M), block
        assert re.search(r"^ +resources: (?=.*mem_mb=\d)(?=.*runtime=\d)", block, re.M), block


def test_scripts_are_named_after_their_rules_and_never_read_the_config(
    planned: list[tuple[str, str]], fresh: Clone
) -> None:
    scripts = list(SCRIPTS.rglob("*.py"))
    # Nothing is fetched for the smoke config, which needs no network.
    of_fetched = [
        LOSS.path.format(model="smollm2"),
        *(t.path.format(subject="smollm2") for t in (PRETRAINED_NODES, DICTIONARIES_TEXT)),
    ]
    fetched = fresh.plan(*of_fetched, config=None).rules
    # make_page is not among `jobs`: it gathers all the others.
    known = {"make_page", *fetched, *(rule for rule, _ in planned)}
    assert {script.stem for script in scripts} == known
    for script in scripts:
        text = script.read_text()
        assert "snakemake.config" not in text, script
        assert 'if __name__ == "__main__":\n    with job(snakemake' in text, script


@pytest.mark.parametrize("config", [None, "smoke", "paper"])
def test_dry_run_answers_within_ten_seconds_of_cpu(fresh: Clone, config: str | None) -> None:
    plan, used = with_cpu_seconds(lambda: fresh.plan(config=config))
    assert used < 10, f"{used:.1f} CPU-s"
    assert {"train_run", "measure_probe", "draw_figure"} <= plan.rules
    assert {"train_toy_run", "read_toy_weights"} <= plan.rules


def test_default_profile_says_what_the_design_says() -> None:
    profile = yaml.safe_load((ROOT / "workflow/profiles/default/profile.yaml").read_text())
    assert profile["rerun-incomplete"] is True
    assert set(profile["rerun-triggers"]) == {"mtime", "params", "input", "software-env"}
    assert profile["resources"] == {"gpu": 1}


def test_slurm_profile_sets_what_a_cluster_needs() -> None:
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/profile.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert profile["slurm-requeue"] is True
    assert profile["retries"] >= 1
    assert {"slurm_account", "slurm_partition", "mem_mb", "runtime"} <= set(
        profile["default-resources"]
    )
    rules = {script.stem for script in SCRIPTS.rglob("*.py")}
    assert set(profile["set-resources"]) <= rules
    assert {group.partition("=")[0] for group in profile["groups"]} <= rules


def test_dry_run_of_the_slurm_profile(fresh: Clone) -> None:
    """It needs no Slurm: nothing is submitted."""
    plan = fresh.plan("--workflow-profile", "slurm")
    assert "workflow/profiles/slurm" in plan.output
    block = dict(plan.blocks)["train_run"]
    assert re.search(r"resources: .*mem_mb=4000", block), block
    assert "slurm_partition=cpu" in block
    assert "gpu=" not in block or "gpu=0" in block


def test_a_gpu_is_asked_for_when_the_config_says_cuda(fresh: Clone) -> None:
    fresh.append("config/smoke.yaml", "\ndevice: cuda\n")
    plan = fresh.plan("--workflow-profile", "slurm")
    blocks = dict(plan.blocks)
    for rule, wanted in (
        ("train_run", True),
        ("measure_probe", True),
        ("train_toy_run", True),
        ("make_facts", False),
        ("read_toy_weights", False),
    ):
        assert bool(re.search(r"\bgpu=1", blocks[rule])) is wanted, blocks[rule]


def test_the_real_model_is_asked_for_with_one_gpu_and_its_memory(fresh: Clone) -> None:
    """config/qwen.yaml as it is, on a machine that has neither the weights nor Slurm."""
    plan = fresh.plan("--workflow-profile", "slurm", config="qwen")
    blocks = dict(plan.blocks)
    assert "train_run" not in blocks
    assert "train_toy_run" not in blocks
    assert "train_tiny_model" not in blocks
    assert [w for r, w in plan.jobs if r == "fetch_model"] == ["model=qwen2.5-3b"]
    for rule in ("answer_problems", "extract_activations", "measure_weights", "patch_layer"):
        assert re.search(r"\bgpu=1", blocks[rule]), rule
        assert "mem_mb=24000" in blocks[rule], rule
        assert "runtime=240" in blocks[rule], rule
    for rule in ("make_problems", "fit_ard", "measure_states", "draw_figure"):
        assert not re.search(r"\bgpu=1", blocks[rule]), rule
    assert {w for r, w in plan.jobs if r == "patch_layer"} == {
        "model=qwen2.5-3b, layer=32",
        "model=qwen2.5-3b, layer=33",
    }


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("lag: {run: {model: {d_model: 13}}}", "lag.run.model"),
        ("lag: {swweeps: {}}", "lag.swweeps"),
        ("lag: {sweeps: {k_sweep: {grid: {data.k: []}}}}", "lag.sweeps.k_sweep.grid"),
    ],
)
def test_a_wrong_config_ends_in_a_few_lines(fresh: Clone, text: str, key: str) -> None:
    (fresh.code / "config/wrong.yaml").write_text(text)
    done = fresh.snakemake("--dry-run", config="wrong")
    assert done.status != 0
    error = done.output[done.output.index("Error: ") :]
    assert key in error
    assert "wrong.yaml" in error
    assert "Traceback" not in done.output
    assert len(error.splitlines()) <= 6


def test_an_unknown_run_or_figure_says_what_there_is(fresh: Clone) -> None:
    done = fresh.snakemake("results/figures/lag/nonsense.svg", "--dry-run")
    assert done.status != 0
    assert "no figure nonsense" in done.output
    assert "k_sweep" in done.output
