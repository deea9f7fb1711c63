"""Ablations of heads and values, and what is known of their effects without running them."""

# Matrices keep the capitals of the formulas.

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from viewed_models import LENGTH, tokens_of, viewed
from zscope.core.errors import ConfigError, DataError
from zscope.models.attention_view import AttentionView, Edit, LayerHeads
from zscope.models.attention_view_tensor import TensorView
from zscope.models.head_edits import (
    all_previous,
    behind,
    continue_greedily,
    one_shot,
    persistent,
    resample_z,
    set_z,
    without_values,
    zero_z,
)
from zscope.models.head_effects import (
    direct_effects,
    exact_effects,
    first_order_effects,
    mean_z,
    pulled_back,
)
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.models.value_parts import captured, offset_profile, similarity, value_parts

KINDS = ("llama", "gemma3", "gpt2", "gpt-neox", "bilinear", "bilinear, lerp and norms", "lag")
EXACT = {"rtol": 1e-9, "atol": 1e-9}
NEAR = {"rtol": 1e-5, "atol": 1e-6}  # transformers takes norms in float32
LAYER, T = 1, LENGTH - 1


@pytest.fixture(scope="module")
def views() -> dict[str, AttentionView]:
    return {name: viewed(name) for name in KINDS}


def seen(view: AttentionView, edits=(), tokens=None) -> list[LayerHeads]:
    found: list[LayerHeads] = []
    view.run(tokens_of() if tokens is None else tokens, edits, found.append)
    return found


def to_target(logits: torch.Tensor) -> torch.Tensor:
    """Log probability of token 5 at the last position that was read: not linear in the logits."""
    return logits[:, -1].log_softmax(-1)[:, 5]


def difference(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, -1, 5] - logits[:, -1, 9]


# --- z -----------------------------------------------------------------------------------------


def test_z_is_replaced_where_the_edit_says_and_nowhere_else(views):
    clean = seen(views["llama"])[LAYER].z
    value = torch.arange(32.0, dtype=torch.float64).view(4, 8)
    order = torch.tensor([1, 2, 0])
    for edit, new in (
        (lambda *a: zero_z(LAYER, *a), torch.zeros_like(clean)),
        (lambda *a: set_z(LAYER, value, *a), value.expand_as(clean)),
        (lambda *a: resample_z(LAYER, order, *a), clean[[1, 2, 0]]),
    ):
        for heads in (None, [2], [0, 3]):
            for at in (None, 4, -1):
                expected = clean.clone()
                for h in range(4) if heads is None else heads:
                    for t in range(LENGTH) if at is None else [at]:
                        expected[:, t, h] = new[:, t, h]
                found = seen(views["llama"], [edit(heads, at)])[LAYER].z
                torch.testing.assert_close(found, expected, **EXACT)


def test_the_mean_is_over_sequences_and_positions_whatever_the_batches(views):
    tokens = tokens_of(7)
    zs = torch.stack([heads.z for heads in seen(views["lag"], tokens=tokens)])
    torch.testing.assert_close(mean_z(views["lag"], tokens, chunk=3), zs.mean((1, 2)), **EXACT)
    at = mean_z(views["lag"], tokens, at=-2, chunk=3)
    torch.testing.assert_close(at, zs[:, :, -2].mean(1), **EXACT)


# --- values ------------------------------------------------------------------------------------


def test_all_previous_leaves_the_position_itself_and_may_leave_key_0():
    assert all_previous(4) == [0, 1, 2, 3]
    assert all_previous(4, first=1) == [1, 2, 3]
    assert behind(4, [1, 2]) == [3, 2]
    assert behind(4, range(1, 5)) == [3, 2, 1, 0]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("keys", [behind(T, [1]), behind(T, [1, 2]), all_previous(T)], ids=str)
