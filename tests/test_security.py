"""No pickle is read, no code of a model's is run, and no text of a config reaches a shell."""

from __future__ import annotations

import ast
import json
import pickle
import re
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from clones import Clone
from zscope.core.errors import CheckpointError, ConfigError
from zscope.models.checkpoints import CheckpointFile, load_tensors
from zscope.models.language_model import load_language_model
from zscope.show import as_markdown
from zscope.studies.config import load
from zscope.studies.crosslingual.patching.patched_table import patched_html
from zscope.studies.crosslingual.problems.tokenizer import make_tokenizer
from zscope.studies.lag.study import LagPlan

ROOT = Path(__file__).parents[1]
# --- what the code may not say -----------------------------------------------------------------

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_NAMES = {"eval", "exec", "compile", "__import__"}
UNSAFE_CALLS = {
    *("torch.load", "torch.save", "torch.hub.load", "torch.jit.load"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("pd.read_pickle", "pandas.read_pickle", "runpy.run_path", "runpy.run_module"),
}
UNSAFE_METHODS = {"to_pickle"}
TRUE_IS_UNSAFE = {"shell", "allow_pickle", "trust_remote_code"}


# A module that is imported by a computed name is one of our own: the name begins with our package.
def unsafe(source: str) -> list[str]:
    """What in a Python source could run code that comes from data."""
    return [
        f"line {node.lineno}: {what}"
        for node in ast.walk(ast.parse(source))
        for what in _unsafe(node)
    ]


def _unsafe(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (a.name for a in node.names if a.name.partition(".")[0] in UNSAFE_MODULES)
    elif isinstance(node, ast.ImportFrom) and node.module:
        if node.module.partition(".")[0] in UNSAFE_MODULES:
            yield node.module
        yield from (
            f"{node.module}.{a.name}"
            for a in node.names
            if f"{node.module}.{a.name}" in UNSAFE_CALLS
        )
    elif isinstance(node, ast.Call):
        yield from _unsafe_call(node)


def _unsafe_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    last = called.rpartition(".")[2]
    if called in UNSAFE_NAMES | UNSAFE_CALLS or last in UNSAFE_METHODS:
        yield called
    given = {k.arg: k.value for k in node.keywords}
    for name in TRUE_IS_UNSAFE & set(given):
        value = given[name]
        if not (isinstance(value, ast.Constant) and value.value is False):
            yield f"{called}({name}={ast.unparse(value)})"
    if last in ("from_pretrained", "from_config") and None in given:
        yield f"{called} with settings that are not written out"
    if last == "from_pretrained":
        for name, wanted in (("trust_remote_code", False), ("local_files_only", True)):
            value = given.get(name)
            if not (isinstance(value, ast.Constant) and value.value is wanted):
                yield f"{called} without {name}={wanted}"
    if last == "import_module" and node.args:
        name = ast.unparse(node.args[0])
        if not re.match(r"f?['\"]zscope\.", name):
            yield f"import of {name}"


CODE = sorted(p for part in ("lib", "workflow", "benchmarks") for p in (ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("file", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_code_reads_a_pickle_evaluates_text_or_starts_a_shell(file: Path) -> None:
    assert unsafe(file.read_text("utf-8")) == []


def test_no_rule_starts_a_shell_or_reads_a_pickle() -> None:
    files = [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    assert len(files) >= 4
    wrong = (
        r"^\s*(shell|run|wrapper|notebook|cwl):|\bshell\(|\bsubprocess\b|\bos\.(system|popen)\b"
        r"|\b(eval|exec)\(|\bpickle\b|\bhttps?://"
    )
    for file in files:
        assert not re.search(wrong, file.read_text(), re.M), file


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import joblib.numpy_pickle as x",
        "from pickle import loads",
        "from torch import load",
        "torch.load(f)",
        "torch.load(f, weights_only=True)",
        "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=flag)",
        "yaml.load(f)",
        "yaml.load(f, Loader=yaml.Loader)",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=flag)",
        "AutoModel.from_pretrained(folder)",
        "AutoModel.from_pretrained(folder, trust_remote_code=True, local_files_only=True)",
        "AutoModel.from_pretrained(folder, **settings)",
        "frame.to_pickle(path)",
        "import_module(name)",
    ],
)
def test_the_walk_would_see_it(source: str) -> None:
    assert unsafe(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "np.load(f, allow_pickle=False)",
        "yaml.safe_load(f)",
        "subprocess.run(['ls'], check=True)",
        "re.compile('a')",
        "import_module(f'zscope.studies.lag.figures.{name}')",
    ],
)
def test_the_walk_lets_what_is_safe_pass(source: str) -> None:
    assert unsafe(source) == []


# --- hostile checkpoints -------------------------------------------------------------------------


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (open, (str(self.marker), "w"))


def header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


def zscope_entry(text: str) -> bytes:
    """A header with our metadata entry, its checksum right."""
    entry = sha256(text.encode()).hexdigest() + text
    return header(json.dumps({"__metadata__": {"zscope": entry}}).encode())


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
HOSTILE = {
    "empty": b"",
    "huge header": header(b"{}", 2**63 - 1),
    "header longer than the file": header(b"{}", 10**6),
    "header that is no JSON": header(b"import os"),
    "offsets beyond the file": header(json.dumps({"w": TENSOR}).encode()),
    "negative offsets": header(json.dumps({"w": TENSOR | {"data_offsets": [-16, 0]}}).encode()),
    "a shape that overflows": header(
        json.dumps({"w": TENSOR | {"shape": [2**62, 2**62]}}).encode() + b" " * 16
    ),
    "unknown type": header(json.dumps({"w": TENSOR | {"dtype": "PY"}}).encode()) + bytes(16),
    "no metadata of ours": header(json.dumps({"w": TENSOR}).encode()) + bytes(16),
    "metadata that are no block": zscope_entry("[]"),
    "checksums that are no block": zscope_entry('{"metadata": {}, "sha256": 3}'),
    "metadata nested without end": zscope_entry("[" * 200_000 + "]" * 200_000),
    "metadata without checksums": zscope_entry('{"metadata": {}}'),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_wrong_header_is_refused_in_two_lines(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "checkpoints.safetensors"
    path.write_bytes(HOSTILE[kind])
    for read in (lambda: load_tensors(path), lambda: load_tensors(path, ["w"])):
        with pytest.raises(CheckpointError, match="damaged") as caught:
            read()
        assert len(str(caught.value).splitlines()) == 2


def test_a_tensor_without_a_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.safetensors"
    text = json.dumps({"metadata": {}, "sha256": {}})
    entry = sha256(text.encode()).hexdigest() + text
    save_file({"w": torch.ones(2)}, path, metadata={"zscope": entry})
    with pytest.raises(CheckpointError, match="damaged"):
        load_tensors(path, ["w"])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("of_torch", [False, True])
def test_a_pickle_by_the_name_of_a_checkpoint_is_refused_and_not_run(
    tmp_path: Path, protocol: int, of_torch: bool
) -> None:
    marker, path = tmp_path / "ran", tmp_path / "checkpoints.safetensors"
    if of_torch:
        torch.save({"w": Payload(marker)}, path, pickle_protocol=max(2, protocol))
    else:
        path.write_bytes(pickle.dumps(Payload(marker), protocol))
    with pytest.raises(CheckpointError, match="damaged"):
        CheckpointFile(path).load(0)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))  # so would it have run
    assert marker.exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small Qwen2 model as `save_pretrained` writes it."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = make_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    folder = tmp_path / "model"
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def open_model(folder: Path) -> Any:
    return load_language_model({"path": str(folder)}, torch.device("cpu"), torch.float32)


def edit(file: Path, **entries: object) -> None:
    plain = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**plain, **entries}))


