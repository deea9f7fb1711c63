"""What an ablation does to the next token: probabilities, and the tokens that move most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from zscope.studies.heads.tables import LOGIT_DOWN, LOGIT_UP, P_DOWN, P_UP
from zscope.tables.schema import Row

Texts = Callable[[Iterable[int]], tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The next token of every prompt of a batch, from its logits."""

    logits: Float[Tensor, "batch vocab"]
    log_p: Float[Tensor, "batch vocab"]
    likeliest: Float[Tensor, " batch"]

    @classmethod
    def of(cls, logits: Float[Tensor, "batch vocab"]) -> Prediction:
        # Divergences of a millionth are differences of numbers near 1.
        exact = logits.cpu().double()
        return cls(exact, exact.log_softmax(-1), exact.argmax(-1))

    def kl(self, ablated: Prediction) -> Float[Tensor, " batch"]:
        """KL(this, ablated), in nats."""
        return (self.log_p.exp() * (self.log_p - ablated.log_p)).sum(-1).clamp_min(0)

    def rows(self, base: Prediction | None, texts: Texts) -> list[Row]:
        """The columns of table heads_prompt_conditions that are read off the logits.

        base: the run that this one is compared with; None: it is one itself.
        """
        before = self if base is None else base
        target = before.likeliest[:, None]
        log_p, old = (x.log_p.gather(-1, target)[:, 0].tolist() for x in (self, before))
        kl = before.kl(self).tolist()
        ids = self.likeliest.tolist()
        return [
            {
                "predicted_id": token,
                "predicted": text,
                "kl": None if base is None else divergence,
                "log_p": new,
                "log_p_change": None if base is None else new - was,
            }
            for token, text, divergence, new, was in zip(
                ids, texts(ids), kl, log_p, old, strict=True
            )
        ]

    def shifts(self, base: Prediction, k: int, texts: Texts) -> list[list[Row]]:
        """For each prompt the k tokens that rise and fall most, in either ranking.

        Logits are centred over the vocabulary: what all of them gain changes nothing. Tokens that
        do not move in the direction of a ranking are not in it.
        """
        logit, p = (
            after - before
            for after, before in (
                (_centred(self.logits), _centred(base.logits)),
                (self.log_p.exp(), base.log_p.exp()),
            )
        )
        found: list[list[Row]] = [[] for _ in logit]
        for ranking, change, sign in (
            (LOGIT_UP, logit, 1),
            (LOGIT_DOWN, logit, -1),
            (P_UP, p, 1),
            (P_DOWN, p, -1),
        ):
            top = (sign * change.float()).topk(min(k, change.shape[1]))
            both = zip(found, top.values.tolist(), top.indices.tolist(), strict=True)
            for of, values, ids in both:
                of += _ranked(ranking, sign, values, ids, texts(ids))
        return found


def _ranked(
    ranking: str, sign: int, values: list[float], ids: list[int], texts: Iterable[str]
) -> Iterator[Row]:
    for rank, (value, token, text) in enumerate(zip(values, ids, texts, strict=True), 1):
        if value > 0:
            yield {
                **{"ranking": ranking, "rank": rank, "token_id": token, "token": text},
                "value": sign * value,
            }


def _centred(logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, "batch vocab"]:
    return logits - logits.mean(-1, keepdim=True)
