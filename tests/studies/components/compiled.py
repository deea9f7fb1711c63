"""Tensor transformers whose weights are set by hand, so that what patching does is known.

Nothing stands on RoPE's first pair of elements, which turns by one radian a token, except where a
head is to look at a distance. The base makes all other pairs turn by nothing at all.
"""

from __future__ import annotations

import math

import torch

from zscope.models.tensor_transformer import TensorConfig, TensorTransformer

BASE = 1e200
"""Angles of the second pair on are below 1e-50 radians a token."""


def empty_model(attention="bilinear", *, d_vocab, d_model, d_head, n_layers=1, n_heads=1):
    """A model whose weights are all 0."""
    config = TensorConfig(
        d_vocab, 16, n_layers, n_heads, d_model, d_head, attention=attention, rope_base=BASE
    )
    model = TensorTransformer(config).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    return model.eval().requires_grad_(False)


def slots(d_head):
    """The elements of a head that RoPE does not turn."""
    half = d_head // 2
    return [i for i in range(d_head) if i % half]


def put(model, layer, name, head, *entries):
    """Set entries (element of the head, direction of the stream, value) of a matrix; of "o" too."""
    weight = model.blocks[layer].attn.weight(name)
    for element, direction, value in entries:
        weight[head, element, direction] = value


# --- AND: attends with exactly 1 to keys with the same a and the same b

N_A = N_B = 3
WITHOUT = N_A * N_B  # a token that has neither a nor b


def and_head(attention="bilinear", beta=1.0):
    """One head: (q1.k1) is 1 if a is the same, (q2.k2) if b is. Token a N_B + b, and WITHOUT.

    It copies the key's token into the logits. beta: of the softmax head, which adds the scores.
    """
    d_head, size = 16, N_A * N_B + 1
    model = empty_model(attention, d_vocab=size, d_model=N_A + N_B + size, d_head=d_head)
    free = slots(d_head)
    embed, copied = model.tok_embed.weight, N_A + N_B
    for token in range(WITHOUT):
        a, b = divmod(token, N_B)
        embed[token, a] = embed[token, N_A + b] = 1
    for token in range(size):
        embed[token, copied + token] = 1
        put(model, 0, "v", 0, (token, copied + token, 1.0))
        put(model, 0, "o", 0, (token, copied + token, 1.0))
        model.head.weight[token, copied + token] = 1
    if attention == "bilinear":
        for first, n, at in (("1", N_A, 0), ("2", N_B, N_A)):
            same = [(free[i], at + i, math.sqrt(d_head)) for i in range(n)]
            put(model, 0, f"q{first}", 0, *same)
            put(model, 0, f"k{first}", 0, *same)
    else:
        both = [(free[i], i, math.sqrt(beta * math.sqrt(d_head))) for i in range(N_A + N_B)]
        put(model, 0, "q1", 0, *both)
        put(model, 0, "k1", 0, *both)
    return model


# --- bigram, skip rule and induction, each alone in the logits

THINGS, COLOURS, CONSTANT = 2, 2, 1
THING, COLOUR, OTHER = range(THINGS), range(THINGS, THINGS + COLOURS), THINGS + COLOURS
SIZE = THINGS + COLOURS + 1


def bigram(gain=2.0):
    """No head does anything: colour i follows thing i by the direct path."""
    model = empty_model(d_vocab=SIZE, d_model=SIZE, d_head=4)
    for token in range(SIZE):
        model.tok_embed.weight[token, token] = 1
    for thing, colour in zip(THING, COLOUR, strict=True):
        model.head.weight[colour, thing] = gain
    return model


def skip_rule(gain=3.0):
    """thing 0 .. thing 1 -> colour 0: thing 1 attends with 1 to every thing 0 before it."""
    d_head = 8
    model = empty_model(d_vocab=SIZE, d_model=SIZE, d_head=d_head)
    for token in range(SIZE):
        model.tok_embed.weight[token, token] = model.head.weight[token, token] = 1
    first, second = slots(d_head)[:2]
    root = math.sqrt(d_head)
    put(model, 0, "q1", 0, (first, THING[1], root))
    put(model, 0, "k1", 0, (first, THING[0], root))
    for name in ("q2", "k2"):
        put(model, 0, name, 0, *((second, token, root) for token in range(SIZE)))
    put(model, 0, "v", 0, (first, THING[0], 1.0))
    put(model, 0, "o", 0, (first, COLOUR[0], gain))
    return model


def induction(gain=4.0):
    """thing colour .. thing -> colour, for prompts of 5 tokens.

    Layer 0 attends with 1 to the token before: its two factors are cosines of the distance that
    vanish at 0 and 2, and at 3 and 4. Layer 1 attends with 1 to tokens behind the same thing, and
    copies their colour.
    """
    d_head, d_model = 8, 2 * SIZE + CONSTANT
    model = empty_model(d_vocab=SIZE, d_model=d_model, d_head=d_head, n_layers=2)
    constant, before, half = 2 * SIZE, SIZE, d_head // 2
    for token in range(SIZE):
        model.tok_embed.weight[token, token] = model.tok_embed.weight[token, constant] = 1
    peak = (1 - math.cos(1)) * (math.cos(2.5) - math.cos(0.5))
    for first, centre, zero in (("1", 1.0, 1.0), ("2", 3.5, 0.5)):
        # q at t turned by t and k at j turned by j: their product is cos(t - j - centre).
        scale = d_head / (peak if first == "1" else 1.0)
        put(model, 0, f"q{first}", 0, (0, constant, scale * math.cos(centre)))
        put(model, 0, f"q{first}", 0, (half, constant, -scale * math.sin(centre)))
        put(model, 0, f"k{first}", 0, (0, constant, 1.0))
        put(model, 0, f"q{first}", 0, (1, constant, -scale * math.cos(zero)))
        put(model, 0, f"k{first}", 0, (1, constant, 1.0))
    free = slots(d_head)
    root = math.sqrt(d_head)
    for thing in THING:
        put(model, 0, "v", 0, (thing, thing, 1.0))
        put(model, 0, "o", 0, (thing, before + thing, 1.0))
        put(model, 1, "q1", 0, (free[thing], thing, root))
        put(model, 1, "k1", 0, (free[thing], before + thing, root))
    for name in ("q2", "k2"):
        put(model, 1, name, 0, (free[0], constant, root))
    for i, colour in enumerate(COLOUR):
        put(model, 1, "v", 0, (i, colour, 1.0))
        put(model, 1, "o", 0, (i, SIZE + THINGS + i, gain))
        model.head.weight[colour, SIZE + colour] = 1
    return model
