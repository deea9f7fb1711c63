"""Tensor transformers with known weights, for tests."""

from __future__ import annotations

import torch

from zscope.models.tensor_transformer import TensorConfig, TensorTransformer

SMALL = {"d_vocab": 7, "n_ctx": 6, "n_layers": 2, "n_heads": 3, "d_model": 8, "d_head": 4}


def random_model(seed=0, scale=1.0, **changes) -> TensorTransformer:
    """No matrix is zero; float64; logits of the order of 1."""
    model = TensorTransformer(TensorConfig(**{**SMALL, **changes})).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            std = 1.0 if name == "tok_embed.weight" else scale * p.shape[1] ** -0.5
            p.copy_(std * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model


def random_tokens(model, n=3, seq=None, seed=1):
    c = model.config
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(c.d_vocab, (n, seq or c.n_ctx), generator=generator)


def zero_model(**changes) -> TensorTransformer:
    """All matrices 0 but E, which is the identity (one stream element a token)."""
    model = TensorTransformer(TensorConfig(**{**SMALL, **changes})).double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.tok_embed.weight.fill_diagonal_(1.0)
    return model


def head_rows(model, layer, head, name):
    """A head's [d_head, d_model] matrix, to write into."""
    return model.blocks[layer].attn.weight(name)[head]


def pattern_of(attn, x):
    """A of what the layer reads: [batch, head, q, k].

    Rows sum to 1 for softmax, and have any sign and sum for bilinear attention.
    """
    q1, k1, *second, _ = attn.split(attn.project(x))
    mask = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype).tril()
    if attn.config.attention == "bilinear":
        q2, k2 = second
        return (q1 @ k1.mT) * (q2 @ k2.mT) * mask
    scores = q1 @ k1.mT / attn.config.d_head**0.5
    return scores.masked_fill(mask == 0, float("-inf")).softmax(-1)


def gauges(config):
    """Changes of the matrices of a head that must change nothing, by name."""

    def scaled(**factors):
        def change(model):
            with torch.no_grad():
                for layer in range(config.n_layers):
                    for head in range(config.n_heads):
                        for name, factor in factors.items():
                            head_rows(model, layer, head, name).mul_(factor ** (head + 1))

        return change

    def turned(model):
        """One rotation of q1 and k1 in each plane that RoPE turns: it commutes with RoPE."""
        half = config.d_head // 2
        angle = torch.arange(1, half + 1, dtype=torch.float64)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        with torch.no_grad():
            for block in model.blocks:
                for name in ("q1", "k1"):
                    for W in block.attn.weight(name):
                        a, b = W[:half].clone(), W[half:].clone()
                        W[:half], W[half:] = cos * a - sin * b, sin * a + cos * b

    return {
        "q1 against q2": scaled(q1=1.7, q2=1 / 1.7),
        "q1 against k1": scaled(q1=0.4, k1=2.5),
        "signs of q1 and q2": scaled(q1=-1, q2=-1),
        "sign of q1 and v": scaled(q1=-1, v=-1),
        "scale of k2 and o": scaled(k2=3.0, o=1 / 3.0),
        "q1 and k1 turned": turned,
    }
