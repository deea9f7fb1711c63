"""The trained model is TransformerLens's native model, computed only where it is needed."""

import itertools

import pytest
import torch

from zscope.models.transformer import Transformer, TransformerConfig

SHAPES = {
    "small": TransformerConfig(2, 16, 4, 32, 9, 11, init_std=0.3, mlp_init_std=0.2),
    "one layer, one head": TransformerConfig(1, 12, 1, 7, 5, 6, init_std=0.5, mlp_init_std=0.5),
    "three layers, one vocabulary entry a position": TransformerConfig(3, 24, 3, 96, 16, 40, 0.2),
}


def model_of(shape, seed=0):
    return Transformer(shape).init_weights(seed).eval()


def tokens_of(shape, n=4, seq=None):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(shape.d_vocab, (n, seq or shape.n_ctx), generator=generator)


@pytest.fixture(params=SHAPES.values(), ids=list(SHAPES))
def shape(request):
    return request.param


def test_logits_are_those_of_the_wrapped_model(shape):
    from zscope.models.wrapped_transformer import wrap

    model = model_of(shape)
    with torch.no_grad():  # no bias or gain may be at a value that hides it
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    wrapped = wrap(model)
    for seq in (1, shape.n_ctx // 2, shape.n_ctx):
        tokens = tokens_of(shape, seq=seq)
        with torch.no_grad():
            torch.testing.assert_close(model(tokens), wrapped(tokens), rtol=1e-5, atol=1e-5)


def test_a_wrapped_model_holds_its_own_weights_until_others_are_loaded(shape):
    from zscope.models.wrapped_transformer import load_weights, wrap

    model, later, tokens = model_of(shape), model_of(shape, 1), tokens_of(shape)
    wrapped = wrap(model)
    before = wrapped(tokens)
    with torch.no_grad():
        model.head.weight.zero_()
    assert torch.equal(wrapped(tokens), before)
    load_weights(wrapped, later.state_dict())
    torch.testing.assert_close(wrapped(tokens), later(tokens), rtol=1e-5, atol=1e-5)


def test_weights_of_another_shape_are_refused():
    from zscope.models.wrapped_transformer import load_weights, wrap

    small, large = SHAPES["small"], SHAPES["three layers, one vocabulary entry a position"]
    wrapped = wrap(model_of(small))
    with pytest.raises(ValueError, match=r"layers\.2\.attn"):
        load_weights(wrapped, model_of(large).state_dict())


def test_start_is_a_slice_of_the_full_forward(shape):
    model, tokens = model_of(shape), tokens_of(shape)
    full = model(tokens)
    for start in range(shape.n_ctx):
        part = model(tokens, start)
        assert part.shape == full[:, start:].shape
        torch.testing.assert_close(part, full[:, start:], rtol=1e-5, atol=1e-5)


def test_gradients_with_start_are_those_of_the_slice(shape):
    tokens, start = tokens_of(shape), shape.n_ctx - 2
    grads = []
    for forward in (lambda m: m(tokens, start), lambda m: m(tokens)[:, start:]):
        model = model_of(shape)
        forward(model).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    for ours, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)


def test_an_output_depends_on_no_later_token(shape):
    """In float64: a matmul may round the same numbers differently beside other ones."""
    model, tokens = model_of(shape).double(), tokens_of(shape)
    for start, at in itertools.product((0, 1), range(1, shape.n_ctx)):
        changed = tokens.clone()
        changed[:, at] = (tokens[:, at] + 1) % shape.d_vocab
        ours, other = model(tokens, start), model(changed, start)
        torch.testing.assert_close(
            ours[:, : at - start], other[:, : at - start], rtol=0, atol=1e-12
        )
        assert not torch.allclose(ours[:, at - start :], other[:, at - start :])


def test_an_example_does_not_depend_on_its_batch(shape):
    model, tokens = model_of(shape), tokens_of(shape, n=7)
    for start in (0, shape.n_ctx - 2):
        together = model(tokens, start)
        for i in range(7):
            alone = model(tokens[i : i + 1], start)
            torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-5, atol=1e-5)


def test_a_single_token_has_logits():
    shape = SHAPES["small"]
    assert model_of(shape)(tokens_of(shape, seq=1)).shape == (4, 1, shape.d_vocab)


def test_initial_weights_depend_on_the_seed_alone(shape):
    torch.manual_seed(0)
    first = model_of(shape, 5).state_dict()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    model = Transformer(shape)
    torch.set_rng_state(before)
    model.init_weights(5)
    assert torch.equal(torch.get_rng_state(), before)  # init takes nothing from the global stream
    assert all(torch.equal(p, first[name]) for name, p in model.state_dict().items())
    other = model_of(shape, 6).state_dict()
    matrices = [name for name, p in first.items() if p.ndim == 2]
    assert all(not torch.equal(first[name], other[name]) for name in matrices)


def test_initial_weights_have_the_configured_spread():
    shape = TransformerConfig(2, 64, 4, 256, 16, 50, init_std=0.1, mlp_init_std=0.02)
    for name, p in model_of(shape).state_dict().items():
        if name.endswith("bias"):
            assert p.eq(0).all()
        elif "ln" in name:
            assert p.eq(1).all()
        else:
            wanted = 0.02 if ".mlp." in name else 0.1
            assert p.std().item() == pytest.approx(wanted, rel=0.1)
            assert abs(p.mean().item()) < wanted / 5


def test_the_head_is_not_tied_to_the_embedding():
    model = model_of(SHAPES["small"])
    assert model.head.weight.data_ptr() != model.tok_embed.weight.data_ptr()
    assert not torch.equal(model.head.weight, model.tok_embed.weight)
