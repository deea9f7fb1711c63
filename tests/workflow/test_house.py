"""What holds of the workflow as it is written: imports, skeletons, profiles, speed of a dry run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clones import ROOT, TARGETS, Clone, environment, with_cpu_seconds
from zscope.core.provenance import external_imports, import_closure

HEAVY = {"torch", "transformer_lens", "transformers"}
SCRIPTS = ROOT / "workflow/scripts"
FIGURES = sorted((ROOT / "lib/zscope/figures").rglob("*.py"))
RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))


def rule_blocks() -> list[str]:
    """The text of every rule that makes something."""
    blocks = [b for f in RULES for b in re.split(r"\n(?=rule )", f.read_text())[1:]]
    return [b for b in blocks if re.match(r"rule (\w+):", b)[1] not in TARGETS]


@pytest.mark.parametrize(
    "file",
    [*FIGURES, *sorted(SCRIPTS.glob("*/draw_*.py")), *sorted(SCRIPTS.glob("*/summarise_*.py"))],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_figures_and_summaries_import_no_torch(file: Path) -> None:
    assert not HEAVY & external_imports(file, search=[ROOT / "lib"])


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


def test_every_rule_has_the_full_skeleton() -> None:
    blocks = rule_blocks()
    assert len(blocks) >= 8
    for block in blocks:
        for directive in (
            "output",
            "log",
            "benchmark",
            "conda",
            "threads",
            "resources",
            "params",
            "script",
        ):
            assert re.search(rf"^    {directive}:", block, re.M), (directive, block[:200])
        assert not re.search(r"^    (run|shell|retries):", block, re.M), block[:200]
        for resource in ("mem_mb", "runtime"):
            assert f"{resource}=growing(" in block, block[:200]


def test_scripts_are_named_after_their_rules_and_never_read_the_config() -> None:
    for block in rule_blocks():
        name = re.match(r"rule (\w+):", block)[1]
        assert re.search(rf'script:\n        "../scripts/\w+/{name}.py"', block), name
        assert re.search(rf'tracked\(\s*"\w+/{name}.py"', block), name
    for script in SCRIPTS.rglob("*.py"):
        text = script.read_text()
        assert "snakemake.config" not in text, script
        assert "job.config" not in text, script
        assert 'if __name__ == "__main__":' in text


def test_every_figure_of_the_plan_has_a_module_and_a_caption() -> None:
    from typing import get_args

    from zscope.studies.lag.config import FigureName
    from zscope.studies.lag.study import CONDITION_FIGURES

    for kind, names in (("study", get_args(FigureName)), ("condition", CONDITION_FIGURES)):
        captions = (ROOT / f"workflow/report/lag/{kind}_figure.rst").read_text()
        for name in names:
            assert (ROOT / f"lib/zscope/figures/lag/{name}.py").exists(), name
            assert re.search(f'figure == "{name}" %}}\n\\w.{{40}}', captions), name


def test_every_figure_of_the_toy_language_has_a_module_and_a_caption() -> None:
    from zscope.studies.toylang.figures.needs import NEEDS

    captions = (ROOT / "workflow/report/toylang/figure.rst").read_text()
    for name in NEEDS:
        assert (ROOT / f"lib/zscope/figures/toylang/{name}.py").exists(), name
        assert re.search(f'figure == "{name}" %}}\n\\w.{{40}}', captions), name
    assert captions.count("figure ==") == len(NEEDS)


def test_the_library_knows_nothing_of_snakemake() -> None:
    for file in (ROOT / "lib").rglob("*.py"):
        assert "snakemake" not in external_imports(file, search=[]), file


def test_the_rooms_import_what_they_may() -> None:
    lib = ROOT / "lib"
    allowed = {"zscope", "zscope.core.errors", "zscope.core.provenance"}

    def rooms(file: str) -> set[str]:
        closure = import_closure(lib / "zscope" / file, search=[lib])
        names = {".".join(p.relative_to(lib).with_suffix("").parts) for p in closure}
        return {n.removesuffix(".__init__") for n in names}

    assert {n for n in rooms("config/root.py") if not n.startswith("zscope.config")} <= allowed
    assert rooms("provenance.py") <= {"zscope.core.provenance", "zscope"}
    assert rooms("stats.py") <= {"zscope.stats", "zscope"}
    assert rooms("tables.py") <= {
        *("zscope.tables.read", "zscope.core.files", "zscope.schemas", "zscope.tables.schema"),
        *allowed,
    }
    for figure in FIGURES:
        found = rooms(str(figure.relative_to(lib / "zscope")))
        assert not [n for n in found if n.startswith(("zscope.models", "zscope.probes"))], figure


@pytest.mark.parametrize("config", [None, "smoke", "paper"])
def test_dry_run_answers_within_ten_seconds_of_cpu(fresh: Clone, config: str | None) -> None:
    plan, used = with_cpu_seconds(lambda: fresh.plan(config=config))
    assert used < 10, f"{used:.1f} CPU-s"
    assert {"train_run", "measure_probe", "draw_study_figure"} <= plan.rules
    assert {"train_toy_run", "read_toy_weights", "draw_toylang_figure"} <= plan.rules


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
    rules = {re.match(r"rule (\w+):", b)[1] for b in rule_blocks()}
    assert set(profile["set-resources"]) <= rules


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
    for rule in ("answer_problems", "extract_activations", "measure_weights", "patch_layer"):
        assert re.search(r"\bgpu=1", blocks[rule]), rule
        assert "mem_mb=24000" in blocks[rule], rule
        assert "runtime=240" in blocks[rule], rule
    for rule in ("make_problems", "fit_ard", "measure_geometry", "draw_crosslingual_figure"):
        assert not re.search(r"\bgpu=1", blocks[rule]), rule
    assert {w for r, w in plan.jobs if r == "patch_layer"} == {
        "model=qwen2.5-3b, layer=32",
        "model=qwen2.5-3b, layer=33",
    }


def test_timeouts_double_on_a_retry() -> None:
    namespace: dict[str, object] = {}
    text = (ROOT / "workflow/rules/common.smk").read_text()
    exec(text[text.index("def growing") :], namespace)
    assert [namespace["growing"](30)(None, attempt) for attempt in (1, 2, 3)] == [30, 60, 90]


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
