"""The toy language's transformers against loops, Llama and TransformerLens; sums of paths."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from fake_tensor import gauges, head_rows, random_model, random_tokens
from torch.nn import functional as F

import zscope.models.tensor_transformer as tt
from zscope.core.errors import ConfigError, DataError
from zscope.models.tensor_paths import composition_split, path_sum
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer, make_optimizers

EXACT = {"rtol": 0, "atol": 1e-10}
KINDS = [
    {"attention": attention, "rms_norm": rms_norm, "residual": residual}
    for attention, rms_norm, residual in itertools.product(
        ("bilinear", "softmax"), (False, True), ("add", "lerp")
    )
]
IDS = ["-".join(str(v) for v in kind.values()) for kind in KINDS]


@pytest.fixture(params=KINDS, ids=IDS)
def model(request):
    return random_model(**request.param, lerp=0.3)


def by_loops(model, tokens):
    """Logits of one sequence, as the formulas are written: a position and a head at a time."""
    c = model.config

    def rotated(x, position):
        out = x.clone()
        for i in range(c.d_head // 2):
            angle = position * c.rope_base ** (-2 * i / c.d_head)
            a, b = x[i].item(), x[i + c.d_head // 2].item()
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + c.d_head // 2] = b * math.cos(angle) + a * math.sin(angle)
        return out

    def normalised(x):
        return x / torch.sqrt((x * x).mean() + 1e-5) if c.rms_norm else x

    x = [model.tok_embed.weight[token] for token in tokens]
    for layer in range(c.n_layers):
        read, after = [normalised(vector) for vector in x], []
        for i in range(len(x)):
            total = torch.zeros(c.d_model, dtype=torch.float64)
            for h in range(c.n_heads):
                W = {n: head_rows(model, layer, h, n) for n in (*c.rotated, "v", "o")}
                a = []
                for j in range(i + 1):
                    scores = [
                        rotated(W[f"q{n}"] @ read[i], i) @ rotated(W[f"k{n}"] @ read[j], j)
                        for n in range(1, len(c.rotated) // 2 + 1)
                    ]
                    a.append(scores[0] if c.attention == "softmax" else math.prod(scores))
                a = torch.stack(a)
                a = (a / c.d_head**0.5).softmax(0) if len(scores) == 1 else a / c.d_head**2
                for j in range(i + 1):
                    total = total + a[j] * W["o"].T @ (W["v"] @ read[j])
            s = c.lerp if c.residual == "lerp" else None
            after.append(x[i] + total if s is None else (1 - s) * x[i] + s * total)
        x = after
    return torch.stack([model.head.weight @ normalised(vector) for vector in x])


def test_logits_are_those_of_the_formulas(model):
    tokens = random_tokens(model, 2)
    expected = torch.stack([by_loops(model, sequence) for sequence in tokens])
    torch.testing.assert_close(model(tokens), expected, **EXACT)


def test_default_has_the_parameters_of_the_study():
    assert sum(p.numel() for p in TensorTransformer(TensorConfig()).parameters()) == 57_472


@pytest.mark.parametrize("cached", [2**17, 40])
@pytest.mark.parametrize("residual", ["add", "lerp"])
def test_gradients_are_those_of_autograd(monkeypatch, cached, residual):
    monkeypatch.setattr(tt, "CACHED", cached)  # 40: a head at a time
    model = random_model(residual=residual)
    tokens = random_tokens(model)

    def plain(model):
        x = model.tok_embed(tokens)
        for block in model.blocks:
            A, attn = block.attn.pattern(x), block.attn
            v = torch.einsum("bkd,hed->bhke", x, attn.weight("v"))
            mixed = torch.einsum("bhqe,hed->bqd", A @ v, attn.weight("o"))
            x = block.update(x, mixed)
        return model.unembed(x)

    weight = torch.randn(3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    fast = torch.autograd.grad((weight * model(tokens)).sum(), list(model.parameters()))
    slow = torch.autograd.grad((weight * plain(model)).sum(), list(model.parameters()))
    for a, b in zip(fast, slow, strict=True):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, **EXACT)


def test_no_position_sees_a_later_one(model):
    tokens = random_tokens(model, 1)
    for at in range(tokens.shape[1]):
        other = tokens.clone()
        other[:, at] = (other[:, at] + 1) % 7
        moved = (model(other) - model(tokens)).abs().amax((0, 2)) > 1e-9
        assert not moved[:at].any()
        assert moved[at:].all()


def test_a_sequence_does_not_depend_on_its_batch_or_what_follows(model):
    tokens = random_tokens(model, 4)
    full = model(tokens)
    for i in range(4):
        torch.testing.assert_close(model(tokens[i : i + 1]), full[i : i + 1], **EXACT)
    for seq in (1, 3):
        torch.testing.assert_close(model(tokens[:, :seq]), full[:, :seq], **EXACT)


def test_only_distances_matter(model):
    """RoPE: the pattern between two tokens is the same wherever the pair stands."""
    pattern = model.blocks[0].attn.pattern(model.tok_embed(torch.zeros(1, 6, dtype=torch.long)))
    if model.config.attention == "softmax":
        log = pattern.log()  # less the row's normaliser
        pattern = log - log.diagonal(dim1=-2, dim2=-1)[..., None]
    for distance in range(6):
        band = pattern.diagonal(-distance, dim1=-2, dim2=-1)
        torch.testing.assert_close(band, band[..., :1].expand_as(band), **EXACT)


@pytest.mark.parametrize("gauge", gauges(TensorConfig()))
def test_gauges_change_no_logit(gauge):
    model = random_model()
    changed = copy.deepcopy(model)
    gauges(model.config)[gauge](changed)
    assert (
        not torch.allclose(
            changed.blocks[0].attn.project(torch.ones(8).double()),
            model.blocks[0].attn.project(torch.ones(8).double()),
        )
        or "o" in gauge
    )
    tokens = random_tokens(model)
    torch.testing.assert_close(changed(tokens), model(tokens), **EXACT)


def test_resuming_from_a_stream_gives_the_logits(model):
    tokens = random_tokens(model)
    for layer in range(model.config.n_layers + 1):
        resumed = model.resume(model.stream(tokens, layer), layer)
        torch.testing.assert_close(resumed, model(tokens), **EXACT)


def test_softmax_twin_is_llama_without_its_mlps():
    from transformers import LlamaConfig, LlamaForCausalLM

    model = random_model(attention="softmax", rms_norm=True, n_heads=2)
    c = model.config
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=c.d_vocab,
            hidden_size=c.d_model,
            intermediate_size=4,
            num_hidden_layers=c.n_layers,
            num_attention_heads=c.n_heads,
            head_dim=c.d_head,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
            attn_implementation="eager",
        )
    ).double()
    with torch.no_grad():
        llama.model.embed_tokens.weight.copy_(model.tok_embed.weight)
        llama.lm_head.weight.copy_(model.head.weight)
        for layer, block in zip(llama.model.layers, model.blocks, strict=True):
            layer.mlp.down_proj.weight.zero_()
            for name, own in (("q", "q1"), ("k", "k1"), ("v", "v"), ("o", "o")):
                target = getattr(layer.self_attn, f"{name}_proj").weight
                target.copy_(getattr(block.attn, own).weight)
    tokens = random_tokens(model)
    out = llama(tokens, output_attentions=True)
    # Llama's angles and norms are in single precision.
    torch.testing.assert_close(model(tokens), out.logits, rtol=0, atol=2e-6)
    for layer, block in enumerate(model.blocks):
        pattern = block.attn.pattern(block.read(model.stream(tokens, layer)))
        torch.testing.assert_close(pattern, out.attentions[layer], rtol=0, atol=2e-6)


def test_bridge_has_the_logits_and_every_hook(model):
    from zscope.models.wrapped_tensor import to_bridge

    tokens = random_tokens(model)
    bridge = to_bridge(model)
    logits, cache = bridge.run_with_cache(tokens)
    torch.testing.assert_close(logits, model(tokens), **EXACT)
    c = model.config
    for layer, block in enumerate(model.blocks):
        name = f"blocks.{layer}."
        x = model.stream(tokens, layer)
        read = block.read(x)
        attn = name + "attn."
        torch.testing.assert_close(cache[name + "hook_resid_pre"], x, **EXACT)
        torch.testing.assert_close(
            cache[name + "hook_resid_post"], model.stream(tokens, layer + 1), **EXACT
        )
        pattern = block.attn.pattern(read)
        torch.testing.assert_close(cache[attn + "hook_pattern"], pattern, **EXACT)
        z = torch.einsum("bhqk,bkd,hed->bqhe", pattern, read, block.attn.weight("v"))
        torch.testing.assert_close(cache[attn + "hook_z"], z, **EXACT)
        mixed = torch.einsum("bqhe,hed->bqd", z, block.attn.weight("o"))
        torch.testing.assert_close(cache[name + "hook_attn_out"], mixed, **EXACT)
        for projection in ("q", "k", "v"):
            own = projection if projection == "v" else projection + "1"
            expected = torch.einsum("bsd,hed->bshe", read, block.attn.weight(own))
            torch.testing.assert_close(cache[attn + f"hook_{projection}"], expected, **EXACT)
        if c.attention == "bilinear":
            expected = F.linear(read, block.attn.q2.weight)
            torch.testing.assert_close(cache[attn + "q2.hook_out"], expected, **EXACT)


def test_editing_a_pattern_through_the_bridge_removes_the_head(model):
    from zscope.models.wrapped_tensor import to_bridge

    def no_second_head(pattern, hook):
        pattern = pattern.clone()
        pattern[:, 1] = 0
        return pattern

    tokens, without = random_tokens(model), copy.deepcopy(model)
    with torch.no_grad():
        head_rows(without, 1, 1, "o").zero_()
    hooks = [("blocks.1.attn.hook_pattern", no_second_head)]
    edited = to_bridge(model).run_with_hooks(tokens, fwd_hooks=hooks)
    torch.testing.assert_close(edited, without(tokens), **EXACT)


def test_a_bridge_holds_its_own_weights(model):
    from zscope.models.wrapped_tensor import to_bridge
    from zscope.models.wrapped_transformer import load_weights

    tokens, bridge = random_tokens(model), to_bridge(model)
    before = bridge(tokens)
    with torch.no_grad():
        model.head.weight.mul_(2)
    assert torch.equal(bridge(tokens), before)
    load_weights(bridge, model.state_dict())
    torch.testing.assert_close(bridge(tokens), model(tokens), **EXACT)


def test_start_is_a_no_op_drawn_from_its_seed_alone():
    torch.manual_seed(0)
    model = TensorTransformer(TensorConfig()).init_weights(3)
    other = TensorTransformer(TensorConfig()).init_weights(4)
    torch.manual_seed(1)
    again = TensorTransformer(TensorConfig()).init_weights(3)
    for (name, p), q, r in zip(
        model.named_parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(p, q)
        if name == "head.weight" or name.endswith("o.weight"):
            assert not p.any()
        else:
            assert not torch.equal(p, r)
            std = 1 if name == "tok_embed.weight" else 1 / 8
            assert abs(p.std().item() / std - 1) < 0.05
    assert not model(random_tokens(model)).any()


def trained(attention, steps=80):
    model = TensorTransformer(
        TensorConfig(d_vocab=9, n_ctx=12, d_model=16, d_head=4, attention=attention)
    ).init_weights(0)
    optimizers = make_optimizers(model)
    tokens = torch.arange(12).repeat(8, 1) + torch.arange(8)[:, None]
    losses = []
    for _ in range(steps):
        logits = model(tokens[:, :-1] % 9)
        loss = F.cross_entropy(logits.flatten(0, 1), (tokens[:, 1:] % 9).flatten())
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize("attention", ["bilinear", "softmax"])
def test_optimizers_learn_and_repeat_bit_for_bit(attention):
    model, losses = trained(attention)
    assert losses[0] == pytest.approx(math.log(9))
    assert losses[-1] < 0.5 * losses[0]
    again, _ = trained(attention)
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)


def test_muon_has_the_layers_and_adamw_the_ends():
    model = TensorTransformer(TensorConfig())
    muon, adamw = make_optimizers(model, muon_lr=0.01, adamw_lr=0.002)
    (layers,), (ends,) = muon.param_groups, adamw.param_groups
    assert isinstance(muon, torch.optim.Muon)
    assert {id(p) for p in ends["params"]} == {id(model.tok_embed.weight), id(model.head.weight)}
    assert len(layers["params"]) == 12
    assert len({id(p) for g in (layers, ends) for p in g["params"]}) == 14
    assert (layers["lr"], layers["momentum"], layers["weight_decay"]) == (0.01, 0.95, 0)
    assert (ends["lr"], ends["betas"], ends["weight_decay"]) == (0.002, (0.9, 0.95), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"d_head": 3}, "even, not 3"), ({"lerp": 1.0}, "not 1.0"), ({"n_layers": 0}, "not 0")],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        TensorConfig(**change)


# --- sums of paths ---------------------------------------------------------------------------


def test_logits_are_the_sum_over_virtual_paths(model):
    tokens = random_tokens(model)
    if model.config.rms_norm:
        with pytest.raises(DataError, match="rms_norm"):
            path_sum(model, tokens)
        return
    split = path_sum(model, tokens)
    assert len(set(split.paths)) == (1 + 3) ** 2 == len(split.logits)
    torch.testing.assert_close(split.logits.sum(0), model(tokens), **EXACT)


def test_a_path_is_the_product_of_its_patterns_and_matrices():
    model = random_model(n_layers=3, n_heads=2)
    tokens = random_tokens(model)
    split = path_sum(model, tokens)
    A, OV = [], []
    for layer, block in enumerate(model.blocks):
        A.append(block.attn.pattern(model.stream(tokens, layer)))
        OV.append(torch.einsum("hea,hec->hac", block.attn.weight("v"), block.attn.weight("o")))
    E = model.tok_embed(tokens)
    expected = A[2][:, 1] @ A[0][:, 0] @ E @ OV[0][0] @ OV[2][1] @ model.head.weight.T
    actual = split.logits[split.paths.index(((0, 0), (2, 1)))]
    torch.testing.assert_close(actual, expected, **EXACT)
    direct = split.logits[split.paths.index(())]
    torch.testing.assert_close(direct, E @ model.head.weight.T, **EXACT)


@pytest.mark.parametrize("residual", ["add", "lerp"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_head_is_the_sum_over_what_its_factors_read(residual, layer):
    model = random_model(residual=residual, lerp=0.4)
    tokens, query, head = random_tokens(model), 4, 1
    direction = model.head.weight[2]
    split = composition_split(model, tokens, (layer, head), query, direction)
    assert split.sources == [None] + [(0, h) for h in range(3)] * layer
    without = copy.deepcopy(model)
    with torch.no_grad():
        head_rows(without, layer, head, "o").zero_()
    written = (model.stream(tokens, layer + 1) - without.stream(tokens, layer + 1))[:, query]
    torch.testing.assert_close(split.by().squeeze(), written @ direction, **EXACT)
    assert split.values.shape == (3, *(5 * [len(split.sources)]))


def test_a_term_of_the_split_is_the_head_on_those_parts_alone():
    model = random_model(n_heads=2)
    tokens, query = random_tokens(model, 1), 5
    direction = model.head.weight[3]
    split = composition_split(model, tokens, (1, 0), query, direction)
    first = model.blocks[0].attn
    A = first.pattern(model.tok_embed(tokens))
    parts = [model.tok_embed(tokens)[0]] + [
        A[0, h] @ model.tok_embed(tokens)[0] @ first.weight("v")[h].T @ first.weight("o")[h]
        for h in range(2)
    ]
    second, c = model.blocks[1].attn, model.config

    def rotated(name, part):
        x = parts[part] @ second.weight(name)[0].T
        angles = tt.rope_angles(torch.arange(6), c.d_head, c.rope_base)
        a, b = x.chunk(2, -1)
        return torch.cat(
            [a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1
        )

    for q1, k1, q2, k2, v in [(0, 1, 0, 2, 0), (1, 1, 2, 0, 2), (2, 0, 1, 0, 1)]:
        scores = (rotated("k1", k1) @ rotated("q1", q1)[query]) * (
            rotated("k2", k2) @ rotated("q2", q2)[query]
        )
        value = parts[v] @ second.weight("v")[0].T @ second.weight("o")[0] @ direction
        expected = (scores / c.d_head**2 * value).sum()
        torch.testing.assert_close(split.values[0, q1, k1, q2, k2, v], expected, **EXACT)
    torch.testing.assert_close(
        split.by("k1", "k2")[0, 1, 2], split.values[0, :, 1, :, 2].sum(), **EXACT
    )


def test_only_polynomial_models_and_known_factors_split():
    softmax = random_model(attention="softmax")
    tokens = random_tokens(softmax)
    with pytest.raises(DataError, match="bilinear"):
        composition_split(softmax, tokens, (1, 0), 0, softmax.head.weight[0])
    model = random_model()
    split = composition_split(model, tokens, (1, 0), 0, model.head.weight[0])
    with pytest.raises(DataError, match="q3"):
        split.by("q3")
