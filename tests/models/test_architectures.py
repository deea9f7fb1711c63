"""Every architecture against eager attention of transformers, and kernels from raw weights."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tiny_architectures import (
    CONFIGS,
    LISTED,
    WINDOWED,
    config_of,
    eager_states,
    language_model,
    padded,
    prompts,
    random_model,
)
from zscope.core.errors import ConfigError
from zscope.models.architectures import ARCHITECTURES
from zscope.models.attention_kernels import KINDS, kernel_spectra, stacked_right_space
from zscope.models.language_model import generate, positions, read_shape, residual_states
from zscope.models.layer_runs import inputs_of, new_cache, run_layers
from zscope.studies.crosslingual.measures.weights import FfnMoments
from zscope.studies.crosslingual.patching.patched_generation import (
    Component,
    Patch,
    generate_from,
    last_position,
    run_prefix,
)
from zscope.studies.crosslingual.space.subspaces import random_space

LAYER, LENGTH, K = 2, 8, 5
# transformers takes norms and softmax in float32, whatever the model's dtype.
NEAR = {"rtol": 1e-4, "atol": 1e-4}
EVERY = pytest.mark.parametrize("name", CONFIGS)


@pytest.fixture(scope="module")
def models():
    """Of every architecture: the model as zscope sees it, and itself with eager attention."""
    return {name: (language_model(name), random_model(name, "eager")) for name in CONFIGS}


@pytest.fixture(scope="module")
def gemma(models):
    return models["gemma3"][0]


def test_every_known_architecture_is_among_those_that_are_tested(models):
    tested = {type(eager).__name__ for _, eager in models.values()}
    assert tested == set(ARCHITECTURES)


# --- states and generation --------------------------------------------------------------------


@EVERY
def test_states_are_those_of_eager_attention_at_every_layer(models, name):
    lm, eager = models[name]
    ids, mask = padded(prompts())
    states = residual_states(lm, ids, mask, range(lm.n_layers + 1))
    prefixes = [run_prefix(lm, ids, mask, layer) for layer in range(lm.n_layers + 1)]
    for i, row in enumerate(prompts()):
        for layer, expected in enumerate(eager_states(eager, row)):
            for found in (states[layer], prefixes[layer].states):
                torch.testing.assert_close(found[i, -len(row) :], expected, **NEAR)


@pytest.mark.parametrize("name", WINDOWED)
def test_the_windows_matter_at_these_lengths(models, name):
    """Without them the states are others, so that the test above sees a wrong mask."""
    _, eager = models[name]
    wide = random_model(name, "eager", sliding_window=64)
    for row in prompts():
        same = torch.allclose(eager_states(eager, row)[-1], eager_states(wide, row)[-1], **NEAR)
        assert same == (len(row) <= 4)


@EVERY
def test_layers_go_on_from_what_a_cache_holds(models, name):
    """The first tokens of a prompt, longer than the window, and then the others of two rows."""
    lm, eager = models[name]
    first = prompts()[0][:7]
    rows = [prompts()[i] for i in (1, 4)]
    head = run_prefix(lm, *padded([first]), lm.n_layers)
    ids, mask = padded(rows)
    cache = new_cache()
    for i, (keys, values) in enumerate(head.cache):
        cache.update(keys.expand(2, -1, -1, -1), values.expand(2, -1, -1, -1), i)
    mask = torch.cat([torch.ones(2, len(first), dtype=torch.long), mask], 1)
    where = positions(mask)[:, len(first) :]
    h = lm.model.model.embed_tokens(ids)
    states = run_layers(lm, range(lm.n_layers), h, inputs_of(lm, h, mask, where, cache), cache)
    for i, row in enumerate(rows):
        # Padding between the two parts is seen by no token, but it fills places of the window.
        if len(row) == ids.shape[1] or ("windows" not in name and name != "gemma3"):
            expected = eager_states(eager, first + row)[-1][len(first) :]
            torch.testing.assert_close(states[i, -len(row) :], expected, **NEAR)


def slowly(eager, row, patch):
    """LENGTH greedy tokens of a prompt alone: without a cache, the patched states put in anew."""
    tokens = list(row)
    layer = eager.model.layers[LAYER]
    for _ in range(LENGTH):
        hook = layer.register_forward_pre_hook(lambda module, args: (patch(args[0]), *args[1:]))
        try:
            logits = eager(torch.tensor([tokens]), use_cache=False).logits[0, -1]
        finally:
            hook.remove()
        top = logits.topk(2).values
        assert top[0] - top[1] > 1e-4, "a tie: the test would hang on rounding"
        tokens.append(int(logits.argmax()))
    return " ".join(map(str, tokens[len(row) :]))


@EVERY
def test_generation_is_that_of_eager_attention_token_by_token(models, name):
    lm, eager = models[name]
    ids, mask = padded(prompts())
    expected = [slowly(eager, row, lambda h: h) for row in prompts()]
    assert [g.text for g in generate(lm, ids, mask, LENGTH)] == expected
    for layer in (0, LAYER, lm.n_layers):
        prefix = run_prefix(lm, ids, mask, layer)
        assert [g.text for g in generate_from(lm, prefix, None, LENGTH)] == expected
    whole = last_position(lm, run_prefix(lm, ids, mask, LAYER))
    assert [g.text for g in generate_from(lm, whole, None, LENGTH)] == expected


def explicit(V, source, where, n):
    """A patch of a prompt's n tokens by an explicit projector."""
    P = (V.T @ V).double()

    def put_in(h):
        seq = torch.arange(h.shape[1])
        chosen = {"prefill": (seq > 0) & (seq < n), "all": seq > 0, "site": seq == n - 1}[where]
        return torch.where(chosen[:, None], h - h @ P + source.double() @ P, h)

    return put_in


