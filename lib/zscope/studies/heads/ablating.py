"""Which heads are ablated for which behaviour, and what it costs: tables heads_screen, _ablations.

The screen and the effects are measured on different sequences, so that a head is not chosen by the
noise that its effect is then measured with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.core.errors import ConfigError
from zscope.core.provenance import derive_seed
from zscope.models.attention_view import AttentionView, Edit
from zscope.models.head_edits import resample_z, set_z, zero_z
from zscope.models.head_effects import (
    direct_effects,
    first_order_effects,
    logits_under,
    mean_z,
)
from zscope.stats import bootstrap_interval, finite
from zscope.studies.heads.behaviours import Behaviour, Piece
from zscope.studies.heads.config import AblationConfig, AblationKind
from zscope.studies.heads.head_sets import (
    Head,
    Heads,
    count_anywhere,
    count_like,
    heads_text,
    random_beside,
    sets_anywhere,
    sets_like,
)
from zscope.studies.heads.questions import Question
from zscope.studies.heads.tables import LESS, OUTSIDE, RANKED, SET, THEMSELVES
from zscope.tables.schema import Row
from zscope.verdicts import LEAST_DRAWS

CHUNK = 20  # random sets between two looks at whether more of them can change the verdict
TIE = 1e-12  # effects that are equal in exact arithmetic are ties


@dataclass(frozen=True, eq=False)
class Ablated:
    """A behaviour of a model, and the effects that were measured on it so far.

    mean_of: the same behaviour on the sequences that the means are taken over; None: on its own.
    """

    view: AttentionView
    behaviour: Behaviour
    bootstrap: Bootstrap
    mean_of: Behaviour | None = None
    _effects: dict[tuple[Heads, AblationKind], Float[np.ndarray, " n"]] = field(
        default_factory=dict, init=False
    )
    _harm: list[Float[np.ndarray, " n"]] = field(default_factory=list, init=False)

    @cached_property
    def z_bar(self) -> Float[Tensor, "layer head d_head"]:
        """The mean z over the sequences of `mean_of`, at the ablated positions."""
        at, pieces = self.behaviour.at, (self.mean_of or self.behaviour).pieces
        sizes = [len(p.tokens) * (1 if at is not None else p.tokens.shape[1]) for p in pieces]
        means = [mean_z(self.view, self._tokens(p), at) for p in pieces]
        total = sum((m * n for m, n in zip(means, sizes, strict=True)), torch.zeros_like(means[0]))
        return total / sum(sizes)

    def _tokens(self, piece: Piece) -> Tensor:
        return piece.tokens.to(self.view.device)

    @property
    def runs(self) -> Hashable:
        """What its runs depend on: behaviours with the same ones can be read off one run."""
        of = self.behaviour, self.mean_of or self.behaviour
        tokens = tuple((id(p.tokens), p.read) for b in of for p in b.pieces)
        return id(self.view), tokens, self.behaviour.at

    def effects(
        self, cases: Sequence[Heads], kind: AblationKind = "mean"
    ) -> list[Float[np.ndarray, " n"]]:
        """Rise of the harm of each sequence with these heads ablated, for every case."""
        measure_together([self], cases, kind)
        return [self._effects[c, kind] for c in cases]

    def harm(self) -> Float[np.ndarray, " n"]:
        """Of each sequence, without ablation."""
        if not self._harm:
            _measure_group([self], [], "mean")
        return self._harm[0]

    def lacks(self, heads: Heads, kind: AblationKind) -> bool:
        """Whether the effect of these heads is still to be measured."""
        return (heads, kind) not in self._effects

    def _edits(self, heads: Heads, kind: AblationKind, n: int) -> list[Edit]:
        at, layers = self.behaviour.at, Counter(layer for layer, _ in heads)
        edits = []
        for layer in sorted(layers):
            of = [h for i, h in heads if i == layer]
            if kind == "mean":
                edits.append(set_z(layer, self.z_bar[layer], of, at))
            elif kind == "zero":
                edits.append(zero_z(layer, of, at))
            else:
                edits.append(resample_z(layer, torch.arange(n).roll(1), of, at))
        return edits

    def mean(self, effect: Float[np.ndarray, " n"]) -> float:
        """The effect on what is counted, in nats."""
        return float(effect.sum() / self.behaviour.counts.sum())

    def interval(self, effect: Float[np.ndarray, " n"]) -> tuple[float | None, float | None]:
        """Of the mean, over sequences."""
        low, high = bootstrap_interval(effect, self.behaviour.counts, bootstrap=self.bootstrap)
        return finite(float(low)), finite(float(high))

    def row(self, heads: Heads, effect: Float[np.ndarray, " n"], **columns: object) -> Row:
        """A row of table heads_ablations without subject and model."""
        low, high = self.interval(effect)
        return {
            "behaviour": self.behaviour.name,
            "detector": "",
            "draw": THEMSELVES,
            "heads": heads_text(heads),
            "kind": "mean",
            "value": self.mean(effect),
            "ci_low": low,
            "ci_high": high,
            "possible": None,
            "n": int((self.behaviour.counts > 0).sum()),
            **columns,
        }


def measure_together(
    ablated: Iterable[Ablated], cases: Sequence[Heads], kind: AblationKind = "mean"
) -> None:
    """Measure the effect of every case on every behaviour, in as few runs as there can be.

    Behaviours with the same sequences, ablated positions and means are read off the same runs.
    """
    groups: dict[Hashable, list[Ablated]] = {}
    for one in ablated:
        groups.setdefault(one.runs, []).append(one)
    for group in groups.values():
        if new := [c for c in dict.fromkeys(cases) if any(a.lacks(c, kind) for a in group)]:
            _measure_group(group, new, kind)


def _measure_group(group: Sequence[Ablated], cases: Sequence[Heads], kind: AblationKind) -> None:
    first = group[0]
    for other in group[1:]:
        vars(other)["z_bar"] = first.z_bar  # of the same tokens
    parts = []
    for pieces in zip(*(a.behaviour.pieces for a in group), strict=True):
        piece = pieces[0]
        edits = [first._edits(heads, kind, len(piece.tokens)) for heads in cases]
        runs = logits_under(first.view, first._tokens(piece), edits, piece.read)
        harms = [torch.stack([p.y(logits) for p in pieces]) for logits in runs]
        parts.append(torch.stack(harms).double().cpu().numpy())
    clean, *ablated = np.concatenate(parts, -1)  # [case, behaviour, n]
    for one, harm in zip(group, clean, strict=True):
        one._harm[:] = [harm]
    for heads, effects in zip(cases, ablated, strict=True):
        for one, harm, before in zip(group, effects, clean, strict=True):
            one._effects[heads, kind] = harm - before


@dataclass(frozen=True, eq=False)
class Screen:
    """First-order effects of every head on a behaviour; direct ones where it has one position."""

    first_order: Float[np.ndarray, "layer head"]
    direct: Float[np.ndarray, "layer head"] | None

    def rows(self, behaviour: Behaviour) -> Iterator[Row]:
        for layer, head in np.ndindex(self.first_order.shape):
            yield {
                "behaviour": behaviour.name,
                "layer": layer,
                "head": head,
                "value": float(self.first_order[layer, head]),
                "direct": None if self.direct is None else float(self.direct[layer, head]),
                "n": int((behaviour.counts > 0).sum()),
            }

    def top(self, k: int) -> Heads:
        """The k heads whose ablation should hurt most, none that it should help; ascending."""
        order = np.argsort(-self.first_order, axis=None, kind="stable")
        ranked = [divmod(int(i), self.first_order.shape[1]) for i in order]
        kept = [h for h in ranked if self.first_order[h] > 0]
        return tuple(sorted(kept[:k]))


def screen(ablated: Ablated) -> Screen:
    """One forward and backward pass for all heads."""
    view, behaviour = ablated.view, ablated.behaviour
    total = torch.zeros(view.n_layers, view.n_heads, dtype=torch.float64)
    direct: Tensor | None = torch.zeros_like(total) if behaviour.at is not None else None
    for piece in behaviour.pieces:
        tokens = piece.tokens.to(view.device)
        found = first_order_effects(view, tokens, piece.y, ablated.z_bar, piece.read, behaviour.at)
        total += found.double().sum(1).cpu()
        if direct is not None:
            try:
                assert behaviour.at is not None
                found = direct_effects(view, tokens, piece.y, ablated.z_bar, behaviour.at)
                direct += found.double().sum(1).cpu()
            except ConfigError:
                direct = None  # the model's residual stream is of another form
    n = behaviour.counts.sum()
    return Screen((total / n).numpy(), None if direct is None else (direct / n).numpy())


def ablation_rows(
    effects: Mapping[str, Ablated],
    ranks: Mapping[str, Ablated],
    screens: Mapping[str, Screen],
    questions: Sequence[Question],
    config: AblationConfig,
    *,
    alpha: float,
    seed: int,
) -> Iterator[Row]:
    """Rows of table heads_ablations of one model, without its subject and name.

    effects, ranks, screens: by behaviour, on sequences of their own: of the effects, of the ranks
    among random sets, and of the choice of heads. Questions whose behaviours are not there are left
    out.
    """
    any_effects = next(iter(effects.values()), None)
    if any_effects is not None:
        n_heads = any_effects.view.n_heads
        of_layers = [
            ((layer, h),) for layer in _exact(any_effects.view, config) for h in range(n_heads)
        ]
        measure_together(effects.values(), of_layers)
    there = effects.keys() & ranks.keys()
    asked = [q for q in questions if {q.own, q.control} <= there]
    for name, ablated in effects.items():
        of_this = [q for q in asked if q.own == name]
        rng = np.random.default_rng(derive_seed(seed, f"random heads {name}"))
        yield from _single_rows(ablated, screens[name], of_this, config, rng)
    for q in asked:
        rng = np.random.default_rng(derive_seed(seed, f"random sets {q.detector}"))
        yield from _set_rows(effects, ranks, screens[q.own], q, config, alpha, rng)


def _exact(view: AttentionView, config: AblationConfig) -> list[int]:
    """The layers in which every head is ablated."""
    return [layer for layer in config.exact_layers if layer < view.n_layers]


def _single_rows(
    ablated: Ablated,
    screened: Screen,
    questions: Sequence[Question],
    config: AblationConfig,
    rng: np.random.Generator,
) -> Iterator[Row]:
    """One head at a time: those of the exact layers, of the screen, named, and random ones.

    By every kind of ablation those that are named by all rows, and as many random ones.
    """
    view = ablated.view
    groups: list[tuple[str, str, Sequence[Head]]] = [
        ("layer", "", [(x, head) for x in _exact(view, config) for head in range(view.n_heads)]),
        ("screen", "", screened.top(config.top_k)),
        *(("named", q.detector, q.named) for q in questions),
    ]
    chosen = {h for q in questions for h in q.named} | set(screened.top(config.top_k))
    by_all_rows = {h for q in questions for h in q.by_all_rows}
    groups.append(("random", "", random_beside(chosen, view.n_heads, rng)))
    beside = set(random_beside(by_all_rows, view.n_heads, rng))
    for by, detector, heads in groups:
        others = beside if by == "random" else by_all_rows if by == "named" else set()
        for kind in config.kinds:
            cases = [(head,) for head in heads if kind == "mean" or head in others]
            for case, effect in zip(cases, ablated.effects(cases, kind), strict=True):
                yield ablated.row(case, effect, chosen_by=by, detector=detector, kind=kind)


def _set_rows(
    effects: Mapping[str, Ablated],
    ranks: Mapping[str, Ablated],
    screened: Screen,
    q: Question,
    config: AblationConfig,
    alpha: float,
    rng: np.random.Generator,
) -> Iterator[Row]:
    """The named heads together, or where there are none those that the screen ranks highest.

    With each go the control, the difference from it, and random sets: of the same layers for named
    heads, which were found by their patterns, and of all layers for the others, which the screen
    chose from all.
    """
    own, control, ranked = effects[q.own], effects[q.control], ranks[q.own]
    n_layers, n_heads = own.view.n_layers, own.view.n_heads
    heads = q.named or screened.top(config.top_k)
    if q.named:
        like = sets_like(q.named, n_heads, config.draws, rng)
        possible = count_like(q.named, n_heads)
    elif heads:
        like = sets_anywhere(heads, n_layers, n_heads, config.draws, rng)
        possible = count_anywhere(len(heads), n_layers, n_heads)
    else:
        return
    by = SET if q.named else OUTSIDE
    yield from _one_set(by, q, heads, own, control, ranked, like, possible, config.draws, alpha)


def _one_set(
    by: str,
    q: Question,
    heads: Heads,
    own: Ablated,
    control: Ablated,
    ranked: Ablated,
    others: Iterator[Heads],
    possible: int,
    draws: int,
    alpha: float,
) -> Iterator[Row]:
    columns = {"chosen_by": by, "detector": q.detector, "possible": possible}
    (effect,), (on_control,) = own.effects([heads]), control.effects([heads])
    yield own.row(heads, effect, **columns)
    yield control.row(heads, on_control, **columns)
    yield {**own.row(heads, effect, **columns), **_difference(own, effect, control, on_control)}
    (among,) = ranked.effects([heads])
    yield ranked.row(heads, among, draw=RANKED, **columns)
    value, planned = ranked.mean(among), min(draws, possible)
    hits = drawn = 0
    while some := list(islice(others, CHUNK)):
        for other, of_other in zip(some, ranked.effects(some), strict=True):
            yield ranked.row(other, of_other, draw=drawn, **columns)
            hits += ranked.mean(of_other) >= value - TIE
            drawn += 1
        if (1 + hits) / (1 + planned) >= alpha and drawn >= min(LEAST_DRAWS, planned):
            return  # whatever the other draws give, the set is like the random ones


def _difference(
    own: Ablated,
    effect: Float[np.ndarray, " n"],
    control: Ablated,
    on_control: Float[np.ndarray, " m"],
) -> Row:
    """Effect on the behaviour less that on the control, with an interval over both's sequences.

    The two are resampled apart, which is too wide where they are the same sequences.
    """
    rng = np.random.default_rng([own.bootstrap.seed, 2])

    def resampled(ablated: Ablated, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " draws"]:
        n = len(values)
        chosen = rng.multinomial(n, np.full(n, 1 / n), size=own.bootstrap.resamples)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (chosen @ values) / (chosen @ ablated.behaviour.counts)

    draws = resampled(own, effect) - resampled(control, on_control)
    low, high = np.nanquantile(draws, own.bootstrap.tails)
    return {
        "behaviour": f"{own.behaviour.name}{LESS}{control.behaviour.name}",
        "value": own.mean(effect) - control.mean(on_control),
        "ci_low": finite(float(low)),
        "ci_high": finite(float(high)),
        "n": int(min((own.behaviour.counts > 0).sum(), (control.behaviour.counts > 0).sum())),
    }
