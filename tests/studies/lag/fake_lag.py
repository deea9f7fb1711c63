"""Tables of the lag study as if it had been run: deterministic, small, with the hard cases.

Every run is a logistic curve in log(step) around the two steps that a point of a sweep names:
`known` (set mass rises) and `used` (z gap rises). Seeds shift them, and an onset after the last
step is censored. Random noise is seeded by the run's name.
"""

import math
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd

from zscope.figures.registry import figure_modules
from zscope.figures.tables import Tables
from zscope.studies.lag.onsets import align_onsets, relative_onsets
from zscope.studies.lag.tables import (
    ALIGNMENT,
    CONDITION_ONSETS,
    CONDITION_RUNS,
    CURVES,
    LINEAR,
    METRICS,
    ONSETS,
    PROBE,
    RUNS,
    SUMMARY,
    TABLES,
)

SEEDS = (0, 1, 2, 3, 4)
SHIFT = (0.6, 0.8, 1.0, 1.3, 1.9)
N_LAYERS, N_HEADS, N_FIRST = 2, 4, 36
N_EXAMPLES = 1000
UNEVEN = (-0.1, 0.0, 0.08, -0.04, 0.03)  # attention of untrained heads above uniform
POINT = {
    "task": "bz_to_a",
    "k": 2,
    "design": "fixed_bases",
    "n_unique_b": 100,
    "z_code": "random",
    "z_order": 0,
    "lr": 2e-3,
    "batch_size": 64,
    "steps": 2000,
    "known": 90.0,
    "used": 600.0,
}


def z_order_sweep(seeds=SEEDS):
    """Four orders; one of order 3 and most of order 4 are censored."""
    return sweep(
        [
            {"label": f"z_order {m}", "z_code": "parity", "z_order": m, "n_rows": 1600, "used": u}
            for m, u in ((1, 100.0), (2, 300.0), (3, 1100.0), (4, 1900.0))
        ],
        seeds,
    )


def k_sweep(seeds=SEEDS):
    """K = 1, 5, 20 under both designs; K = 1 has no z gap."""
    points = []
    for design in ("fixed_bases", "fixed_facts"):
        for k in (1, 5, 20):
            bases = 1000 if design == "fixed_bases" else 5000 // k
            known = (0.05 if design == "fixed_bases" else 0.15) * 400 * k**0.6
            points.append(
                {
                    "label": f"k {k}, design {design}",
                    "k": k,
                    "design": design,
                    "n_unique_b": bases,
                    "known": known,
                    "used": known * 1.6,
                }
            )
    return sweep(points, seeds)


def temperature_sweep(seeds=SEEDS):
    return sweep(
        [
            {
                "label": f"lr {lr}, batch_size {b}",
                "k": 5,
                "lr": lr,
                "batch_size": b,
                "known": 0.15 / lr,
                "used": 1.4 / lr * (64 / b) ** 0.5,
            }
            for lr in (5e-4, 1e-3, 2e-3)
            for b in (32, 64, 128)
        ],
        seeds,
    )


def tasks(seeds=SEEDS):
    return sweep(
        [
            {
                "label": f"task {t}",
                "task": t,
                "k": 5,
                "known": 200.0,
                "used": {"bz_to_a": 700.0, "b_to_a": math.inf}.get(t, 250.0),
            }
            for t in ("bz_to_a", "az_to_b", "b_to_a", "a_to_b")
        ],
        seeds,
    )


def linear(seeds=SEEDS):
    rows = []
    for seed in seeds:
        for task, rates, last in (
            ("ill_conditioned_regression", (0.0024, 0.0012, 0.0003), 3000),
            ("planted_selector", (0.0035, 0.003), 2000),
        ):
            for step in [0, *np.unique(np.geomspace(1, last, 30).astype(int)).tolist()]:
                values = [0.5 * math.exp(-r * step * (1 + 0.02 * seed)) for r in rates]
                rows.append((task, "total", seed, step, -1, sum(values)))
                rows += [(task, "component", seed, step, i, v) for i, v in enumerate(values)]
    columns = ["task", "series", "seed", "step", "component", "value"]
    return pd.DataFrame(rows, columns=columns)


