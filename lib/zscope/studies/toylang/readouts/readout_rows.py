"""Rows of everything read from the weights of a checkpoint: numbers, matrices and the rule search.

No data go through the model. The rule search, the QK slices and induction average over a key's
offsets 1 to `rule_offsets`, suppression over the language's own window. Truths are the program's
(`program_truth`). A primitive that is off has no rows. An undefined number is null, as many are at
step 0, where U and every head's output are zero and everything is tied.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.models.tensor_heads import head_name
from zscope.stats import finite
from zscope.studies.toylang.config import ReadoutConfig
from zscope.studies.toylang.readouts.circuits import head_boosts
from zscope.studies.toylang.readouts.direct import direct_path, fit_direct, token_logits
from zscope.studies.toylang.readouts.induction import (
    LayerPair,
    VirtualHead,
    induction_heads,
    induction_layers,
)
from zscope.studies.toylang.readouts.precision import precision_recall
from zscope.studies.toylang.readouts.program_truth import (
    after,
    after_pair,
    boosting_rules,
    copying_truth,
    pairs_that_occur,
    program_boosts,
    rule_text,
    skip_triples,
    verbs_of_names,
    window_truth,
)
from zscope.studies.toylang.readouts.rule_search import (
    Paths,
    Triple,
    search,
    window_edge,
    window_profile,
)
from zscope.studies.toylang.readouts.suppression import suppression
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.studies.toylang.targets import FIRST
from zscope.tables.schema import Row
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rules import NOT_ZERO, Rule

PATHS_SUFFIX: dict[Paths, str] = {"one_head": "", "all": "_all_paths"}


def readout_rows(
    weights: TensorWeights, language: ToyLanguage, rules: Sequence[Rule], config: ReadoutConfig
) -> list[Row]:
    """The numbers of one checkpoint: readout, item, metric, value, n.

    direct, item all: `r` and `top1` (names) compare E U on names x transitive verbs with the true
        log-probabilities (`fit_direct`); `r_self` and `top1_self` do so for B = `token_logits`;
        `kl` is the mean over names of KL(p || softmax(B)) over the whole vocabulary, in nats.
    rules, item a skip rule: `rank` of its dP among all triples; ties share their mean rank. Item
        all, over the first triples by dP that can occur (`pairs_that_occur`): `precision_at_10`,
        the share whose key makes the output likelier in the program, whatever governs; `chance`,
        this share among all triples. Against the boosting single-token rules alone:
        `rule_precision_at_10`, `recall_at_10`, and `average_precision` of the first `config.top`.
        Suppression lowers a token, so it is no boosting rule; brackets are no single-token rules.
        All metrics are through one head; with the suffix `_all_paths`, by all paths over the two
        tokens.
    window, item a skip rule: `edge`, the distance up to which it reaches (`window_edge`), in
        tokens; null without a positive boost.
    induction, item the best pair of heads (L0H3->L1H1), and again item all: `hits` (objects) and
        `contrast` (nats) of its matrix. Item all also has `hits_together` and `contrast_together`
        of all heads of two layers at once (`induction_layers`), for induction that is spread over
        several pairs.
    suppression, item all: `below`, the names whose top verb is below all their other verbs; `drop`,
        how far `never` lowers the top verb against the others, in nats, mean over names.
    """
    return [
        *_direct(weights, language),
        *_rules(weights, language, rules, config),
        *_window(weights, language, rules, config),
        *_induction(weights, language, config),
        *_suppression(weights, language),
    ]


def matrix_rows(
    weights: TensorWeights, language: ToyLanguage, rules: Sequence[Rule], config: ReadoutConfig
) -> list[Row]:
    """The matrices of one checkpoint: readout, item, row, column, value, truth.

    direct, item all: name x transitive verb, probability in softmax(B) over the whole vocabulary;
        truth: the program's.
    direct_logit, item all: name x transitive verb, E U minus its mean over the name's possible
        verbs, in nats; truth: log p, centred in the same way, null where impossible.
    skip_qk, item a head: adjective (query) x place (key), mean pattern over the offsets.
    skip_ov, item a head: place (key) x function word, logits that the head writes for a pattern of
        1. The signs of skip_qk and skip_ov are gauge: only their product means something.
    skip_product: skip rule x function word, the logit T that the key adds, minus the mean over the
        function words, in nats. Item all: summed over heads; truth: change of log p, centred in the
        same way, null unless every function word is possible. Item a head: its part, no truth.
    window, item all: skip rule x distance (tokens), boost of its output against the mean of all
        outputs, in nats; truth: the change of its log-odds.
    induction, item the best pair of heads: object of the query x object before the colour, M in
        nats; truth: the colour's log-probability minus the mean of the others', 0 off the diagonal.
    induction_together, item the pair of layers (L0->L1): the same for all their heads at once.
    suppression, item without or with (`never`): name x transitive verb, B (with: plus the boost of
        `never`) minus its mean over the name's verbs other than the top one, in nats; truth: log p,
        centred in the same way, null where impossible.
    """
    return [
        *_direct_matrices(weights, language),
        *_skip_matrices(weights, language, rules, config),
        *_window_matrix(weights, language, rules, config),
        *_induction_matrices(weights, language, config),
        *_suppression_matrices(weights, language),
    ]


def search_rows(
    weights: TensorWeights, language: ToyLanguage, rules: Sequence[Rule], config: ReadoutConfig
) -> list[Row]:
    """The first `config.top` triples by dP that can occur (`pairs_that_occur`), by all paths.

    rank, query, key, output, boost (T, nats), d_prob. primitive: what governs, if the key makes the
    output likelier in the program; null if not. precision: the share of the triples so far that
    have a primitive. recall: the share of the single-token rules (`boosting_rules`) among the
    triples so far. No rows for a language without such rules.
    """
    rules_only = boosting_rules(language, rules)
    if not rules_only:
        return []
    occur = pairs_that_occur(language)
    table, _ = search(weights, _offsets(config), config.top, paths="all", among=occur)
    triples = table.triples
    named = _named(language, rules_only, program_boosts(language, _offsets(config)), triples)
    precision = precision_recall(triples, named).precision if named else np.zeros(len(triples))
    recall = precision_recall(triples, rules_only).recall
    words = language.vocabulary.tokens
    return [
        {
            "rank": i + 1,
            "query": words[triple[0]],
            "key": words[triple[1]],
            "output": words[triple[2]],
            "boost": float(table.boost[i]),
            "d_prob": float(table.d_prob[i]),
            "primitive": named.get(triple),
            "precision": float(precision[i]),
            "recall": float(recall[i]),
        }
        for i, triple in enumerate(triples)
    ]


def _named(
    language: ToyLanguage,
    rules_only: Mapping[Triple, str],
    program: tuple[Float[np.ndarray, "query key output"], Int[np.ndarray, "query key"]],
    triples: Iterable[Triple],
) -> dict[Triple, str]:
    """The true ones among `triples`, with the primitive that governs where they apply."""
    effect, label = program
    named = {}
    for triple in triples:
        if triple in rules_only:
            named[triple] = rules_only[triple]
        elif effect[triple] > NOT_ZERO:
            named[triple] = LABELS[label[triple[:2]]]
    return named


def best_pair(
    weights: TensorWeights, language: ToyLanguage, config: ReadoutConfig
) -> VirtualHead | None:
    """The pair of heads with the largest induction contrast; None for one layer, without
    induction, or with a single object or colour."""
    best = _best_pairs(weights, language, config)
    return best and best[0]


def _best_pairs(
    weights: TensorWeights, language: ToyLanguage, config: ReadoutConfig
) -> tuple[VirtualHead, LayerPair] | None:
    """The `best_pair` of heads, and the best pair of layers by all of their heads at once."""
    words = _inducing(language)
    if words is None or weights.n_layers < 2:
        return None
    heads = induction_heads(weights, *words, _offsets(config))
    return heads[0], induction_layers(weights, *words, _offsets(config))[0]


def _inducing(language: ToyLanguage) -> tuple[list[int], list[int]] | None:
    """Objects and colours; None if induction is off or has no choice to make."""
    objects, colours = (_members(language, name) for name in ("object", "colour"))
    possible = language.config.on("induction") and min(len(objects), len(colours)) > 1
    return (objects, colours) if possible else None


def pair_text(pair: VirtualHead) -> str:
    """A pair of heads as L0H3->L1H1."""
    read, later = head_name(pair.layer, pair.head), head_name(pair.later_layer, pair.later_head)
    return f"{read}->{later}"


def _offsets(config: ReadoutConfig) -> range:
    return range(1, config.rule_offsets + 1)


def _members(language: ToyLanguage, category: str) -> list[int]:
    return list(map(int, language.vocabulary.members[category]))


def _words(language: ToyLanguage, ids: Iterable[int]) -> list[str]:
    return [language.vocabulary.tokens[i] for i in ids]


def _number(readout: str, item: str, metric: str, value: float, n: int) -> Row:
    known = {"readout": readout, "item": item, "metric": metric}
    return {**known, "value": finite(float(value)), "n": n}


def _cells(
    readout: str,
    item: str,
    rows: Sequence[str],
    columns: Sequence[str],
    value: Tensor | Float[np.ndarray, "row column"],
    truth: Float[np.ndarray, "row column"] | None = None,
) -> Iterator[Row]:
    """One row per cell of a matrix; a truth that is not finite is null."""
    if truth is None:
        truth = np.full(value.shape, np.nan)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            yield {
                "readout": readout,
                "item": item,
                "row": row,
                "column": column,
                "value": float(value[i, j]),
                "truth": finite(float(truth[i, j])),
            }


def _log(p: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    with np.errstate(divide="ignore"):
        return np.log(p)


# --- names and verbs -----------------------------------------------------------------------------


def _name_truth(language: ToyLanguage) -> Float[np.ndarray, "name vocab"]:
    return np.stack([after(language, name) for name in _members(language, "name")])


def _direct(weights: TensorWeights, language: ToyLanguage) -> Iterator[Row]:
    if not language.config.on("bigram"):
        return
    names, verbs = _members(language, "name"), _members(language, "verb_t")
    p = torch.from_numpy(_name_truth(language))
    log_p = p[:, verbs].log()
    B = token_logits(weights)[names]
    for logits, suffix in ((direct_path(weights)[names], ""), (B, "_self")):
        fit = fit_direct(logits[:, verbs], log_p)
        yield _number("direct", "all", f"r{suffix}", fit.pearson_r, fit.cells)
        yield _number("direct", "all", f"top1{suffix}", fit.top1, fit.rows)
    kl = (torch.xlogy(p, p) - p * B.log_softmax(1)).sum(1).mean()
    yield _number("direct", "all", "kl", float(kl), len(names))


def _direct_matrices(weights: TensorWeights, language: ToyLanguage) -> Iterator[Row]:
    if not language.config.on("bigram"):
        return
    names, verbs = _members(language, "name"), _members(language, "verb_t")
    truth = _name_truth(language)[:, verbs]
    said = token_logits(weights)[names].softmax(1)[:, verbs]
    shape = _words(language, names), _words(language, verbs)
    yield from _cells("direct", "all", *shape, said, truth)
    logits, possible = direct_path(weights)[names][:, verbs].numpy(), truth > 0
    value, log_p = (_centred(x, possible) for x in (logits, _log(truth)))
    yield from _cells("direct_logit", "all", *shape, value, log_p)


def _centred(x: Float[np.ndarray, "row column"], of: np.ndarray) -> Float[np.ndarray, "row column"]:
    """Minus the mean of every row over the cells `of`."""
    return x - np.mean(x, axis=1, where=of, keepdims=True)


# --- skip rules ----------------------------------------------------------------------------------


def _rules(
    weights: TensorWeights, language: ToyLanguage, rules: Sequence[Rule], config: ReadoutConfig
) -> Iterator[Row]:
    for paths in PATHS_SUFFIX:
        yield from _rules_by(paths, weights, language, rules, config)


def _rules_by(
    paths: Paths,
    weights: TensorWeights,
    language: ToyLanguage,
    rules: Sequence[Rule],
    config: ReadoutConfig,
) -> Iterator[Row]:
    skip, true = skip_triples(language, rules), boosting_rules(language, rules)
    suffix = PATHS_SUFFIX[paths]
    occur = pairs_that_occur(language)
    table, ranks = search(weights, _offsets(config), config.top, skip, paths, occur)
    for rule, rank in zip(skip, ranks, strict=True):
        item = rule_text(rule, language)
        yield _number("rules", item, f"rank{suffix}", float(rank), weights.d_vocab**3)
    if not true:
        return
    found = precision_recall(table.triples, true)
    program = program_boosts(language, _offsets(config))
    first = table.triples[:FIRST]
    named, chance = _named(language, true, program, first), _n_true(true, program[0])
    for metric, value, n in (
        (f"precision_at_{FIRST}", len(named) / len(first), len(first)),
        (f"rule_precision_at_{FIRST}", found.precision[len(first) - 1], len(first)),
        (f"recall_at_{FIRST}", found.recall[len(first) - 1], len(true)),
        ("average_precision", found.average_precision, len(true)),
    ):
        yield _number("rules", "all", f"{metric}{suffix}", float(value), n)
    if paths == "one_head":
        yield _number("rules", "all", "chance", chance / weights.d_vocab**3, weights.d_vocab**3)


def _n_true(true: Iterable[Triple], effect: Float[np.ndarray, "query key output"]) -> int:
    """How many of all triples are true."""
    return int((effect > NOT_ZERO).sum()) + sum(effect[rule] <= NOT_ZERO for rule in true)


def _window(
    weights: TensorWeights, language: ToyLanguage, rules: Sequence[Rule], config: ReadoutConfig
) -> Iterator[Row]:
    skip, distances = skip_triples(language, rules), range(1, config.max_offset + 1)
    if not skip:
        return
    for rule, boost in zip(skip, window_profile(weights, skip, distances), strict=True):
        edge = window_edge(boost, distances) if boost.max() > 0 else math.nan
        item = rule_text(rule, language)
        yield _number("window", item, "edge", edge, len(distances))


def _skip_matrices(
    weights: TensorWeights, language: ToyLanguage, rules: Sequence[Rule], config: ReadoutConfig
) -> Iterator[Row]:
    skip = skip_triples(language, rules)
    if not skip:
        return
    kinds = ("adjective", "place", "function")
    adjectives, places, functions = (_members(language, kind) for kind in kinds)
    names = [_words(language, ids) for ids in (adjectives, places, functions)]
    for layer in range(weights.n_layers):
        E = weights.E
        qk = weights.mean_patterns(layer, _offsets(config), E[adjectives], E[places])
        ov = weights.outputs(layer, E[places])[..., functions]
        for head in range(weights.n_heads):
            item = head_name(layer, head)
            yield from _cells("skip_qk", item, names[0], names[1], qk[head])
            yield from _cells("skip_ov", item, names[1], names[2], ov[head])
    of_heads = head_boosts(weights, _offsets(config), [rule[:2] for rule in skip])[..., functions]
    of_heads = of_heads - of_heads.mean(-1, keepdim=True)
    texts = [rule_text(rule, language) for rule in skip]
    truth = np.stack([_skip_truth(language, rule, functions) for rule in skip])
    total = of_heads.sum((0, 1))
    yield from _cells("skip_product", "all", texts, names[2], total, truth)
    for layer, head in np.ndindex(of_heads.shape[:2]):
        item = head_name(layer, head)
        yield from _cells("skip_product", item, texts, names[2], of_heads[layer, head])


def _skip_truth(
    language: ToyLanguage, rule: Triple, functions: Sequence[int]
) -> Float[np.ndarray, " function"]:
    """Change of log p by the rule's key, minus its mean over the function words."""
    query, key, _ = rule
    p = np.stack([after(language, query), after_pair(language, key, query, 1)])[:, functions]
    if not (p > 0).all():
        return np.full(len(functions), np.nan)
    change = _log(p[1]) - _log(p[0])
    return change - change.mean()


