"""Which components serve a primitive: chosen by importance on some sequences, tested on others.

A chosen component is ablated by taking its U V^T out of its matrix; Delta stays, so what is
compared with is the target itself. The effect is the rise of the exact excess of each primitive.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.models.tensor_heads import Head, ReplacedHeads, head_name, mean_z
from zscope.models.tensor_transformer import TensorTransformer
from zscope.stats import random_sign_flips
from zscope.studies.components.decomposition.config import SelectivityConfig
from zscope.studies.components.decomposition.descriptions import Oriented
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.training import ALIVE
from zscope.tables.schema import Row
from zscope.verdicts import UNKNOWN, all_of, draw_test, special

Component = tuple[int, int]  # matrix, component
STRICT, LOOSE = "strict", "loose"
CHOSEN, RANDOM, ONE_HEAD, IN_HEAD = "components", "random", "head", "in_head"
NONE = "none"
NEIGHBOUR = 0.5
"""Width of the match of random components, in nats of mean importance and of norm: of two, one that
is a factor of e^.5 nearer is drawn e^.5 times as often."""


@dataclass(frozen=True)
class Rule:
    """A component is chosen if its mean importance on the primitive is above `importance`, and
    above `lift` times that elsewhere."""

    name: str
    importance: float
    lift: float


def rules_of(config: SelectivityConfig) -> tuple[Rule, Rule]:
    return (
        Rule(STRICT, config.importance, config.lift),
        Rule(LOOSE, config.loose_importance, config.loose_lift),
    )


def chosen_components(run: Run, primitive: str, rule: Rule) -> set[Component]:
    on, off = run.mean_by_primitive[primitive], run.mean_elsewhere[primitive]
    kept = (on > rule.importance) & (on > rule.lift * off)
    return {(int(row), int(c)) for row, c in kept.nonzero().tolist()}


@torch.no_grad()
def without(
    run: Run, components: Iterable[Component], head: Head | None = None
) -> TensorTransformer:
    """The target with components taken out of its matrices.

    head: the one that loses them: its rows of U for queries, keys and values, and of o the slice of
    V that reads it; matrices of other layers stay. None: all.
    """
    model = deepcopy(run.model)
    names = run.decomposition.matrices
    of: dict[int, list[int]] = {}
    for row, c in components:
        of.setdefault(row, []).append(c)
    vectors = list(_vectors(run))
    for row, some in of.items():
        layer, name = names[row].split(".")
        if head is not None and int(layer) != head[0]:
            continue
        V, U = vectors[row]
        lost = (V[:, some] @ U[some]).mT
        if head is not None:
            size = model.config.d_head
            kept = torch.zeros(model.config.n_heads * size, dtype=lost.dtype)
            kept[head[1] * size : (head[1] + 1) * size] = 1
            lost = lost * (kept if name == "o" else kept[:, None])
        getattr(model.blocks[int(layer)].attn, name).weight -= lost
    return model


def _vectors(run: Run) -> Iterable[tuple[Tensor, Tensor]]:
    d = run.decomposition
    for V, U in zip(d.V, d.U, strict=True):
        yield from zip(V, U, strict=True)


def rises(run: Run, model: torch.nn.Module) -> Float[np.ndarray, "n seq-1"]:
    """How much the excess of every position rises."""
    return run.evaluation.excess(model) - run.excess


@dataclass(frozen=True, eq=False)
class Pool:
    """Alive components, and how alike they are.

    Attributes:
        features: ln of mean importance and of norm.
    """

    alive: Float[np.ndarray, "matrices component"]
    features: Float[np.ndarray, "matrices component feature"]

    @classmethod
    def of(cls, run: Run, found: Oriented) -> Pool:
        mean = run.mean_by_primitive["all"].double().numpy()
        norms = found.norms.detach().double().numpy()
        features = np.log(np.maximum(np.stack([mean, norms], -1), 1e-9))
        return cls(mean > ALIVE, features)

    def draw(self, like: set[Component], rng: np.random.Generator) -> set[Component]:
        """As many others of the same matrices that are alive, each drawn near one of these. A
        matrix in which fewer are left gives all that it has."""
        taken: set[Component] = set()
        for row, c in sorted(like):
            others = [
                i
                for i in np.flatnonzero(self.alive[row])
                if (row, int(i)) not in like and (row, int(i)) not in taken
            ]
            if not others:
                continue
            d = self.features[row, others] - self.features[row, c]
            weights = np.exp(-0.5 * np.square(d / NEIGHBOUR).sum(1)) + 1e-12
            taken.add((row, int(rng.choice(others, p=weights / weights.sum()))))
        return taken

    def means(self, some: set[Component]) -> tuple[float, float]:
        """Geometric means of mean importance and norm of a set."""
        if not some:
            return float("nan"), float("nan")
        rows, columns = zip(*some, strict=True)
        mean = np.exp(self.features[list(rows), list(columns)].mean(0))
        return float(mean[0]), float(mean[1])


@dataclass(frozen=True)
class Effects:
    """Rows of the rises of every set, and of the tests of every chosen set."""

    rises: list[Row]
    tests: list[Row]


def measure_effects(
    choosing: Run, scoring: Run, found: Oriented, config: SelectivityConfig, seed: int
) -> Effects:
    """Rises by primitive of every set: the components chosen for each primitive by each rule,
    random sets like them, and every single head at its mean. Tests of the chosen sets."""
    pool = Pool.of(choosing, found)
    rows: list[Row] = []
    tests: list[Row] = []
    for rule in rules_of(config):
        for primitive in choosing.primitives:
            named = {"chosen_for": primitive, "rule": rule.name}
            chosen = chosen_components(choosing, primitive, rule)
            rise, null = None, []
            if chosen:
                rise = rises(scoring, without(scoring, chosen))
                rows += _rows(scoring, rise, chosen, pool, {**named, "set": CHOSEN, "draw": -1})
                if rule.name == STRICT:
                    rows += _in_each_head(scoring, chosen, pool, named)
            rng = np.random.default_rng(derive_seed(seed, f"sets {rule.name} {primitive}"))
            for draw in range(config.draws if chosen else 0):
                some = pool.draw(chosen, rng)
                null.append(rises(scoring, without(scoring, some)))
                of = {**named, "set": RANDOM, "draw": draw}
                rows += _rows(scoring, null[-1], some, pool, of)
            most = _most_elsewhere(choosing, chosen, primitive)
            tests.append(
                {
                    **named,
                    "components": len(chosen),
                    **_tests(scoring, rise, null, primitive, most, config, seed),
                }
            )
    return Effects(rows + head_rows(choosing, scoring), tests)


def _most_elsewhere(run: Run, chosen: set[Component], primitive: str) -> str | None:
    """The other primitive that suffers most, on the sequences that components are chosen on."""
    others = [name for name in run.primitives if name != primitive and run.on(name).any()]
    if not chosen or not others:
        return None
    rise = rises(run, without(run, chosen))
    return max(others, key=lambda name: float(rise[run.on(name)].mean()))


NOT_TESTED: Row = {
    **dict.fromkeys(("effect", "effect_p", "effect_least_p", "rank", "elsewhere"), None),
    **dict.fromkeys(("selectivity", "selectivity_p", "selectivity_least_p"), None),
    **dict.fromkeys(("selectivity_rank", "sequences"), None),
    "draws": 0,
    "found": UNKNOWN,
}


def _tests(
    run: Run,
    rise: np.ndarray | None,
    null: list[np.ndarray],
    primitive: str,
    elsewhere: str | None,
    config: SelectivityConfig,
    seed: int,
) -> Row:
    """Both parts of the verdict on a chosen set.

    effect: its rise on the primitive less the mean of the random sets'. selectivity: its rise on
    the primitive less that on the other primitive that suffers most; a random set's is its own
    rise on the primitive less its own largest elsewhere. Each is tested over sequences by sign
    flips, and by its rank among the random sets.
    """
    if rise is None or elsewhere is None or not null or not run.on(primitive).any():
        return {**NOT_TESTED, "elsewhere": elsewhere or NONE}
    rng = np.random.default_rng(derive_seed(seed, f"flips {primitive}"))
    on, other = run.on(primitive), run.on(elsewhere)
    mean_null = np.mean(null, axis=0)
    d = _by_sequence(rise - mean_null, on)
    effect_p, effect_least = _flipped(d, config.flips, rng)
    own = draw_test(_mean(rise, on), np.array([_mean(r, on) for r in null]))
    effect = _mean(rise, on) - _mean(mean_null, on)
    both = on.any(1) & other.any(1)
    apart = _by_sequence(rise[both], on[both]) - _by_sequence(rise[both], other[both])
    apart_p, apart_least = _flipped(apart, config.flips, rng)
    selectivity = _mean(rise, on) - _mean(rise, other)
    rest = [run.on(name) for name in run.primitives if name != primitive]
    largest = [max(_mean(r, mask) for mask in rest) for r in null]
    rank = draw_test(selectivity, np.array([_mean(r, on) for r in null]) - np.array(largest))
    parts = [
        special(effect, effect_p, effect_least, own, config.alpha),
        special(selectivity, apart_p, apart_least, rank, config.alpha),
    ]
    return {
        "effect": effect,
        "effect_p": effect_p,
        "effect_least_p": effect_least,
        "rank": own.hits,
        "elsewhere": elsewhere,
        "selectivity": selectivity,
        "selectivity_p": apart_p,
        "selectivity_least_p": apart_least,
        "selectivity_rank": rank.hits,
        "sequences": len(d),
        "draws": len(null),
        "found": all_of(parts),
    }


def _mean(rise: np.ndarray, mask: np.ndarray) -> float:
    return float(rise[mask].mean())


def _by_sequence(rise: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean over the positions of each sequence that has any."""
    kept = mask.any(1)
    return np.asarray((rise * mask).sum(1)[kept] / mask.sum(1)[kept])


