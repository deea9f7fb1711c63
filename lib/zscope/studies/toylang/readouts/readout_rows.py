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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.models.tensor_heads import head_name
from zscope.stats import finite
from zscope.studies.toylang.config import ReadoutConfig
from zscope.studies.toylang.readouts.circuits import head_boosts
from zscope.studies.toylang.readouts.direct import direct_path, fit_direct, token_logits
from zscope.studies.toylang.readouts.induction import VirtualHead, induction_heads, most_hits
from zscope.studies.toylang.readouts.precision import precision_recall
from zscope.studies.toylang.readouts.program_truth import (
    after,
    after_pair,
    boosting_rules,
    copying_truth,
    pairs_alone,
    pairs_that_occur,
    program_boosts,
    rule_text,
    skip_triples,
    verbs_of_names,
    window_truth,
)
from zscope.studies.toylang.readouts.rule_search import (
    Paths,
    Scores,
    Triple,
    window_edge,
    window_profile,
)
from zscope.studies.toylang.readouts.suppression import Suppression, suppression
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.studies.toylang.targets import FIRST
from zscope.tables.schema import Row
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rules import NOT_ZERO, Rule

PATHS_SUFFIX: dict[Paths, str] = {"one_head": "", "all": "_all_paths"}


@dataclass(frozen=True, eq=False)
class Reading:
    """Reads the weights of one checkpoint. rules: the true rules of the language."""

    weights: TensorWeights
    language: ToyLanguage
    rules: Sequence[Rule]
    config: ReadoutConfig

    def numbers(self) -> list[Row]:
        """The numbers of one checkpoint: readout, item, metric, value, n.

        direct, item all: `kl` is the mean over names of KL(p || softmax(E U)) over the whole
            vocabulary, in nats; `r` and `top1` (names) compare E U on names x transitive verbs with
            the true log-probabilities (`fit_direct`; r is free of scale, so it says little before
            the KL is small). `kl_self`, `r_self` and `top1_self` are those of B = `token_logits`.
        rules, item a skip rule: `rank` of its dP among all triples; ties share their mean rank.
            Item all, over the first triples by dP that can occur (`pairs_that_occur`):
            `precision_at_10`, the share whose key makes the output likelier in the program,
            whatever governs (a closing bracket without its opening one makes nothing likelier);
            `precision_at_10_alone`, the same over the triples of `pairs_alone` among them;
            `chance`, this share among all triples. Against the boosting single-token rules alone:
            `rule_precision_at_10`, `recall_at_10`, and `average_precision` of the first
            `config.top`. By one head; with the suffix `_all_paths`, by all paths over two tokens.
        window, item a skip rule: `edge` (`window_edge`), in tokens; null without a positive boost.
        induction, item the pair of heads with the largest contrast (L0H3->L1H1), and again item
            all: `hits` (objects) and `contrast` (nats) of its matrix. Item the pair with the most
            hits, and again item all: `most_hits`. Item all also has `most_hits_p`, of the null of
            this maximum (`most_hits`; n: permutations), and `hits_together` and `contrast_together`
            of all heads of two layers at once.
        suppression, item all: `below`, the names whose top verb is below all their other verbs;
            `drop`, how far `never` lowers the top verb against the others, in nats, mean over
            names.
        """
        parts = (self._direct, self._rules, self._window, self._induction, self._suppression)
        return [row for part in parts for row in part()]

    def matrices(self) -> list[Row]:
        """The matrices of one checkpoint: readout, item, row, column, value, truth.

        direct, item all: name x transitive verb, probability in softmax(B) over all tokens.
        direct_logit, item all: name x transitive verb, E U minus its mean over the name's possible
            verbs, in nats; truth: log p, centred in the same way, null where impossible.
        skip_qk, item a head: adjective (query) x place (key), mean pattern over the offsets.
        skip_ov, item a head: place (key) x function word, logits that the head writes for a pattern
            of 1. The signs of skip_qk and skip_ov are gauge: only their product means something.
        skip_product: skip rule x function word, the logit T that the key adds, minus the mean over
            the function words, in nats. Item all: summed over heads; truth: change of log p,
            centred in the same way, null unless all are possible. Item a head: its part, no truth.
        window, item all: skip rule x distance (tokens), boost of its output against the mean of all
            outputs, in nats; truth: the change of its log-odds.
        induction, item the pair of heads with the largest contrast: object of the query x object
            before the colour, M in nats; truth: `copying_truth`, 0 off the diagonal.
        induction_together, item the pair of layers (L0->L1): the same for all their heads at once.
        suppression, item without or with (`never`): name x transitive verb, B (with: plus the boost
            of `never`) minus its mean over the name's verbs other than the top one, in nats; truth:
            as in direct_logit.
        """
        parts = [self._direct_matrices, self._skip_matrices, self._window_matrix]
        parts += [self._induction_matrices, self._suppression_matrices]
        return [row for part in parts for row in part()]

    def search(self) -> list[Row]:
        """The first `config.top` triples by dP that can occur (`pairs_that_occur`), by all paths.

        boost: T, in nats. primitive: which one governs, if the key makes the output likelier in the
        program. precision: the share of the triples so far that have a primitive. recall: the share
        of the single-token rules among the triples so far. No rows without such rules.
        """
        if not self.boosting:
            return []
        table = self._scores("all").first(self.config.top, self._occur)
        triples = table.triples
        named = self._named(triples)
        precision = precision_recall(triples, named).precision if named else np.zeros(len(triples))
        recall = precision_recall(triples, self.boosting).recall
        return [
            {
                "rank": i + 1,
                **dict(zip(("query", "key", "output"), self._words(triple), strict=True)),
                "boost": float(table.boost[i]),
                "d_prob": float(table.d_prob[i]),
                "primitive": named.get(triple),
                "precision": float(precision[i]),
                "recall": float(recall[i]),
            }
            for i, triple in enumerate(triples)
        ]

    # --- what several readouts need --------------------------------------------------------------

    @cached_property
    def offsets(self) -> range:
        """Distances of a key over which the rule search, the QK slices and induction average."""
        return range(1, self.config.rule_offsets + 1)

    @cached_property
    def boosting(self) -> dict[Triple, str]:
        """Suppression lowers a token and brackets are no single-token rules: they are not here."""
        return boosting_rules(self.language, self.rules)

    @cached_property
    def skip(self) -> list[Triple]:
        return skip_triples(self.language, self.rules)

    @cached_property
    def pairs(self) -> list[VirtualHead]:
        """Every pair of heads, the largest induction contrast first; none for one layer, without
        induction, or with a single object or colour."""
        return self._virtual_heads(together=False)

    @cached_property
    def layer_pairs(self) -> list[VirtualHead]:
        """The same for pairs of layers, by all their heads at once."""
        return self._virtual_heads(together=True)

    def _virtual_heads(self, *, together: bool) -> list[VirtualHead]:
        words = self._members("object"), self._members("colour")
        if not self.language.config.on("induction") or min(map(len, words)) < 2:
            return []
        return induction_heads(self.weights, *words, self.offsets, together=together)

    @cached_property
    def _profile(self) -> Float[np.ndarray, "rule offset"]:
        """Boost of each skip rule by distance; no rows without skip rules."""
        distances = range(1, self.config.max_offset + 1)
        if not self.skip:
            return np.empty((0, len(distances)))
        return window_profile(self.weights, self.skip, distances)

    def _scores(self, paths: Paths) -> Scores:
        return Scores.of(self.weights, self.offsets, paths)

    @property
    def _occur(self) -> Bool[np.ndarray, "query key"]:
        return pairs_that_occur(self.language, self.offsets)

    def _named(self, triples: Iterable[Triple]) -> dict[Triple, str]:
        """The true ones among `triples`, with the primitive that governs where they apply."""
        effect, label = program_boosts(self.language, self.offsets)
        named = {}
        for triple in triples:
            if triple in self.boosting:
                named[triple] = self.boosting[triple]
            elif effect[triple] > NOT_ZERO:
                named[triple] = LABELS[label[triple[:2]]]
        return named

    def _members(self, category: str) -> list[int]:
        return list(map(int, self.language.vocabulary.members[category]))

    def _words(self, ids: Iterable[int]) -> list[str]:
        return [self.language.vocabulary.tokens[i] for i in ids]

    # --- names and verbs -------------------------------------------------------------------------

    @cached_property
    def _name_truth(self) -> Float[np.ndarray, "name vocab"]:
        return np.stack([after(self.language, name) for name in self._members("name")])

    def _direct(self) -> Iterator[Row]:
        if not self.language.config.on("bigram"):
            return
        names, verbs = self._members("name"), self._members("verb_t")
        p = torch.from_numpy(self._name_truth)
        log_p = p[:, verbs].log()
        B = token_logits(self.weights)[names]
        for logits, suffix in ((direct_path(self.weights)[names], ""), (B, "_self")):
            kl = (torch.xlogy(p, p) - p * logits.log_softmax(1)).sum(1).mean()
            yield _number("direct", "all", f"kl{suffix}", float(kl), len(names))
            fit = fit_direct(logits[:, verbs], log_p)
            yield _number("direct", "all", f"r{suffix}", fit.pearson_r, fit.cells)
            yield _number("direct", "all", f"top1{suffix}", fit.top1, fit.rows)

    def _direct_matrices(self) -> Iterator[Row]:
        if not self.language.config.on("bigram"):
            return
        names, verbs = self._members("name"), self._members("verb_t")
        truth = self._name_truth[:, verbs]
        said = token_logits(self.weights)[names].softmax(1)[:, verbs]
        shape = self._words(names), self._words(verbs)
        yield from _cells("direct", "all", *shape, said, truth)
        logits, possible = direct_path(self.weights)[names][:, verbs].numpy(), truth > 0
        value, log_p = (_centred(x, possible) for x in (logits, _log(truth)))
        yield from _cells("direct_logit", "all", *shape, value, log_p)

    # --- skip rules ------------------------------------------------------------------------------

    def _rules(self) -> Iterator[Row]:
        for paths in PATHS_SUFFIX:
            yield from self._rules_by(paths)

    def _rules_by(self, paths: Paths) -> Iterator[Row]:
        suffix, n_triples = PATHS_SUFFIX[paths], self.weights.d_vocab**3
        scores = self._scores(paths)
        for rule, rank in zip(self.skip, scores.ranks(self.skip), strict=True):
            item = rule_text(rule, self.language)
            yield _number("rules", item, f"rank{suffix}", float(rank), n_triples)
        if not self.boosting:
            return
        triples = scores.first(self.config.top, self._occur).triples
        n_rules, found = len(self.boosting), precision_recall(triples, self.boosting)
        first = triples[:FIRST]
        alone = scores.first(FIRST, self._occur & pairs_alone(self.language)).triples
        n, last = len(first), len(first) - 1
        for metric, value, of in (
            (f"precision_at_{FIRST}", len(self._named(first)) / n, n),
            (f"precision_at_{FIRST}_alone", len(self._named(alone)) / len(alone), len(alone)),
            (f"rule_precision_at_{FIRST}", found.precision[last], n),
            (f"recall_at_{FIRST}", found.recall[last], n_rules),
            ("average_precision", found.average_precision, n_rules),
        ):
            yield _number("rules", "all", f"{metric}{suffix}", float(value), of)
        if paths == "one_head":
            yield _number("rules", "all", "chance", self._n_true() / n_triples, n_triples)

    def _n_true(self) -> int:
        """How many of all triples are true."""
        effect, _ = program_boosts(self.language, self.offsets)
        return int((effect > NOT_ZERO).sum()) + sum(effect[r] <= NOT_ZERO for r in self.boosting)

    def _window(self) -> Iterator[Row]:
        distances = range(1, self.config.max_offset + 1)
        for rule, boost in zip(self.skip, self._profile, strict=True):
            edge = window_edge(boost, distances) if boost.max() > 0 else math.nan
            yield _number("window", rule_text(rule, self.language), "edge", edge, len(distances))

    def _window_matrix(self) -> Iterator[Row]:
        distances = range(1, self.config.max_offset + 1)
        words = [str(distance) for distance in distances]
        for rule, boost in zip(self.skip, self._profile, strict=True):
            text, truth = (
                rule_text(rule, self.language),
                window_truth(self.language, rule, distances),
            )
            yield from _cells("window", "all", [text], words, boost[None], truth[None])

    def _skip_matrices(self) -> Iterator[Row]:
        if not self.skip:
            return
        kinds = ("adjective", "place", "function")
        adjectives, places, functions = ids = [self._members(kind) for kind in kinds]
        words = [self._words(of_kind) for of_kind in ids]
        of_heads = head_boosts(self.weights, self.offsets, [rule[:2] for rule in self.skip])
        of_heads = of_heads[..., functions] - of_heads[..., functions].mean(-1, keepdim=True)
        texts = [rule_text(rule, self.language) for rule in self.skip]
        E = self.weights.E
        for layer in range(self.weights.n_layers):
            qk = self.weights.mean_patterns(layer, self.offsets, E[adjectives], E[places])
            ov = self.weights.outputs(layer, E[places])[..., functions]
            for head in range(self.weights.n_heads):
                item = head_name(layer, head)
                yield from _cells("skip_qk", item, words[0], words[1], qk[head])
                yield from _cells("skip_ov", item, words[1], words[2], ov[head])
        truth = np.stack([self._skip_truth(rule, functions) for rule in self.skip])
        yield from _cells("skip_product", "all", texts, words[2], of_heads.sum((0, 1)), truth)
        for at in np.ndindex(of_heads.shape[:2]):
            yield from _cells("skip_product", head_name(*at), texts, words[2], of_heads[at])

    def _skip_truth(self, rule: Triple, functions: Sequence[int]) -> Float[np.ndarray, " function"]:
        """Change of log p by the rule's key, minus its mean over the function words."""
        query, key, _ = rule
        p = np.stack([after(self.language, query), after_pair(self.language, key, query, 1)])
        if not (p[:, functions] > 0).all():
            return np.full(len(functions), np.nan)
        change = _log(p[1, functions]) - _log(p[0, functions])
        return change - change.mean()

    # --- induction -------------------------------------------------------------------------------

    def _induction(self) -> Iterator[Row]:
        if not self.pairs:
            return
        pair, most = self.pairs[0], most_hits(self.pairs)
        layers, n = self.layer_pairs[0], len(pair.matrix)
        for item in (pair.text, "all"):
            yield _number("induction", item, "hits", pair.hits, n)
            yield _number("induction", item, "contrast", pair.contrast, n)
        for item in (most.pair.text, "all"):
            yield _number("induction", item, "most_hits", most.pair.hits, n)
        yield _number("induction", "all", "most_hits_p", most.p, most.permutations)
        yield _number("induction", "all", "hits_together", layers.hits, n)
        yield _number("induction", "all", "contrast_together", layers.contrast, n)

    def _induction_matrices(self) -> Iterator[Row]:
        if not self.pairs:
            return
        pair, layers = self.pairs[0], self.layer_pairs[0]
        objects = self._words(self._members("object"))
        truth = np.zeros(pair.matrix.shape)
        np.fill_diagonal(truth, copying_truth(self.language))
        for readout, found in (("induction", pair), ("induction_together", layers)):
            yield from _cells(readout, found.text, objects, objects, found.matrix, truth)

    # --- suppression -----------------------------------------------------------------------------

    def _read_suppression(self, verbs: Sequence[Sequence[int]]) -> Suppression:
        names, (never,) = self._members("name"), self._members("never")
        distances = range(1, self.language.config.suppress.window + 1)
        return suppression(self.weights, never, names, verbs, distances)

    def _suppression(self) -> Iterator[Row]:
        if not self.language.config.on("suppress"):
            return
        read = self._read_suppression(verbs_of_names(self.language))
        yield _number("suppression", "all", "below", int(read.below.sum()), len(read.below))
        yield _number("suppression", "all", "drop", float(read.drop.mean()), len(read.drop))

    def _suppression_matrices(self) -> Iterator[Row]:
        if not self.language.config.on("suppress"):
            return
        names, verbs = self._members("name"), self._members("verb_t")
        (never,) = self._members("never")
        read = self._read_suppression([verbs] * len(names))
        others = np.stack([np.isin(verbs, own[1:]) for own in verbs_of_names(self.language)])
        shape = self._words(names), self._words(verbs)
        with_never = np.stack([after_pair(self.language, never, name, 1) for name in names])
        for item, logits, p in (
            ("without", read.without, self._name_truth),
            ("with", read.with_trigger, with_never),
        ):
            value = _centred(logits.numpy(), others)
            truth = _centred(_log(p[:, verbs]), others)
            yield from _cells("suppression", item, *shape, value, truth)


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


def _centred(x: Float[np.ndarray, "row column"], of: np.ndarray) -> Float[np.ndarray, "row column"]:
    """Minus the mean of every row over the cells `of`."""
    return x - np.mean(x, axis=1, where=of, keepdims=True)
