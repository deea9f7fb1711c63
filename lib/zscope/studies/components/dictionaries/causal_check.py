"""What the model loses where the stream is replaced by what a dictionary gives back.

The excess over the exact language, by the primitive that governs: a loss over all positions would
hide the rare ones. Beside it a random dictionary with the best linear decoder of its codes, and the
mean of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.studies.components.dictionaries.toy_dictionaries import RandomDictionary, Trained
from zscope.studies.components.dictionaries.toy_sites import Site, ToyTexts
from zscope.tables.schema import Row

RISE, EXCESS = "rise", "excess"
DICTIONARY, RANDOM, MEAN, NOTHING = "dictionary", "random", "mean", "nothing"
RANDOM_DRAWS = 3


@torch.no_grad()
def causal_rows(
    site: Site, dictionaries: Sequence[Trained], texts: ToyTexts, seed: int
) -> Iterator[Row]:
    """Excess of the model as it is, and its rise under every replacement: replaced, seed,
    primitive, metric, value, ends of the interval over sequences, n."""
    test, model = texts.test, site.model
    stream = torch.cat([model.stream(t, site.layer) for t in test.tokens.split(128)])

    def excess(replace: Callable[[Float[Tensor, "n seq d"]], Float[Tensor, "n seq d"]]):  # type: ignore[no-untyped-def]
        return test.excess_by(lambda some: model.resume(replace(stream[some]), site.layer))

    base = excess(lambda x: x)
    for row in test.by_primitive(base, EXCESS):
        yield {"replaced": NOTHING, "seed": 0, **row}
    replacements: list[tuple[str, int, Callable[[Tensor], Tensor]]] = [
        (DICTIONARY, d.seed, d.reconstruct) for d in dictionaries
    ]
    n_latents = dictionaries[0].stack.W_dec.shape[1]
    k = sum(d.found.l0 for d in dictionaries) / len(dictionaries)
    for draw in range(RANDOM_DRAWS):
        random = RandomDictionary.of(stream.shape[-1], n_latents, k, seed, draw)
        replacements.append((RANDOM, draw, _random_back(site, random)))
    replacements.append((MEAN, 0, lambda x: site.scale.mean.expand_as(x)))
    for name, of, replace in replacements:
        for row in test.by_primitive(excess(replace) - base, RISE):
            yield {"replaced": name, "seed": of, **row}


def _random_back(site: Site, random: RandomDictionary) -> Callable[[Tensor], Tensor]:
    decoder = random.decoder(site.pool)

    def back(x: Float[Tensor, "n seq d"]) -> Float[Tensor, "n seq d"]:
        codes = random.codes(site.scale.forward(x).flatten(0, 1))
        return site.scale.back(codes @ decoder).view_as(x)

    return back
