"""A digest changes with the meaning of the code a script reaches, and with nothing else."""

import enum
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from closures import external_imports, import_closure
from zscope.core.provenance import (
    Tracker,
    code_digest,
    derive_seed,
    digest_of,
    plain,
    versions,
)

REPOSITORY = Path(__file__).parents[2]
SOURCE = '''
"""What the module is for."""
from __future__ import annotations

import math   # a remark


class Point( ):
    """A point."""

    x: float = 1E3
    """Its abscissa."""

    def norm(self, *, scale = 0XfF, names = ('a', "it's", u"u", ), **rest):
        """Its norm."""
        # computed with care
        with (open("a") as a, open("b") as b):
            total = (math.sqrt(self.x ** 2) + scale
                     + 1_000)
        text = f'{self.x!r:>{scale}} {total:.2f}' "and more" f"{names[0]}"
        single = (1,)
        del (a, b)
        return {"total": total, 'text': text, "names": [name for name in names if (name)],
                "single": single, "bytes": b'\\x00', "far": lambda x: (x + 1)}

    def empty(self):
        """Only a docstring."""


if (Point): print( Point().norm( ), "one " "two" )
'''

EDITS = {
    "constant": ("1_000", "1_001"),
    "number's type": ("1_000", "1_000.0"),
    "operator": ("** 2) + scale", "** 2) - scale"),
    "string": ('"and more"', '"and less"'),
    "string in an f-string": ("} {total", "}  {total"),
    "format": (".2f", ".3f"),
    "conversion": ("!r", "!s"),
    "default": ("scale = 0XfF", "scale = 0XfE"),
    "name": ("**rest", "**others"),
    "keyword only": ("self, *, scale", "self, scale"),
    "tuple of one": ("single = (1,)", "single = (1)"),
    "parentheses that group": ("(x + 1)", "(x, 1)"),
    "annotation": ("x: float", "x: int"),
    "order": ("names if (name)", "names if (not name)"),
    "import": ("import math ", "import cmath as math "),
    "class base": ("Point( )", "Point(dict)"),
    "nesting": ("if (Point): print(", "print("),
}


