"""Error correction: from a wrong repeat of a colour, and from the loss of a head.

In the language. An object gets a colour. Later it is repeated with another colour, which the
program does with a small probability. When the object comes again, the program still says the first
colour. Does the model go back to the first, or does it copy the error? We sample prefixes that end
in the third or fourth occurrence of an object and replace the colours of its repeats. Cases "third
occurrence" and "fourth occurrence"; x is the number of repeats with the same wrong colour:

- p_first, p_last: probability of the first colour, and of the wrong one. For x > 0 the wrong colour
  is the latest; for x = 0 it is not in the prefix.
- corrects: share of prefixes with p_first above p_last.
- fall: p_first at x = 0 minus p_first at x; the program's is 0.

In the network (self-repair: McGrath et al. 2023, Rushing and Nanda 2024). A head of layer 0 is
replaced by its mean. The excess over the floor rises by `total`, and by `direct` if the heads of
later layers still write what they wrote in the intact model. repair = direct - total: above 0,
later heads make up for the loss; below 0, they pass it on. Each case is a head; values are in nats
over all positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from zscope.config.base import Bootstrap
from zscope.models.tensor_heads import head_name, mean_z
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.toylang.phenomena.experiment_rows import ExperimentRows
from zscope.studies.toylang.phenomena.prefixes import (
    Prefixes,
    distinct,
    first_layer_change,
    probabilities,
)
from zscope.tables.schema import Row
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage

SEQUENCES = 2048  # searched for prefixes
MOST = 256  # prefixes per case
OCCURRENCES = {3: "third occurrence", 4: "fourth occurrence"}


@dataclass(frozen=True, eq=False)
class Repeats:
    """Prefixes that end in an occurrence of an object; [x] has x repeats in a wrong colour."""

    prefixes: list[Prefixes]
    first: Int[np.ndarray, " n"]
    wrong: Int[np.ndarray, " n"]


def find_repeats(
    language: ToyLanguage,
    tokens: Int[np.ndarray, "n seq"],
    occurrence: int,
    rng: np.random.Generator,
) -> Repeats | None:
    """At most one prefix per sequence; None if there is none.

    The x wrong repeats are the last x before the prefix's end; the others are right.
    """
    members = language.vocabulary.members
    is_object = np.isin(tokens, members["object"])
    coloured = np.zeros(tokens.shape, dtype=bool)
    coloured[:, :-1] = is_object[:, :-1] & np.isin(tokens[:, 1:], members["colour"])
    sequence, last, places = _occurrences(tokens, is_object, coloured, occurrence)
    chosen = distinct(sequence, np.zeros(len(sequence), dtype=int), MOST, rng)
    if not len(chosen) or len(members["colour"]) < 2:
        return None
    sequence, last, places = sequence[chosen], last[chosen], places[chosen]
    colour = places + 1
    first = tokens[sequence, colour[:, 0]]
    wrong = _other(members["colour"], first, rng)
    agreeing = Prefixes(language, tokens[sequence], last)
    for i in range(1, occurrence - 1):
        agreeing = agreeing.edited(colour[:, i], first)
    variants = [agreeing]
    for i in range(occurrence - 2, 0, -1):
        variants.append(variants[-1].edited(colour[:, i], wrong))
    kept = np.all([prefixes.possible for prefixes in variants], axis=0)
    if not kept.any():
        return None
    return Repeats([prefixes[kept] for prefixes in variants], first[kept], wrong[kept])


def _occurrences(
    tokens: Int[np.ndarray, "n seq"],
    is_object: Bool[np.ndarray, "n seq"],
    coloured: Bool[np.ndarray, "n seq"],
    occurrence: int,
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Int[np.ndarray, "k earlier"]]:
    """Sequence, position of an object's n-th occurrence, and positions of the earlier ones."""
    found = []
    for i, row in enumerate(tokens):
        for thing in np.unique(row[is_object[i]]):
            there = np.flatnonzero(row == thing)
            if len(there) < occurrence or there[occurrence - 1] == len(row) - 1:
                continue
            earlier = there[: occurrence - 1]
            if coloured[i, earlier].all():
                found.append((i, there[occurrence - 1], *earlier))
    table = np.array(found, dtype=np.int64).reshape(-1, occurrence + 1)
    return table[:, 0], table[:, 1], table[:, 2:]


