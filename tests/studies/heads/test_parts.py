"""What heads do part by part, against runs of an edited model, loops, and planted truths."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from test_whole_study import BOOTSTRAP, STREAMS, llama, toy, written
from viewed_models import LENGTH, tokens_of, viewed
from zscope.models.attention_view_tensor import TensorView
from zscope.models.head_edits import set_z, without_values
from zscope.models.head_effects import mean_z
from zscope.models.language_model import LanguageModel, residual_states
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.models.value_parts import captured, value_parts
from zscope.studies.heads.asked.model import AskedModel, Sizes
from zscope.studies.heads.config import DetectorsConfig, PartsConfig
from zscope.studies.heads.detector import Vocabulary
from zscope.studies.heads.parts.measuring import part_rows
from zscope.studies.heads.parts.object_effects import effect_rows, measure_effects, roles
from zscope.studies.heads.parts.offsets import layer_offset_rows, offset_rows, offset_sums
from zscope.studies.heads.parts.redundancy import best_previous, redundancy_rows
from zscope.studies.heads.parts.token_rates import NAMES, measure_rates, rate_rows
from zscope.studies.heads.parts.under_ablation import Named, named_of, under_ablation_rows
from zscope.studies.heads.registry import load_detectors
from zscope.studies.heads.settings import NamingSettings
from zscope.studies.heads.sources import load_source
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.tables import OF_PARTS
from zscope.studies.heads.token_maps import TokenMaps

PARTS = PartsConfig(
    sequences=6,
    length=16,
    trained_sequences=6,
    prompts=10,
    max_offset=3,
    logit_offsets=2,
    targets=2,
    exact=2,
)
DETECTORS = {
    d.name: d for name in ("induction", "previous") for d in load_detectors(name, DetectorsConfig())
}
T = LENGTH - 1


def seen(view, tokens, edits=()):
    found = []
    view.run(tokens, edits, found.append)
    return found


def small(std: float = 0.7, **changed) -> TensorTransformer:
    """A softmax model of two layers of three heads in float64, whose patterns are far from even."""
    shape = {"d_vocab": 12, "n_layers": 2, "n_heads": 3, "d_model": 12, "d_head": 4}
    config = TensorConfig(**{**shape, "n_ctx": 16, "attention": "softmax", **changed})
    model = TensorTransformer(config).double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.copy_(std * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model


def silence(model: TensorTransformer, layer: int, heads: list[int]) -> None:
    """These heads write nothing."""
    d_head = model.config.d_head
    for h in heads:
        model.blocks[layer].attn.o.weight[:, h * d_head : (h + 1) * d_head] = 0


# --- offsets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2", "bilinear"])
def test_captured_shares_are_the_closed_form_of_each_row(name):
    view, tokens = viewed(name), tokens_of()
    rows = pd.DataFrame(offset_rows(offset_sums(view, tokens, 3, 2), BOOTSTRAP))
    layers = seen(view, tokens)
    for (layer, d), of in rows.groupby(["layer", "offset"]):
        parts = [value_parts(layers[layer], t, [t - d])[:, 0] for t in range(d + 1, LENGTH)]
        whole = torch.stack([p.sum(1).norm(dim=-1) for p in parts])
        each = torch.stack([captured(p[:, None])[:, 0] for p in parts])
        expected = (each * whole[..., None]).sum((0, 1)) / whole.sum()
        assert of["value"].tolist() == pytest.approx(expected.tolist(), abs=1e-8)
        assert (of["ci_low"] <= of["value"] + 1e-9).all()
        assert (of["value"] <= of["ci_high"] + 1e-9).all()


@pytest.mark.parametrize("name", ["llama", "bilinear", "lag"])
def test_what_a_layer_loses_is_what_runs_without_the_values_lose(name):
    view, tokens = viewed(name), tokens_of()
    rows = pd.DataFrame(layer_offset_rows(offset_sums(view, tokens, 2, 3), BOOTSTRAP))
    clean = seen(view, tokens)
    for row in rows.itertuples():
        lost = whole = 0.0
        for t in range(row.offset + 1, LENGTH):
            edit = without_values(row.layer, [t - row.offset])
            ablated = seen(view, tokens, [edit])[row.layer].output(t)
            # Without the bias, which no value writes.
            bias = clean[row.layer].weights.bias
            out = clean[row.layer].output(t) - (0 if bias is None else bias)
            lost += float((out * (clean[row.layer].output(t) - ablated)).sum())
            whole += float(out.square().sum())
        assert row.value == pytest.approx(lost / whole, abs=1e-5)


def test_a_head_that_alone_writes_captures_all_and_the_others_nothing():
    model = small()
    silence(model, 1, [0, 2])
    tokens = torch.randint(12, (4, 9), generator=torch.Generator().manual_seed(2))
    rows = pd.DataFrame(offset_rows(offset_sums(TensorView(model), tokens, 3, 4), BOOTSTRAP))
    of_layer = rows[rows["layer"] == 1]
    assert of_layer[of_layer["head"] == 1]["value"].to_numpy() == pytest.approx(1)
    assert of_layer[of_layer["head"] != 1]["value"].to_numpy() == pytest.approx(0, abs=1e-9)


def test_offsets_that_no_row_has_are_left_out():
    sums = offset_sums(viewed("lag"), tokens_of(), 50, 3)
    rows = pd.DataFrame(layer_offset_rows(sums, BOOTSTRAP))
    assert rows["offset"].max() == LENGTH - 2


# --- redundancy ----------------------------------------------------------------------------------


def test_values_are_redundant_behind_the_only_head_that_reads_them_and_not_behind_another():
    model = small(0.4)
    silence(model, 0, [0, 2])
    tokens = torch.randint(12, (16, 9), generator=torch.Generator().manual_seed(2))
    found = {
        h: pd.DataFrame(redundancy_rows(TensorView(model), tokens, (0, h), 2, BOOTSTRAP))
        for h in (1, 2)
    }
    assert found[1]["value"].to_numpy() == pytest.approx(1)
    assert found[2]["value"].to_numpy() == pytest.approx(0, abs=1e-9)
    assert (found[1]["alone"] > 1e-3).all()
    silence(model, 0, [1])
    nothing = pd.DataFrame(redundancy_rows(TensorView(model), tokens, (0, 1), 2, BOOTSTRAP))
    assert nothing[["value", "ci_low", "ci_high"]].isna().all(axis=None)


def test_redundancy_is_that_of_full_runs_with_one_edit_after_another():
    view, tokens, (layer, h) = viewed("llama"), tokens_of(), (1, 2)
    rows = pd.DataFrame(redundancy_rows(view, tokens, (layer, h), 2, BOOTSTRAP))
    mean = set_z(layer, mean_z(view, tokens)[layer], [h], at=T)

    def p(*edits):
        return view.run(tokens, edits).logits[:, -1].softmax(-1)

    for row in rows.itertuples():
        # Of the last row no other row reads anything, so the values may go for all of them.
        gone = without_values(layer, [T - row.offset], row=T)
        kl = {}
        for name, edits in (("alone", []), ("beside", [mean])):
            a, b = p(*edits), p(*edits, gone)
            kl[name] = float((a * (a / b).log()).sum(-1).mean())
            assert getattr(row, name) == pytest.approx(kl[name], rel=1e-4)
        if row.alone_ci_low > 1e-6:
            assert row.value == pytest.approx(1 - kl["beside"] / kl["alone"], abs=1e-4)
    assert rows["value"].notna().sum() == 2


def scores_of(*rows) -> pd.DataFrame:
    columns = ["detector", "stream", "names", "layer", "head", "value", "named"]
    columns += ["named_by_class", "best_class", "class_value", "offset"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(ci_low=frame["value"] - 0.1, class_low=frame["class_value"])


def test_the_best_previous_token_head_is_named_if_any_is():
    first = ("previous", "text", True)
    rows = [
        (*first, 0, 0, 0.4, False, False, None, None, None),
        (*first, 0, 1, 0.1, False, True, "colour", 0.6, None),
        (*first, 1, 0, 0.35, True, False, "colour", 0.9, None),
        ("previous", "random", True, 1, 1, 0.9, True, False, None, None, None),
        ("previous", "text", False, 1, 1, 0.9, True, False, None, None, None),
        ("induction", "text", True, 1, 1, 0.9, True, False, None, None, None),
    ]
    assert best_previous(scores_of(*rows)) == (0, 1)
    unnamed = [(*r[:6], False, False, *r[8:]) for r in rows]
    assert best_previous(scores_of(*unnamed)) == (0, 0)
    assert best_previous(scores_of(rows[-1])) is None


# --- patterns under ablation ---------------------------------------------------------------------


def asked_on_text(model: TensorTransformer, signed: bool = False) -> AskedModel:
    ids = torch.randint(6, (5, 12), generator=torch.Generator().manual_seed(3))
    text = Stream("text", ids, {}, ids % 2, ("even", "odd"))
    return AskedModel("m", TensorView(model), signed, Vocabulary(True, 6), {"text": (text,)})


def shares_of(asked: AskedModel, named: list[Named], *, exact: int, targets: int = 9):
    found = under_ablation_rows(
        asked, named, DETECTORS, targets=targets, exact=exact, bootstrap=BOOTSTRAP
    )
    return pd.DataFrame(found)


def slow_share(asked: AskedModel, named: Named, edits=()) -> float:
    """Weight on the tokens behind earlier copies, with loops over rows and keys."""
    (text,) = asked.streams["text"]
    x = text.ids.tolist()
    pattern = seen(asked.view, text.ids, edits)[named.head[0]].pattern[:, named.head[1]]
    hits = rows = 0.0
    for b in range(len(x)):
        for i in range(len(x[b])):
            keys = [j for j in range(1, i) if x[b][j - 1] == x[b][i]]
            wanted = named.token_class is None or x[b][i] % 2 == (named.token_class == "odd")
            if keys and wanted:
                hits, rows = hits + float(pattern[b, i, keys].sum()), rows + 1
    return hits / rows


def test_shares_are_those_of_full_runs_with_the_earlier_head_at_its_mean():
    model = small()
    silence(model, 0, [2])
    asked = asked_on_text(model)
    named = [Named("induction", "induction", "text", (1, h), c) for h, c in ((1, None), (2, "odd"))]
    named.append(Named("induction", "induction", "text", (0, 0), None))  # nothing is before it
    rows = shares_of(asked, named, exact=9)
    z_bar = mean_z(asked.view, asked.streams["text"][0].ids)
    assert len(rows) == 6
    assert rows["exact"].all()
    for row in rows.itertuples():
        of = next(n for n in named if n.head == (row.layer, row.head))
        edit = set_z(0, z_bar[0], [row.ablated_head])
        assert row.clean == pytest.approx(slow_share(asked, of), abs=1e-6)
        assert row.value == pytest.approx(slow_share(asked, of, [edit]), abs=1e-6)
        assert row.change == pytest.approx(row.value - row.clean, abs=1e-9)
        assert row.change_ci_low <= row.change + 1e-9 <= row.change_ci_high + 2e-9
    needless = rows["ablated_head"] == 2
    assert rows[needless]["change"].to_numpy() == pytest.approx(0, abs=1e-9)
    assert (rows[~needless]["change"].abs() > 1e-4).all()


def test_first_order_is_exact_for_heads_that_change_little():
    model = small(n_layers=3)
    for layer in (0, 1):
        model.blocks[layer].attn.o.weight.mul_(1e-3)
    asked = asked_on_text(model)
    named = [Named("induction", "induction", "text", h, None) for h in ((2, 1), (1, 0))]

    def rows(exact: int) -> pd.DataFrame:
        return shares_of(asked, named, exact=exact).set_index(
            ["layer", "ablated_layer", "ablated_head"]
        )

    every, few = rows(6), rows(2)
    assert every["exact"].all()
    assert few.index.tolist() == every.index.tolist()
    ablated = few.reset_index().groupby(["ablated_layer", "ablated_head"])["exact"]
    assert ablated.nunique().eq(1).all()
    assert ablated.first().sum() == 2
    guessed = few[~few["exact"]].index
    found, exact = few.loc[guessed, "change"].to_numpy(), every.loc[guessed, "change"].to_numpy()
    assert np.abs(exact).max() > 1e-6
    assert found == pytest.approx(exact, rel=0.05, abs=2e-8)
    # The heads that are run are those with the largest change of some share.
    size = every["change"].abs().groupby(["ablated_layer", "ablated_head"]).max()
    assert set(ablated.first()[lambda x: x].index) == set(size.nlargest(2).index)


def test_half_of_those_that_are_run_are_named_as_previous_as_far_as_there_are_any():
    asked = asked_on_text(small(n_layers=3))
    target = Named("induction", "induction", "text", (2, 1), None)
    for n_previous, expected in ((1, 1), (3, 2)):
        previous = [Named("previous", "previous", "text", (1, h), None) for h in range(n_previous)]
        rows = shares_of(asked, [target, *previous], targets=1, exact=4)
        rows = rows[rows["detector"] == "induction"]
        assert rows["exact"].sum() == 4
        named = (rows["ablated_layer"] == 1) & (rows["ablated_head"] < n_previous)
        assert rows[named]["exact"].sum() >= expected


def test_the_highest_of_each_detector_are_asked():
    asked = asked_on_text(small())
    named = [
        Named("induction", "induction", "text", (1, h), None, low)
        for h, low in ((0, 0.2), (1, 0.5), (2, 0.3))
    ]
    named.append(Named("previous", "previous", "text", (1, 0), None, 0.1))
    rows = shares_of(asked, named, targets=2, exact=9)
    asked_heads = set(zip(rows["detector"], rows["head"], strict=True))
    assert asked_heads == {("induction", 1), ("induction", 2), ("previous", 0)}


def test_contributions_are_taken_of_signed_patterns():
    asked = asked_on_text(small(attention="bilinear"), signed=True)
    named = [Named("induction", "induction", "text", (1, 1), None)]
    rows = shares_of(asked, named, exact=9)
    assert rows["clean"].between(0, 1).all()
    assert rows["value"].between(0, 1).all()


def test_named_heads_come_with_their_class_and_the_offset_of_a_family():
    rows = [
        ("induction", "text", True, 1, 1, 0.1, False, True, "object", 0.9, None),
        ("induction", "text", True, 1, 2, 0.6, True, True, "object", 0.9, None),
        ("induction", "text", True, 1, 3, 0.2, True, True, "object", 0.9, None),
        ("induction", "random", True, 1, 0, 0.4, True, False, None, None, None),
        ("positional", "text", True, 0, 3, 0.5, True, False, None, None, 4.0),
    ]
    assert named_of(scores_of(*rows)) == [
        Named("induction", "induction", "text", (1, 1), "object", 0.9),
        Named("induction", "induction", "text", (1, 2), None, 0.5),
        Named("induction", "induction", "text", (1, 3), "object", 0.9),
        Named("positional", "offset_4", "text", (0, 3), None, 0.4),
    ]


# --- tokens --------------------------------------------------------------------------------------


def planted_maps() -> TokenMaps:
    """Ten tokens of a model whose layer 1 maps them: 4 heads on 2 key-value heads.

    Each key-value head shuffles the tokens in its own way, and each query head undoes this of its
    group and then gives the next token, the token, the one before, or less of the token.
    """
    size = 16
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=4, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=size, max_position_embeddings=8,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    eye = torch.eye(size)
    for name, p in model.named_parameters():
        p.zero_() if p.ndim == 2 else p.fill_(1.0)
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            p.copy_(eye)
    orders = [torch.randperm(size, generator=torch.Generator().manual_seed(i)) for i in (1, 2)]
    shuffles = [eye[order] for order in orders]
    after = eye.roll(1, 1)  # token t becomes t + 1
    attention = model.model.layers[1].self_attn
    attention.v_proj.weight.copy_(torch.cat([s.mT for s in shuffles]))
    maps = ((0, after), (0, eye), (1, after.mT), (1, -eye))
    outputs = [shuffles[group].mT @ m for group, m in maps]
    attention.o_proj.weight.copy_(torch.cat(outputs).mT)
    return TokenMaps(LanguageModel(model, None, "planted"), [15])


def test_weights_that_map_each_of_ten_tokens_to_the_next_are_found_at_their_head():
    found = measure_rates(
        planted_maps(), {"digits": range(10), "few": [11, 12]}, range(8), least=(5, 8), level=0.9
    )
    rows = pd.DataFrame(rate_rows(found, 4, BOOTSTRAP)).set_index(["measure", "token_class"])
    assert set(rows.index) == {
        *((m, c) for m in ("succession", "predecessor", "copy") for c in ("digits", "all")),
        *(("copy", NAMES), ("suppression", NAMES)),
    }

    def rates(measure: str, of: str = "digits") -> list[float]:
        at = rows.loc[(measure, of)]
        return at[at["layer"] == 1].sort_values("head")["value"].tolist()

    assert rates("succession") == [1, 0, 0, pytest.approx(0, abs=0.2)]
    assert rates("copy")[:3] == [0, 1, 0]
    assert rates("predecessor")[:3] == [0, 0, 1]
    assert rates("suppression", NAMES)[3] == 1
    assert rates("copy", NAMES)[1] == 1
    successor = rows.loc[("succession", "digits")].query("layer == 1 and head == 0").iloc[0]
    assert successor["chance"] == 0.1
    assert successor["q"] < 1e-6
    assert successor["n"] == 9
    copies = rows.loc[("copy", NAMES)].query("layer == 1").sort_values("head")["raw_copy"]
    assert copies.tolist() == pytest.approx([0, 1, 0, -1])
    assert rows.loc["succession"]["raw_copy"].isna().all()


def test_states_are_those_behind_layer_0_with_the_first_token_in_front():
    asked = llama(Sizes.of_parts(STREAMS, PARTS, 0))
    maps = asked.maps
    ids = list(asked.names[:5])
    rows = torch.tensor([[*maps.front, i] for i in ids])
    states = residual_states(maps.lm, rows, torch.ones_like(rows), [1])[1][:, -1]
    torch.testing.assert_close(maps.states(ids), states)
    assert len(maps.front) == 1
    alone = residual_states(maps.lm, rows[:, 1:], torch.ones_like(rows[:, 1:]), [1])[1][:, -1]
    assert not torch.allclose(states, alone)


# --- indirect objects ----------------------------------------------------------------------------


def test_effects_on_an_indirect_object_are_those_of_full_runs():
    asked = llama(Sizes.of_parts(STREAMS, PARTS, 0))
    behaviour = load_source("named").behaviours(asked)["ioi"]
    ioi, abc = asked.streams["ioi"], asked.streams["abc"]
    named = [(0, 3)]
    found = measure_effects(asked.view, behaviour, ioi, abc, named, 2)
    assert found.exact[0, 3]
    assert found.exact.sum() in (2, 3)
    layers = [seen(asked.view, s.ids) for s in ioi]
    z_bar = torch.stack([torch.cat([x[i].z[:, -1] for x in layers]).mean(0) for i in range(3)])
    start = 0
    for s, clean, control in zip(ioi, layers, [seen(asked.view, s.ids) for s in abc], strict=True):
        io, s1, s2 = (s.mark(m).float().argmax(-1) for m in ("io", "s1", "s2"))
        n = torch.arange(len(s))
        objects, subjects = s.ids[n, io], s.ids[n, s1]

        def y(*edits, s=s, n=n, objects=objects, subjects=subjects):
            logits = asked.view.run(s.ids, edits).logits[:, -1]
            return (logits[n, objects] - logits[n, subjects]).numpy()

        rows = slice(start, start + len(s))
        for layer, h in np.argwhere(found.exact).tolist():
            total = y(set_z(layer, z_bar[layer], [h], at=-1)) - y()
            np.testing.assert_allclose(found.total[rows, layer, h], total, atol=1e-5)
        for i, places in enumerate((io, s1, s2)):
            slow = clean[1].pattern[n, :, -1, places]
            np.testing.assert_allclose(found.attention[rows, 1, :, i], slow, atol=1e-6)
        np.testing.assert_allclose(
            found.control[rows, 2], control[2].pattern[n, :, -1, s2], atol=1e-6
        )
        start += len(s)


def test_direct_and_indirect_make_the_total_and_intervals_hold_their_means():
    asked = llama(Sizes.of_parts(STREAMS, PARTS, 0))
    behaviour = load_source("named").behaviours(asked)["ioi"]
    effects = measure_effects(
        asked.view, behaviour, asked.streams["ioi"], asked.streams["abc"], [], 2
    )
    rates = measure_rates(asked.maps, {}, asked.names, least=(5, 8), level=0.9)
    of_names = (rates.rates["copy", NAMES], rates.rates["suppression", NAMES], rates.raw_copy)
    rows = pd.DataFrame(
        effect_rows(effects, *of_names, settings=NamingSettings(), bootstrap=BOOTSTRAP)
    )
    assert len(rows) == 12
    assert (rows["direct"] + rows["indirect"] - rows["total"]).abs().max() < 1e-9
    for name in ("direct", "total", "indirect", "io", "s1", "s2", "abc", "copying"):
        assert (rows[f"{name}_ci_low"] <= rows[name] + 1e-9).all(), name
        assert (rows[name] <= rows[f"{name}_ci_high"] + 1e-9).all(), name
    last = rows[(rows["layer"] == 2)]
    # Behind the last layer there is an MLP and a norm alone, so little is left to be indirect.
    assert last["indirect"].abs().max() < rows["total"].abs().max()


MOVER = {
    "direct": -0.8, "direct_q": 0.01, "indirect": 0.6, "indirect_q": 0.01, "exact": True,
    "io_ci_low": 0.5, "s1_ci_low": 0.0, "s2_ci_low": 0.0, "abc_score_low": -0.1, "s2": 0.05,
    "copying_ci_low": 0.8, "suppression_ci_low": 0.0, "chance": 0.03, "raw_copy": 0.5,
}  # fmt: skip
INHIBITS = {
    **MOVER, "direct": -0.02, "direct_q": 0.6, "indirect": -1.5, "io_ci_low": 0.0, "s2": 0.8,
    "s2_ci_low": 0.7, "abc_score_low": 0.3, "copying_ci_low": 0.0,
}  # fmt: skip
SUPPRESSES = {
    **MOVER, "direct": -2.0, "indirect": -0.1, "indirect_q": 0.4, "io_ci_low": 0.0, "s2": 0.57,
    "s2_ci_low": 0.5, "copying_ci_low": 0.0, "suppression_ci_low": 0.9, "raw_copy": -1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "changed", "role"),
    [
        (MOVER, {}, "name_mover"),
        (MOVER, {"direct": 0.8}, None),
        (MOVER, {"direct_q": 0.06}, None),
        (MOVER, {"direct_q": None}, None),
        (MOVER, {"io_ci_low": 0.09}, None),
        (MOVER, {"copying_ci_low": 0.02}, None),
        (INHIBITS, {}, "s_inhibition"),
        (INHIBITS, {"indirect": 1.5}, None),
        (INHIBITS, {"indirect_q": 0.06}, None),
        (INHIBITS, {"exact": False}, None),
        (INHIBITS, {"abc_score_low": 0.05}, None),
        (SUPPRESSES, {}, "copy_suppression"),
        (SUPPRESSES, {"direct": 2.0}, "copy_suppression"),
        (SUPPRESSES, {"direct_q": 0.2}, None),
        (SUPPRESSES, {"suppression_ci_low": 0.4}, None),
        (SUPPRESSES, {"s2_ci_low": 0.05}, None),
    ],
)
def test_roles_follow_the_declared_rule(row, changed, role):
    found = roles({**row, **changed}, NamingSettings())
    assert {name for name in found if found[name] and name != "protocol_verdict"} == (
        {role} if role else set()
    )


def test_the_protocol_asks_for_attention_and_a_negative_raw_copy_score():
    for row, changed, verdict in (
        (SUPPRESSES, {}, True),
        (SUPPRESSES, {"raw_copy": 0.1}, False),
        (SUPPRESSES, {"s2": 0.1}, False),
        (INHIBITS, {}, False),
    ):
        assert roles({**row, **changed}, NamingSettings())["protocol_verdict"] == verdict


# --- all of a model ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["named", "toylang"])
def test_every_table_of_a_model_can_be_written(kind, tmp_path):
    sizes = Sizes.of_parts(STREAMS, PARTS, 0)
    asked = llama(sizes) if kind == "named" else toy("softmax", sizes)
    named = ("induction", asked.streams.get("repeats", asked.streams["text"])[0].name, True)
    scores = scores_of(
        (*named, 1, 1, 0.5, True, False, None, None, None),
        ("previous", "text", True, 0, 1, 0.5, True, False, None, None, None),
    )
    listed = {table.short: [] for table in OF_PARTS}
    for short, row in part_rows(
        asked,
        load_source(kind).behaviours(asked),
        scores,
        DETECTORS,
        config=PARTS,
        naming=NamingSettings(max_flips=1000),
        batch_size=4,
        bootstrap=BOOTSTRAP,
    ):
        listed[short].append({"subject": "s", "model": "m", **row})
    for table in OF_PARTS:
        frame = written(listed[table.short], table, tmp_path)
        assert not frame.duplicated(list(table.key)).any()
        of_names = table.short in ("ioi", "ov")
        assert frame.empty == (of_names and kind == "toylang"), table.name
