"""An onset of attention to z needs more than the largest of several heads has by chance."""

from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from zscope.config.base import Bootstrap
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.models.wrapped_transformer import load_weights, wrap
from zscope.studies.lag.config import OnsetConfig
from zscope.studies.lag.facts import encode, make_facts
from zscope.studies.lag.onsets import describe_run, find_onsets, probe_curves
from zscope.studies.lag.probes.measuring import run_probes
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.untrained import largest_untrained_head

LAYERS, HEADS, SEEDS = 2, 4, 5
STEPS = (0, 50, 100, 150)
# The shape and initial weights of z_order_sweep in config/config.yaml.
CONFIG = RunConfig.model_validate(
    {
        "data": {
            "k": 2,
            "n_unique_b": 16,
            "b_unit": "token",
            "b_length": 1,
            "a_length": 2,
            "z_code": "parity",
            "z_length": 4,
        }
    }
)
PROBE = "attention_to_z"


@pytest.fixture(scope="module")
def untrained():
    """Attention to z of every head of 200 untrained models: on two halves of the examples."""
    data = encode(make_facts(CONFIG.data, 0), CONFIG.data)
    shape = TransformerConfig(
        LAYERS, 64, HEADS, 256, data.layout.length, len(data.vocabulary), 0.1, 0.02
    )
    rows = np.random.default_rng(0).permutation(len(data.tokens))[:96]
    probe = {PROBE: import_module(f"zscope.studies.lag.probes.{PROBE}")}
    model = Transformer(shape)
    wrapped = wrap(model.init_weights(0))
    found = []
    for seed in range(200):
        load_weights(wrapped, model.init_weights(seed).state_dict())
        for half in (rows[::2], rows[1::2]):
            read = run_probes(wrapped, data, half, probe, bootstrap=Bootstrap(resamples=10))
            found.append([row["value"] for row in read if row["metric"] == "attention"])
    return np.array(found).reshape(200, 2, LAYERS * HEADS)


def onsets_of(attention):
    """Onset steps of the runs of a condition; attention: share by run, step and head."""
    rows = [
        {
            "run": f"r{run}",
            "probe": PROBE,
            "step": STEPS[step],
            "metric": "attention",
            "layer": head // HEADS,
            "head": head % HEADS,
            "value": value,
            "ci_low": value,
            "ci_high": value,
        }
        for (run, step, head), value in np.ndenumerate(attention)
    ]
    runs = [describe_run(f"r{i}", CONFIG) for i in range(len(attention))]
    curves = probe_curves(pd.DataFrame(rows))
    return [row["onset_step"] for row in find_onsets(curves, pd.DataFrame(runs), OnsetConfig())]


def test_at_most_one_in_twenty_untrained_models_passes(untrained):
    """Training that draws new random weights and learns nothing: 40 conditions of 5 seeds."""
    conditions = untrained.mean(1).reshape(-1, SEEDS, LAYERS * HEADS)
    passed = []
    for start, redrawn in zip(conditions, np.roll(conditions, 1, axis=0), strict=True):
        attention = np.stack([start, redrawn, redrawn, redrawn], axis=1)
        passed += [step is not None for step in onsets_of(attention)]
    assert len(passed) == 200
    assert np.mean(passed) <= 0.05


def test_uniform_attention_is_no_null_of_the_largest_head(untrained):
    uniform = 4 / 8
    assert np.mean(untrained.mean(1).max(-1) > uniform + 0.1) > 0.5


def test_a_head_chosen_on_other_examples_is_as_far_above_uniform(untrained):
    """Random heads prefer the same positions on all examples."""
    first, second = untrained[:, 0], untrained[:, 1]
    elsewhere = np.take_along_axis(second, first.argmax(-1)[:, None], -1)[:, 0]
    assert np.mean(elsewhere > 4 / 8 + 0.1) > 0.5


def test_no_seed_has_its_onset_before_training(untrained):
    """However uneven the initial weights are, if they stay as they are."""
    still = np.repeat(untrained.mean(1)[:SEEDS, None], len(STEPS), axis=1)
    assert onsets_of(still) == [None] * SEEDS


def test_a_head_that_rises_sets_in_and_those_that_drift_do_not(untrained):
    start = untrained.mean(1)[:SEEDS]
    attention = np.repeat(start[:, None], len(STEPS), axis=1)
    attention[:, 1:] -= 0.3  # as where z is ignored: heads turn to B
    level = largest_untrained_head(pd.DataFrame({"step": 0, "value": start.ravel()}))
    assert level == start.max()
    attention[3, 2:, 6] = level + 0.11
    attention[4, 2:, 6] = level + 0.09
    assert onsets_of(attention) == [None, None, None, 100, None]


def test_the_null_is_of_step_0_alone():
    frame = pd.DataFrame({"step": [0, 0, 50], "value": [0.2, 0.6, 0.9]})
    assert largest_untrained_head(frame) == 0.6
    assert np.isnan(largest_untrained_head(frame.iloc[2:]))
