"""What a configuration asks for: the runs of every sweep, their conditions, probes and figures.

Imported by the Snakefile at every call, so it imports nothing heavy.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from zscope.config.messages import Path, Sources, mistake, near
from zscope.core.errors import ConfigError
from zscope.studies.lag.config import LagConfig, RunConfig, override
from zscope.studies.lag.probes.registry import PROBES

CONDITION_FIGURES = ("dashboard", "attention_to_z", "logit_lens", "z_dependence")
# The probe whose table a figure of one condition reads, besides the training metrics.
FIGURE_PROBES = {
    "dashboard": ("attention_to_z", "logit_lens", "causal_patching"),
    "attention_to_z": ("attention_to_z",),
    "logit_lens": ("logit_lens",),
    "z_dependence": ("causal_patching", "random_z"),
}


@dataclass(frozen=True)
class SweepRun:
    """A run as a member of one sweep: `label` says what varies there."""

    config: RunConfig
    label: str
    point: tuple[tuple[str, Any], ...]

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
    """The lag study's runs; `sources` as in `config.load`, for messages."""

    config: LagConfig
    sources: Sources = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, config: LagConfig, sources: Sources = ()) -> LagPlan:
        """The plan, with everything in it checked. Raises ConfigError."""
        plan = cls(config, sources)
        _ = plan.runs, plan.probes, plan.figures
        return plan

    @cached_property
    def sweeps(self) -> dict[str, tuple[SweepRun, ...]]:
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
                known = [f"{s}.{k}" for s in sections for k in _keys(s)]
                same = [k for k in known if k.endswith("." + key)]
                close = same or get_close_matches(key, known, n=1)
                raise self._wrong(
                    "a grid key is data., model. or training. and a key of that block, such as "
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
                runs.append(SweepRun(config, _label(point), point))
        seen: dict[str, SweepRun] = {}
        for r in runs:  # two points of a grid may be the same run (fixed_facts at the seed's k)
            seen.setdefault(r.run + r.label, r)
        return tuple(seen.values())

    @cached_property
    def runs(self) -> dict[str, RunConfig]:
        """Every distinct run, by its id."""
        return {r.run: r.config for runs in self.sweeps.values() for r in runs}

    @cached_property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """The runs of every condition, by seed."""
        out: dict[str, list[str]] = {}
        for run, config in sorted(self.runs.items(), key=lambda item: item[1].seed):
            out.setdefault(config.condition_id(), []).append(run)
        return {c: tuple(runs) for c, runs in out.items()}

    @cached_property
    def probes(self) -> dict[str, tuple[str, ...]]:
        """The probes of every condition: those its sweeps ask for and its task has."""
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
        """The sweep of every figure of the study that is drawn."""
        out: dict[str, str] = {}
        for figure, sweep in self.config.figures.items():
            if sweep is None:
                continue
            here: Path = ("lag", "figures", figure)
            if sweep in self.config.sweeps and sweep not in self.sweeps:
                raise self._wrong(
                    f"sweep {sweep} is null, so there is nothing to draw (null here too, or "
                    f"another of {', '.join(self.sweeps)})",
                    here,
                )
            if sweep not in self.sweeps:
                hint = near(sweep, self.sweeps, "there are")
                raise self._wrong(f"no sweep {sweep!r}; {hint} (null: not drawn)", here)
            out[figure] = sweep
        return out

    def condition_figures(self, condition: str) -> tuple[str, ...]:
        """The figures of one condition: those whose probes were all asked for and apply."""
        have = set(self.probes[condition])
        return tuple(f for f in CONDITION_FIGURES if have & set(FIGURE_PROBES[f]))


def applies(probe: str, run: RunConfig) -> bool:
    """Whether a probe can be measured on a run's task at all."""
    spec, data = PROBES[probe], run.data
    return (
        (data.has_z or not spec.needs_z)
        and (data.k > 1 or not spec.needs_other_z)
        and data.n_candidates >= spec.min_candidates
    )


def _keys(section: str) -> list[str]:
    return list(type(getattr(RunConfig(), section)).model_fields)


def _label(point: tuple[tuple[str, Any], ...]) -> str:
    return ", ".join(f"{k.partition('.')[2]} {v}" for k, v in point) or "all"