@EVERY
@pytest.mark.parametrize("where", ["prefill", "all", "site"])
def test_patched_generation_is_that_of_eager_attention_token_by_token(models, name, where):
    """Also as two copies of the prompts in one batch, the second of which is patched otherwise."""
    lm, eager = models[name]
    rows = prompts()
    ids, mask = padded(rows)
    generator = torch.Generator().manual_seed(2)
    spaces = [random_space(lm.d_model, K, generator) for _ in range(2)]
    prefix = run_prefix(lm, ids, mask, LAYER)
    scale = float(prefix.states.abs().amax())
    source = scale * torch.randn(len(rows), 1, lm.d_model, generator=generator)
    used = prefix.used(position_0=False)
    if where == "site":
        prefix, used = last_position(lm, prefix), torch.ones(len(rows), 1, dtype=torch.bool)
    patch = Patch(
        Component.stacked([Component(V) for V in spaces], len(rows)),
        source.repeat(2, 1, 1),
        used.repeat(2, 1),
        "all" if where == "all" else "prefill",
    )
    found = [g.text for g in generate_from(lm, prefix.repeated(2), patch, LENGTH)]
    expected = [
        slowly(eager, row, explicit(V, s, where, len(row)))
        for V in spaces
        for row, s in zip(rows, source, strict=True)
    ]
    assert found == expected
    plain = [g.text for g in generate_from(lm, prefix, None, LENGTH)]
    assert found[: len(rows)] != plain


@EVERY
def test_logits_are_those_of_the_model(models, name):
    """With the final cap where there is one."""
    lm, eager = models[name]
    ids, mask = padded(prompts())
    states = residual_states(lm, ids, mask, [lm.n_layers])[lm.n_layers]
    logits = lm.unembed(lm.norm(states))
    for i, row in enumerate(prompts()):
        expected = eager(torch.tensor([row])).logits[0]
        torch.testing.assert_close(logits[i, -len(row) :], expected, **NEAR)
    assert (float(logits.abs().max()) <= 4) == (name == "gemma3")


# --- weights ----------------------------------------------------------------------------------


def gain(name, state, norm):
    weight = state[f"{norm}.weight"]
    return 1 + weight if name == "gemma3" else weight


