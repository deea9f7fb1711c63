"""A tensor transformer compiled by hand: bigrams, skip rules, an AND head and induction, exactly.

Two layers of four heads on sequences of five tokens. Every token's embedding is a one-hot and a
coordinate that is always 1; the stream has slots for the token before and for the answer. Then
the whole stream is turned by a random rotation, so no component lies along an axis.

Every head's second score factor is 1 but for the AND head and the head that looks one token back.
RoPE's first pair turns by one radian per token, all others, with this base, by nothing that counts;
so content lies on the others, and position on the first alone. With five tokens a product of two
factors (cos(d - a) - b) is exactly 1 at offset d = 1 and 0 at 0, 2, 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.components.decomposition.planted.truth import Planted, Term
from zscope.studies.components.decomposition.targets import TransformerTarget

LENGTH, D_HEAD, BASE = 5, 16, 1e30
N = 3  # rules of each kind; the AND head has 2 x 2
LOGIT = 6.0
STRAY = 0.5
PREVIOUS, BIGRAM, SKIP, AND = range(4)  # heads of layer 0
INDUCTION = 0  # head of layer 1


@dataclass(frozen=True)
class Words:
    """Tokens by what they do, and the coordinates of the stream.

    Attributes:
        names: bigram, trigger, anchor, query, key (of the AND head), first, second (of induction),
            filler, and the answers.
    """

    of: dict[str, list[int]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return sum(map(len, self.of.values()))


def words() -> Words:
    sizes = {
        **dict.fromkeys(("bigram", "trigger", "anchor"), N),
        **dict.fromkeys(("query", "key"), 4),
        **dict.fromkeys(("first", "second"), N),
        "filler": 2,
        **dict.fromkeys(("after_bigram", "after_skip"), N),
        "after_and": 4,
    }
    of, at = {}, 0
    for name, size in sizes.items():
        of[name] = list(range(at, at + size))
        at += size
    return Words(of)


class _Compiler:
    """Rank-one terms of every matrix, by what they read and write."""

    def __init__(self, d: int, heads: int) -> None:
        self.d, self.heads = d, heads
        self.terms: dict[str, dict[tuple[int, ...], Tensor]] = {}

    def add(
        self, name: str, read: Sequence[int], head: int, write: Sequence[tuple[int, float]]
    ) -> None:
        """Row vector of a head's elements. Terms of one matrix that read the same are one."""
        width = self.heads * D_HEAD
        out = self.terms.setdefault(name, {}).setdefault(tuple(read), torch.zeros(width))
        for element, value in write:
            out[head * D_HEAD + element] += value

    def add_out(self, name: str, head: int, element: int, write: int) -> None:
        """o: reads an element of a head, writes a coordinate of the stream."""
        out = torch.zeros(self.d)
        out[write] = 1.0
        self.terms.setdefault(name, {})[(head * D_HEAD + element,)] = out

    def term(self, name: str) -> Term:
        """The terms of a matrix."""
        width = self.heads * D_HEAD if name.endswith("o") else self.d
        found = self.terms[name]
        reads = torch.zeros(len(found), width)
        for row, read in enumerate(found):
            reads[row, list(read)] = 1.0
        return Term(reads, torch.stack(list(found.values())))


