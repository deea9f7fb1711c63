"""Patterns, values and z of every kind of model against its own eager attention, and edits."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import threading
import weakref
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from tiny_architectures import WINDOW
from viewed_models import (
    EVERY,
    HUGGING_FACE,
    LENGTH,
    TENSOR,
    TRAINED,
    hugging_face,
    tokens_of,
    viewed,
)
from zscope.core.errors import ConfigError
from zscope.models.attention_view import AttentionView, Edit, LayerHeads, Resume
from zscope.models.attention_view_transformers import NAME, TransformersView
from zscope.models.tensor_heads import ReplacedHeads
from zscope.models.tensor_transformer import rotate

NEAR = {"rtol": 1e-6, "atol": 1e-6}  # transformers takes norms and softmax in float32
LAST = 2  # a layer that every model has


@pytest.fixture(scope="module")
def views() -> dict[str, AttentionView]:
    return {name: viewed(name) for name in EVERY}


def seen(view: AttentionView, tokens: torch.Tensor, edits=(), **options: Any) -> list[LayerHeads]:
    found: list[LayerHeads] = []
    view.run(tokens, edits, found.append, **options)
    return found


def model_logits(view: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Of the model itself, which knows nothing of the view."""
    with torch.no_grad():
        out = view.model(tokens)
    return out if isinstance(out, torch.Tensor) else out.logits


# --- what is seen ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_logits_and_patterns_are_those_of_eager_attention(views, name):
    """In single precision, in which transformers takes softmax whatever the model's precision."""
    tokens, view = tokens_of(), TransformersView(hugging_face(name).float())
    with torch.no_grad():
        eager = hugging_face(name, "eager").float()(tokens, output_attentions=True)
    found = seen(view, tokens)
    torch.testing.assert_close(view.run(tokens).logits, eager.logits, **NEAR)
    assert [heads.layer for heads in found] == list(range(len(eager.attentions)))
    for heads, pattern in zip(found, eager.attentions, strict=True):
        torch.testing.assert_close(heads.pattern, pattern, **NEAR)


@pytest.mark.parametrize("name", ["qwen2 with windows", "mistral with windows", "gemma3"])
def test_a_layer_with_a_window_sees_no_key_behind_it(views, name):
    far = torch.ones(LENGTH, LENGTH).tril(-WINDOW).bool()
    cut = [not heads.pattern[..., far].any() for heads in seen(views[name], tokens_of())]
    assert cut == ([True] * 4 if "mistral" in name else [True, False, True, False])


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma3"])
def test_query_heads_share_key_value_heads_in_blocks(views, name):
    """Values by hand from the projection: head h reads h // 2 of 2; tiled, it would read h % 2."""
    view: Any = views[name]
    for heads in seen(view, tokens_of()):
        layer = view.model.model.layers[heads.layer]
        projected = layer.self_attn.v_proj(layer.input_layernorm(heads.stream))
        kv = projected.unflatten(-1, (2, 8)).transpose(1, 2)
        torch.testing.assert_close(heads.values, kv[:, [0, 0, 1, 1]], **NEAR)
        assert not torch.allclose(heads.values, kv[:, [0, 1, 0, 1]], **NEAR)


