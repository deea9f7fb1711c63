"""Suppression: does `never` before a name lower its top verb, as far back as it should?

A prefix that ends in a name and holds one `never` is paired with the same prefix with another token
in place of `never`. Cases:

- "with never", "without never": p_top, the probability of the name's top verb, by distance x.
- "within window", "beyond window": drop = p_top without never - p_top with never. Within: distances
  up to the program's window. Beyond: as many distances after it, where nothing may change.
- "placebo": the drop between two prefixes that both lack `never`; it shows the effect of any edit.
- "L1H2 ablated": the drop within the window with the head's z replaced by its mean, for every
  head. `change` is this drop minus the intact model's. `by_weights` is read from the weights: the
  nats by which the head lowers the top verb's logit against the name's other verbs. "named L1H2
  ablated": the same for the head with the largest `by_weights`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from zscope.config.base import Bootstrap
from zscope.models.tensor_heads import ReplacedHeads, head_name, mean_z
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.toylang.phenomena.experiment_rows import ExperimentRows
from zscope.studies.toylang.phenomena.prefixes import Forward, Prefixes, distinct, probabilities
from zscope.studies.toylang.readouts.program_truth import verbs_of_names
from zscope.studies.toylang.readouts.suppression import head_drops
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.tables.schema import Row
from zscope.toy_language.language import ToyLanguage

SEQUENCES = 4096  # searched for prefixes
PER_DISTANCE = 48  # prefixes
FOR_MEANS = 256  # sequences over which a head's mean is taken


@dataclass(frozen=True, eq=False)
class Pairs:
    """The same prefixes with `never`, and with two other tokens in its place."""

    with_never: Prefixes
    without: Prefixes
    placebo: Prefixes
    distance: Int[np.ndarray, " n"]
    top: Int[np.ndarray, " n"]  # the name's top verb
    within: Bool[np.ndarray, " n"]  # `never` is in the program's window


def find_pairs(
    language: ToyLanguage, tokens: Int[np.ndarray, "n seq"], rng: np.random.Generator
) -> Pairs | None:
    """At most one pair per sequence; None if there is none.

    The tokens in place of `never` are drawn from the program's distribution there, restricted to
    tokens after which it can produce the rest of the prefix.
    """
    window = language.config.suppress.window
    sequence, last, distance = _candidates(language, tokens, 2 * window)
    chosen = distinct(sequence, distance, PER_DISTANCE, rng)
    distance = distance[chosen]
    prefixes = Prefixes(language, tokens[sequence[chosen]], last[chosen])
    place = prefixes.last - distance
    first, second, found = _replacements(prefixes, place, rng)
    if not found.any():
        return None
    prefixes, place, distance = prefixes[found], place[found], distance[found]
    names = language.vocabulary.members["name"]
    top_of = np.zeros(len(language.vocabulary), dtype=np.int64)
    top_of[names] = [verbs[0] for verbs in verbs_of_names(language)]
    name = prefixes.tokens[np.arange(len(place)), prefixes.last]
    return Pairs(
        prefixes,
        prefixes.edited(place, first[found]),
        prefixes.edited(place, second[found]),
        distance,
        top_of[name],
        distance <= window,
    )


def _candidates(
    language: ToyLanguage, tokens: Int[np.ndarray, "n seq"], farthest: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Sequence, position of a name, and distance back to the only `never` before it."""
    is_name = np.isin(tokens, language.vocabulary.members["name"])
    is_name[:, -1] = False  # nothing follows
    never = tokens == language.vocabulary.ids["never"]
    distance = np.arange(tokens.shape[1]) - never.argmax(axis=1)[:, None]
    only = never.cumsum(axis=1) == 1
    sequence, last = np.nonzero(is_name & only & (distance <= farthest))
    return sequence, last, distance[sequence, last]


