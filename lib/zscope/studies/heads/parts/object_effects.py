"""What every head does to an indirect object, and its role: table heads_ioi.

With y the logit of the indirect object (IO) less that of the subject (S) at the end of a sentence
(END), and z_bar the mean of z at END over the sentences

    direct     (z_bar - z) W_O . D g s       the head's own write (`models/head_effects.py`)
    total      y with z set to z_bar at END, less y
    indirect   total - direct                what later layers make of it

Totals are exact for the heads that `s_inhibition` names and for those with the largest first-order
or direct effects, and first order for the others. Roles, as declared before any run, with q of sign
flips over prompts (Benjamini and Hochberg over all heads) below `max_q`, lower ends of shares of
attention above `min_content`, and rates over names (`ov.py`):

    copy suppression   q of direct, of either sign; END attends to IO, S1 or S2; the lower end of
                       suppression is above a half (McDougall et al. 2023)
    name mover         q of direct < 0; END attends to IO; the lower end of copying is above chance
                       (Wang et al. 2023)
    S-inhibition       q of indirect < 0, exact; the lower end of the score of END -> S2 over a
                       third name in its place (ABC), (raw - null) / (1 - null), is above the bound

The protocol's rule for S-inhibition is END -> S2 above 0.1 and a raw copy score below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.core.errors import ConfigError
from zscope.models.attention_view import AttentionView, LayerHeads
from zscope.models.head_edits import set_z
from zscope.models.head_effects import (
    Measure,
    direct_effects,
    exact_effects,
    first_order_effects,
)
from zscope.stats import bootstrap_interval, finite, random_sign_flips
from zscope.studies.heads.behaviours import Behaviour
from zscope.studies.heads.head_sets import Head
from zscope.studies.heads.ov import Rates
from zscope.studies.heads.settings import NamingSettings
from zscope.studies.heads.streams import Stream
from zscope.tables.schema import Row

NAMES = ("io", "s1", "s2")
PROTOCOL_SHARE = 0.1
"""The protocol's least END -> S2."""


@dataclass(frozen=True, eq=False)
class Effects:
    """Of mean ablation at END on y, and attention from there, of every prompt.

    direct: None for a model that has none. total: first order unless `exact`. attention: to the
    places of NAMES, and `control` to S2's in the ABC prompts.
    """

    direct: Float[np.ndarray, "n layer head"] | None
    total: Float[np.ndarray, "n layer head"]
    exact: Bool[np.ndarray, "layer head"]
    attention: Float[np.ndarray, "n layer head name"]
    control: Float[np.ndarray, "n layer head"]


def measure_effects(
    view: AttentionView,
    behaviour: Behaviour,
    sentences: Sequence[Stream],
    controls: Sequence[Stream],
    named: Sequence[Head],
    exact: int,
) -> Effects:
    """behaviour: S less IO at END, of `sentences`. exact: heads beside `named` that are exact."""
    pieces = [(p.tokens.to(view.device), _turned(p.y)) for p in behaviour.pieces]
    seen = [_at_end(view, s, NAMES) for s in sentences]
    z_bar = torch.cat([z for _, z in seen]).double().mean(0)

    def of_pieces(measured: Callable[[Tensor, Measure], Tensor]) -> Float[np.ndarray, "n l h"]:
        """[layer, batch, head] of every piece, as [n, layer, head]."""
        found = [measured(tokens, y).double().cpu() for tokens, y in pieces]
        return torch.cat(found, 1).transpose(0, 1).numpy()

    total = of_pieces(lambda x, y: first_order_effects(view, x, y, z_bar, [-1], at=-1))
    try:
        direct = of_pieces(lambda x, y: direct_effects(view, x, y, z_bar))
    except ConfigError:
        direct = None  # the model's residual stream is of another form
    chosen = sorted({*named, *_largest(total, direct, exact)})
    cases = [[set_z(layer, z_bar[layer], [h], at=-1)] for layer, h in chosen]
    found = [exact_effects(view, x, y, cases, [-1]).double().cpu() for x, y in pieces]
    is_exact = np.zeros(total.shape[1:], dtype=bool)
    for (layer, h), effect in zip(chosen, torch.cat(found, 1).numpy(), strict=True):
        total[:, layer, h], is_exact[layer, h] = effect, True
    return Effects(
        direct,
        total,
        is_exact,
        torch.cat([a for a, _ in seen]).double().numpy(),
        torch.cat([_at_end(view, s, ("s2",))[0] for s in controls]).double().numpy()[..., 0],
    )


def _turned(harm: Measure) -> Measure:
    return lambda logits: -harm(logits)


def _at_end(
    view: AttentionView, stream: Stream, marks: Sequence[str]
) -> tuple[Float[Tensor, "n layer head mark"], Float[Tensor, "n layer head d_head"]]:
    """Attention from the last token to marked places, and z there."""
    n = torch.arange(len(stream))
    places = torch.stack([stream.mark(m).float().argmax(-1) for m in marks], 1)
    attention, z = [], []

    def visit(heads: LayerHeads) -> None:
        to_keys = heads.pattern[:, :, -1].cpu().float()
        attention.append(to_keys[n[:, None], :, places].transpose(1, 2))
        z.append(heads.z[:, -1].cpu().float())

    view.run(stream.ids.to(view.device), visit=visit, read=[-1])
    return torch.stack(attention, 1), torch.stack(z, 1)


