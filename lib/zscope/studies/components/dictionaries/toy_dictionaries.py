"""The dictionaries that are trained on the stream of a toy model and of its untrained twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.studies.components.dictionaries.config import ToyConfig, VariantName
from zscope.studies.components.dictionaries.learning import Pool, recipe_of, train
from zscope.studies.components.dictionaries.reconstruction import Reconstruction, reconstructions
from zscope.studies.components.dictionaries.stack import Stack, initial_stack, random_rows
from zscope.studies.components.dictionaries.toy_sites import Site
from zscope.studies.components.dictionaries.variants.registry import KINDS
from zscope.studies.components.dictionaries.variants.top_k import keep_largest


@dataclass(frozen=True, eq=False)
class Trained:
    """One dictionary of a site.

    Attributes:
        stack: of this dictionary alone. codes: of the site's test inputs.
    """

    variant: VariantName
    strength: float
    seed: int
    site: Site
    stack: Stack
    found: Reconstruction
    codes: Float[Tensor, "inputs latent"]

    def reconstruct(self, stream: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The stream, in its own units, as the dictionary gives it back."""
        x = self.site.scale.forward(stream).reshape(1, -1, stream.shape[-1])
        back = self.stack.decode(KINDS[self.variant].encode(self.stack, x))
        return self.site.scale.back(back).reshape(stream.shape)


def train_on(
    sites: Sequence[Site],
    variant: VariantName,
    strengths: Sequence[float],
    seeds: Sequence[int],
    config: ToyConfig,
    seed: int,
) -> list[Trained]:
    """A dictionary for every site, strength and seed, all in one stack, sites outermost."""
    kind = KINDS[variant]
    asked = [(i, s, k) for i in range(len(sites)) for s in strengths for k in seeds]
    own = [derive_seed(seed, f"toy dictionary {k}") for _, _, k in asked]
    d = sites[0].pool.shape[1]
    stack = initial_stack(d, config.width * d, [s for _, s, _ in asked], own, kind.own)
    source = torch.tensor([i for i, _, _ in asked])
    pool = Pool(torch.stack([site.pool for site in sites]), source, tuple(own))
    stack = train(kind, stack, pool, recipe_of(config.recipe))
    trained = []
    for n, (i, strength, k) in enumerate(asked):
        (found,), codes = reconstructions(kind, one := stack.take([n]), sites[i].test[None])
        trained.append(Trained(variant, strength, k, sites[i], one, found, codes[0]))
    return trained


@dataclass(frozen=True, eq=False)
class RandomDictionary:
    """Random unit rows, whose k largest projections are the codes; the null of a dictionary.

    It has as many latents and as many codes per input as the dictionary that it is compared with.
    """

    rows: Float[Tensor, "latent d"]
    k: int

    @classmethod
    def of(cls, d: int, n_latents: int, k: float, seed: int, draw: int) -> RandomDictionary:
        rows = random_rows(n_latents, d, derive_seed(seed, f"random dictionary {draw}"))
        return cls(rows, max(1, round(k)))

    def codes(self, x: Float[Tensor, "inputs d"]) -> Float[Tensor, "inputs latent"]:
        return keep_largest((x @ self.rows.mT).relu()[None], torch.tensor([float(self.k)]))[0]

    def decoder(self, x: Float[Tensor, "inputs d"]) -> Float[Tensor, "latent d"]:
        """The linear decoder of its codes that leaves the least of x (least squares)."""
        codes = self.codes(x).double()
        gram = codes.mT @ codes
        gram.diagonal().add_(1e-6 * float(gram.diagonal().mean()) + 1e-12)
        return torch.linalg.solve(gram, codes.mT @ x.double()).to(x.dtype)
