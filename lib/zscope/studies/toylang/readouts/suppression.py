"""Suppression from weights: "never .. name" lowers the verb that the name asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.studies.toylang.readouts.circuits import head_boosts
from zscope.studies.toylang.readouts.direct import token_logits
from zscope.studies.toylang.readouts.program_truth import verbs_of_names
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.toy_language.language import ToyLanguage


@dataclass(frozen=True, eq=False)
class Suppression:
    """Logits of each name's verbs, its top verb first, without and with the trigger before it."""

    without: Float[Tensor, "name verb"]
    with_trigger: Float[Tensor, "name verb"]

    @property
    def drop(self) -> Float[Tensor, " name"]:
        """How far the trigger lowers the top verb against the mean of the others, in nats."""
        change = self.without - self.with_trigger
        return change[:, 0] - change[:, 1:].mean(1)

    @property
    def below(self) -> Bool[Tensor, " name"]:
        """Whether the top verb is below each of the others with the trigger."""
        return self.with_trigger[:, 0] < self.with_trigger[:, 1:].amin(1)


def suppression(
    weights: TensorWeights,
    trigger: int,
    names: Sequence[int],
    verbs: Sequence[Sequence[int]],
    offsets: Sequence[int],
) -> Suppression:
    """Logits from direct and one-head paths.

    verbs: for each name, the same number of verbs, the top one first. offsets: distances of the
    trigger, over which its effect is averaged.

    Raises:
        DataError: no offset.
    """
    tokens = weights.E
    wanted = torch.tensor([list(of_name) for of_name in verbs])
    name, key = tokens[list(names)], tokens[[trigger]]
    without = token_logits(weights)[list(names)]
    boost = torch.zeros_like(without)
    for layer in range(weights.n_layers):
        pattern = weights.mean_patterns(layer, offsets, name, key)
        boost += (pattern * weights.outputs(layer, key)).sum(0)
    return Suppression(without.gather(1, wanted), (without + boost).gather(1, wanted))


def head_drops(weights: TensorWeights, language: ToyLanguage) -> Float[Tensor, "layer head name"]:
    """How far each head lowers a name's top verb against the mean of its others, in nats.

    Through one head, `never` adds A(name, never) OV(never -> verb) to a verb's logit, averaged over
    the distances of the program's window.
    """
    names = language.vocabulary.members["name"].tolist()
    never = language.vocabulary.ids["never"]
    offsets = range(1, language.config.suppress.window + 1)
    boosts = head_boosts(weights, offsets, [(name, never) for name in names])
    verbs = torch.tensor(verbs_of_names(language))
    of_verbs = boosts[:, :, torch.arange(len(names))[:, None], verbs]
    return of_verbs[..., 1:].mean(-1) - of_verbs[..., 0]
