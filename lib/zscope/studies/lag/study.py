"""Which runs, facts, probes and figures a config implies.

Loaded on every parse of the Snakefile, so it imports nothing heavy.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property, partial
from typing import Any, Self

from zscope.config.messages import Path, Sources, mistake, near
from zscope.core.errors import ConfigError, find
from zscope.figures.registry import Drawing, figure_modules
from zscope.studies.lag.config import LagConfig, override
from zscope.studies.lag.probes.registry import PROBES
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.tables import TABLES
from zscope.tables.schema import Table


@dataclass(frozen=True)
class SweepRun:
    """A run as a member of one sweep. label: the values that vary in that sweep, in words."""

    config: RunConfig
    label: str

    @cached_property
    def run(self) -> str:
        return self.config.run_id()

    @cached_property
    def condition(self) -> str:
        return self.config.condition_id()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the params of a rule."""
        return {
            "run": self.run,
            "condition": self.condition,
            "label": self.label,
            "design": self.config.data.design,
        }


@dataclass(frozen=True)
class LagPlan:
    """Everything that the lag study makes. sources: as in `config.load`, for messages."""

    config: LagConfig
    sources: Sources = field(default=(), compare=False, repr=False)

    def check(self) -> Self:
        """Work out the whole plan, to find mistakes before any job starts. Raises ConfigError."""
        _ = self.runs, self.probes, self.drawings
        return self

    @cached_property
    def sweeps(self) -> dict[str, tuple[SweepRun, ...]]:
        """The runs of every sweep that is not null."""
        found = {n: s for n, s in self.config.sweeps.items() if s is not None}
        if not found:
            raise self._wrong("every sweep is null: nothing to run", ("lag", "sweeps"))
        return {name: self._expand(name) for name in found}

    def _wrong(self, message: str, *paths: Path) -> ConfigError:
        return ConfigError(mistake(message, *paths, sources=self.sources))

    def _expand(self, name: str) -> tuple[SweepRun, ...]:
        sweep = self.config.sweeps[name]
        assert sweep is not None
        sections = {"data": sweep.data, "model": sweep.model, "training": sweep.training}
        for key in sweep.grid:
            section, _, rest = key.partition(".")
            if section not in sections or not rest:
                blocks = {s: type(getattr(self.config.run, s)) for s in sections}
                known = [f"{s}.{k}" for s, block in blocks.items() for k in block.model_fields]
                same = [k for k in known if k.endswith("." + key)]
                close = same or get_close_matches(key, known, n=1)
                raise self._wrong(
                    "must be data., model. or training. followed by a key of that block, such as "
                    "data.k" + (f"; did you mean {close[0]}?" if close else ""),
                    ("lag", "sweeps", name, "grid", key),
                )

        def written(path: Path) -> Path:
            """Where the user wrote a key of the run: in the grid, the sweep, or lag.run."""
            section, key = ".".join(map(str, path[:1])), ".".join(map(str, path[:2]))
            if key in sweep.grid:
                return ("lag", "sweeps", name, "grid", key)
            if len(path) > 1 and path[1] in sections.get(section, {}):
                return ("lag", "sweeps", name, *path)
            return ("lag", "run", *path)

        runs = []
        for values in itertools.product(*sweep.grid.values()):
            point = tuple(zip(sweep.grid, values, strict=True))
            merged = {key: dict(values) for key, values in sections.items()}
            for key, value in point:
                section, _, rest = key.partition(".")
                merged[section][rest] = value
            note = f"; in sweep {name}" + (f" at {_label(point)}" if point else "")
            for seed in sweep.seeds:
                given = {**merged, "seed": seed}
                config = override(self.config.run, given, written, note, self.sources)
                runs.append(SweepRun(config, _label(point)))
        seen: dict[str, SweepRun] = {}
        for r in runs:  # two values of a key may mean the same run
            seen.setdefault(r.run + r.label, r)
        return tuple(seen.values())

    @cached_property
    def runs(self) -> dict[str, RunConfig]:
        """Every distinct run, by its id."""
        return {r.run: r.config for runs in self.sweeps.values() for r in runs}

    @cached_property
    def facts(self) -> dict[str, dict[str, Any]]:
        """The values that each set of facts depends on, by the id of the set."""
        return {config.facts_id(): config.facts for config in self.runs.values()}

    def facts_of(self, run: str) -> str:
        """The id of a run's facts. Raises ConfigError for an unknown run."""
        return find(self.runs, run, "run").facts_id()

    @cached_property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """The runs of every condition, by random seed."""
        out: dict[str, list[str]] = {}
        for run, config in sorted(self.runs.items(), key=lambda item: item[1].seed):
            out.setdefault(config.condition_id(), []).append(run)
        return {c: tuple(runs) for c, runs in out.items()}

    @cached_property
    def probes(self) -> dict[str, tuple[str, ...]]:
        """The probes of every condition: those that a sweep asks for and that apply to its task."""
        wanted: dict[str, set[str]] = {c: set() for c in self.conditions}
        for name, runs in self.sweeps.items():
            sweep = self.config.sweeps[name]
            assert sweep is not None
            names = self.config.probes.names if sweep.probes is None else sweep.probes
            for r in runs:
                wanted[r.condition].update(p for p in names if applies(p, r.config))
            here = ("lag", "sweeps", name)
            for p in sweep.probes or ():
                if not any(applies(p, r.config) for r in runs):
                    raise self._wrong(
                        f"{p} needs {PROBES[p].needs}, which no run of the sweep has",
                        (*here, "probes"),
                    )
            held_out = self.config.probes.split == "held_out"
            if names and held_out and any(not r.config.data.probe_fraction for r in runs):
                raise self._wrong(
                    f"held_out, but data.probe_fraction is 0 in sweep {name}: nothing is held out",
                    ("lag", "probes", "split"),
                )
        return {c: tuple(p for p in PROBES if p in names) for c, names in wanted.items()}

    @cached_property
    def figures(self) -> dict[str, str]:
        """The sweep of every figure that shows one: the config's, else the figure's own, if any."""
        own = {f: m.constants.get("SWEEP") for f, m in figure_modules("lag").items()}
        out = {f: sweep for f, sweep in own.items() if sweep in self.sweeps}
        for figure, sweep in self.config.figures.items():
            out.pop(figure, None)
            if sweep is None:
                continue
            here: Path = ("lag", "figures", figure)
            if sweep in self.config.sweeps and sweep not in self.sweeps:
                raise self._wrong(
                    f"sweep {sweep} is null, so there is nothing to draw (set this to null too, or "
                    f"to one of {', '.join(self.sweeps)})",
                    here,
                )
            if sweep not in self.sweeps:
                hint = near(sweep, self.sweeps, "there are")
                raise self._wrong(f"no sweep {sweep!r}; {hint} (null: not drawn)", here)
            out[figure] = sweep
        return out

    @cached_property
    def drawings(self) -> dict[str, Drawing]:
        """Every figure: those of a sweep, then those of each condition with a probe they show."""
        modules = figure_modules("lag")
        out = {}
        for figure, sweep in self.figures.items():
            runs = tuple(dict.fromkeys(r.run for r in self.sweeps[sweep]))
            files = partial(_files, sweep=(sweep,), run=runs)
            out[figure] = Drawing.of(modules[figure], TABLES, files, {"sweep": sweep}, "Study")
        for condition, runs in self.conditions.items():
            for figure, module in modules.items():
                shown = module.constants.get("PROBES", ())
                if probes := [p for p in self.probes[condition] if p in shown]:
                    files = partial(_files, condition=(condition,), run=runs, probe=probes)
                    out[f"{condition}/{figure}"] = Drawing.of(
                        module, TABLES, files, {"condition": condition}, condition
                    )
        return out


def _files(table: Table, **wildcards: Sequence[str]) -> list[str]:
    """The files of a table for the wildcards that its path has."""
    return table.paths(**{k: v for k, v in wildcards.items() if f"{{{k}}}" in table.path})


def applies(probe: str, run: RunConfig) -> bool:
    """Whether a probe can be measured on a run's task."""
    spec, data = PROBES[probe], run.data
    return (
        (data.has_z or not spec.needs_z)
        and (data.k > 1 or not spec.needs_other_z)
        and data.n_candidates >= spec.min_candidates
    )


def _label(point: tuple[tuple[str, Any], ...]) -> str:
    return ", ".join(f"{k.partition('.')[2]} {v}" for k, v in point) or "all"
