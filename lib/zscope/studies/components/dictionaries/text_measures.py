"""Dictionaries of one site of a language model, on the package's English passages.

No truth is known here, so what is measured is what a dictionary leaves unexplained and what the
model loses when the reconstruction is put back, on passages that no dictionary was trained on. The
first token of a piece is a place where attention rests, and its stream is far larger than any
other: it is neither learned, nor measured, nor replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.core.errors import ConfigError
from zscope.core.jobs import progress
from zscope.core.provenance import derive_seed
from zscope.models.language_model import LanguageModel, positions
from zscope.models.layer_runs import inputs_of, new_cache, run_layers
from zscope.stats import finite, wilson_interval
from zscope.studies.components.dictionaries.config import TextConfig
from zscope.studies.components.dictionaries.learning import Pool, recipe_of, train
from zscope.studies.components.dictionaries.normalise import Normaliser
from zscope.studies.components.dictionaries.reconstruction import Reconstruction, reconstructions
from zscope.studies.components.dictionaries.resampling import Resampling
from zscope.studies.components.dictionaries.stack import Stack, initial_stack
from zscope.studies.components.dictionaries.toy_dictionaries import RandomDictionary
from zscope.studies.components.dictionaries.variants.kind import Kind
from zscope.studies.components.dictionaries.variants.registry import KINDS
from zscope.tables.schema import Row
from zscope.text.passages import Passage

DICTIONARY, RANDOM, MEAN, NOTHING = "dictionary", "random", "mean", "nothing"
LOSS, RISE = "loss", "rise"
Stream = Float[Tensor, "1 seq d"]
Replace = Callable[[Float[Tensor, "seq-1 d"]], Float[Tensor, "seq-1 d"]]


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of a passage: its tokens, and the stream before the layer."""

    ids: Int[Tensor, "1 seq"]
    stream: Stream

    @property
    def inputs(self) -> Float[Tensor, "seq-1 d"]:
        """The stream of all tokens but the first."""
        return self.stream[0, 1:].float()


def text_rows(
    lm: LanguageModel,
    passages: Sequence[Passage],
    config: TextConfig,
    *,
    seed: int,
    bootstrap: Bootstrap,
) -> list[Row]:
    """Rows of the table. Raises ConfigError if too few passages are left to train on."""
    if len(passages) <= config.held_out:
        raise ConfigError(
            f"components.dictionaries.text.held_out: {config.held_out} of {len(passages)} passages "
            "are held out, so none is left to train on"
        )
    layer = round(config.layer * lm.n_layers)
    tokens = [lm.encode([p.text])[0] for p in passages]
    held_out = [run_to(lm, ids[:, : config.window], layer) for ids in tokens[: config.held_out]]
    rest = [piece for ids in tokens[config.held_out :] for piece in ids.split(config.window, 1)]
    pool = torch.cat([run_to(lm, ids, layer).inputs for ids in rest if ids.shape[1] > 1])
    scale = Normaliser.of(pool)
    x = scale.forward(pool)
    kind = KINDS[config.variant]
    own = derive_seed(seed, "text dictionary")
    n = len(config.strengths)
    stack = initial_stack(
        x.shape[1], config.width * x.shape[1], config.strengths, [own] * n, kind.own
    )
    same = Pool(x[None], torch.zeros(n, dtype=torch.long), (own,) * n)
    stack = train(kind, stack, same, recipe_of(config.recipe))
    measured = Measured(lm, layer, held_out, scale, Resampling(bootstrap, "text"))
    return list(measured.rows(kind, stack, config, x, seed))


@torch.no_grad()
def run_to(lm: LanguageModel, ids: Int[Tensor, "1 seq"], layer: int) -> Piece:
    """Run a piece through the layers before `layer`."""
    mask = torch.ones_like(ids)
    h = lm.model.model.embed_tokens(ids)
    inputs = inputs_of(lm, h, mask, positions(mask), cache := new_cache())
    return Piece(ids, run_layers(lm, range(layer), h, inputs, cache))


@torch.no_grad()
def losses_from(
    lm: LanguageModel, piece: Piece, layer: int, replace: Replace | None
) -> Float[np.ndarray, " predicted"]:
    """-log p of every token that is predicted from a replaced one, in nats."""
    h, mask = piece.stream, torch.ones_like(piece.ids)
    if replace is not None:
        h = torch.cat([h[:, :1], replace(piece.inputs).to(h)[None]], 1)
    inputs = inputs_of(lm, h, mask, positions(mask), cache := new_cache())
    h = run_layers(lm, range(layer, lm.n_layers), h, inputs, cache)
    log_p = lm.unembed(lm.norm(h[0, 1:-1])).float().log_softmax(-1)
    found = -log_p.gather(-1, piece.ids[0, 2:, None])
    return found.squeeze(-1).double().cpu().numpy()


