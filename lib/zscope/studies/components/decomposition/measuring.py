"""Everything that is measured of one decomposition, by the short name of its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.studies.components.decomposition.buildup import buildup_rows, logit_rows
from zscope.studies.components.decomposition.coactivation import (
    coactivation_rows,
)
from zscope.studies.components.decomposition.coactivation import (
    partner_rows as values_of_keys,
)
from zscope.studies.components.decomposition.config import DecompositionConfig
from zscope.studies.components.decomposition.descriptions import (
    Oriented,
    component_rows,
    head_norm_rows,
    importance_rows,
    oriented,
    spread_null_rows,
    token_rows,
)
from zscope.studies.components.decomposition.evidence import (
    adversary_rows,
    matrix_rows,
    reconstruction_rows,
)
from zscope.studies.components.decomposition.induction import (
    attention_rows,
)
from zscope.studies.components.decomposition.induction import (
    component_rows as without_each,
)
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.rank_one import Decomposition
from zscope.studies.components.decomposition.score_pairs import (
    pair_rows,
)
from zscope.studies.components.decomposition.score_pairs import (
    partner_rows as keys_of_queries,
)
from zscope.studies.components.decomposition.selectivity import (
    STRICT,
    Component,
    chosen_components,
    measure_effects,
    rules_of,
)
from zscope.studies.components.decomposition.tables import (
    ATTENTION,
    BUILDUP,
    COACTIVATION,
    COMPONENTS,
    HEAD_NORMS,
    IMPORTANCE,
    INDUCTION,
    LOGITS,
    MATRICES,
    PAIRS,
    PARTNERS,
    READOUTS,
    RECONSTRUCTION,
    RISES,
    SPREAD_NULL,
    TESTS,
    TOKENS,
)
from zscope.tables.schema import Row
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage

LOGIT_SAMPLES = 400
PARTNERS_SHOWN = 3


@dataclass(frozen=True)
class Measuring:
    """The sequences of all measurements of all decompositions, and their settings."""

    language: ToyLanguage
    config: DecompositionConfig
    seed: int
    bootstrap: Bootstrap

    def _sample(self, n: int, name: str) -> ToyEvaluation:
        return ToyEvaluation.sample(
            self.language, n, derive_seed(self.seed, name), self.bootstrap, torch.device("cpu")
        )

    @cached_property
    def choosing(self) -> ToyEvaluation:
        """On which components are chosen and described."""
        return self._sample(self.config.sequences, "choosing")

    @cached_property
    def scoring(self) -> ToyEvaluation:
        """On which effects and reconstruction are measured."""
        return self._sample(self.config.sequences, "scoring")

    @cached_property
    def attacked(self) -> ToyEvaluation:
        return self._sample(self.config.attack_sequences, "attacked")


def measure_phase(
    decomposition: Decomposition, measuring: Measuring, *, first: bool
) -> dict[str, list[Row]]:
    """Rows of every table of a phase. first: the phase whose components are described and ablated;
    of another, the evidence alone."""
    config = measuring.config
    scoring = Run(decomposition, measuring.scoring)
    attacked = Run(decomposition, measuring.attacked)
    rows = {
        RECONSTRUCTION.short: reconstruction_rows(scoring, measuring.seed)
        + adversary_rows(attacked, config.attack_steps, config.attack_size, measuring.seed),
        MATRICES.short: matrix_rows(scoring),
    }
    choosing = Run(decomposition, measuring.choosing)
    found = oriented(choosing)
    rows[COMPONENTS.short] = list(component_rows(choosing, found))
    if not first:
        return rows
    chosen = {
        (rule.name, primitive): chosen_components(choosing, primitive, rule)
        for rule in rules_of(config.selectivity)
        for primitive in choosing.primitives
    }
    effects = measure_effects(choosing, scoring, found, config.selectivity, measuring.seed)
    tokens = list(measuring.language.vocabulary.tokens)
    rows |= {
        SPREAD_NULL.short: spread_null_rows(choosing, derive_seed(measuring.seed, "spread")),
        HEAD_NORMS.short: list(head_norm_rows(choosing, found)),
        IMPORTANCE.short: list(importance_rows(choosing, chosen)),
        TOKENS.short: list(token_rows(choosing, found, tokens)),
        RISES.short: effects.rises,
        TESTS.short: effects.tests,
    }
    return rows | _of_pairs(choosing, scoring, attacked, found, measuring, chosen)


def _of_pairs(
    choosing: Run,
    scoring: Run,
    attacked: Run,
    found: Oriented,
    measuring: Measuring,
    chosen: Mapping[tuple[str, str], set[Component]],
) -> dict[str, list[Row]]:
    """Rows of the tables of pairs of components, of their sum, and of what ablating them does.
    attacked: the fewest sequences, for what takes many runs."""
    config, seed = measuring.config, measuring.seed
    primitives = choosing.primitives
    rng = np.random.default_rng(derive_seed(seed, "coactivation"))
    own = {p: chosen[STRICT, p] for p in primitives}
    words = list(measuring.language.vocabulary.tokens)
    attention, readouts = attention_rows(scoring, own, words)
    together = list(
        coactivation_rows(
            choosing, config.least_firings, config.shifts, measuring.bootstrap.tails, rng
        )
    )
    partners = [
        *keys_of_queries(choosing, found, config.max_offset, PARTNERS_SHOWN),
        *values_of_keys(together, PARTNERS_SHOWN),
    ]
    return {
        PARTNERS.short: partners,
        PAIRS.short: list(pair_rows(choosing, found, config.max_offset, config.pairs, primitives)),
        COACTIVATION.short: together,
        BUILDUP.short: list(buildup_rows(attacked, seed)),
        LOGITS.short: list(logit_rows(scoring, LOGIT_SAMPLES, seed)),
        INDUCTION.short: list(without_each(scoring, config.induction_components)),
        ATTENTION.short: attention,
        READOUTS.short: readouts,
    }