def _other(
    colours: Int[np.ndarray, " colours"], first: Int[np.ndarray, " n"], rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """A colour other than the first, drawn uniformly."""
    index = np.searchsorted(colours, first)
    step = rng.integers(1, len(colours), len(first))
    return colours[(index + step) % len(colours)]


def error_rows(
    model: TensorTransformer, language: ToyLanguage, bootstrap: Bootstrap, rng: np.random.Generator
) -> list[Row]:
    """Rows about wrong repeats; none without induction."""
    if not language.config.on("induction"):
        return []
    tokens = language.sample(SEQUENCES, rng).tokens
    device = next(model.parameters()).device
    rows = ExperimentRows("error_correction", bootstrap)
    found = []
    for occurrence, case in OCCURRENCES.items():
        repeats = find_repeats(language, tokens, occurrence, rng)
        if repeats is not None:
            found += _repeat_rows(model, repeats, case, rows, device)
    return found


def _repeat_rows(
    model: TensorTransformer,
    repeats: Repeats,
    case: str,
    rows: ExperimentRows,
    device: torch.device,
) -> list[Row]:
    each = np.arange(len(repeats.first))
    found, agreeing = [], np.empty(0)
    for x, prefixes in enumerate(repeats.prefixes):
        p = probabilities(model, prefixes, device)
        first, last = p[each, repeats.first], p[each, repeats.wrong]
        truth = prefixes.truth(repeats.first), prefixes.truth(repeats.wrong)
        found += [
            rows.mean(case, "p_first", first, truth[0], float(x)),
            rows.mean(case, "p_last", last, truth[1], float(x)),
            rows.rate(case, "corrects", first > last, truth[0] > truth[1], float(x)),
        ]
        if x == 0:
            agreeing = first
        else:
            fall = repeats.prefixes[0].truth(repeats.first) - truth[0]
            found.append(rows.mean(case, "fall", agreeing - first, fall, float(x)))
    return found


@torch.no_grad()
def repair_rows(
    model: TensorTransformer, evaluation: ToyEvaluation, bootstrap: Bootstrap
) -> list[Row]:
    """Rows about self-repair, one set per head of layer 0; none for a model of one layer."""
    if model.config.n_layers < 2:
        return []
    rows = ExperimentRows("error_correction", bootstrap)
    means = mean_z(model, evaluation.tokens)
    clean = evaluation.excess(model)
    found = []
    for head in range(model.config.n_heads):
        change = first_layer_change(model, evaluation.tokens, head, means[0, head])
        total, direct = _ablation_effects(model, evaluation, change, clean)
        for metric, values in (("total", total), ("direct", direct), ("repair", direct - total)):
            measured = evaluation.by_primitive(values, metric)
            (overall,) = (row for row in measured if row["primitive"] == "all")
            found.append(rows.measured(head_name(0, head), metric, overall))
    return found


def _ablation_effects(
    model: TensorTransformer,
    evaluation: ToyEvaluation,
    change: Float[torch.Tensor, "n seq d"],
    clean: Float[np.ndarray, "n seq-1"],
) -> tuple[Float[np.ndarray, "n seq-1"], Float[np.ndarray, "n seq-1"]]:
    """Rise of the excess by a change of the stream after layer 0: with later heads free, and with
    later heads as in the intact model."""
    n_layers = model.config.n_layers
    kept = model.config.kept ** (n_layers - 1)

    def free(some: slice) -> Float[torch.Tensor, "some seq vocab"]:
        return model.resume(model.stream(evaluation.tokens[some], 1) + change[some], 1)

    def frozen(some: slice) -> Float[torch.Tensor, "some seq vocab"]:
        stream = model.stream(evaluation.tokens[some], n_layers)
        return model.unembed(stream + kept * change[some])

    return evaluation.excess_by(free) - clean, evaluation.excess_by(frozen) - clean