def sweep(points, seeds):
    """The tables of a sweep."""
    runs, curves, onsets, summary = [], [], [], []
    for point in points:
        p = POINT | point
        p["n_facts"] = p["n_unique_b"] * p["k"]
        p.setdefault("n_rows", p["n_facts"])
        condition = f"{p['task']}-k{p['k']}-{zlib.crc32(p['label'].encode()):08x}"
        same = {"sweep": "fake", "condition": condition, "label": p["label"]}
        times = []
        for i, seed in enumerate(seeds):
            who = {"run": f"{condition}-s{seed}", "seed": seed}
            runs.append(run_row(p) | same | who)
            series, onset = _run(p, SHIFT[i], who["run"])
            curves += [
                same
                | who
                | {
                    "source": "training",
                    "metric": m,
                    "step": s,
                    "value": v,
                    "ci_low": 0.95 * v,
                    "ci_high": 1.05 * v,
                }
                for m, values in series.items()
                for s, v in zip(_steps(p), values, strict=True)
            ]
            times.append(onset)
            onsets += [
                same
                | who
                | {
                    "source": source,
                    "metric": metric,
                    "onset_step": None if step > p["steps"] else int(step),
                    "censored": bool(step > p["steps"]),
                    "last_step": p["steps"],
                    "threshold": 0.5,
                    "rule": "first of 2 evaluations above 0.5",
                }
                for (source, metric), step in onset.items()
            ]
        summary += [same | row for row in _summary(p, times)]
    onsets = pd.DataFrame(onsets).astype({"onset_step": "Int64"})
    onsets = relative_onsets(onsets)
    return tables_of(
        {
            RUNS: pd.DataFrame(runs),
            CURVES: pd.DataFrame(curves),
            METRICS: pd.DataFrame(curves).assign(split="train", n=N_EXAMPLES),
            ONSETS: onsets,
            SUMMARY: pd.DataFrame(summary),
            ALIGNMENT: pd.DataFrame(align_onsets(onsets, 0.95)).assign(sweep="fake"),
            LINEAR: linear(seeds),
        },
        {"sweep": "fake"},
    )


def tables_of(frames, declared, level=0.95):
    """What a figure is given; the frames are those of Table objects."""
    kept = {t.name: frame[[c.name for c in t.columns]] for t, frame in frames.items()}
    return Tables(kept, level, declared)


def changed(tables, frames):
    """The same tables with other rows in some of them."""
    return replace(tables, frames={**tables.frames, **{t.name: f for t, f in frames.items()}})


def run_row(p):
    has_z = "z" in p["task"]
    n = p["k"] if p["task"] in ("bz_to_a", "b_to_a") else 1
    return {
        c: p[c]
        for c in (
            "task",
            "k",
            "design",
            "n_unique_b",
            "n_facts",
            "n_rows",
            "z_code",
            "z_order",
            "lr",
            "batch_size",
            "steps",
        )
    } | {
        "has_z": has_z,
        "n_candidates": n,
        "log_k": math.log(n),
        "chance_set_mass": n / N_FIRST,
        "uniform_first_loss": math.log(N_FIRST),
        "n_layers": N_LAYERS,
        "d_model": 64,
        "lr_over_batch": p["lr"] / p["batch_size"],
        "eval_every": 50,
    }


def _steps(p):
    return list(range(0, p["steps"] + 1, 50))


def _rise(steps, at, sharp=6.0):
    steps = np.asarray(steps, float)
    if not np.isfinite(at):
        return np.zeros(len(steps))
    return 1 / (1 + (np.maximum(steps, 1e-3) / at) ** -sharp)