def _window_matrix(
    weights: TensorWeights, language: ToyLanguage, rules: Sequence[Rule], config: ReadoutConfig
) -> Iterator[Row]:
    skip, distances = skip_triples(language, rules), range(1, config.max_offset + 1)
    if not skip:
        return
    profile = window_profile(weights, skip, distances)
    truth = np.stack([window_truth(language, rule, distances) for rule in skip])
    texts = [rule_text(rule, language) for rule in skip]
    yield from _cells("window", "all", texts, [str(d) for d in distances], profile, truth)


# --- induction -----------------------------------------------------------------------------------


def _induction(
    weights: TensorWeights, language: ToyLanguage, config: ReadoutConfig
) -> Iterator[Row]:
    best = _best_pairs(weights, language, config)
    if best is None:
        return
    pair, layers = best
    n = len(pair.matrix)
    for item in (pair_text(pair), "all"):
        yield _number("induction", item, "hits", pair.hits, n)
        yield _number("induction", item, "contrast", pair.contrast, n)
    yield _number("induction", "all", "hits_together", layers.hits, n)
    yield _number("induction", "all", "contrast_together", layers.contrast, n)


def _induction_matrices(
    weights: TensorWeights, language: ToyLanguage, config: ReadoutConfig
) -> Iterator[Row]:
    best = _best_pairs(weights, language, config)
    if best is None:
        return
    pair, layers = best
    objects = _words(language, _members(language, "object"))
    truth = np.zeros(pair.matrix.shape)
    np.fill_diagonal(truth, copying_truth(language))
    yield from _cells("induction", pair_text(pair), objects, objects, pair.matrix, truth)
    item = f"L{layers.layer}->L{layers.later_layer}"
    yield from _cells("induction_together", item, objects, objects, layers.matrix, truth)