def test_values_are_zeroed_of_these_keys_and_heads_without_rescaling(views, name, keys):
    view = views[name]
    clean = seen(view)[LAYER]
    for heads in ([2], None):
        gone = range(4) if heads is None else heads
        kept = clean.values.clone()
        row = clean.pattern.clone()
        for h in gone:
            for j in keys:
                kept[:, h, j] = 0
                row[:, h, T, j] = 0
        everywhere = seen(view, [without_values(LAYER, keys, heads)])[LAYER]
        at_row = seen(view, [without_values(LAYER, keys, heads, row=-1)])[LAYER]
        torch.testing.assert_close(everywhere.values, kept, **EXACT)
        torch.testing.assert_close(everywhere.pattern, clean.pattern, **EXACT)
        torch.testing.assert_close(at_row.pattern, row, **EXACT)
        torch.testing.assert_close(at_row.output(T), everywhere.output(T), **EXACT)
        assert not torch.allclose(at_row.output(T - 1), everywhere.output(T - 1)) or T - 1 in keys
        torch.testing.assert_close(at_row.z[:, :T], clean.z[:, :T], **EXACT)


def test_zeroed_values_and_columns_agree_in_the_logits_where_only_that_row_is_read(views):
    """In the last layer; before it, later layers also read what other rows lose."""
    view, tokens, keys = views["llama"], tokens_of(), [T - 1]
    for layer, equal in ((view.n_layers - 1, True), (0, False)):
        at_row, everywhere = (
            view.run(tokens, [without_values(layer, keys, row=row)], read=[-1]).logits
            for row in (T, None)
        )
        assert torch.allclose(at_row, everywhere, rtol=1e-9) == equal


def test_one_of_the_heads_that_share_values_loses_them_alone(views):
    edited = seen(views["llama"], [without_values(LAYER, [3], [1])])[LAYER].values
    clean = seen(views["llama"])[LAYER].values
    changed = edited.ne(clean).any(-1).any(0)
    assert changed.nonzero().tolist() == [[1, 3]]  # head 0 reads the same key-value head


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("d", [1, 3])
def test_the_closed_form_is_the_ablation_in_the_layer(views, name, d):
    clean = seen(views[name])[LAYER]
    parts = value_parts(clean, T, behind(T, [d]))[:, 0]
    for heads in ([0], [1, 2], [0, 1, 2, 3]):
        ablated = seen(views[name], [without_values(LAYER, [T - d], heads)])[LAYER].output(T)
        change = -parts[:, heads].sum(1)
        assert change.abs().amax() > 1e-4
        torch.testing.assert_close(ablated - clean.output(T), change, **EXACT)


@pytest.mark.parametrize("name", ["llama", "bilinear", "lag"])
def test_the_offset_profile_is_that_of_one_run_per_condition(views, name):
    view, of, offsets = views[name], [1, 3], [1, 2, 5]
    clean = seen(view)[LAYER]
    profile = offset_profile(clean, T, offsets, of)
    head = zero_z(LAYER, of, at=T)

    def compare(*edits: Edit) -> list[torch.Tensor]:
        base, out = clean.output(T), seen(view, edits)[LAYER].output(T)
        nip = torch.stack([b @ a / (b @ b) for b, a in zip(base, out, strict=True)])
        return [nip, F.cosine_similarity(base, out)]

    def check(found: Any, i: Any, expected: list[torch.Tensor]) -> None:
        torch.testing.assert_close(found.nip[i], expected[0], **EXACT)
        torch.testing.assert_close(found.cosine[i], expected[1], **EXACT)

    check(profile.without_head, slice(None), compare(head))
    for i, d in enumerate(offsets):
        values = without_values(LAYER, [T - d])
        check(profile.without_values, (slice(None), i), compare(values))
        check(profile.without_both, (slice(None), i), compare(values, head))


def test_captured_is_1_of_the_only_head_that_reads_a_key_and_0_of_the_others():
    parts = torch.zeros(1, 2, 3, 4)
    parts[0, 0, 1, 2] = 5.0
    assert captured(parts)[0, 0].tolist() == [0, 1, 0]
    assert captured(parts)[0, 1].isnan().all()
    parts[0, 0, 2, 2] = -4.0  # undoes most of it: without it there would be 5, not 1
    assert captured(parts)[0, 0].tolist() == [0, -3, -4]