def _run(p, shift, name):
    """Training series of a run, and its onsets by (source, metric)."""
    row, steps = run_row(p), _steps(p)
    noise = np.random.default_rng(zlib.crc32(name.encode())).normal(0, 0.01, len(steps))
    known_at, used_at = p["known"] * shift, p["used"] * shift
    known, used = _rise(steps, known_at), _rise(steps, used_at)
    mass = row["chance_set_mass"] + (1 - row["chance_set_mass"]) * known * 0.97
    first = (1 - known) * row["uniform_first_loss"] + known * row["log_k"] * (1 - used)
    clock = np.asarray(steps, float) * p["batch_size"]
    series = {
        "loss": first / 3 + 0.3 * (1 - used),
        "first_loss": np.abs(first + noise),
        "first_accuracy": known * (1 / row["n_candidates"] + (1 - 1 / row["n_candidates"]) * used),
        "set_mass": np.clip(mass + noise, 0, 1),
        "examples_seen": clock,
        "epochs_per_fact": clock / p["n_rows"],
    }
    at = {
        # Half of a uniform guess's loss: a model with few candidates passes it without z.
        "first_loss": max(known_at, used_at if row["n_candidates"] > 6 else 0),
        "set_mass": known_at,
    }
    if row["n_candidates"] > 1:
        k = row["n_candidates"]
        series |= {
            "candidate_loss": 1e-3 + np.abs(math.log(k) * (1 - used) * (1 + 0.1 * known) + noise),
            "candidate_accuracy": np.clip(1 / k + (1 - 1 / k) * used + noise, 0, 1),
            "candidate_top3": np.clip(min(3, k) / k + (1 - min(3, k) / k) * used, 0, 1),
        }
        at |= {
            "first_loss_over_log_k": max(known_at, used_at),
            "candidate_loss": used_at * 1.05,
            "candidate_accuracy": used_at * 1.02,
        }
    if row["has_z"] and p["k"] > 1:
        series["z_gap"] = 5 * used + noise
        at |= {"z_gap": used_at}
    onset = {("training", m): math.ceil(v / 50) * 50 if v < 1e9 else 1e9 for m, v in at.items()}
    if "z_gap" in at:
        for probe, factor in (("attention_to_z", 0.8), ("causal_patching", 1.1)):
            onset[probe, "z_dependence" if factor > 1 else "attention_above_untrained"] = (
                math.ceil(used_at * factor / 200) * 200
            )
    return series, onset


def _summary(p, times):
    clocks = {
        "steps": 1.0,
        "examples": p["batch_size"],
        "epochs per fact": p["batch_size"] / p["n_rows"],
    }
    for source, metric in times[0]:
        values = [t[source, metric] for t in times]
        yield from _medians(source, metric, values, p["steps"], clocks)
    if ("training", "z_gap") in times[0]:
        lags = [
            t["training", "z_gap"] - t["training", "set_mass"]
            if t["training", "z_gap"] <= p["steps"]
            else 1e9
            for t in times
        ]
        yield from _medians("training", "lag", lags, p["steps"], clocks)