def _largest(
    total: Float[np.ndarray, "n layer head"], direct: Float[np.ndarray, "n l h"] | None, k: int
) -> list[Head]:
    size = np.abs(total.mean(0))
    if direct is not None:
        size = np.maximum(size, np.abs(direct.mean(0)))
    order = np.argsort(-size, axis=None, kind="stable")[:k]
    return [divmod(int(i), size.shape[1]) for i in order]


def effect_rows(
    effects: Effects,
    copying: Rates,
    suppression: Rates,
    raw_copy: Float[np.ndarray, "layer head"],
    *,
    settings: NamingSettings,
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    """Rows of table heads_ioi without subject and model. copying, suppression: of all heads over
    the names, in the order of layers."""
    shape = effects.exact.shape
    direct = np.full_like(effects.total, np.nan) if effects.direct is None else effects.direct
    indirect = effects.total - direct
    parts = {"direct": direct, "total": effects.total, "indirect": indirect}
    parts |= {name: effects.attention[..., i] for i, name in enumerate(NAMES)}
    parts["abc"] = effects.control
    intervals = {name: _interval(x, bootstrap) for name, x in parts.items()}
    over = 1 - effects.control, effects.attention[..., NAMES.index("s2")] - effects.control
    score_low = _interval(over[1], bootstrap, over[0])[0]
    q = {name: _q(parts[name], bootstrap, settings.max_flips) for name in ("direct", "indirect")}
    for at in np.ndindex(shape):
        head = int(np.ravel_multi_index(at, shape))
        row: Row = {"layer": at[0], "head": at[1], "exact": bool(effects.exact[at])}
        for name, x in parts.items():
            low, high = intervals[name]
            row |= {name: finite(float(x[(slice(None), *at)].mean()))}
            row |= {
                f"{name}_ci_low": finite(float(low[at])),
                f"{name}_ci_high": finite(float(high[at])),
            }
        row |= {f"{name}_q": finite(float(of[at])) for name, of in q.items()}
        row |= {"abc_score_low": finite(float(score_low[at])), "raw_copy": float(raw_copy[at])}
        for name, rates in (("copying", copying), ("suppression", suppression)):
            row |= {name: float(rates.rate[head]), f"{name}_ci_low": float(rates.low[head])}
            row |= {f"{name}_ci_high": float(rates.high[head])}
        row |= {"chance": copying.chance, "n": len(effects.total)}
        yield row | roles(row, settings)


def roles(row: Row, settings: NamingSettings) -> Row:
    """The roles of a row, as declared above, and the protocol's."""
    low = {name: row[f"{name}_ci_low"] or 0.0 for name in NAMES}
    tested = {x: row[f"{x}_q"] is not None and row[f"{x}_q"] < settings.max_q for x in _TESTED}
    to_a_name = max(low.values()) > settings.min_content
    return {
        "copy_suppression": bool(
            tested["direct"] and to_a_name and row["suppression_ci_low"] > 0.5
        ),
        "name_mover": bool(
            tested["direct"]
            and row["direct"] < 0
            and low["io"] > settings.min_content
            and row["copying_ci_low"] > row["chance"]
        ),
        "s_inhibition": bool(
            tested["indirect"]
            and row["indirect"] < 0
            and row["exact"]
            and (row["abc_score_low"] or 0.0) > settings.min_content
        ),
        "protocol_verdict": bool(row["s2"] > PROTOCOL_SHARE and row["raw_copy"] < 0),
    }


_TESTED = ("direct", "indirect")


def _interval(
    x: Float[np.ndarray, "n layer head"],
    bootstrap: Bootstrap,
    below: Float[np.ndarray, "n layer head"] | None = None,
) -> tuple[Float[np.ndarray, "layer head"], Float[np.ndarray, "layer head"]]:
    flat = None if below is None else below.reshape(len(below), -1)
    low, high = bootstrap_interval(x.reshape(len(x), -1), flat, bootstrap=bootstrap)
    return low.reshape(x.shape[1:]), high.reshape(x.shape[1:])


def _q(
    x: Float[np.ndarray, "n layer head"], bootstrap: Bootstrap, flips: int
) -> Float[np.ndarray, "layer head"]:
    """Benjamini-Hochberg q over all heads of sign flips over prompts; NaN where there is none."""
    from scipy.stats import false_discovery_control

    if np.isnan(x).any():
        return np.full(x.shape[1:], np.nan)
    rng = np.random.default_rng([bootstrap.seed, 3])  # not the draws of other tests
    p = random_sign_flips(x.reshape(len(x), -1), rng=rng, flips=flips)
    return false_discovery_control(p).reshape(x.shape[1:])