def test_similarity_by_hand():
    found = similarity(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
    assert found.nip.item() == 0.5
    assert found.cosine.item() == pytest.approx(0.5**0.5)


# --- generation --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "lag"])
def test_a_one_shot_edit_leaves_step_2_alone_and_a_persistent_one_does_not(views, name):
    view, tokens = views[name], tokens_of()
    edits = [zero_z(layer, at=-1) for layer in range(view.n_layers)]

    def slowly(steps: list[bool]) -> list[list[int]]:
        ids = tokens
        for edited in steps:
            logits = view.run(ids, edits if edited else ()).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
        return ids[:, LENGTH:].tolist()

    clean, once, always = (
        slowly(steps) for steps in ([False] * 4, [True] + [False] * 3, [True] * 4)
    )
    assert clean != once != always != clean, "nothing is compared"
    assert continue_greedily(view, tokens, 4, one_shot(edits)).tolist() == once
    assert continue_greedily(view, tokens, 4, persistent(edits)).tolist() == always
    assert continue_greedily(view, tokens, 4, persistent([])).tolist() == clean


# --- effects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_exact_effects_are_those_of_full_runs(views, name):
    view, tokens = views[name], tokens_of()
    z_bar = mean_z(view, tokens)
    cases = [[set_z(2, z_bar[2], [1], at=-1)], [zero_z(0, [3]), without_values(1, [2])]]
    expected = [
        to_target(view.run(tokens, case).logits) - to_target(view.run(tokens).logits)
        for case in cases
    ]
    found = exact_effects(view, tokens, to_target, cases, read=[-1])
    torch.testing.assert_close(found, torch.stack(expected), **NEAR)


def test_first_order_is_exact_where_y_is_linear_in_z(views):
    """Heads of the last layer of a model without norms; earlier ones are not."""
    view, tokens = views["bilinear"], tokens_of()
    z_bar = mean_z(view, tokens)
    guess = first_order_effects(view, tokens, difference, z_bar)
    for layer, exact in ((view.n_layers - 1, True), (0, False)):
        cases = [[set_z(layer, z_bar[layer], [h])] for h in range(4)]
        total = exact_effects(view, tokens, difference, cases)
        assert torch.allclose(guess[layer].mT, total, rtol=1e-9, atol=1e-12) == exact


@pytest.mark.parametrize("name", KINDS)
def test_first_order_is_the_limit_of_small_changes(views, name):
    """In every layer at once, at one position: towards the mean by a thousandth of the way."""
    view, tokens = views[name], tokens_of(2)
    clean, z_bar = seen(view, tokens=tokens), mean_z(views[name], tokens)
    guess = first_order_effects(view, tokens, to_target, z_bar, at=-1)
    for layer in range(3):
        near = torch.lerp(clean[layer].z, z_bar[layer].expand_as(clean[layer].z), 1e-3)
        case = [[set_z(layer, near, [2], at=-1)]]
        small = exact_effects(view, tokens, to_target, case)[0] * 1e3
        torch.testing.assert_close(guess[layer, :, 2], small, rtol=0.05, atol=2e-3)


@pytest.mark.parametrize("name", KINDS)
def test_direct_effects_are_those_of_the_final_stream_with_its_scale_kept(views, name):
    """The head's write, put into the final stream by hand, through the norms' own formula."""
    view: Any = views[name]
    tokens, z_bar = tokens_of(), mean_z(view, tokens_of())
    found = direct_effects(view, tokens, difference, z_bar)
    final, clean = view.run(tokens).final[:, -1], seen(view)
    s = (
        final.var(-1, correction=0)
        if name in ("gpt2", "gpt-neox", "lag")
        else final.square().mean(-1)
    )
    eps = {"llama": 1e-6, "gemma3": 1e-6}.get(name, 1e-5)
    scale = 1.0 if name == "bilinear" else (s + eps).rsqrt()[:, None]

    def logits(x: torch.Tensor) -> torch.Tensor:
        """Of streams, with the norm's scale of the clean run."""
        if name in ("gpt2", "gpt-neox", "lag"):
            norm = view.final_norm
            x = (x - x.mean(-1, keepdim=True)) * scale * norm.weight + norm.bias
        elif name in ("llama", "gemma3"):
            x = x * scale * (view.final_norm.weight + (name == "gemma3"))
        else:
            x = x * scale
        return view.unembed(x)

    step = 1e-4 if name == "gemma3" else 1.0  # Gemma caps its logits, so y is linear near them only
    for layer in range(view.n_layers):
        for h in range(4):
            change = z_bar[layer, h] - clean[layer].z[:, -1, h]
            write = change @ view.output_weights(layer).W_O[h]
            if name == "gemma3":
                after = view.model.model.layers[layer].post_attention_layernorm
                out = clean[layer].output(T)
                write = (
                    write * (1 + after.weight) / (out.square().mean(-1, keepdim=True) + eps) ** 0.5
                )
            elif "lerp" in name:
                write = 0.3 * 0.7 ** (view.n_layers - 1 - layer) * write
            moved, base = (logits(x)[:, [5, 9]] for x in (final + step * write, final))
            expected = ((moved - base) @ torch.tensor([1.0, -1.0]).double()) / step
            torch.testing.assert_close(found[layer, :, h], expected, rtol=1e-3, atol=1e-4)


def test_direct_and_indirect_make_the_total(views):
    """Indirect, by hand in a model without norms: the head's own write is given back at the end."""
    view, tokens = views["bilinear"], tokens_of()
    z_bar, layer, head = mean_z(view, tokens), 0, 1
    edit = set_z(layer, z_bar[layer], [head], at=-1)
    total = exact_effects(view, tokens, difference, [[edit]], read=[-1])[0]
    direct = direct_effects(view, tokens, difference, z_bar)[layer, :, head]
    change = z_bar[layer, head] - seen(view)[layer].z[:, -1, head]
    write = change @ view.output_weights(layer).W_O[head]
    given_back = view.run(tokens, [edit]).final[:, -1] - write
    indirect = difference(view.unembed(given_back)[:, None]) - difference(view.run(tokens).logits)
    assert indirect.abs().amax() > 1e-4
    torch.testing.assert_close(direct + indirect, total, **EXACT)


def undoing() -> TensorView:
    """Layer 0 writes u, and layer 1 writes less all of u that it reads at its own position."""
    c = TensorConfig(d_vocab=4, n_layers=2, n_heads=1, d_model=4, d_head=4, attention="softmax")
    model = TensorTransformer(c).double().requires_grad_(False)
    eye, u = torch.eye(4).double(), torch.tensor([0.0, 0.0, 0.0, 1.0]).double()
    for p in model.parameters():
        p.zero_()
    first, second = model.blocks
    model.tok_embed.weight.copy_(eye)
    model.head.weight.copy_(eye)
    first.attn.v.weight.copy_(u[:, None] * torch.ones(4).double())  # every token gives u
    first.attn.o.weight.copy_(eye)
    second.attn.v.weight.copy_(eye)
    second.attn.o.weight.copy_(-u[:, None] * u)
    return TensorView(model)


def test_a_later_head_that_undoes_an_earlier_one_leaves_direct_without_total():
    view, tokens = undoing(), torch.tensor([[1], [2]])  # a single token sees itself alone
    z_bar = torch.zeros(2, 1, 4).double()

    def y(logits: torch.Tensor) -> torch.Tensor:
        return logits[:, -1, 3]

    direct = direct_effects(view, tokens, y, z_bar)[0, :, 0]
    total = exact_effects(view, tokens, y, [[zero_z(0, at=-1)]], read=[-1])[0]
    assert direct.tolist() == [-1, -1]
    assert total.tolist() == [0, 0]


# --- what is refused ---------------------------------------------------------------------------


def test_what_cannot_be_meant_is_refused(views):
    view, tokens = views["lag"], tokens_of()
    with pytest.raises(DataError, match="offset 3 behind position 2"):
        behind(2, [1, 3])
    with pytest.raises(DataError, match="offset 0"):
        behind(2, [0])
    with pytest.raises(DataError, match="no key from 1 on is before position 1"):
        all_previous(1, first=1)
    with pytest.raises(DataError, match="given its own z"):
        resample_z(0, torch.tensor([1, 0, 2]))
    with pytest.raises(DataError, match="head 4: there are 0 to 3"):
        view.run(tokens, [zero_z(0, [4])])
    with pytest.raises(DataError, match="key 9: there are 0 to 8"):
        view.run(tokens, [without_values(0, [9])])
    with pytest.raises(DataError, match="position 9 is not in a sequence of 9"):
        view.run(tokens, [zero_z(0, at=9)])
    with pytest.raises(ValueError, match="without edits"):
        exact_effects(view, tokens, to_target, [[]])
    with pytest.raises(ConfigError, match="neither a LayerNorm nor an RMS norm"):
        pulled_back(torch.tanh, torch.randn(2, 4), torch.randn(2, 4))