def _flipped(d: np.ndarray, flips: int, rng: np.random.Generator) -> tuple[float, float]:
    """p of a mean of paired differences by random sign flips, and the smallest possible one."""
    if len(d) < 2:
        return 1.0, 1.0
    p = random_sign_flips(d[:, None], rng=rng, flips=flips)[0]
    return float(p), max(2.0 ** (1 - len(d)), 1 / (1 + flips))


def _rows(run: Run, rise: np.ndarray, some: set[Component], pool: Pool, named: Row) -> list[Row]:
    importance, norm = pool.means(some)
    size = {"head": "", "components": len(some), "importance": importance, "norm": norm}
    return [{**named, **size, **row} for row in run.evaluation.by_primitive(rise, "rise")]


def _in_each_head(run: Run, chosen: set[Component], pool: Pool, named: Row) -> list[Row]:
    """Rises with the components taken out of one head alone, for every head that has any."""
    layers = {int(run.decomposition.matrices[row].partition(".")[0]) for row, _ in chosen}
    rows: list[Row] = []
    for layer in sorted(layers):
        for head in range(run.model.config.n_heads):
            rise = rises(run, without(run, chosen, (layer, head)))
            of = {**named, "set": IN_HEAD, "draw": -1}
            some = _rows(run, rise, chosen, pool, of)
            rows += [{**row, "head": head_name(layer, head)} for row in some]
    return rows


def head_rows(choosing: Run, scoring: Run) -> list[Row]:
    """Rises with each head alone at its mean z, which is taken on the other sequences."""
    z = mean_z(scoring.model, choosing.evaluation.tokens)
    c = scoring.model.config
    rows = []
    for at in np.ndindex(c.n_layers, c.n_heads):
        head: Head = (at[0], at[1])
        rise = rises(scoring, ReplacedHeads(scoring.model, {head: z[head]}))
        named = {
            "chosen_for": NONE,
            "rule": NONE,
            "set": ONE_HEAD,
            "draw": -1,
            "head": head_name(*head),
            "components": 0,
            "importance": None,
            "norm": None,
        }
        rows += [{**named, **row} for row in scoring.evaluation.by_primitive(rise, "rise")]
    return rows
