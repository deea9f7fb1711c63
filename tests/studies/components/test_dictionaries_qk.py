"""Dictionaries of queries and keys: patterns, targets, joint training, rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_tensor import pattern_of, random_model, random_tokens
from zscope.config.base import Bootstrap
from zscope.core.errors import ConfigError
from zscope.models.checkpoints import save_tensors
from zscope.models.tensor_transformer import TensorConfig
from zscope.studies.components.dictionaries.config import QkConfig
from zscope.studies.components.dictionaries.learning import Recipe
from zscope.studies.components.dictionaries.normalise import Normaliser
from zscope.studies.components.dictionaries.qk_dictionaries import (
    KIND,
    Head,
    Pair,
    divergence,
    induction_head,
    induction_targets,
    log_pattern,
    qk_rows,
    train_jointly,
)
from zscope.studies.components.dictionaries.stack import initial_stack
from zscope.studies.components.dictionaries.tables import DICTIONARIES_QK
from zscope.tables.write import write_table
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage

pytestmark = pytest.mark.numerics


def drawn_head(n=24, seq=12, d=6, seed=0):
    """Queries and keys that vary in three of the elements."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([2.0, 1.5, 1.0, 0.3, 0.2, 0.1])
    q, k = (scale * torch.randn(n, seq, d, generator=generator) for _ in range(2))
    return Head(1, 0, 100.0, 0.5, q, k)


def pair_of(head, ks, latents=12):
    d = head.q.shape[-1]
    q, k = (initial_stack(d, latents, ks, [s] * len(ks), KIND.own) for s in (1, 2))
    scales = (Normaliser.of(x.flatten(0, 1)) for x in (head.q, head.k))
    return Pair(q, k, *scales)


def test_the_pattern_is_the_models():
    model = random_model(attention="softmax", rms_norm=True)
    x = model.blocks[1].read(model.stream(random_tokens(model), 1))
    attn = model.blocks[1].attn
    for head, expected in enumerate(pattern_of(attn, x).unbind(1)):
        q, k = (x @ attn.weight(name)[head].mT for name in ("q1", "k1"))
        found = log_pattern(q, k, model.config.rope_base).exp()
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_the_divergence_of_patterns_is_written_out():
    head, other = drawn_head(2), drawn_head(2, seed=1)
    true, found = (log_pattern(h.q, h.k, h.base) for h in (head, other))
    kl = divergence(true, found)
    for i, t in np.ndindex(2, 12):
        p, q = (x[i, t, : t + 1].exp().double() for x in (true, found))
        assert float(kl[i, t]) == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-5)
    assert divergence(true, true).abs().max() == 0
    assert kl[:, 0].abs().max() < 1e-6  # one key


def test_targets_of_induction_are_the_colours_that_came_first():
    language = ToyLanguage(LanguageConfig())
    tokens = language.sample(60, np.random.default_rng(0)).tokens
    found = induction_targets(language, tokens)
    words = np.array(language.vocabulary.categories, dtype=object)
    assert len(found) > 30
    repeated = 0
    for i, query, key in found:
        assert words[tokens[i, query]] == "object"
        assert words[tokens[i, key]] == "colour"
        assert tokens[i, key - 1] == tokens[i, query]
        assert key < query
        repeated += tokens[i, query + 1] == tokens[i, key]
    assert repeated / len(found) > 0.8  # the language repeats it in 0.9 and by chance


def test_the_head_that_looks_there_is_named():
    model = random_model(attention="softmax").float()
    tokens = random_tokens(model, n=5)
    x = model.stream(tokens, 1).detach()
    weights = pattern_of(model.blocks[1].attn, x)[:, :, 5, 2].mean(0).detach()
    head = induction_head(model, tokens, [(i, 5, 2) for i in range(5)])
    assert (head.layer, head.head) == (1, int(weights.argmax()))
    assert head.score == pytest.approx(float(weights.max()), rel=1e-4)


def test_dictionaries_that_give_back_all_change_no_pattern():
    head = drawn_head()
    both = torch.cat([torch.eye(6), -torch.eye(6)])[None]
    pair = pair_of(head, [12.0])
    whole = replace(pair, **{s: replace(getattr(pair, s), W_dec=both, W_enc=both.mT) for s in "qk"})
    q, k, error = whole.back(head)
    torch.testing.assert_close(q[0], head.q, rtol=1e-4, atol=1e-5)
    assert float(error[0]) < 1e-9
    true = log_pattern(head.q, head.k, head.base)
    assert divergence(true, log_pattern(q[0], k[0], head.base)).abs().max() < 1e-4


def test_joint_training_lowers_the_divergence_and_alone_forgets_the_vectors():
    head, ks = drawn_head(64), [1.0, 3.0]
    start = pair_of(head, ks)
    true = log_pattern(head.q, head.k, head.base)

    def judged(pair):
        q, k, error = pair.back(head)
        return divergence(true, log_pattern(q, k, head.base)).mean((1, 2)).detach(), error.detach()

    recipe = Recipe(steps=150, batch=8, lr=1e-2)
    both, alone = (judged(train_jointly(start, head, recipe, a, 0)) for a in (1.0, 0.0))
    before = judged(start)
    assert (both[0] < 0.8 * before[0]).all()
    assert (alone[0] < 0.8 * before[0]).all()
    assert both[0][1] < both[0][0]  # more codes, less lost
    assert (alone[1] > both[1]).all()


@pytest.fixture
def checkpoints(tmp_path):
    def write(attention):
        shape = TensorConfig(
            d_vocab=65, n_ctx=64, n_layers=2, n_heads=2, d_model=8, d_head=4, attention=attention
        )
        model = random_model(**shape.to_dict()).float()
        state = {f"00000000/{name}": t for name, t in model.state_dict().items()}
        metadata = {
            **{"steps": [0], "model": shape.to_dict(), "provenance": {}},
            "parameters": sorted(model.state_dict()),
        }
        save_tensors(state, tmp_path / f"{attention}.safetensors", metadata)
        return str(tmp_path / f"{attention}.safetensors")

    return write


def test_rows_of_a_model_have_their_nulls(checkpoints, tmp_path):
    settings = {"language": LanguageConfig().model_dump()}
    config = QkConfig(
        widths=[2],
        ks=[1, 4],
        pool=24,
        test=10,
        recipe={"steps": 150, "batch": 64},
        trainings=1,
        least_score=0,
    )
    bootstrap = Bootstrap(resamples=50)
    own = checkpoints("softmax")
    strict = config.model_copy(update={"least_score": 0.99})
    assert qk_rows({"m": own}, settings, strict, seed=0, bootstrap=bootstrap) == []
    rows = qk_rows({"m": own, "n": own}, settings, config, seed=0, bootstrap=bootstrap)
    full = [{"subject": "s", **row} for row in rows]
    write_table(full, tmp_path / "qk.parquet", DICTIONARIES_QK, {})
    of = {(r["training"], r["codes"]): r["value"] for r in rows}
    assert len(of) == 1 + 4 * 2
    assert of["joint_alone", 4.0] < of["random", 1.0]
    assert of["joint_alone", 4.0] < of["uniform", 0.0]
    assert all(r["ci_low"] <= r["value"] <= r["ci_high"] for r in rows)
    with pytest.raises(ConfigError, match="softmax attention"):
        qk_rows({"m": checkpoints("bilinear")}, settings, config, seed=0, bootstrap=bootstrap)