def slow_kernel(name, state, layer, head, kind):
    """K_h of a head, one outer product at a time, from the state dict."""
    at, width = f"model.layers.{layer}", 8
    group = head // 2  # four heads on two key-value heads
    g = gain(name, state, f"{at}.input_layernorm")
    q_gain, k_gain, o_gain = torch.ones(width), torch.ones(width), torch.ones(24)
    if name in ("qwen3", "gemma3"):
        q_gain, k_gain = (gain(name, state, f"{at}.self_attn.{x}_norm") for x in "qk")
    if name == "gemma3":
        o_gain = gain(name, state, f"{at}.post_attention_layernorm")
    kernel = torch.zeros(24, 24, dtype=torch.float64)
    for i in range(width):
        q = state[f"{at}.self_attn.q_proj.weight"][head * width + i] * g * q_gain[i]
        k = state[f"{at}.self_attn.k_proj.weight"][group * width + i] * g * k_gain[i]
        v = state[f"{at}.self_attn.v_proj.weight"][group * width + i] * g
        o = state[f"{at}.self_attn.o_proj.weight"][:, head * width + i] * o_gain
        kernel += torch.outer(*{"qk": (q, k), "kq": (k, q), "ov": (o, v)}[kind])
    return kernel


def slow_space(name, state, layer, kind):
    """V_Z of k dimensions, from the stack of all kernels."""
    kernels = [slow_kernel(name, state, layer, head, kind) for head in range(4)]
    stack = torch.cat([x / x.norm() for x in kernels])
    return torch.linalg.svd(stack).Vh[:K]


def overlap(V, W):
    return float((V @ W.T).square().sum()) / len(V)


@EVERY
@pytest.mark.parametrize("kind", KINDS)
def test_z_is_that_of_the_explicit_kernels(models, name, kind):
    lm, eager = models[name]
    state = eager.state_dict()
    for layer in range(lm.n_layers):
        weights = lm.attention_weights(layer)
        Z, expected = (
            stacked_right_space(weights, K, kind),
            slow_space(name, state, layer, kind),
        )
        assert overlap(Z, expected) == pytest.approx(1, abs=1e-9)
        for head, found in enumerate(kernel_spectra(weights, kind).heads):
            s = torch.linalg.svdvals(slow_kernel(name, state, layer, head, kind))[:8]
            torch.testing.assert_close(found, s / s.norm())


