"""What a configuration asks for: the runs of every sweep, their conditions, probes and figures.

Imported by the Snakefile at every call, so it imports nothing heavy.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zscope.config import NAME, LagConfig, RunConfig, override
from zscope.errors import ConfigError
from zscope.probes.registry import PROBES

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
    """The lag study's runs."""

    config: LagConfig

    @classmethod
    def of(cls, config: LagConfig) -> LagPlan:
        """The plan, with everything in it checked. Raises ConfigError."""
        plan = cls(config)
        _ = plan.runs, plan.probes, plan.figures
        return plan

    @cached_property
    def sweeps(self) -> dict[str, tuple[SweepRun, ...]]:
        found = {n: s for n, s in self.config.sweeps.items() if s is not None}
        if not found:
            raise ConfigError("config key lag.sweeps: every sweep is null; nothing to run")
        for name in found:
            if not NAME.fullmatch(name):
                raise ConfigError(
                    f"config key lag.sweeps.{name}: a name is lower-case letters, digits and _"
                )
        return {name: self._expand(name) for name in found}

    def _expand(self, name: str) -> tuple[SweepRun, ...]:
        sweep = self.config.sweeps[name]
        assert sweep is not None
        where = f"lag.sweeps.{name}"
        sections = {"data": sweep.data, "model": sweep.model, "training": sweep.training}
        runs = []
        for values in itertools.product(*sweep.grid.values()):
            point = tuple(zip(sweep.grid, values, strict=True))
            varied = _nested(where, point)
            merged = {key: {**sections[key], **varied.get(key, {})} for key in sections}
            for seed in sweep.seeds:
                config = override(self.config.run, _at(where, point), **merged, seed=seed)
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
            if sweep.probes and not any(applies(p, r.config) for p in sweep.probes for r in runs):
                raise ConfigError(
                    f"config key lag.sweeps.{name}.probes: none of {', '.join(sweep.probes)} "
                    "applies to any run of the sweep: they need z, or more than one target"
                )
            for p in sweep.probes or ():
                if not any(applies(p, r.config) for r in runs):
                    raise ConfigError(
                        f"config key lag.sweeps.{name}.probes: {p} needs "
                        f"{PROBES[p].needs}, which no run of the sweep has"
                    )
        return {c: tuple(p for p in PROBES if p in names) for c, names in wanted.items()}

    @cached_property
    def figures(self) -> dict[str, str]:
        """The sweep of every figure of the study that is drawn."""
        out = {}
        for figure, sweep in self.config.figures.items():
            if sweep is None:
                continue
            if sweep not in self.sweeps:
                raise ConfigError(
                    f"config key lag.figures.{figure}: no sweep {sweep}; there are "
                    f"{', '.join(self.sweeps)} (or null: not drawn)"
                )
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


def _nested(where: str, point: tuple[tuple[str, Any], ...]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for key, value in point:
        section, _, name = key.partition(".")
        if section not in ("data", "model", "training") or not name:
            raise ConfigError(
                f"config key {where}.grid.{key}: a grid key is data., model. or training. and a "
                "key of that block, such as data.k"
            )
        out.setdefault(section, {})[name] = value
    return out


def _at(where: str, point: tuple[tuple[str, Any], ...]) -> str:
    return f"{where} (grid: {_label(point)})" if point else where


def _label(point: tuple[tuple[str, Any], ...]) -> str:
    return ", ".join(f"{k.partition('.')[2]} {v}" for k, v in point) or "all"


def find(mapping: Mapping[str, Any], key: str, what: str) -> Any:
    """`mapping[key]`, or a ConfigError that says what there is."""
    if key not in mapping:
        raise ConfigError(f"no {what} {key}; there are {', '.join(mapping)}")
    return mapping[key]
