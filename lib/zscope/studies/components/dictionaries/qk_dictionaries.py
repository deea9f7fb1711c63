"""Two dictionaries of one head's queries and keys: trained apart, or together on its pattern.

Wynroe and Sharkey (2024) train them together so that the attention pattern survives. Asked here, on
an induction head whose pattern is known: what does that gain over training each to give its own
vectors back, and are the reconstruction losses beside it needed?

Queries and keys are coded before RoPE, which turns them afterwards as the model does.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.core.errors import ConfigError
from zscope.core.jobs import progress
from zscope.core.provenance import derive_seed
from zscope.models.checkpoints import CheckpointFile
from zscope.models.tensor_checkpoints import load_tensor_model
from zscope.models.tensor_transformer import TensorTransformer, rotate
from zscope.studies.components.dictionaries.config import QkConfig
from zscope.studies.components.dictionaries.flat_adam import FlatAdam
from zscope.studies.components.dictionaries.learning import Pool, Recipe, recipe_of, train
from zscope.studies.components.dictionaries.normalise import Normaliser
from zscope.studies.components.dictionaries.resampling import Resampling
from zscope.studies.components.dictionaries.stack import (
    MATRICES,
    Stack,
    initial_stack,
    project_gradient_,
    renormalise_,
    squared_error,
)
from zscope.studies.components.dictionaries.toy_dictionaries import RandomDictionary
from zscope.studies.components.dictionaries.variants.registry import KINDS
from zscope.tables.schema import Row
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import LABEL_ID
from zscope.toy_language.language import ToyLanguage

Training = Literal["separate", "joint", "joint_alone"]
"""joint_alone: on the pattern, without the reconstruction losses."""
RANDOM, UNIFORM = "random", "uniform"
SEQUENCES = 8
"""Sequences of a step of joint training."""
KIND = KINDS["topk"]
Vectors = Float[Tensor, "*n seq d_head"]


@dataclass(frozen=True, eq=False)
class Head:
    """One head's queries and keys on sequences, before RoPE.

    Attributes:
        base: of RoPE. score: weight on the key that induction looks for.
    """

    layer: int
    head: int
    base: float
    score: float
    q: Float[Tensor, "sequence seq d_head"]
    k: Float[Tensor, "sequence seq d_head"]

    def take(self, part: slice) -> Head:
        return replace(self, q=self.q[part], k=self.k[part])


def log_pattern(q: Vectors, k: Vectors, base: float) -> Float[Tensor, "*n seq seq"]:
    """Logarithm of the softmax pattern; -inf where a key is later than the query."""
    seq, d_head = q.shape[-2:]
    at = torch.arange(seq)
    scores = rotate(q, at, base) @ rotate(k, at, base).mT / d_head**0.5
    later = torch.ones(seq, seq, dtype=torch.bool).triu(1)
    return scores.masked_fill(later, float("-inf")).log_softmax(-1)


def divergence(
    true: Float[Tensor, "*n seq seq"], found: Float[Tensor, "*n seq seq"]
) -> Float[Tensor, "*n seq"]:
    """KL(true || found) of every row of two log patterns, in nats."""
    seq = true.shape[-1]
    # Later keys have probability 0 in both; 0 times -inf must not be taken.
    earlier = torch.ones(seq, seq, dtype=torch.bool).tril()
    difference = torch.where(earlier, true - found, 0.0)
    return (true.exp() * difference).sum(-1)


def induction_targets(
    language: ToyLanguage, tokens: Int[np.ndarray, "n seq"]
) -> list[tuple[int, int, int]]:
    """(sequence, query, key) where induction governs the token after the query, a repeated object;
    the key is the colour behind its first occurrence that has one."""
    labels = language.distributions.label[language.rows(tokens)]
    colours = set(language.vocabulary.members["colour"].tolist())
    found = []
    for i, t in np.argwhere(labels[:, 1:] == LABEL_ID["induction"]).tolist():
        row = tokens[i].tolist()
        first = next(s for s in range(t) if row[s] == row[t] and row[s + 1] in colours)
        found.append((i, t, first + 1))
    return found


@torch.no_grad()
def induction_head(
    model: TensorTransformer,
    tokens: Int[Tensor, "sequence seq"],
    targets: Sequence[tuple[int, int, int]],
) -> Head:
    """The head of the last layer that puts most weight on the targets."""
    layer = model.config.n_layers - 1
    block, base = model.blocks[layer], model.config.rope_base
    x = block.read(model.stream(tokens, layer))
    at = torch.tensor(targets).T
    found = []
    for head in range(model.config.n_heads):
        q, k = (x @ block.attn.weight(name)[head].mT for name in ("q1", "k1"))
        weight = log_pattern(q, k, base).exp()[at[0], at[1], at[2]].mean()
        found.append(Head(layer, head, base, float(weight), q, k))
    return max(found, key=lambda h: h.score)


@dataclass(frozen=True, eq=False)
class Pair:
    """A stack of query dictionaries and one of key dictionaries, of one shape."""

    q: Stack
    k: Stack
    of_q: Normaliser
    of_k: Normaliser

    def back(self, head: Head) -> tuple[Vectors, Vectors, Float[Tensor, " n"]]:
        """Queries and keys as the dictionaries give them back, [n, sequence, seq, d_head], and the
        mean squared errors per element of the normalised vectors, added."""
        found, error = [], torch.zeros(len(self.q))
        for stack, scale, x in ((self.q, self.of_q, head.q), (self.k, self.of_k, head.k)):
            flat = scale.forward(x).flatten(0, 1).expand(len(stack), -1, -1)
            decoded = stack.decode(KIND.encode(stack, flat))
            error = error + squared_error(flat, decoded) / flat.shape[-1]
            found.append(scale.back(decoded).unflatten(1, x.shape[:2]))
        return found[0], found[1], error


def train_jointly(pair: Pair, head: Head, recipe: Recipe, auxiliary: float, seed: int) -> Pair:
    """Train both stacks on the pattern's divergence, and `auxiliary` times the vectors' errors.

    Batches are whole sequences, from the seed named "qk batches".
    """
    sides = {"q": pair.q, "k": pair.k}
    adam = FlatAdam({f"{s}.{n}": getattr(x, n) for s, x in sides.items() for n in MATRICES})
    live = _with(pair, adam.parameters)
    generator = torch.Generator().manual_seed(derive_seed(seed, "qk batches"))
    for step in range(recipe.steps):
        at = torch.randint(len(head.q), (SEQUENCES,), generator=generator)
        some = replace(head, q=head.q[at], k=head.k[at])
        q, k, error = live.back(some)
        true = log_pattern(some.q, some.k, head.base)
        loss = divergence(true, log_pattern(q, k, head.base)).mean((1, 2)) + auxiliary * error
        adam.zero_grad()
        loss.sum().backward()
        for stack in (live.q, live.k):
            project_gradient_(stack)
        adam.step(recipe.lr * recipe.lr_factor(step))
        for stack in (live.q, live.k):
            renormalise_(stack)
    return _with(pair, {name: t.detach().clone() for name, t in adam.parameters.items()})


def _with(pair: Pair, found: Mapping[str, Tensor]) -> Pair:
    """The pair with other matrices, named q.W_enc and so on."""

    def side(name: str, stack: Stack) -> Stack:
        W_enc, b_enc, W_dec, b_dec = (found[f"{name}.{matrix}"] for matrix in MATRICES)
        return replace(stack, W_enc=W_enc, b_enc=b_enc, W_dec=W_dec, b_dec=b_dec)

    return replace(pair, q=side("q", pair.q), k=side("k", pair.k))


def qk_rows(
    models: Mapping[str, str],
    settings: Mapping[str, Any],
    config: QkConfig,
    *,
    seed: int,
    bootstrap: Bootstrap,
) -> list[Row]:
    """Rows of the table: of the first models that have an induction head.

    Raises ConfigError for a model whose attention is not softmax.
    """
    language = ToyLanguage(LanguageConfig.model_validate(settings["language"]))
    rng = np.random.default_rng(derive_seed(seed, "qk sequences"))
    tokens = language.sample(config.pool + config.test, rng).tokens
    targets = induction_targets(language, tokens[: config.pool])
    if not targets:
        raise ConfigError(
            "components.dictionaries.qk.pool: induction governs nowhere in these sequences; "
            "give more, or set trainings to 0"
        )
    resampling = Resampling(bootstrap, "qk")
    rows = []
    left = config.trainings
    for name, path in progress(models.items(), desc="heads", total=len(models)):
        file = CheckpointFile(path)
        model = load_tensor_model(file, file.steps[-1])
        if model.config.attention != "softmax":
            raise ConfigError(
                f"components.dictionaries.qk.subject: {name} has {model.config.attention} "
                "attention; give a condition with softmax attention"
            )
        head = induction_head(model, torch.from_numpy(tokens), targets)
        if not left or head.score < config.least_score:
            continue
        left -= 1
        own = derive_seed(seed, f"qk of {name}")
        for row in _head_rows(head, config, own, resampling):
            rows.append({"model": name, "layer": head.layer, "head": head.head, **row})
    return rows


def _head_rows(head: Head, config: QkConfig, seed: int, resampling: Resampling) -> Iterator[Row]:
    pool, test = head.take(slice(0, config.pool)), head.take(slice(config.pool, None))
    true = log_pattern(test.q, test.k, head.base)

    def row(training: str, width: int, k: float, found: Float[Tensor, "sequence seq seq"]) -> Row:
        by_sequence = divergence(true, found).mean(-1).double().numpy()
        low, high = resampling.interval(by_sequence)
        return {
            **{"score": head.score, "training": training, "width": width, "codes": k},
            **{"value": float(by_sequence.mean()), "ci_low": low, "ci_high": high},
            "n": len(by_sequence),
        }

    yield row(UNIFORM, 0, 0.0, log_pattern(0 * test.q, 0 * test.k, head.base))
    d, ks = head.q.shape[-1], [float(k) for k in config.ks]
    scales = tuple(Normaliser.of(x.flatten(0, 1)) for x in (pool.q, pool.k))
    for width in config.widths:
        stacks = [_stack(d, width, ks, seed, side) for side in ("q", "k")]
        start = Pair(stacks[0], stacks[1], scales[0], scales[1])
        for training in get_args(Training):
            pair = _trained(start, pool, training, config, seed)
            q, k, _ = pair.back(test)
            found = log_pattern(q, k, head.base)
            for i, codes in enumerate(ks):
                yield row(training, width, codes, found[i].detach())
        for codes in ks:
            q, k = (
                _random_back(x, y, s, width, codes, derive_seed(seed, f"random {side}"))
                for x, y, s, side in zip(
                    (pool.q, pool.k), (test.q, test.k), scales, ("q", "k"), strict=True
                )
            )
            yield row(RANDOM, width, codes, log_pattern(q, k, head.base))


def _stack(d: int, width: int, ks: Sequence[float], seed: int, side: str) -> Stack:
    own = derive_seed(seed, f"{side} dictionary")
    return initial_stack(d, width * d, ks, [own] * len(ks), KIND.own)


def _trained(start: Pair, pool: Head, training: Training, config: QkConfig, seed: int) -> Pair:
    recipe = recipe_of(config.recipe)
    if training == "separate":
        done = {}
        for side, stack, scale, x in (
            ("q", start.q, start.of_q, pool.q),
            ("k", start.k, start.of_k, pool.k),
        ):
            n, own = len(stack), derive_seed(seed, f"batches of {side}")
            inputs = scale.forward(x).flatten(0, 1)[None]
            same = Pool(inputs, torch.zeros(n, dtype=torch.long), (own,) * n)
            done[side] = train(KIND, stack, same, recipe)
        return replace(start, q=done["q"], k=done["k"])
    auxiliary = config.auxiliary if training == "joint" else 0.0
    return train_jointly(start, pool, recipe, auxiliary, seed)


def _random_back(
    pool: Float[Tensor, "sequence seq d_head"],
    test: Float[Tensor, "other seq d_head"],
    scale: Normaliser,
    width: int,
    codes: float,
    seed: int,
) -> Float[Tensor, "other seq d_head"]:
    """What random rows with as many codes and the best linear decoder give back."""
    d = pool.shape[-1]
    random = RandomDictionary.of(d, width * d, codes, seed, 0)
    decoder = random.decoder(scale.forward(pool).flatten(0, 1))
    flat = random.codes(scale.forward(test).flatten(0, 1)) @ decoder
    return scale.back(flat).view_as(test)