@pytest.mark.parametrize("name", ["qwen3", "gemma3"])
def test_the_kernel_is_the_score_of_a_token_with_itself_but_for_what_norms_divide_by(models, name):
    lm, _ = models[name]
    layer, weights = lm.layer(1), lm.attention_weights(1)
    attention = layer.self_attn
    x = torch.randn(7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    read = layer.input_layernorm(x)
    # Biases are left out of the kernel, and so here.
    q, k = (
        (p(read) - (0 if p.bias is None else p.bias)).unflatten(-1, (-1, 8))
        for p in (attention.q_proj, attention.k_proj)
    )
    keys = attention.k_norm(k).repeat_interleave(2, 1)
    score = (attention.q_norm(q) * keys).sum(-1)
    divided = rms(x) ** 2 * rms(q) * rms(k).repeat_interleave(2, 1)
    gq, gk = weights.q_gain[:, None], weights.k_gain[:, None]
    for head in range(4):
        A = gq * weights.W_q[head] * weights.gain
        B = gk * weights.W_k[head // 2] * weights.gain
        expected = torch.einsum("td,de,te->t", x, A.T @ B, x)
        torch.testing.assert_close(score[:, head] * divided[:, head], expected, **NEAR)


def rms(x):
    return x.square().mean(-1).add(1e-6).sqrt().unsqueeze(-1).flatten(1)


def run_of(lm, layer):
    """What a run reads and writes at one layer: inputs and outputs of modules, real tokens only."""
    block = lm.layer(layer)
    modules = {
        "attention": lm.attention_write(layer),
        "ffn": lm.ffn_write(layer),
        "mlp": block.mlp,
        "down": block.mlp.down_proj,
        "o": block.self_attn.o_proj,
    }
    found = {}

    def keep(key):
        def hook(module, args, kwargs, out):
            given = args[0] if args else kwargs["hidden_states"]
            found[key] = given[used], (out[0] if isinstance(out, tuple) else out)[used]

        return hook

    ids, mask = padded(prompts())
    used = mask.bool()
    handles = [m.register_forward_hook(keep(k), with_kwargs=True) for k, m in modules.items()]
    try:
        states = residual_states(lm, ids, mask, [layer, layer + 1])
    finally:
        for handle in handles:
            handle.remove()
    return found, states[layer][used], states[layer + 1][used]


@EVERY
def test_what_attention_and_ffn_write_adds_up_to_the_update(models, name):
    lm, _ = models[name]
    for layer in range(lm.n_layers):
        found, before, after = run_of(lm, layer)
        written = found["attention"][1] + found["ffn"][1]
        torch.testing.assert_close(before + written, after, **NEAR)


@EVERY
def test_the_weights_say_what_the_ffn_reads_and_writes(models, name):
    """But for the root mean squares, and, behind the FFN, one factor per token."""
    lm, _ = models[name]
    for layer in range(lm.n_layers):
        found, before, _ = run_of(lm, layer)
        ffn = lm.ffn_weights(layer)
        middle = before + found["attention"][1]
        torch.testing.assert_close(found["mlp"][0] * rms(middle), middle * ffn.gain, **NEAR)
        vectors = ffn.W_down if ffn.out_gain is None else ffn.W_down * ffn.out_gain
        same_direction(found["down"][0] @ vectors, found["ffn"][1])
        moments = FfnMoments.of(ffn)
        torch.testing.assert_close(moments.write, vectors.T @ vectors)
        read = torch.cat([ffn.W_gate, ffn.W_up]) * ffn.gain
        torch.testing.assert_close(moments.read, read.T @ read)


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_the_weights_say_what_heads_write(models, name):
    """The architectures without a bias in what attention writes."""
    lm, _ = models[name]
    found, _, _ = run_of(lm, 1)
    weights = lm.attention_weights(1)
    W_o = weights.W_o if weights.o_gain is None else weights.W_o * weights.o_gain
    heads = found["o"][0].unflatten(-1, (4, 8))
    same_direction(torch.einsum("the,hed->td", heads, W_o), found["attention"][1])


def same_direction(x, y):
    cosine = torch.nn.functional.cosine_similarity(x, y, dim=-1)
    torch.testing.assert_close(cosine, torch.ones_like(cosine), **NEAR)


# --- how Gemma would be wrong without a word --------------------------------------------------


@pytest.mark.parametrize("left_out", ["gain", "q_gain", "k_gain", "o_gain"])
def test_a_gain_of_gemma_is_one_plus_its_weight(gemma, left_out):
    """Z of the weight itself is another space, and so is Z without the gain."""
    weights = gemma.attention_weights(1)
    kind = "ov" if left_out == "o_gain" else "qk"
    norm = {
        "gain": gemma.layer(1).input_layernorm,
        "q_gain": gemma.layer(1).self_attn.q_norm,
        "k_gain": gemma.layer(1).self_attn.k_norm,
        "o_gain": gemma.layer(1).post_attention_layernorm,
    }[left_out]
    assert torch.equal(getattr(weights, left_out), 1 + norm.weight)
    right = stacked_right_space(weights, K, kind)
    for wrong in (norm.weight, torch.ones_like(norm.weight)):
        other = stacked_right_space(replace(weights, **{left_out: wrong}), K, kind)
        assert overlap(right, other) < 0.99


def test_the_ffn_of_gemma_reads_through_its_own_norm(gemma):
    layer, ffn = gemma.layer(1), gemma.ffn_weights(1)
    assert torch.equal(ffn.gain, 1 + layer.pre_feedforward_layernorm.weight)
    assert not torch.allclose(ffn.gain, 1 + layer.post_attention_layernorm.weight)


def test_what_gemma_writes_passes_a_norm_first(gemma):
    layer = gemma.layer(1)
    assert gemma.attention_write(1) is layer.post_attention_layernorm
    assert gemma.ffn_write(1) is layer.post_feedforward_layernorm
    found, before, after = run_of(gemma, 1)
    without = before + found["o"][1] + found["down"][1]
    assert not torch.allclose(without, after, rtol=0.1, atol=0.1)
    torch.testing.assert_close(
        gemma.ffn_weights(1).out_gain, 1 + layer.post_feedforward_layernorm.weight
    )


def test_gemma_has_a_rotary_embedding_and_a_mask_for_each_type_of_layer(gemma):
    ids, mask = padded(prompts())
    inputs = run_prefix(gemma, ids, mask, 0).inputs
    assert gemma.layer_types == tuple(LISTED)
    sliding, full = (inputs.rotary[t][0] for t in ("sliding_attention", "full_attention"))
    where = positions(mask)[..., None].double()
    pairs = torch.arange(0, 8, 2) / 8
    for found, base, factor in ((sliding, 100.0, 1), (full, 1e6, 2)):
        angles = where / factor / base**pairs
        torch.testing.assert_close(found, torch.cat([angles, angles], -1).cos(), **NEAR)
    seen = {t: m[3, 0, -1].nonzero().flatten().tolist() for t, m in inputs.masks.items()}
    assert seen == {"sliding_attention": [10, 11, 12, 13], "full_attention": list(range(14))}


def test_the_embedding_of_gemma_is_scaled(gemma):
    ids, mask = padded(prompts())
    expected = gemma.model.get_input_embeddings().weight[ids] * 24**0.5
    torch.testing.assert_close(run_prefix(gemma, ids, mask, 0).states, expected, **NEAR)


# --- what is refused --------------------------------------------------------------------------


def shape_of(folder, name, **settings):
    """Of a folder with this config.json alone."""
    config = config_of(name)
    kind = {"gemma3": "Gemma3ForCausalLM"}.get(name, f"{name.split()[0].title()}ForCausalLM")
    plain = {**config.to_dict(), "architectures": [kind], **settings}
    (folder / "config.json").write_text(json.dumps(plain))
    return read_shape({"path": folder})


@EVERY
def test_the_shape_of_every_architecture_is_read(tmp_path, models, name):
    shape, (lm, _) = shape_of(tmp_path, name), models[name]
    assert (shape.n_layers, shape.n_heads, shape.n_kv_heads, shape.d_head) == (4, 4, 2, 8)
    assert shape.parameters == sum(p.numel() for p in lm.model.parameters())
    assert (lm.n_layers, lm.n_heads, lm.n_kv, lm.d_head) == (4, 4, 2, 8)


def test_an_unknown_architecture_is_refused_by_name_with_those_that_are_known(tmp_path):
    with pytest.raises(ConfigError) as caught:
        shape_of(tmp_path, "llama", architectures=["Gemma2ForCausalLM"])
    assert "config.json: architecture Gemma2ForCausalLM is not supported; there" in str(
        caught.value
    )
    assert all(name in str(caught.value) for name in ARCHITECTURES)


def rope(kind, **settings):
    return {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0, **settings}


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention is on"),
        ("llama", {"is_causal": False}, "is_causal is off"),
        ("llama", {"sliding_window": 4}, "sliding_window is 4, and this architecture has no"),
        ("llama", {"layer_types": LISTED}, "and all layers run as full_attention"),
        ("mistral", {"layer_types": LISTED}, "and transformers reads a model of type ministral"),
        ("mistral with windows", {"sliding_window": 0}, "sliding_window is 0, not 1 or more"),
        ("gemma3", {"sliding_window": None}, "sliding_window is None, not 1 or more"),
        ("qwen3", {"layer_types": ["chunked_attention"] * 4}, "layer_types has chunked_attention"),
        ("qwen3", {"layer_types": LISTED[:3]}, "transformers cannot use it"),
        ("llama", {"rope_parameters": rope("dynamic")}, "rope_type is dynamic; there are default"),
        ("llama", {"rope_parameters": rope("unheard")}, "rope_type is unheard; there are default"),
        (
            "qwen2",
            {"rope_parameters": rope("linear", partial_rotary_factor=0.5)},
            "partial_rotary_factor is 0.5",
        ),
        ("qwen2", {"model_type": "llama"}, "and transformers reads a model of type llama"),
    ],
)
def test_what_would_be_wrong_without_a_word_is_refused(tmp_path, name, settings, words):
    with pytest.raises(ConfigError) as caught:
        shape_of(tmp_path, name, **settings)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ")
    assert words in str(caught.value)
