"""What holds of every figure of every study."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fake_components
import fake_crosslingual
import fake_heads
import fake_lag
import fake_toylang
from closures import external_imports, import_closure
from looking import Read, all_axes, assert_texts_can_be_read, lines, words
from zscope.figures import style
from zscope.figures.registry import Drawing, figure_modules, read_captions
from zscope.figures.tables import Tables
from zscope.studies.registry import TITLES
from zscope.tables.write import write_table

ROOT = Path(__file__).parents[2]
FAKES = {
    "lag": fake_lag,
    "toylang": fake_toylang,
    "crosslingual": fake_crosslingual,
    "heads": fake_heads,
    "components": fake_components,
}
MODULES = [module for study in TITLES for module in figure_modules(study).values()]
EVERY = pytest.mark.parametrize("module", MODULES, ids=lambda m: f"{m.study}/{m.name}")
LAID_OUT = pytest.mark.parametrize("case", ["full", "one"])


@cache
def made_up(study, level=0.95):
    """Tables of a study whose intervals are of `level`: figure -> case -> Tables."""
    return FAKES[study].figure_tables(level)


@pytest.fixture(scope="module")
def tables():
    """Made-up tables: (study, figure, case) -> Tables."""
    return {
        (study, name, case): found
        for study in FAKES
        for name, cases in made_up(study).items()
        for case, found in cases.items()
    }


class Drawn(NamedTuple):
    """A figure, laid out; the tables that it asked for; its texts, without those of the layout."""

    fig: Figure
    asked: set[str]
    said: str


@pytest.fixture(scope="module")
def drawn(tables):
    """Every figure of every case, drawn without a warning."""
    found = {}
    for key, given in tables.items():
        study, name, case = key
        frames = Read(given.frames)
        figure = import_module(f"zscope.studies.{study}.figures.{name}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fig = figure.draw(Tables(frames, given.level, given.declared))
            said = words(fig)
            if case != "empty":
                FigureCanvasAgg(fig).draw()
        found[key] = Drawn(fig, frames.names, said)
    return found


def test_every_figure_is_drawn_from_made_up_tables(tables):
    assert {key[:2] for key in tables} == {(m.study, m.name) for m in MODULES}
    assert {key[2] for key in tables} == {"full", "one", "empty"}
    assert len(MODULES) > 40


@EVERY
def test_it_needs_tables_of_its_study_and_reads_these_alone(drawn, module):
    declared = import_module(f"zscope.studies.{module.study}.tables").TABLES
    needs = import_module(module.module).NEEDS
    assert set(needs) <= set(declared)
    drawing = Drawing.of(module, declared, lambda table: [table.path])
    assert drawing.inputs == {table.short: [table.path] for table in needs}
    asked = set().union(*(drawn[module.study, module.name, c].asked for c in ("full", "one")))
    assert asked == {table.name for table in needs}


@EVERY
def test_its_caption_is_its_own(module):
    captions = read_captions(ROOT / f"workflow/report/{module.study}.rst")
    text = captions[module.name]
    assert 150 < len(text) < 2500
    assert list(captions.values()).count(text) == 1
    assert not re.search(r"\d+ ?%", text), "the level of an interval is the config's"


def test_no_caption_is_of_a_figure_that_is_gone():
    for study in TITLES:
        captions = set(read_captions(ROOT / f"workflow/report/{study}.rst"))
        # Of tables and pages; a study may have a figure of its verdicts, too.
        others = {"summary", "table", "verdicts", "prompt_page", "head_map"}
        figures = set(figure_modules(study))
        assert captions - (others - figures) == figures


@EVERY
@LAID_OUT
def test_every_axis_is_labelled_or_shares_the_axis_of_a_labelled_one(drawn, module, case):
    fig = drawn[module.study, module.name, case].fig
    for side in ("x", "y"):
        labelled = {ax for ax in all_axes(fig) if getattr(ax, f"get_{side}label")()}
        for ax in all_axes(fig):
            if ax.get_label() == "<colorbar>" and side == "x":
                continue
            group = set(getattr(ax, f"get_shared_{side}_axes")().get_siblings(ax))
            # Panels of a row or column without tick labels read off the first or last one's.
            beside = {a for a in labelled if side == "y" and abs(a.bbox.y0 - ax.bbox.y0) < 1}
            below = {a for a in labelled if side == "x" and abs(a.bbox.x0 - ax.bbox.x0) < 1}
            named = side == "x" and re.search("linear bridge|k =", ax.get_title(loc="left"))
            assert labelled & (group | beside | below) or named, (side, ax)


@EVERY
@LAID_OUT
def test_texts_are_7_points_or_larger_do_not_overlap_and_stay_on_the_page(drawn, module, case):
    fig = drawn[module.study, module.name, case].fig
    assert_texts_can_be_read(module.name, fig)
    assert fig.get_figwidth() in (style.COLUMN, style.DOUBLE)


@EVERY
@LAID_OUT
def test_no_value_is_outside_its_panel(drawn, module, case):
    fig = drawn[module.study, module.name, case].fig
    for ax in all_axes(fig):
        (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
        found = [np.asarray(line.get_xydata(), float) for line in lines(ax, ("_seed", "_model"))]
        marks = ("_dots", "_draws", "_heads", "_random", "_onset", "_counts")
        dots = [c for c in ax.collections if str(c.get_label()).startswith(marks)]
        found += [np.asarray(c.get_offsets(), float) for c in dots]
        for xy in found:
            x, y = xy[np.isfinite(xy).all(axis=1)].T
            if len(x):
                assert left - 1e-9 <= x.min() <= x.max() <= right + 1e-9, ax
                assert low - 1e-9 <= y.min() <= y.max() <= high + 1e-9, ax


@EVERY
def test_without_rows_or_files_it_says_so(drawn, tables, module):
    key = (module.study, module.name, "empty")
    assert "not applicable: " in drawn[key].said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = import_module(module.module).draw(Tables({}, tables[key].level, tables[key].declared))
    assert "not applicable: " in words(fig)


@EVERY
def test_texts_name_the_level_of_the_config(drawn, module):
    """A figure with intervals says of which level they are, and never another one."""
    given = made_up(module.study, 0.8)[module.name]["full"]
    at_95 = drawn[module.study, module.name, "full"].said
    at_80 = words(import_module(module.module).draw(given))
    if given.level is None:
        assert at_95 == at_80
    assert not re.search(r"\b95 %", at_80)
    assert at_80.count("80 %") == at_95.count("95 %")


@EVERY
def test_redrawing_gives_the_same_bytes(tables, module, tmp_path):
    given = tables[module.study, module.name, "one"]
    for folder in ("a", "b"):
        fig = import_module(module.module).draw(given)
        style.save_figure(fig, [tmp_path / folder / "f.svg"], {"code": "abc"})
    assert (tmp_path / "a/f.svg").read_bytes() == (tmp_path / "b/f.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "a/f.svg").read_bytes()


@EVERY
def test_it_imports_neither_torch_nor_the_config_nor_pyplot(module):
    file = ROOT / "lib" / Path(*module.module.split(".")).with_suffix(".py")
    assert not {"torch", "transformers"} & external_imports(file, search=[ROOT / "lib"])
    names = {p.name for p in import_closure(file, search=[ROOT / "lib"])}
    assert "config.py" not in names


def test_no_figure_loads_pyplot_or_torch():
    code = (
        f"import sys, {', '.join(m.module for m in MODULES)}\n"
        "print(sorted({'torch', 'matplotlib.pyplot', 'statsmodels'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("study", FAKES)
def test_the_made_up_tables_fit_their_schemas(tables, study, tmp_path):
    declared = {t.name: t for t in import_module(f"zscope.studies.{study}.tables").TABLES}
    for (of, _, _), given in tables.items():
        if of == study:
            for name, frame in given.frames.items():
                write_table(frame, tmp_path / f"{name}.parquet", declared[name], {})


def test_the_registry_is_read_without_importing_a_figure():
    code = (
        "import sys; from zscope.figures.registry import figure_modules\n"
        f"found = [m for s in {list(TITLES)} for m in figure_modules(s)]; assert len(found) > 40\n"
        "print(sorted({'torch', 'matplotlib', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