def _medians(source, metric, values, last, clocks):
    ordered = sorted((v if v <= last else math.inf) for v in values)
    for unit, rate in clocks.items():
        low, middle, high = (
            v * rate if math.isfinite(v) else None
            for v in (ordered[0], ordered[len(ordered) // 2], ordered[-1])
        )
        yield {
            "source": source,
            "metric": metric,
            "unit": unit,
            "n": len(values),
            "n_censored": sum(v > last for v in values),
            "median": middle,
            "ci_low": low,
            "ci_high": high,
        }


# --- one condition ---------------------------------------------------------------------------


def condition(tables=None, label="z_order 3", probes=True):
    """One condition of a sweep, with its probes (none of them if `probes` is false)."""
    tables = tables or z_order_sweep()
    runs, onsets = (tables.get(table, label=label) for table in (RUNS, ONSETS))
    frames = {
        METRICS: tables.get(CURVES, label=label).assign(split="train", n=N_EXAMPLES),
        CONDITION_RUNS: runs,
        CONDITION_ONSETS: onsets,
    }
    if probes:
        rows = [r for run in runs.to_dict("records") for r in _probe_rows(run, onsets)]
        frames[PROBE] = pd.DataFrame(rows).astype({"layer": "Int64", "head": "Int64"})
    return tables_of(frames, {"condition": runs["condition"].iloc[0]})


def _probe_rows(run, onsets):
    of_run = onsets[onsets["run"] == run["run"]].set_index(["source", "metric"])["onset_step"]
    known = float(of_run["training", "set_mass"])
    used = of_run.get(("training", "z_gap"), pd.NA)
    used = 2 * run["steps"] if pd.isna(used) else float(used)
    steps = [0, 1, 2, 4, 8, 16, 32, 64, *range(200, run["steps"] + 1, 200)]

    def row(probe, metric, step, value, layer=None, head=None, baseline=False):
        width = math.nan if baseline else 0.03
        return {
            "run": run["run"],
            "seed": run["seed"],
            "step": step,
            "probe": probe,
            "layer": layer,
            "head": head,
            "metric": metric,
            "value": value,
            "ci_low": value - width,
            "ci_high": value + width,
            "n": N_EXAMPLES,
        }

    last = run["n_layers"] - 1
    for step in steps:
        k, u = (float(_rise([step], at)[0]) for at in (known, used))
        yield row("attention_to_z", "uniform_attention", step, 0.5, baseline=True)
        yield row("attention_to_z", "uniform_entropy", step, math.log(8), baseline=True)
        for layer in range(run["n_layers"]):
            yield row(
                "causal_patching", "probability_shift", step, 0.9 * u * (1 - layer / 3), layer
            )
            for head in range(N_HEADS):
                share = 0.4 if (head + run["seed"]) % N_HEADS == layer else 0.02 * head
                start = 0.5 + UNEVEN[(2 * head + layer + run["seed"]) % len(UNEVEN)]
                yield row("attention_to_z", "attention", step, start + share * u, layer, head)
                yield row(
                    "attention_to_z", "entropy", step, math.log(8) - share * 3 * u, layer, head
                )
                yield row("causal_patching", "head_probability_shift", step, share * u, layer, head)
            for i, at in enumerate(("pre", "mid", "post")):
                if at == "pre" and layer:
                    continue
                depth = (2 * layer + i) / (2 * last + 2)
                for metric, value in (
                    ("probability", depth * u),
                    ("accuracy", depth * (0.5 * k + 0.5 * u)),
                    ("rank", 1 + 17 * (1 - depth * u)),
                    ("entropy", 3.6 * (1 - depth * k)),
                    ("set_mass", 0.06 + 0.9 * depth * k),
                ):
                    yield row("logit_lens", f"{metric}_resid_{at}", step, value, layer)
        yield row("causal_patching", "probability_shift", step, 0.0, run["n_layers"])
        yield row("causal_patching", "z_dependence", step, 0.95 * u)
        first = (1 - k) * 3.6 + k * 0.7 * (1 - u)
        for metric, value in (
            ("first_loss", first),
            ("first_loss_other_z", first + 5 * u),
            ("z_gap", 5 * u),
            ("accuracy", 0.5 * k + 0.5 * u),
            ("accuracy_other_z", 0.5 * k * (1 - u)),
        ):
            yield row("random_z", metric, step, value)


# --- what every figure is drawn from ---------------------------------------------------------

SWEEPS = {
    "candidate_eval": k_sweep,
    "k_sweep": k_sweep,
    "linear_contrast": z_order_sweep,
    "tasks": tasks,
    "temperature_sweep": temperature_sweep,
    "transition_alignment": z_order_sweep,
    "z_order_sweep": z_order_sweep,
}
CONDITION_FIGURES = ("attention_to_z", "dashboard", "logit_lens", "z_dependence")


def figure_tables(level: float = 0.95) -> dict[str, dict[str, Tables]]:
    """For every figure its tables: of all seeds (full), of one seed (one), and without rows."""
    found = {}
    for name in (*SWEEPS, *CONDITION_FIGURES):
        needs = figure_modules("lag")[name].needs
        make = SWEEPS.get(name, lambda seeds=SEEDS: condition(z_order_sweep(seeds)))
        found[name] = {"full": make(), "one": make(seeds=(0,)), "empty": make()}
        for case, tables in found[name].items():
            frames = {
                t.name: tables.frames[t.name].iloc[: 0 if case == "empty" else None]
                for t in TABLES
                if t.short.upper() in needs
            }
            found[name][case] = replace(tables, frames=frames, level=level)
    return found
