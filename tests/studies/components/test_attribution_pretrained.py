"""Attribution in a language model of Hugging Face, against hooks on its output projections."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from zscope.config.base import Bootstrap
from zscope.models.attention_view_transformers import TransformersView
from zscope.studies.components.attribution.pretrained import (
    chosen_nodes,
    node_rows,
    patched_effects,
    z_estimates,
)
from zscope.studies.components.attribution.pretrained_pairs import TokenPair, token_pairs
from zscope.studies.components.attribution.pretrained_scores import (
    ELSEWHERE,
    pretrained_score_rows,
)
from zscope.studies.components.attribution.scores import ScoreRule

pytestmark = pytest.mark.numerics
PAIR = TokenPair("ioi", (3, 5, 7, 9, 5, 2), (3, 5, 7, 9, 7, 2), 4, answer=7, other=5)
HEADS, D_HEAD, LAYERS = 4, 8, 3


@pytest.fixture(scope="module")
def model():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=HEADS * D_HEAD,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).double().eval().requires_grad_(False)


def difference(logits):
    return logits[0, -1, PAIR.answer] - logits[0, -1, PAIR.other]


def projections(model):
    return [layer.self_attn.o_proj for layer in model.model.layers]


def with_hooks(model, ids, hook):
    """Run with a pre-hook on every output projection: hook(layer, z) -> z or None."""
    handles = [
        o.register_forward_pre_hook(lambda _, args, layer=layer: hook(layer, args[0]))
        for layer, o in enumerate(projections(model))
    ]
    try:
        return model(torch.tensor([ids]), use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


def test_estimates_and_effects_are_those_of_hooks_on_the_output_projection(model):
    view = TransformersView(model)
    estimates = z_estimates(view, PAIR)
    z: dict[int, torch.Tensor] = {}
    corrupted = with_hooks(model, PAIR.corrupted, lambda layer, x: z.update({layer: x}))
    clean_z: dict[int, torch.Tensor] = {}

    def keep(layer, x):
        clean_z[layer] = x.detach().requires_grad_() if layer == 0 else x
        return (clean_z[layer],)

    clean = with_hooks(model, PAIR.clean, keep)
    assert estimates.corrupted == pytest.approx(float(difference(corrupted)), rel=1e-5)
    assert estimates.clean == pytest.approx(float(difference(clean).detach()), rel=1e-5)
    gradients = torch.autograd.grad(difference(clean), [clean_z[i] for i in range(LAYERS)])
    nodes = [(0, 1, 4), (1, 3, 5), (1, 0, 4), (2, 2, 5)]
    effects = patched_effects(view, PAIR, estimates, nodes)
    for (layer, head, at), effect in zip(nodes, effects.tolist(), strict=True):
        part = slice(head * D_HEAD, (head + 1) * D_HEAD)
        change = (z[layer] - clean_z[layer].detach())[0, at, part]
        atp = float(change @ gradients[layer][0, at, part])
        assert float(estimates.atp[layer, at, head]) == pytest.approx(atp, rel=1e-4, abs=1e-6)

        def patch(of, x, layer=layer, at=at, part=part):
            if of != layer:
                return None
            x = x.clone()
            x[0, at, part] = z[layer][0, at, part]
            return (x,)

        patched = with_hooks(model, PAIR.clean, patch)
        exact = float(difference(patched) - difference(clean).detach())
        assert effect == pytest.approx(exact, rel=1e-4, abs=1e-5)
        assert abs(exact) > 1e-3


def test_before_the_edit_nothing_differs_and_no_node_is_chosen_twice(model):
    view = TransformersView(model)
    estimates = z_estimates(view, PAIR)
    assert estimates.atp[:, : PAIR.edit].abs().max() < 1e-9
    chosen = chosen_nodes(estimates.atp, PAIR.edit, 5, 9, np.random.default_rng(0))
    nodes = [node for _, node in chosen]
    assert len({*nodes}) == len(nodes) == 14
    assert {at for _, _, at in nodes} <= {4, 5}
    sizes = estimates.atp[:, PAIR.edit :].abs().flatten().sort(descending=True).values
    top = [float(estimates.atp[la, at, h].abs()) for w, (la, h, at) in chosen if w == "top"]
    assert top == pytest.approx(sizes[:5].tolist())
    everything = chosen_nodes(estimates.atp, PAIR.edit, 5, 99, np.random.default_rng(0))
    assert len(everything) == LAYERS * HEADS * 2
    rows = list(node_rows(view, PAIR, estimates, chosen[:2]))
    assert [row["chosen"] for row in rows] == ["top", "top"]


class Words:
    """A tokenizer that has every word, and every mark behind one, as a token."""

    all_special_ids = (0,)
    unk_token_id = bos_token_id = None
    eos_token_id = 0

    def __init__(self):
        self.ids = {"<end>": 0}

    def __call__(self, text, **_):
        import re

        words = re.findall(r" ?\w+|[^\w\s]", text)
        return {"input_ids": [self.ids.setdefault(w.strip(), len(self.ids)) for w in words]}


def test_pairs_differ_in_one_token_that_exchanges_the_answers():
    pairs = token_pairs(Words(), 3, 4, 5, np.random.default_rng(0))
    assert [pair.family for pair in pairs] == ["ioi"] * 3 + ["repeats"] * 4
    for pair in pairs:
        both = zip(pair.clean, pair.corrupted, strict=True)
        differ = [i for i, (a, b) in enumerate(both) if a != b]
        assert differ == [pair.edit]
        assert pair.answer != pair.other
        assert pair.clean[0] == 0  # the end token in front
        if pair.family == "ioi":
            # The subject twice and the indirect object once, then the other way round.
            for ids, twice, once in (
                (pair.clean, pair.other, pair.answer),
                (pair.corrupted, pair.answer, pair.other),
            ):
                assert (ids.count(twice), ids.count(once)) == (2, 1)
        else:
            first, second = pair.clean[1:6], pair.clean[6:]
            assert second == first[:-1]
            assert pair.answer == first[-1]
            assert pair.corrupted[pair.edit] == pair.other
            assert pair.clean.count(pair.other) == 0


def test_scores_bound_what_was_missed_by_the_random_nodes_alone():
    rows = []
    for pair in range(3):
        for i in range(30):
            exact = 1.0 + i if i < 10 else (0.5 if i == 29 and pair == 0 else 0.01 * (i - 20))
            chosen = "top" if i < 10 else "random"
            rows.append(
                {"family": "ioi", "pair": pair, "chosen": chosen, "exact": exact, "atp": exact}
            )
    rule = ScoreRule(0.1, 0.05, 50, Bootstrap(resamples=50), 0)
    found = pd.DataFrame(pretrained_score_rows(pd.DataFrame(rows), rule)).set_index("metric")
    assert found.loc["pearson_top", "value"] == pytest.approx(1)
    assert found.loc["pearson_top", "null_high"] < 0.7
    assert found.loc[ELSEWHERE, "value"] == pytest.approx(1 / 60)
    assert found.loc[ELSEWHERE, "ci_high"] > 0.05
    assert found.loc[ELSEWHERE, "n"] == 60