@dataclass(frozen=True, eq=False)
class Measured:
    """What all dictionaries of a site share when they are measured."""

    lm: LanguageModel
    layer: int
    held_out: Sequence[Piece]
    scale: Normaliser
    resampling: Resampling

    def rows(
        self,
        kind: Kind,
        stack: Stack,
        config: TextConfig,
        pool: Float[Tensor, "inputs d"],
        seed: int,
    ) -> Iterator[Row]:
        """Rows of every dictionary, of random ones with as many codes, and of the mean."""
        base = self._losses(None)
        counts = [float(len(x)) for x in base]
        yield from self._ratio(NOTHING, config, 0.0, LOSS, [x.sum() for x in base], counts)

        def rise(name: str, strength: float, replace: Replace) -> Iterator[Row]:
            more = [a.sum() - b.sum() for a, b in zip(self._losses(replace), base, strict=True)]
            yield from self._ratio(name, config, strength, RISE, more, counts)

        yield from rise(MEAN, 0.0, lambda x: self.scale.mean.expand_as(x))
        for i, strength in progress(enumerate(config.strengths), desc="strengths"):
            one = stack.take([i])
            found = [self._reconstruction(kind, one, piece) for piece in self.held_out]
            yield from self._of_reconstructions(found, config, strength)
            yield from rise(DICTIONARY, strength, partial(self._back, kind, one))
            l0 = float(np.mean([f.l0 for f in found]))
            random = RandomDictionary.of(pool.shape[1], stack.W_dec.shape[1], l0, seed, 0)
            back = partial(self._random, random, random.decoder(pool))
            yield from rise(RANDOM, strength, back)

    def _losses(self, replace: Replace | None) -> list[Float[np.ndarray, " predicted"]]:
        return [losses_from(self.lm, piece, self.layer, replace) for piece in self.held_out]

    def _back(
        self, kind: Kind, one: Stack, x: Float[Tensor, "seq-1 d"]
    ) -> Float[Tensor, "seq-1 d"]:
        normed = self.scale.forward(x)[None]
        return self.scale.back(one.decode(kind.encode(one, normed))[0])

    def _random(
        self,
        random: RandomDictionary,
        decoder: Float[Tensor, "latent d"],
        x: Float[Tensor, "seq-1 d"],
    ) -> Float[Tensor, "seq-1 d"]:
        return self.scale.back(random.codes(self.scale.forward(x)) @ decoder)

    def _reconstruction(self, kind: Kind, one: Stack, piece: Piece) -> Reconstruction:
        return reconstructions(kind, one, self.scale.forward(piece.inputs)[None])[0][0]

    def _of_reconstructions(
        self, found: Sequence[Reconstruction], config: TextConfig, strength: float
    ) -> Iterator[Row]:
        """FVU from the mean of the training passages' stream, L0, and dead latents, which have
        Wilson's interval over latents."""
        n = [float(len(f.counts)) for f in found]
        # Around the mean of the training passages, which the dictionary knows.
        spread = [float(self.scale.forward(p.inputs).square().sum()) for p in self.held_out]
        errors = [float(f.errors.sum()) for f in found]
        yield from self._ratio(DICTIONARY, config, strength, "fvu", errors, spread)
        counts = [float(f.counts.sum()) for f in found]
        yield from self._ratio(DICTIONARY, config, strength, "l0", counts, n)
        silent = np.sum([f.fires for f in found], axis=0) == 0
        low, high = wilson_interval(silent.sum(), silent.size, self.resampling.bootstrap.level)
        ends = float(low), float(high)
        yield self._row(DICTIONARY, config, strength, "dead", float(silent.mean()), *ends)

    def _ratio(
        self,
        name: str,
        config: TextConfig,
        strength: float,
        metric: str,
        above: Sequence[float],
        below: Sequence[float],
    ) -> Iterator[Row]:
        """The ratio of sums over passages, which the bootstrap resamples."""
        a, b = np.array(above, dtype=float), np.array(below, dtype=float)
        low, high = self.resampling.interval(a, b)
        yield self._row(name, config, strength, metric, float(a.sum() / b.sum()), low, high)

    def _row(
        self,
        name: str,
        config: TextConfig,
        strength: float,
        metric: str,
        value: float,
        low: float,
        high: float,
    ) -> Row:
        return {
            **{"layer": self.layer, "replaced": name, "variant": config.variant},
            **{"strength": strength, "metric": metric, "value": value},
            **{"ci_low": finite(float(low)), "ci_high": finite(float(high))},
            "n": len(self.held_out),
        }