def _replacements(
    prefixes: Prefixes, place: Int[np.ndarray, " n"], rng: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Two different tokens for a place of each prefix, and whether there are two."""
    n, size = len(place), len(prefixes.language.vocabulary)
    tried = prefixes[np.repeat(np.arange(n), size)].edited(
        np.repeat(place, size), np.tile(np.arange(size), n)
    )
    weight = prefixes.drawn_at(place) * tried.possible.reshape(n, size)
    weight[:, prefixes.language.vocabulary.ids["never"]] = 0
    # The two largest of log weight + Gumbel noise are a draw of two without replacement.
    with np.errstate(divide="ignore"):
        keys = np.log(weight) + rng.gumbel(size=weight.shape)
    first, second = np.argsort(-keys, axis=1, kind="stable")[:, :2].T
    return first, second, (weight > 0).sum(axis=1) >= 2


def suppression_rows(
    model: TensorTransformer,
    language: ToyLanguage,
    weights: TensorWeights | None,
    bootstrap: Bootstrap,
    rng: np.random.Generator,
) -> list[Row]:
    """Rows of experiment "suppression"; none if the primitive is off or no prefix has it.

    weights: None leaves out the named head.
    """
    if not language.config.on("suppress"):
        return []
    tokens = language.sample(SEQUENCES, rng).tokens
    pairs = find_pairs(language, tokens, rng)
    if pairs is None:
        return []
    rows = ExperimentRows("suppression", bootstrap)
    device = next(model.parameters()).device
    three = pairs.with_never, pairs.without, pairs.placebo
    p = [_p_top(model, prefixes, pairs.top, device) for prefixes in three]
    truth = [prefixes.truth(pairs.top) for prefixes in three]
    found = []
    for d in np.unique(pairs.distance):
        at = pairs.distance == d
        for i, case in enumerate(("with never", "without never")):
            found.append(rows.mean(case, "p_top", p[i][at], truth[i][at], float(d)))
    for case, at in (("within window", pairs.within), ("beyond window", ~pairs.within)):
        if at.any():
            found.append(rows.mean(case, "drop", (p[1] - p[0])[at], (truth[1] - truth[0])[at]))
    found.append(rows.mean("placebo", "drop", p[1] - p[2], truth[1] - truth[2]))
    if pairs.within.any():
        means = mean_z(model, torch.from_numpy(tokens[:FOR_MEANS]).to(device))
        by_weights = None if weights is None else head_drops(weights, language).numpy()
        found += _head_rows(model, pairs, means, by_weights, p[1] - p[0], rows, device)
    return found


def _p_top(
    forward: Forward, prefixes: Prefixes, top: Int[np.ndarray, " n"], device: torch.device
) -> Float[np.ndarray, " n"]:
    return probabilities(forward, prefixes, device)[np.arange(len(top)), top]


def _head_rows(
    model: TensorTransformer,
    pairs: Pairs,
    means: Float[torch.Tensor, "layer head d_head"],
    by_weights: Float[np.ndarray, "layer head name"] | None,
    intact: Float[np.ndarray, " n"],
    rows: ExperimentRows,
    device: torch.device,
) -> list[Row]:
    """The drop within the window with each head ablated."""
    at = pairs.within
    top = pairs.top[at]
    truth = pairs.without.truth(pairs.top)[at] - pairs.with_never.truth(pairs.top)[at]
    named = None
    if by_weights is not None:
        named = divmod(int(by_weights.mean(-1).argmax()), model.config.n_heads)
    found = []
    for layer in range(model.config.n_layers):
        for head in range(model.config.n_heads):
            forward = ReplacedHeads(model, {(layer, head): means[layer, head]})
            with_never = _p_top(forward, pairs.with_never[at], top, device)
            drop = _p_top(forward, pairs.without[at], top, device) - with_never
            case = f"{head_name(layer, head)} ablated"
            of_head = [
                rows.mean(case, "drop", drop, truth),
                rows.mean(case, "change", drop - intact[at], None),
            ]
            if by_weights is not None:
                of_head.append(rows.mean(case, "by_weights", by_weights[layer, head], None))
            found += of_head
            if (layer, head) == named:
                found += [{**row, "case": f"named {case}"} for row in of_head]
    return found