@pytest.fixture
def lib(tmp_path):
    """Writes modules below a search folder: `lib(**{"a/b.py": "..."})` returns the folder."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / "lib" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "lib"

    return write


def digest_of_text(folder, text):
    path = folder / "module.py"
    # The cache of parsed files goes by time and size: no two tests may share both.
    path.unlink(missing_ok=True)
    path.write_text(text)
    return code_digest(path, search=[folder])


def closure(root, folder):
    return {path.relative_to(folder).as_posix() for path in import_closure(root, search=[folder])}


# --- what counts as a change ---------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["--line-length", "40"],
        ["--line-length", "320", "--config", "format.skip-magic-trailing-comma=true"],
        ["--config", "format.quote-style='single'", "--config", "format.indent-style='tab'"],
        ["--preview", "--target-version", "py312"],
    ],
)
def test_ruff_format_changes_nothing(tmp_path, options):
    before = digest_of_text(tmp_path, SOURCE)
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--no-cache", "-q", *options]
    subprocess.run([*command, str(tmp_path / "module.py")], check=True)
    assert (tmp_path / "module.py").read_text() != SOURCE
    assert code_digest(tmp_path / "module.py", search=[tmp_path]) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# computed with care", "# computed"),
        ("# computed with care", ""),
        ('"""Its norm."""', '"""The norm."""'),
        ('"""Its norm."""', ""),
        ('"""Only a docstring."""', "pass"),
        ('"""Its abscissa."""', ""),
        ('"""What the module is for."""', ""),
        ("\n", "\n\n"),
        ("'a'", '"a"'),
        ('"one " "two"', '"one two"'),
        ("if (name)", "if name"),
        ("del (a, b)", "del a, b"),
    ],
)
def test_comments_docstrings_and_spelling_change_nothing(tmp_path, old, new):
    assert old in SOURCE
    changed = SOURCE.replace(old, new)
    assert digest_of_text(tmp_path, changed) == digest_of_text(tmp_path, SOURCE)


@pytest.mark.parametrize("edit", EDITS)
def test_a_change_of_meaning_changes_the_digest(tmp_path, edit):
    old, new = EDITS[edit]
    assert SOURCE.count(old) == 1
    changed = digest_of_text(tmp_path, SOURCE.replace(old, new))
    assert changed != digest_of_text(tmp_path, SOURCE)


def test_the_digest_is_the_same_on_every_python_version(tmp_path):
    assert digest_of_text(tmp_path, SOURCE) == "11c7b6deddd76249"


def test_a_file_that_does_not_parse_counts_with_its_bytes(lib):
    folder = lib({"main.py": "import broken", "broken.py": "x = (  # a\n"})
    first = code_digest(folder / "main.py", search=[folder])
    lib({"broken.py": "x = (  # another\n"})
    second = code_digest(folder / "main.py", search=[folder])
    (folder / "broken.py").write_bytes(b"x = '\xff\x00'")
    third = code_digest(folder / "main.py", search=[folder])
    assert len({first, second, third}) == 3


def test_an_edit_of_the_same_length_is_seen_by_its_time(lib):
    folder = lib({"main.py": "x = 1"})
    first = code_digest(folder / "main.py", search=[folder])
    state = (folder / "main.py").stat()
    lib({"main.py": "x = 2"})
    os.utime(folder / "main.py", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert code_digest(folder / "main.py", search=[folder]) != first


def test_the_path_of_a_module_counts(lib):
    folder = lib({"a.py": "x = 1", "b.py": "x = 1", "sub/a.py": "x = 1"})
    digests = {code_digest(folder / name, search=[folder]) for name in ("a.py", "b.py", "sub/a.py")}
    assert len(digests) == 3


def test_where_the_repository_lies_and_the_order_of_roots_do_not_count(lib, tmp_path):
    folder = lib({"a.py": "import b", "b.py": "x = 1"})
    (tmp_path / "lib").rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere"
    lib({"a.py": "import b", "b.py": "x = 1"})
    assert code_digest(moved / "a.py", moved / "b.py", search=[moved]) == code_digest(
        folder / "b.py", folder / "a.py", search=[folder]
    )


# --- the closure ---------------------------------------------------------------------------

PACKAGE = {
    "pack/__init__.py": "",
    "pack/one.py": "from pack.two import number",
    "pack/two.py": "from .deep import three\nnumber = three.number",
    "pack/deep/__init__.py": "from .. import four",
    "pack/deep/three.py": "number = 3",
    "pack/four.py": "",
    "pack/unrelated.py": "number = 9",
}


def test_transitive_edits_count_and_unrelated_modules_do_not(lib):
    folder = lib(PACKAGE | {"main.py": "from pack.one import number"})
    root = folder / "main.py"
    assert closure(root, folder) == {"main.py", *PACKAGE} - {"pack/unrelated.py"}
    before = code_digest(root, search=[folder])
    lib({"pack/unrelated.py": "number = 10"})
    assert code_digest(root, search=[folder]) == before
    for name in ("pack/deep/three.py", "pack/__init__.py", "pack/four.py"):
        lib({name: PACKAGE[name] + "\nadded = 1"})
        after = code_digest(root, search=[folder])
        assert after != before, name
        before = after


@pytest.mark.parametrize(
    ("statement", "reached"),
    [
        ("import pack.deep.three", {"deep/__init__.py", "deep/three.py", "four.py"}),
        ("import pack.deep as d, pack.unrelated", {"deep/__init__.py", "four.py", "unrelated.py"}),
        ("from pack import unrelated", {"unrelated.py"}),
        ("from pack import (\n  missing, four as f\n)", {"four.py"}),
        ("def f():\n    if f:\n        from pack import four", {"four.py"}),
        ("try:\n    import pack.four\nexcept ImportError:\n    pass", {"four.py"}),
        ("import importlib\nimportlib.import_module('pack.four')", {"four.py"}),
        ("import pack.absent", set()),
        ("text = 'import pack.four'\nimport pack", set()),
    ],
)
def test_every_form_of_import_is_followed(lib, statement, reached):
    folder = lib(PACKAGE | {"main.py": statement})
    expected = {"main.py", "pack/__init__.py"} | {f"pack/{name}" for name in reached}
    assert closure(folder / "main.py", folder) == expected


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_imports_for_type_checking_do_not_count(lib, test):
    text = f"import typing\nif {test}:\n    import torch, a\nelse:\n    import b\n"
    folder = lib({"main.py": text, "a.py": "", "b.py": ""})
    assert closure(folder / "main.py", folder) == {"main.py", "b.py"}
    assert external_imports(folder / "main.py", search=[folder]) == frozenset()


def test_cyclic_imports_end(lib):
    folder = lib({"a.py": "import b", "b.py": "import c", "c.py": "import a\nimport c"})
    assert closure(folder / "a.py", folder) == {"a.py", "b.py", "c.py"}


def test_a_namespace_package_is_followed(lib):
    folder = lib({"main.py": "from space.inner import a", "space/inner/a.py": ""})
    assert closure(folder / "main.py", folder) == {"main.py", "space/inner/a.py"}


def test_a_script_reaches_modules_in_its_own_folder(lib, tmp_path):
    folder = lib({"pack/__init__.py": ""})
    script = tmp_path / "scripts" / "study" / "main.py"
    script.parent.mkdir(parents=True)
    script.write_text("import helper, statistics, pack")
    for name in ("helper.py", "statistics.py"):  # Python takes its own `statistics` first
        (script.parent / name).touch()
    found = {path.name for path in import_closure(script, search=[folder])}
    assert found == {"main.py", "helper.py", "__init__.py"}


def test_external_imports_are_the_third_party_ones(lib):
    folder = lib(
        {
            "main.py": "import os.path, numpy.linalg as n\nimport a",
            "a.py": "def f():\n    from torch.nn import functional",
        }
    )
    assert external_imports(folder / "main.py", search=[folder]) == {"numpy", "torch"}


def test_nothing_digested_is_imported(lib):
    folder = lib({"main.py": "import trap", "trap.py": "raise SystemExit('imported')"})
    assert code_digest(folder / "main.py", search=[folder])
    assert "trap" not in sys.modules


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.py"):
        code_digest(tmp_path / "absent.py", search=[tmp_path])


def test_the_module_itself_needs_only_the_standard_library():
    lib = Path(__file__).resolve().parents[2] / "lib"
    root = lib / "zscope" / "core" / "provenance.py"
    assert external_imports(root, search=[lib]) == frozenset()
    assert closure(root, lib) == {
        "zscope/__init__.py",
        "zscope/core/__init__.py",
        "zscope/core/provenance.py",
    }


# --- params --------------------------------------------------------------------------------


@pytest.fixture
def make_tracker(lib, tmp_path):
    def make(files):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        (tmp_path / "scripts" / "main.py").write_text("import importlib")
        return Tracker(scripts=tmp_path / "scripts", lib=lib(files))

    return make


def test_modules_named_in_uses_join_the_closure(make_tracker):
    uses = ["pack.one"]
    first = make_tracker(PACKAGE)
    assert first("main.py", uses=uses)["code"] != first("main.py")["code"]
    second = make_tracker({"pack/deep/three.py": "number = 33"})
    assert second("main.py", uses=uses)["code"] != first("main.py", uses=uses)["code"]
    assert second("main.py")["code"] == first("main.py")["code"]


@pytest.mark.parametrize("name", ["pack.absent", "absent", "pack.one.number", "pack.deep.thre"])
def test_a_module_in_uses_that_does_not_exist_is_an_error(make_tracker, name):
    with pytest.raises(ModuleNotFoundError, match=name):
        make_tracker(PACKAGE)("main.py", uses=[name])


def test_a_tracker_of_many_scripts_finds_of_each_what_it_finds_alone():
    """The scripts of this repository, which share most of what they import."""
    scripts, lib = REPOSITORY / "workflow/scripts", REPOSITORY / "lib"
    files = sorted(scripts.rglob("*.py"))
    assert len(files) > 25
    tracker = Tracker(scripts=scripts, lib=lib)
    found = {file: tracker.digest(file.relative_to(scripts)) for file in files}
    assert found == {file: code_digest(file, search=[lib]) for file in files}
    assert len(set(found.values())) == len(files)


def test_one_tracker_sees_one_state_of_the_code(make_tracker):
    tracker = make_tracker({"a.py": "x = 1"})
    first = tracker("main.py", uses=["a"])
    later = make_tracker({"a.py": "x = 22"})
    assert tracker("main.py", uses=["a"]) == first
    assert later("main.py", uses=["a"]) != first


def test_the_order_of_the_slice_does_not_count_but_names_do(make_tracker):
    tracker = make_tracker({})
    first = tracker("main.py", a=1, b={"y": (1, 2), "x": None})
    # As text, since that is what Snakemake compares.
    assert str(first) == str(tracker("main.py", b={"x": None, "y": [1, 2]}, a=1))
    assert str(first) != str(tracker("main.py", a={"y": (1, 2), "x": None}, b=1))
    assert first["slice"] == {"a": 1, "b": {"x": None, "y": [1, 2]}}
    assert tracker("main.py", script=1)["slice"] == {"script": 1}


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


@pytest.mark.parametrize(
    "value", [Path("a"), np.float64(1.0), np.int64(1), Colour.RED, Text("a"), {1}, b"a", object()]
)
def test_a_value_that_is_not_plain_is_refused_with_its_key_path(make_tracker, value):
    with pytest.raises(TypeError, match=rf"^model\.sizes\[1\]: .*{type(value).__name__}"):
        make_tracker({})("main.py", model={"sizes": [1, value]})


def test_a_key_that_is_not_a_string_is_refused(make_tracker):
    with pytest.raises(TypeError, match=r"^model: key 1 "):
        make_tracker({})("main.py", model={1: "a"})


def test_plain_copies():
    inner = [1]
    copy = plain({"a": inner})
    inner.append(2)
    assert copy == {"a": [1]}


# --- ids, seeds, versions ------------------------------------------------------------------


def test_digests_of_values_are_stable_forever():
    value = {"b": (1, 2.5, None, True), "a": {"ü": 1e-5}}
    assert digest_of(value) == "dfa0f98aefc6a648"
    assert digest_of(value, length=64).startswith(digest_of(value, length=8))
    assert len(digest_of(value, length=8)) == 8


def test_digests_of_values_differ_where_values_do():
    values = [1, 1.0, True, "1", None, [1], {"a": 1}, {"a": 1.0000000000000002}, {"b": 1}]
    assert len({digest_of(value) for value in values}) == len(values)
    assert digest_of({"a": 1, "b": 2}) == digest_of(json.loads('{"b": 2, "a": 1}'))


def test_digests_of_values_refuse_what_is_not_plain():
    with pytest.raises(TypeError, match="a: "):
        digest_of({"a": Path("b")})
    with pytest.raises(ValueError, match="length"):
        digest_of(1, length=65)


def test_seeds_are_stable_forever_and_fit_63_bits():
    assert derive_seed(0, "init") == 1519069808562059438
    assert derive_seed(np.int64(0), "init") == derive_seed(0, "init")
    names = ["data", "init", "order", "bootstrap"]
    seeds = [derive_seed(seed, name) for seed in range(250) for name in names]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # all 63 bits are used
    with pytest.raises(TypeError):
        derive_seed(1.5, "init")


def test_versions_are_looked_up_without_importing():
    found = versions("numpy", "python", "no-such-package-zscope")
    assert found["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["no-such-package-zscope"] == "not installed"
