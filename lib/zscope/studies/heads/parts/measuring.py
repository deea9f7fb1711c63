"""All that is measured of one model's heads part by part, by the table that it is a row of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from zscope.config.base import Bootstrap
from zscope.figures.frames import select
from zscope.studies.heads.asked.model import AskedModel
from zscope.studies.heads.behaviours import Behaviour
from zscope.studies.heads.config import PartsConfig
from zscope.studies.heads.detector import Detector
from zscope.studies.heads.parts.object_effects import effect_rows, measure_effects
from zscope.studies.heads.parts.offsets import layer_offset_rows, offset_rows, offset_sums
from zscope.studies.heads.parts.redundancy import best_previous, redundancy_rows
from zscope.studies.heads.parts.token_rates import NAMES, TokenRates, measure_rates, rate_rows
from zscope.studies.heads.parts.under_ablation import named_of, under_ablation_rows
from zscope.studies.heads.questions import named_heads
from zscope.studies.heads.settings import DetectorSettings, NamingSettings
from zscope.studies.heads.tables import (
    IOI,
    LAYER_OFFSETS,
    OFFSETS,
    OV,
    REDUNDANCY,
    UNDER_ABLATION,
)
from zscope.tables.schema import Row, Table

LEAST = DetectorSettings()


def part_rows(
    model: AskedModel,
    behaviours: Mapping[str, Behaviour],
    scores: pd.DataFrame,
    detectors: Mapping[str, Detector],
    *,
    config: PartsConfig,
    naming: NamingSettings,
    batch_size: int,
    bootstrap: Bootstrap,
) -> Iterator[tuple[str, Row]]:
    """(short name of a table, a row of it without subject and model). scores: of this model.

    What does not apply to a model has no rows: no text, no named heads, no names.
    """

    def of(table: Table, rows: Iterator[Row]) -> Iterator[tuple[str, Row]]:
        return ((table.short, row) for row in rows)

    view = model.view
    for text in model.streams.get("text", ())[:1]:
        sums = offset_sums(view, text.ids, config.max_offset, batch_size)
        yield from of(OFFSETS, offset_rows(sums, bootstrap))
        yield from of(LAYER_OFFSETS, layer_offset_rows(sums, bootstrap))
        if head := best_previous(scores):
            found = redundancy_rows(view, text.ids, head, config.logit_offsets, bootstrap)
            yield from of(REDUNDANCY, found)
    named = named_of(scores)
    shares = under_ablation_rows(
        model, named, detectors, targets=config.targets, exact=config.exact, bootstrap=bootstrap
    )
    yield from of(UNDER_ABLATION, shares)
    if model.maps is None:
        return
    least = LEAST.min_words, LEAST.min_names
    rates = measure_rates(model.maps, model.items, model.names, least=least, level=bootstrap.level)
    yield from of(OV, rate_rows(rates, view.n_heads, bootstrap))
    if "ioi" in behaviours and ("copy", NAMES) in rates.rates:
        yield from of(IOI, _ioi(model, behaviours["ioi"], scores, rates, config, naming, bootstrap))


def _ioi(
    model: AskedModel,
    behaviour: Behaviour,
    scores: pd.DataFrame,
    rates: TokenRates,
    config: PartsConfig,
    naming: NamingSettings,
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    effects = measure_effects(
        model.view,
        behaviour,
        model.streams["ioi"],
        model.streams["abc"],
        named_heads(select(scores, detector="s_inhibition")),
        config.exact,
    )
    copying, suppression = (rates.rates[x, NAMES] for x in ("copy", "suppression"))
    yield from effect_rows(
        effects,
        copying,
        suppression,
        rates.raw_copy,
        settings=naming,
        bootstrap=bootstrap,
    )