def _free(j: int) -> int:
    """The j-th element that RoPE leaves alone: not 0, nor its partner."""
    free = [e for e in range(D_HEAD) if e % (D_HEAD // 2)]
    return free[j]


def _compile() -> tuple[_Compiler, int]:
    w = words().of
    n = words().n
    one, before, answer = n, n + 1, n + 1 + N
    code = _Compiler(answer + n, 4)
    sqrt = math.sqrt(D_HEAD**2)  # each factor is divided by d_head
    half = D_HEAD // 2

    def constant(layer: int, head: int) -> None:
        for name in ("q2", "k2"):
            code.add(f"{layer}.{name}", [one], head, [(_free(0), math.sqrt(sqrt))])

    def pair(
        layer: int, head: int, j: int, query: Sequence[int], key: Sequence[int], f: int
    ) -> None:
        """q_f and k_f meet in element j where the query reads one, and the key the other."""
        code.add(f"{layer}.q{f}", query, head, [(_free(j), math.sqrt(sqrt))])
        code.add(f"{layer}.k{f}", key, head, [(_free(j), math.sqrt(sqrt))])

    # One token back: cos(d - 1) - cos(1) is 0 at 0 and 2, cos(d - 3.5) - cos(.5) at 3 and 4.
    at_1 = (1 - math.cos(1.0)) * (math.cos(2.5) - math.cos(0.5))
    for f, (centre, zero) in enumerate(((1.0, 1.0), (3.5, 0.5)), 1):
        size = sqrt / math.sqrt(abs(at_1))
        sign = -1.0 if f == 2 else 1.0  # the second factor is negative at offset 1
        turned = [
            (0, sign * size * math.cos(centre)),
            # a query t rotated by t against a key s rotated by s leaves t - s
            (half, -sign * size * math.sin(centre)),
            (_free(0), -sign * size * math.cos(zero)),
        ]
        code.add(f"0.q{f}", [one], PREVIOUS, turned)
        code.add(f"0.k{f}", [one], PREVIOUS, [(0, 1.0), (_free(0), 1.0)])
    for j, token in enumerate(w["first"]):
        code.add("0.v", [token], PREVIOUS, [(j, 1.0)])
        code.add_out("0.o", PREVIOUS, j, before + j)

    constant(0, BIGRAM)
    constant(0, SKIP)
    for j in range(N):
        token, then = w["bigram"][j], w["after_bigram"][j]
        pair(0, BIGRAM, j, [token], [token], 1)
        code.add("0.v", [token], BIGRAM, [(j, 1.0)])
        code.add_out("0.o", BIGRAM, j, answer + then)
        pair(0, SKIP, j, [w["trigger"][j]], [w["anchor"][j]], 1)
        code.add("0.v", [w["anchor"][j]], SKIP, [(j, 1.0)])
        code.add_out("0.o", SKIP, j, answer + w["after_skip"][j])
    for bit in range(2):
        first = [i for i in range(4) if i // 2 == bit]
        second = [i for i in range(4) if i % 2 == bit]
        for f, some in ((1, first), (2, second)):
            pair(0, AND, bit, [w["query"][i] for i in some], [w["key"][i] for i in some], f)
    for i in range(4):
        code.add("0.v", [w["key"][i]], AND, [(i, 1.0)])
        code.add_out("0.o", AND, i, answer + w["after_and"][i])

    constant(1, INDUCTION)
    for j in range(N):
        pair(1, INDUCTION, j, [w["first"][j]], [before + j], 1)
        code.add("1.v", [w["second"][j]], INDUCTION, [(j, 1.0)])
        code.add_out("1.o", INDUCTION, j, answer + w["second"][j])
    return code, answer


def compiled_model(seed: int) -> tuple[TensorTransformer, dict[str, Term]]:
    """The model, and the rank-one terms of every matrix, which are all of it."""
    code, answer = _compile()
    n, d = words().n, code.d
    draw = torch.Generator().manual_seed(derive_seed(seed, "planted compiled"))
    turn = torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64)).Q.float()
    config = TensorConfig(
        d_vocab=n, n_ctx=LENGTH, n_layers=2, n_heads=4, d_model=d, d_head=D_HEAD, rope_base=BASE
    )
    model = TensorTransformer(config)
    truth = {}
    embedding, unembedding = torch.zeros(n, d), torch.zeros(n, d)
    embedding[:, :n] = torch.eye(n)
    embedding[:, n] = 1.0  # always there
    unembedding[:, answer : answer + n] = LOGIT * torch.eye(n)
    with torch.no_grad():
        model.tok_embed.weight.copy_(embedding @ turn)
        model.head.weight.copy_(unembedding @ turn)
        for layer, block in enumerate(model.blocks):
            for name in (*config.rotated, "v", "o"):
                plain = code.term(f"{layer}.{name}")
                term = (
                    Term(plain.reads, plain.writes @ turn)
                    if name == "o"
                    else Term(plain.reads @ turn, plain.writes)
                )
                getattr(block.attn, name).weight.copy_(term.matrix)
                truth[f"{layer}.{name}"] = term
    return model.eval().requires_grad_(False), truth


RULES = ("bigram", "skip", "and", "induction")


def sample(n: int, draw: torch.Generator) -> tuple[Int[Tensor, "n seq"], Int[Tensor, " n"]]:
    """Sequences of five tokens that end where a rule applies, and which.

    Skip and AND leave their anchor or key anywhere before; an AND key may match by half. Induction
    is first, second, ..., first. Half of the rest is filler and half any word: without these a
    query that asks for what never stands there would cost nothing, and its component could be
    merged with another.
    """
    w = {name: torch.tensor(ids) for name, ids in words().of.items()}

    def pick(name: str) -> Tensor:
        return w[name][torch.randint(len(w[name]), (n,), generator=draw)]

    tokens = torch.stack([pick("filler") for _ in range(LENGTH)], 1)
    stray = torch.randint(int(w["filler"][0]), tokens.shape, generator=draw)
    tokens = torch.where(torch.rand(tokens.shape, generator=draw) < STRAY, stray, tokens)
    rule = torch.randint(len(RULES), (n,), generator=draw)
    rows = torch.arange(n)
    place = torch.randint(LENGTH - 1, (n,), generator=draw)
    j = torch.randint(N, (n,), generator=draw)
    key = torch.randint(4, (n,), generator=draw)
    query = torch.randint(4, (n,), generator=draw)
    last = torch.where(rule == 0, w["bigram"][j], w["trigger"][j])
    last = torch.where(rule == 2, w["query"][query], last)
    tokens[:, -1] = torch.where(rule == 3, w["first"][j], last)
    earlier = torch.where(rule == 1, w["anchor"][j], w["key"][key])
    kept = (rule == 1) | (rule == 2)
    tokens[rows[kept], place[kept]] = earlier[kept]
    again = rule == 3
    start = torch.randint(LENGTH - 2, (n,), generator=draw)
    tokens[rows[again], start[again]] = w["first"][j][again]
    tokens[rows[again], start[again] + 1] = pick("second")[again]
    return tokens, rule


def compiled_transformer(seed: int) -> Planted:
    model, truth = compiled_model(seed)
    return Planted(
        TransformerTarget(model), truth, lambda n, draw: sample(n, draw)[0], float("nan")
    )