def test_a_folder_of_pickles_alone_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(CheckpointError, match="pickles"):
        open_model(folder)
    assert not marker.exists()


def test_a_pickle_by_the_name_of_the_weights_is_refused_and_not_run(
    folder: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    torch.save({"w": Payload(marker)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_model(folder)
    assert not marker.exists()


@pytest.mark.parametrize("place", ["pytorch_model.bin", "../pytorch_model.bin"])
def test_an_index_that_names_a_pickle_is_refused(
    folder: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with one safetensors file, and an index by which the weights are in a pickle."""
    marker = tmp_path / "ran"
    weights = folder / "model.safetensors"
    names = list(open_model(folder).model.state_dict())
    weights.rename(folder / "other.safetensors")
    torch.save({"w": Payload(marker)}, folder / place)
    edit(
        folder / "model.safetensors.index.json",
        metadata={"total_size": 1},
        weight_map=dict.fromkeys(names, place),
    )
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("a pickle was read"))
    with pytest.raises(CheckpointError):
        open_model(folder)
    assert not marker.exists()


def test_code_beside_the_weights_is_never_run(folder: Path, tmp_path: Path) -> None:
    """Named for the config, the model, the tokenizer and generation; by repository too."""
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w')\nclass C: pass\nM = T = generate = C\n"
    for name in ("evil.py", "modeling_evil.py", "configuration_evil.py"):
        (folder / name).write_text(code)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate/generate.py").write_text(code)
    (folder / "custom_generate/requirements.txt").write_text("")
    for own in ("evil.", "someone/else--evil."):
        edit(
            folder / "config.json",
            auto_map={"AutoConfig": own + "C", "AutoModelForCausalLM": own + "M"},
        )
        edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [own + "T", own + "T"]})
        edit(folder / "generation_config.json", custom_generate="evil")
        with suppress(ConfigError, CheckpointError):  # to refuse it is as good
            assert open_model(folder).n_layers == 1
        assert not marker.exists()


# --- hostile configurations ----------------------------------------------------------------------

HOSTILE_TEXTS = (
    "x; touch ran",
    "$(touch ran)",
    "`touch ran`",
    "x\ntouch ran",
    "x' 'y\" z",
    "../../ran",
    "/tmp/ran",
    "{wildcards.run}",
    "{__import__('os').system('touch ran')}",
    "x | tee ran",
    "-n",
    "--config",
    "x y",
    "..",
    "é\u202etxt",
    "\x00",
    "a" * 5000,
)
BASE = yaml.safe_load((ROOT / "config/config.yaml").read_text())
PATH_PART = re.compile(r"[a-z0-9][A-Za-z0-9_.+-]{0,199}")


def config(**blocks: object) -> dict[str, Any]:
    return {"lag": BASE["lag"], **blocks}


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_sweep_cannot_be_called_so(text: str) -> None:
    lag = {**BASE["lag"], "sweeps": {**BASE["lag"]["sweeps"], text: {"seeds": [0]}}}
    with pytest.raises(ConfigError) as caught:
        load(config(lag=lag))
    assert len(str(caught.value)) < 6000


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
@pytest.mark.parametrize(
    "key", ["data.task", "data.k", "data.z_order", "training.lr", "model.d_model", "data.alphabet"]
)
def test_a_value_of_a_grid_reaches_no_path(text: str, key: str) -> None:
    """It is refused, or the names of the runs are plain all the same."""
    sweep = {"grid": {key: [text]}, "seeds": [0], "probes": []}
    lag = {**BASE["lag"], "sweeps": {**BASE["lag"]["sweeps"], "tasks": sweep}}
    try:
        plan = LagPlan(load(config(lag=lag)).lag).check()
    except ConfigError:
        return
    assert all(PATH_PART.fullmatch(name) for name in (*plan.runs, *plan.conditions))


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_toy_model_cannot_be_called_so(text: str) -> None:
    with pytest.raises(ConfigError):
        load({"toylang": {"models": {text: {}}}})


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_model_cannot_be_called_so(text: str) -> None:
    with pytest.raises(ConfigError):
        load({"models": {text: {"path": "x"}}, "crosslingual": {"models": [text]}})
    with pytest.raises(ConfigError):
        load({"crosslingual": {"models": [text]}})


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_source_of_a_model_reaches_no_path_and_no_option(text: str) -> None:
    """A package or hub's name is refused; a folder may be called so, but its name is another."""
    sha256 = "a" * 64
    for source in (
        {"hub": text, "revision": text},
        {"package": text, "sha256": sha256},
        {"package": [f"{text}==1.0"], "sha256": sha256},
        {"package": [f"a=={text}"], "sha256": sha256},
    ):
        if text == "a" * 5000 and str(source.get("package", "")).count("=="):
            continue  # long, and as plain as any
        with pytest.raises(ConfigError):
            load({**config(), "models": {"mine": source}})


@pytest.mark.slow
@pytest.mark.parametrize("text", ["x; touch ran #", "$(touch ran)"])
def test_a_path_in_a_config_is_no_command(fresh: Clone, tmp_path: Path, text: str) -> None:
    """A real run: the folder is looked for by exactly its name."""
    overlay = {
        **{"lag": None, "toylang": None, "models": {"mine": {"path": text}}},
        "crosslingual": {
            "models": ["mine"],
            "weights_only": [],
            "problems": {"source": "hand_written"},
        },
    }
    (fresh.code / "config/hostile.yaml").write_text(yaml.safe_dump(overlay))
    done = fresh.snakemake("crosslingual", config="hostile")
    assert done.status != 0
    assert f"{text}/config.json" in done.output
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("text", ["{model}", "a{}b", "a\nb", ""])
def test_a_path_is_no_pattern_and_one_line(text: str) -> None:
    problems = {"source": "hand_written", "file": text}
    for block in (
        {"models": {"mine": {"path": text}}, **config()},
        {"crosslingual": {"problems": problems}},
    ):
        with pytest.raises(ConfigError, match="no name of a file"):
            load(block)


# --- what a model says, in pages -----------------------------------------------------------------

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)> | a\n| b"


def test_a_page_of_outputs_holds_no_markup_of_theirs() -> None:
    page = HTMLParser()
    tags: list[str] = []
    page.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    page.feed(patched_html(pd.DataFrame({MARKUP: [MARKUP]}), MARKUP))
    assert not {"script", "img"} & set(tags)


def test_a_markdown_table_holds_no_markup_and_no_cell_too_many() -> None:
    text = as_markdown(pd.DataFrame({"a": [MARKUP], "b": [1.0]}))
    assert "<" not in text
    lines = text.splitlines()
    assert len(lines) == 3
    assert len(re.findall(r"(?<!\\)\|", lines[2])) == 3


def test_only_known_modules_write_html() -> None:
    """Another one needs a test of its own, like those above."""
    own = r"<(table|td|body|html)\b"
    files = [f for f in CODE if re.search(own, f.read_text("utf-8")) and f.parts[-2] != "tests"]
    assert {str(f.relative_to(ROOT)) for f in files} == {
        # tests/studies/components/test_decomposition_pages.py has the tests of this one.
        "lib/zscope/studies/components/decomposition/layer_page.py",
        "lib/zscope/studies/crosslingual/patching/patched_table.py",
        # tests/studies/heads/test_pages.py has the tests of these.
        "lib/zscope/studies/heads/pages/ablation_page.py",
        "lib/zscope/pages/markup.py",
        "lib/zscope/overview/building.py",  # and tests/overview of this one
    }
