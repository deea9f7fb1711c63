"""What a variant of sparse dictionary is: how it codes, and what it minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from zscope.studies.components.dictionaries.stack import Codes, Inputs, Stack


class Terms(NamedTuple):
    """What a step needs of a batch.

    loss: of each dictionary. codes: of the batch, to see which latents fire. cut: BatchTopK's
    smallest kept activation, for its running mean.
    """

    loss: Float[Tensor, " n"]
    codes: Codes
    cut: Float[Tensor, " n"] | None = None


Encode = Callable[[Stack, Inputs], Codes]
Loss = Callable[[Stack, Inputs, float, Bool[Tensor, "n latent"]], Terms]


@dataclass(frozen=True)
class Kind:
    """A variant.

    Attributes:
        encode: codes at test time.
        loss: stack, batch, the share (0 to 1) of the penalty that is warmed up, and which latents
            are dead; gives the terms.
        counts: whether the strength is a number of codes (k) rather than a penalty's weight.
        own: further parameters, each [n, latent], with their initial values.
        nonnegative: those of them that are kept >= 0.
    """

    encode: Encode
    loss: Loss
    counts: bool = False
    own: Mapping[str, float] = field(default_factory=dict)
    nonnegative: tuple[str, ...] = ()