@pytest.mark.parametrize("name", EVERY)
def test_heads_together_are_what_attention_writes(views, name):
    """Output of the layer's own projection: sum over heads of z W_O, and the bias."""
    view: Any = views[name]
    outputs: list[torch.Tensor] = []
    if name in HUGGING_FACE:
        layout = view._layout
        projections = [getattr(getattr(x, layout.attention), layout.output) for x in view._layers]
    else:
        projections = [block.attn.o for block in view.model.layers]
    handles = [
        p.register_forward_hook(lambda m, args, out: outputs.append(out)) for p in projections
    ]
    found = seen(view, tokens_of())
    for handle in handles:
        handle.remove()
    for heads, out in zip(found, outputs, strict=True):
        for t in range(LENGTH):
            torch.testing.assert_close(heads.output(t), out[:, t], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", TRAINED)
def test_logits_are_those_of_the_trained_model(views, name):
    tokens = tokens_of()
    torch.testing.assert_close(
        views[name].run(tokens).logits, model_logits(views[name], tokens), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", TENSOR)
def test_patterns_of_tensor_transformers_are_the_formula(views, name):
    view: Any = views[name]
    c = view.model.config
    for heads in seen(view, tokens_of()):
        block = view.model.blocks[heads.layer]
        read = block.read(heads.stream)

        def rotated(which: str, block=block, read=read) -> torch.Tensor:
            part = torch.einsum("bsd,hed->bhse", read, block.attn.weight(which))
            return rotate(part, torch.arange(LENGTH), c.rope_base)

        product = rotated("q1") @ rotated("k1").mT
        if c.attention == "bilinear":
            expected = (product * (rotated("q2") @ rotated("k2").mT) / c.d_head**2).tril()
        else:
            hidden = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)
            expected = (product / c.d_head**0.5 + hidden).softmax(-1)
        torch.testing.assert_close(heads.pattern, expected, rtol=1e-9, atol=1e-9)


def test_patterns_of_the_trained_decoder_are_the_formula(views):
    """Key by key, for every query and head."""
    view: Any = views["lag"]
    for heads in seen(view, tokens_of(1)):
        block = view.model.layers[heads.layer]
        read = block.ln1(heads.stream)[0]
        q, k = (part(read).unflatten(-1, (4, 6)) for part in (block.attn.q, block.attn.k))
        for h in range(4):
            for t in range(LENGTH):
                weights = torch.stack([(q[t, h] @ k[j, h] / 6**0.5).exp() for j in range(t + 1)])
                row = heads.pattern[0, h, t]
                torch.testing.assert_close(row[: t + 1], weights / weights.sum(), **NEAR)
                assert not row[t + 1 :].any()


@pytest.mark.parametrize("name", EVERY)
def test_only_the_positions_that_are_read_have_logits(views, name):
    tokens = tokens_of()
    full = views[name].run(tokens)
    part = views[name].run(tokens, read=[-1, 2])
    torch.testing.assert_close(part.logits, full.logits[:, [-1, 2]], **NEAR)
    torch.testing.assert_close(part.final, full.final[:, [-1, 2]], **NEAR)
    normed = views[name].final_norm(part.final)
    torch.testing.assert_close(views[name].unembed(normed), part.logits, **NEAR)


def test_of_a_layer_nothing_is_kept_but_by_the_visitor(views):
    for name in ("llama", "bilinear", "lag"):
        before: list[weakref.ref] = []

        def visit(heads: LayerHeads, before=before) -> None:
            assert not any(ref() is not None for ref in before)
            before[:] = [weakref.ref(x) for x in (heads.pattern, heads.values, heads.z)]

        views[name].run(tokens_of(), visit=visit)
        assert len(before) == 3


# --- resuming ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_resuming_is_the_full_run_at_every_layer(views, name):
    tokens, view = tokens_of(), views[name]
    edit = Edit(LAST, "z", lambda z: z.flip(0))
    clean = seen(view, tokens)
    whole = view.run(tokens, [edit]).logits
    for layer in range(LAST + 1):
        resume = Resume(layer, clean[layer].stream)
        part = seen(view, tokens, [edit], resume=resume)
        assert [heads.layer for heads in part] == list(range(layer, view.n_layers))
        again = view.run(tokens, [edit], resume=resume).logits
        torch.testing.assert_close(again, whole, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(whole, view.run(tokens).logits, **NEAR)
    end = view.run(tokens, resume=Resume(view.n_layers, view.run(tokens).final)).logits
    torch.testing.assert_close(end, view.run(tokens).logits, rtol=1e-9, atol=1e-9)


def test_resuming_computes_no_earlier_layer(views):
    view: Any = views["llama"]
    tokens, called = tokens_of(), []
    stream = seen(view, tokens)[LAST].stream
    handles = [
        x.mlp.register_forward_hook(lambda *args, i=i: called.append(i))
        for i, x in enumerate(view.model.model.layers)
    ]
    view.run(tokens, resume=Resume(LAST, stream))
    for handle in handles:
        handle.remove()
    assert called == [2, 3]


# --- edits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_edits_of_pattern_values_and_z_reach_the_logits(views, name):
    """A head whose pattern, values or z are zero is a head whose output matrix is zero."""
    view: Any = views[name]
    tokens, head = tokens_of(), 1

    def gone(x: torch.Tensor, axis: int) -> torch.Tensor:
        x = x.clone()
        x.select(axis, head).zero_()
        return x

    W_O = view.output_weights(LAST).W_O
    kept = W_O[head].clone()
    W_O[head].zero_()  # a view of the model's own weights
    expected = model_logits(view, tokens)
    W_O[head].copy_(kept)
    assert not torch.allclose(expected, model_logits(view, tokens), **NEAR)
    for site, axis in (("pattern", 1), ("values", 1), ("z", 2)):
        edit = Edit(LAST, site, lambda x, axis=axis: gone(x, axis))
        torch.testing.assert_close(view.run(tokens, [edit]).logits, expected, **NEAR)


@pytest.mark.parametrize("name", list(TENSOR))
def test_an_edited_z_is_a_replaced_head(views, name):
    """The bench's other way for this model, without patterns."""
    view: Any = views[name]
    value = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def change(z: torch.Tensor) -> torch.Tensor:
        z = z.clone()
        z[:, :, 3] = value
        return z

    expected = ReplacedHeads(view.model, {(1, 3): value})(tokens_of())
    found = view.run(tokens_of(), [Edit(1, "z", change)]).logits
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["llama", "bilinear", "lag"])
def test_edits_add_up_in_their_order_and_later_layers_see_them(views, name):
    view, tokens = views[name], tokens_of()
    edits = [
        Edit(0, "pattern", lambda a: 2 * a),
        Edit(0, "values", lambda v: v + 1),
        Edit(0, "values", lambda v: 3 * v),
        Edit(1, "z", torch.zeros_like),
    ]
    clean, edited = seen(view, tokens), seen(view, tokens, edits)
    torch.testing.assert_close(edited[0].pattern, 2 * clean[0].pattern)
    torch.testing.assert_close(edited[0].values, 3 * (clean[0].values + 1))
    torch.testing.assert_close(
        edited[0].z, torch.einsum("bhqk,bhke->bqhe", edited[0].pattern, edited[0].values)
    )
    assert not edited[1].z.any()
    assert not torch.allclose(edited[1].pattern, clean[1].pattern, **NEAR)
    assert torch.equal(seen(view, tokens)[1].pattern, clean[1].pattern)


@pytest.mark.parametrize("name", EVERY)
def test_z_has_the_gradient_of_a_finite_difference(views, name):
    """In all layers from one backward; a step in z of an early head moves what later ones read."""
    view, tokens = views[name], tokens_of(2)
    step, at, head = 1e-3, LENGTH - 2, 2
    found = []
    logits = view.run(tokens, visit=lambda heads: found.append(heads.z), grad=True).logits
    y = F.cross_entropy(logits[:, -1], torch.tensor([5, 9]))
    gradients = torch.autograd.grad(y, found)
    for layer in range(LAST + 1):
        values = []
        for sign in (1, -1):

            def change(z: torch.Tensor, sign=sign) -> torch.Tensor:
                z = z.clone()
                z[0, at, head] += sign * step
                return z

            run = view.run(tokens, [Edit(layer, "z", change)])
            values.append(F.cross_entropy(run.logits[:, -1], torch.tensor([5, 9])).item())
        slope = (values[0] - values[1]) / (2 * step)
        assert gradients[layer][0, at, head].sum().item() == pytest.approx(
            slope, rel=1e-2, abs=2e-4
        )
    assert not view.run(tokens).logits.requires_grad


# --- a model is left as it was -----------------------------------------------------------------


def state(model: Any) -> tuple[Any, ...]:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    forwards = ["forward" in vars(m) for m in model.modules()]
    return model.config._attn_implementation, hooks, forwards


def failing(heads: LayerHeads) -> None:
    raise RuntimeError("the visitor fails")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_nothing_is_left_on_the_model_even_if_the_visitor_fails(attention):
    model = hugging_face("llama", attention)
    view, before = TransformersView(model), state(model)
    stream = seen(view, tokens_of())[1].stream
    assert state(model) == before
    with pytest.raises(RuntimeError, match="the visitor fails"):
        view.run(tokens_of(), visit=failing, resume=Resume(1, stream))
    assert state(model) == before
    model.set_attn_implementation(NAME)
    with pytest.raises(RuntimeError, match="there is none"):
        model(tokens_of())


def test_two_models_take_turns_and_threads_do_not_mix(views):
    """A model that is run while another is being visited, and one view in three threads."""
    tokens, inner = tokens_of(), []
    first, second = views["llama"], views["qwen3"]

    def visit(heads: LayerHeads) -> None:
        inner.append(second.run(tokens, [Edit(0, "z", torch.zeros_like)]).logits)

    expected = first.run(tokens).logits
    torch.testing.assert_close(first.run(tokens, visit=visit).logits, expected)
    without = second.run(tokens, [Edit(0, "z", torch.zeros_like)]).logits
    assert len(inner) == 4
    assert all(torch.equal(logits, without) for logits in inner)

    factors = (0.0, 1.0, 2.0)
    alone = [first.run(tokens, [Edit(1, "z", lambda z, f=f: f * z)]).logits for f in factors]
    together: dict[float, list[torch.Tensor]] = {f: [] for f in factors}

    def work(f: float) -> None:
        for _ in range(4):
            together[f].append(first.run(tokens, [Edit(1, "z", lambda z: f * z)]).logits)

    threads = [threading.Thread(target=work, args=(f,)) for f in factors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for f, logits in zip(factors, alone, strict=True):
        assert len(together[f]) == 4
        assert all(torch.equal(x, logits) for x in together[f])


# --- what is refused ---------------------------------------------------------------------------


def refused(model: Any) -> str:
    with pytest.raises(ConfigError) as error:
        TransformersView(model.eval()).run(tokens_of())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_models_whose_attention_cannot_be_seen_are_refused_in_one_line():
    opt = OPTConfig(
        vocab_size=53, hidden_size=24, ffn_dim=20, num_hidden_layers=1, num_attention_heads=4
    )
    assert "OPTForCausalLM: where its output matrices are is not known" in refused(
        OPTForCausalLM(opt)
    )
    bloom = BloomConfig(vocab_size=53, hidden_size=24, n_layer=1, n_head=4)
    assert "does not compute attention through" in refused(BloomForCausalLM(bloom))


def test_attention_that_is_more_than_causal_softmax_is_refused():
    config = LlamaConfig(
        vocab_size=53, hidden_size=24, intermediate_size=20, num_hidden_layers=1,
        num_attention_heads=4,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.model.layers[0].self_attn.is_causal = False
    assert "a token sees what comes after it" in refused(model)
    model = LlamaForCausalLM(config).eval()
    attention, plain = model.model.layers[0].self_attn, model.model.layers[0].self_attn.forward
    attention.forward = lambda **kwargs: plain(**kwargs, s_aux=torch.zeros(4))
    assert "it uses s_aux" in refused(model)
    attention.forward = lambda **kwargs: plain(**{**kwargs, "attention_mask": torch.zeros(1)})
    assert "it has a mask or bias of its own" in refused(model)
    model = LlamaForCausalLM(config).train()
    with pytest.raises(ValueError, match="training mode"):
        TransformersView(model).run(tokens_of())


@pytest.mark.parametrize("name", ["llama", "bilinear", "lag"])
def test_wrong_calls_say_what_is_wrong(views, name):
    view, tokens = views[name], tokens_of()
    stream = seen(view, tokens)[1].stream
    with pytest.raises(ValueError, match=r"\[batch, seq\]"):
        view.run(tokens[0])
    with pytest.raises(ValueError, match="edit of layer 7"):
        view.run(tokens, [Edit(7, "z", lambda z: z)])
    with pytest.raises(ValueError, match="the run has layers 1 to"):
        view.run(tokens, [Edit(0, "z", lambda z: z)], resume=Resume(1, stream))
    with pytest.raises(ValueError, match="resume: the stream is"):
        view.run(tokens[:1], resume=Resume(1, stream))
    with pytest.raises(ValueError, match="layer 9 is not in"):
        view.run(tokens, resume=Resume(9, stream))
    with pytest.raises(ValueError, match="is not in a sequence of 9"):
        view.run(tokens, read=[9])
    with pytest.raises(ValueError, match="edit of z in layer 0"):
        view.run(tokens, [Edit(0, "z", lambda z: z[:, :1])])
