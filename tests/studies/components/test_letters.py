"""Prompts of labelled options, what is read out of a model, and a training that can be told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.components.letters import training
from zscope.studies.components.letters.config import LettersConfig
from zscope.studies.components.letters.prompts import make_prompts, vocabulary_size
from zscope.studies.components.letters.training import IN_ORDER, PERMUTED, readout_rows, train

pytestmark = pytest.mark.numerics
CONFIG = LettersConfig(steps=150, tested=300, options=2, contents=4, d_model=32, n_heads=2)


def test_a_prompt_asks_for_one_of_its_contents_and_the_answer_is_its_label():
    prompts = make_prompts(200, 4, 9, 0.5, np.random.default_rng(0))
    for tokens, place, answer in zip(prompts.tokens, prompts.place, prompts.answer, strict=True):
        labels, contents = tokens[0:8:2].tolist(), tokens[1:8:2].tolist()
        assert sorted(labels) == [0, 1, 2, 3]
        assert len({*contents}) == 4
        assert min(contents) >= 4
        assert tokens[8] == 4 + 9
        assert tokens[9] == contents[place]
        assert answer == labels[place]
    in_order = np.all(prompts.tokens[:, 0:8:2] == np.arange(4), axis=1)
    assert 0.4 < in_order.mean() < 0.65  # half, and 1/24 of the others
    assert (prompts.apart == (prompts.answer != prompts.place)).all()
    assert prompts.tokens.max() < vocabulary_size(4, 9)
    with pytest.raises(DataError, match="3 contents for 4 options"):
        make_prompts(1, 4, 3, 0.0, np.random.default_rng(0))


def test_a_config_with_fewer_contents_than_options_is_wrong():
    with pytest.raises(ValidationError, match="3 for 4 options"):
        LettersConfig(contents=3)


def test_tested_prompts_are_in_order_or_tell_label_and_position_apart():
    found = training.tested_prompts(LettersConfig(tested=400), 0)
    assert not found[IN_ORDER].apart.any()
    assert found[PERMUTED].apart.all()
    assert 250 < len(found[PERMUTED].tokens) < 350  # three of four


def test_the_readouts_are_those_of_the_model():
    shape = TensorConfig(vocabulary_size(4, 16), 10, 2, 2, 16, 8, attention="softmax")
    model = TensorTransformer(shape)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=draws) * 0.4)
    prompts = training.tested_prompts(LettersConfig(tested=60), 1)[PERMUTED]
    rows = pd.DataFrame(readout_rows(model.eval(), PERMUTED, prompts, Bootstrap(resamples=20)))
    tokens = torch.from_numpy(prompts.tokens)
    with torch.no_grad():
        said = model(tokens)[:, -1].argmax(-1).numpy()
        E = model.tok_embed(tokens)  # noqa: N806
        q, k, _ = model.blocks[0].attn.split(model.blocks[0].attn.project(E))
    weights = (q[:, :, -1:] @ k.mT / 8**0.5).softmax(-1)[:, :, 0].numpy()  # the last row sees all
    rates = rows[rows["layer"].isna()].set_index("metric")["value"]
    assert rates["label"] == pytest.approx((said == prompts.answer).mean())
    assert rates["letter_of_position"] == pytest.approx((said == prompts.place).mean())
    n = np.arange(len(tokens))
    for metric, shift in (("attention_label", 0), ("attention_content", 1)):
        own = weights[n, :, 2 * prompts.place + shift]
        every = weights[:, :, [shift, 2 + shift, 4 + shift, 6 + shift]].sum(-1)
        of = rows[(rows["metric"] == metric) & (rows["layer"] == 0)].set_index("head")
        for head in range(2):
            assert of.loc[head, "value"] == pytest.approx(own[:, head].mean(), abs=1e-5)
            others = (every - own)[:, head].mean() / 3
            assert of.loc[head, "null"] == pytest.approx(others, abs=1e-5)
            assert of.loc[head, "ci_low"] <= of.loc[head, "value"] <= of.loc[head, "ci_high"]


def test_labels_in_order_teach_the_letter_of_the_position_and_permuted_ones_the_label():
    prompts = training.tested_prompts(CONFIG, 0)[PERMUTED]
    rate = {}
    for permuted in (0.0, 1.0):
        model = train(CONFIG, permuted, 0)
        rows = pd.DataFrame(readout_rows(model, PERMUTED, prompts, Bootstrap(resamples=20)))
        found = rows[rows["layer"].isna()].set_index("metric")["value"]
        rate[permuted] = found["label"], found["letter_of_position"]
    # With two options, what is not the label is the letter of the position.
    assert rate[1.0][0] > rate[0.0][0] + 0.2
    assert rate[0.0][1] > rate[1.0][1] + 0.2