# --- suppression ---------------------------------------------------------------------------------


def _suppression(weights: TensorWeights, language: ToyLanguage) -> Iterator[Row]:
    if not language.config.on("suppress"):
        return
    names, (never,) = _members(language, "name"), _members(language, "never")
    read = suppression(weights, never, names, verbs_of_names(language), _never(language))
    yield _number("suppression", "all", "below", int(read.below.sum()), len(names))
    yield _number("suppression", "all", "drop", float(read.drop.mean()), len(names))


def _suppression_matrices(weights: TensorWeights, language: ToyLanguage) -> Iterator[Row]:
    if not language.config.on("suppress"):
        return
    names, verbs = _members(language, "name"), _members(language, "verb_t")
    (never,) = _members(language, "never")
    read = suppression(weights, never, names, [verbs] * len(names), _never(language))
    others = np.array([np.isin(verbs, of_name[1:]) for of_name in verbs_of_names(language)])
    shape = _words(language, names), _words(language, verbs)
    with_never = np.stack([after_pair(language, never, name, 1) for name in names])
    for item, logits, p in (
        ("without", read.without, _name_truth(language)),
        ("with", read.with_trigger, with_never),
    ):
        value = _centred(logits.numpy(), others)
        truth = _centred(_log(p[:, verbs]), others)
        yield from _cells("suppression", item, *shape, value, truth)


def _never(language: ToyLanguage) -> range:
    """Distances at which `never` acts."""
    return range(1, language.config.suppress.window + 1)
