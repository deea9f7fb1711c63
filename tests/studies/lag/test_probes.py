"""The probes on models whose answers are known, and against slow loops over single examples."""

from __future__ import annotations

import importlib.util
import math
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from closures import import_closure
from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.models.checkpoints import join, save_tensors
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.models.wrapped_transformer import wrap
from zscope.studies.lag import quantities as q
from zscope.studies.lag.facts import encode, make_facts, other_z
from zscope.studies.lag.probes import candidate_set
from zscope.studies.lag.probes.causal_patching import patched_heads, patched_streams
from zscope.studies.lag.probes.measuring import Hook, Readout, batches, run_probes, summarise
from zscope.studies.lag.probes.registry import PROBES, probe_module
from zscope.studies.lag.run_config import DataConfig, RunConfig
from zscope.studies.lag.tables import FACTS, PROBE
from zscope.tables.read import read_provenance, read_table
from zscope.tables.write import write_table

ROOT = Path(__file__).parents[3]
LAYERS, HEADS = 3, 2
COPIER = (1, 1)  # the layer and head that copies, in the models made by hand
EXACT = 1e-5


def modules(*names):
    return {name: import_module(probe_module(name)) for name in names or PROBES}


def measured(wrapped, data, *names, rows=None, **settings):
    """Values by (metric, layer, head), and the same of the whole rows."""
    rows = np.arange(len(data.tokens)) if rows is None else rows
    found = run_probes(
        wrapped, data, rows, modules(*names), bootstrap=Bootstrap(resamples=100), **settings
    )
    keyed = {(r["probe"], r["metric"], r["layer"], r["head"]): r for r in found}
    assert len(keyed) == len(found)
    return {key[1:]: row["value"] for key, row in keyed.items()}, keyed


# --- a model that copies, made by hand ---------------------------------------------------------

K, BASES = 4, 5
COPY_CONFIG = DataConfig(
    task="bz_to_a", k=K, n_unique_b=BASES, b_length=2, a_length=2, z_length=1, alphabet="abcdefgh"
)


@pytest.fixture(scope="module")
def copy_data():
    """The first character of every A is its z, so copying z is the whole answer."""
    facts = make_facts(COPY_CONFIG, 0)
    facts["a"] = facts["z"] + facts["b"].str[0]
    return encode(facts, COPY_CONFIG)


def copying_model(data, read_from: int) -> Transformer:
    """At the predicting position, head COPIER attends to `read_from` alone and copies its token.

    The stream holds the token, the position and the output in dimensions of their own.
    """
    vocab, length = len(data.vocabulary), data.layout.length
    model = Transformer(TransformerConfig(LAYERS, 48, HEADS, 8, length, vocab))
    tokens, positions = slice(0, vocab), slice(vocab, vocab + length)
    output = slice(vocab + length, 2 * vocab + length)
    for name, p in model.named_parameters():
        p.data.fill_(1.0 if "ln" in name and name.endswith("weight") else 0.0)
    model.tok_embed.weight.data[:, tokens] = torch.eye(vocab)
    model.pos.weight.data[:, positions] = torch.eye(length)
    layer, head = COPIER
    attn = model.layers[layer].attn
    first = head * attn.d_head
    attn.q.weight.data[first, positions.start + data.layout.predict] = 30.0
    attn.k.weight.data[first, positions.start + read_from] = 30.0
    attn.v.weight.data[first : first + vocab, tokens] = torch.eye(vocab)
    attn.o.weight.data[output, first : first + vocab] = 10 * torch.eye(vocab)
    model.head.weight.data[:, output] = 20 * torch.eye(vocab)
    return model


@pytest.fixture(scope="module")
def copier(copy_data):
    return wrap(copying_model(copy_data, copy_data.layout.z.start))


@pytest.fixture(scope="module")
def ignorer(copy_data):
    """Copies the first character of B instead: z reaches nothing."""
    return wrap(copying_model(copy_data, copy_data.layout.source.start))


def test_attention_is_read_at_the_position_that_predicts(copier, copy_data):
    values, _ = measured(copier, copy_data, "attention_to_z")
    layout = copy_data.layout
    assert layout.predict == layout.target.start - 1
    visible = layout.predict + 1
    for layer in range(LAYERS):
        for head in range(HEADS):
            copies = (layer, head) == COPIER
            wanted = (1.0, 0.0) if copies else (1 / visible, math.log(visible))
            found = values["attention", layer, head], values["entropy", layer, head]
            assert found == pytest.approx(wanted, abs=1e-4)
    assert values["uniform_attention", None, None] == pytest.approx(1 / visible)
    assert values["uniform_entropy", None, None] == pytest.approx(math.log(visible))


def test_no_other_row_attends_to_z(copier, copy_data):
    # The claim above is about one query row only if its neighbours would have failed it.
    _, cache = copier.run_with_cache(torch.from_numpy(copy_data.tokens))
    pattern = cache[f"blocks.{COPIER[0]}.attn.hook_pattern"][:, COPIER[1]]
    to_z = pattern[:, :, copy_data.layout.z].sum(-1)
    predict = copy_data.layout.predict
    assert (to_z[:, predict] > 0.99).all()
    assert (to_z[:, predict - 1] < 0.6).all()
    assert (to_z[:, predict + 1] < 0.6).all()


def test_lens_reads_the_answer_from_the_copying_layer_on(copier, copy_data):
    values, _ = measured(copier, copy_data, "logit_lens")
    uniform = 1 / len(copy_data.vocabulary)
    for (metric, layer, _), value in values.items():
        after = layer >= COPIER[0] and not metric.endswith("resid_pre")
        if metric.startswith("probability"):
            assert value == pytest.approx(1.0 if after else uniform, abs=1e-3)
        elif metric.startswith("set_mass"):
            assert value == pytest.approx(1.0 if after else K * uniform, abs=1e-3)
        elif metric.startswith("candidate_accuracy"):
            assert value == pytest.approx(1.0 if after else 1 / K, abs=1e-3)
        elif metric.startswith("rank") and after:
            assert value == 1
    stages = {(m.removeprefix("rank_"), layer) for m, layer, _ in values if m.startswith("rank_")}
    half = {(s, layer) for s in ("resid_mid", "resid_post") for layer in range(LAYERS)}
    assert stages == {("resid_pre", 0)} | half


def test_patching_finds_the_copying_layer_and_head(copier, copy_data):
    values, _ = measured(copier, copy_data, "causal_patching")
    layer_of_copy, head_of_copy = COPIER
    for layer in range(LAYERS + 1):
        wanted = 1.0 if layer <= layer_of_copy else 0.0
        assert values["probability_shift", layer, None] == pytest.approx(wanted, abs=1e-3)
        assert values["effect", layer, None] == pytest.approx(wanted, abs=1e-4)
    for layer in range(LAYERS):
        for head in range(HEADS):
            wanted = 1.0 if (layer, head) == (layer_of_copy, head_of_copy) else 0.0
            shift = values["head_probability_shift", layer, head]
            assert shift == pytest.approx(wanted, abs=1e-3)
            assert values["head_effect", layer, head] == pytest.approx(wanted, abs=1e-4)
    assert values["z_dependence", None, None] == values["probability_shift", 0, None]


def test_a_model_that_reads_z_fails_with_another_z(copier, copy_data):
    values, _ = measured(copier, copy_data, "random_z", "candidate_set")
    assert values["accuracy", None, None] == 1
    assert values["accuracy_other_z", None, None] == 0
    assert values["z_gap", None, None] > 10
    gap = values["first_loss_other_z", None, None] - values["first_loss", None, None]
    assert values["z_gap", None, None] == pytest.approx(gap)
    assert values["candidate_accuracy", None, None] == 1
    assert values["candidate_loss", None, None] < 0.01
    assert values["set_mass", None, None] == pytest.approx(1, abs=1e-3)
    assert values["log_k", None, None] == pytest.approx(math.log(K))


def test_a_model_that_ignores_z_has_no_effect_and_its_ratio_is_null(ignorer, copy_data):
    values, rows = measured(ignorer, copy_data, "causal_patching", "random_z")
    for (metric, layer, head), value in values.items():
        if metric in ("effect", "head_effect"):
            row = rows["causal_patching", metric, layer, head]
            assert math.isnan(value), "0/0 is not an effect"
            assert math.isnan(row["ci_low"])
            assert math.isnan(row["ci_high"])
        elif metric.endswith("probability_shift") or metric in ("z_dependence", "z_gap"):
            assert value == pytest.approx(0, abs=1e-6)


# --- against loops over single examples --------------------------------------------------------

RANDOM_CONFIG = DataConfig(
    task="bz_to_a", k=3, n_unique_b=4, b_length=3, a_length=3, z_length=2, alphabet="abcdef"
)


@pytest.fixture(scope="module")
def random_data():
    return encode(make_facts(RANDOM_CONFIG, 1), RANDOM_CONFIG)


@pytest.fixture(scope="module")
def random_model(random_data):
    shape = TransformerConfig(
        LAYERS, 24, HEADS, 48, random_data.layout.length, len(random_data.vocabulary), 0.4, 0.4
    )
    model = Transformer(shape).init_weights(3)
    generator = torch.Generator().manual_seed(4)
    for p in model.parameters():  # gains and biases that are not the initial ones
        if p.ndim == 1:
            p.data += 0.2 * torch.randn(p.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def random_wrapped(random_model):
    return wrap(random_model)


def one_batch(wrapped, data, *names):
    rows = np.arange(len(data.tokens))
    return next(batches(wrapped, data, rows, modules(*names), batch_size=1000, seed=0))


def hooked(wrapped, tokens, predict, name, change):
    with torch.no_grad():
        out = wrapped.run_with_hooks(tokens, fwd_hooks=[(name, lambda x, hook: change(x))])
    return out[0, predict]


def test_patched_streams_equal_hooked_runs_of_single_examples(random_wrapped, random_data):
    batch = one_batch(random_wrapped, random_data, "causal_patching")
    z, predict = random_data.layout.z, random_data.layout.predict
    with torch.no_grad():
        found = list(patched_streams(batch))
    assert len(found) == LAYERS + 1
    for i in range(len(batch)):
        tokens, other = batch.tokens[i : i + 1], batch.other_tokens[i : i + 1]
        with torch.no_grad():
            _, cache = random_wrapped.run_with_cache(other)
        for layer in range(LAYERS + 1):
            name = f"blocks.{layer}.hook_resid_pre"
            if layer == LAYERS:
                name = f"blocks.{LAYERS - 1}.hook_resid_post"

            def change(x, name=name, cache=cache):
                x = x.clone()
                x[:, z] = cache[name][:, z]
                return x

            wanted = hooked(random_wrapped, tokens, predict, name, change)
            assert torch.allclose(found[layer][i], wanted, atol=EXACT)


def test_patched_heads_equal_hooked_runs_of_single_examples(random_wrapped, random_data):
    batch = one_batch(random_wrapped, random_data, "causal_patching")
    z, predict = random_data.layout.z, random_data.layout.predict
    with torch.no_grad():
        found = list(patched_heads(batch))
    moved = 0.0
    for i in range(len(batch)):
        tokens, other = batch.tokens[i : i + 1], batch.other_tokens[i : i + 1]
        with torch.no_grad():
            logits, clean = random_wrapped.run_with_cache(tokens)
            _, cache = random_wrapped.run_with_cache(other)
        for layer in range(LAYERS):
            for head in range(HEADS):
                at = f"blocks.{layer}.attn.hook_"
                change_of_z = torch.zeros(random_wrapped.cfg.d_head)
                for j in range(z.start, z.stop):
                    for run, sign in ((cache, 1), (clean, -1)):
                        weight = run[f"{at}pattern"][0, head, predict, j]
                        change_of_z += sign * weight * run[f"{at}v"][0, j, head]

                def change(x, head=head, by=change_of_z):
                    x = x.clone()
                    x[0, predict, head] += by
                    return x

                wanted = hooked(random_wrapped, tokens, predict, f"{at}z", change)
                assert torch.allclose(found[layer][i, head], wanted, atol=EXACT)
                moved = max(moved, (wanted - logits[0, predict]).abs().max().item())
    assert moved > 0.05, "the hook changed nothing: the comparison would be empty"


def test_patching_the_embedding_is_running_the_other_prompt(random_wrapped, random_data):
    batch = one_batch(random_wrapped, random_data, "causal_patching")
    with torch.no_grad():
        patched = next(patched_streams(batch))
        assert torch.allclose(patched, batch.other_logits, atol=EXACT)
        assert not torch.allclose(patched, batch.logits, atol=0.01)


def test_patching_what_leaves_the_last_block_is_exactly_nothing(random_wrapped, random_data):
    values, rows = measured(random_wrapped, random_data, "causal_patching")
    assert values["probability_shift", LAYERS, None] == 0
    row = rows["causal_patching", "probability_shift", LAYERS, None]
    assert (row["ci_low"], row["ci_high"]) == (0, 0)
    assert values["probability_shift", LAYERS - 1, None] != 0


def test_patching_is_of_the_stream_entering_a_layer(random_wrapped, random_data):
    # resid_post(l) patched in place of resid_pre(l) would be the next layer's row.
    values, _ = measured(random_wrapped, random_data, "causal_patching")
    shifts = [values["probability_shift", layer, None] for layer in range(LAYERS + 1)]
    assert len({round(s, 6) for s in shifts}) == LAYERS + 1


def test_shift_and_effect_equal_a_loop(random_wrapped, random_model, random_data):
    rows = np.arange(len(random_data.tokens))
    swapped, named = other_z(random_data, rows, np.random.default_rng(0))
    start = random_data.layout.target.start
    shift, above, below = [], [], []
    for row in rows:
        other_first = random_data.candidates[random_data.base[row], named[row], 0]
        pair = []
        for tokens in (random_data.tokens[row], swapped[row]):
            logits = random_model(torch.from_numpy(tokens[None]))[0, start - 1].detach().double()
            pair.append((logits[other_first] - logits[random_data.tokens[row, start]]).item())
        shift.append(1 / (1 + math.exp(-pair[1])) - 1 / (1 + math.exp(-pair[0])))
        above.append(pair[1] - pair[0])
        below.append(pair[1] - pair[0])
    values, _ = measured(random_wrapped, random_data, "causal_patching", seed=0)
    assert values["z_dependence", None, None] == pytest.approx(np.mean(shift), abs=EXACT)


def test_attention_and_lens_equal_a_loop(random_wrapped, random_data):
    layout = random_data.layout
    values, _ = measured(random_wrapped, random_data, "attention_to_z", "logit_lens")
    sums = dict.fromkeys(values, 0.0)
    for row, tokens in enumerate(random_data.tokens):
        with torch.no_grad():
            logits, cache = random_wrapped.run_with_cache(torch.from_numpy(tokens[None]))
        first = tokens[layout.target.start]
        for layer in range(LAYERS):
            for head in range(HEADS):
                p = cache[f"blocks.{layer}.attn.hook_pattern"][0, head, layout.predict]
                p = p[: layout.predict + 1].double()
                sums["attention", layer, head] += p[layout.z].sum().item()
                sums["entropy", layer, head] -= (p * p.log()).sum().item()
        candidates = random_data.candidates[random_data.base[row], :, 0]
        for metric, layer, _ in values:
            name, _, stage = metric.partition("_resid_")
            if not stage:
                continue
            resid = cache[f"blocks.{layer}.hook_resid_{stage}"][:, layout.predict]
            with torch.no_grad():
                out = random_wrapped.unembed(random_wrapped.ln_final(resid))[0].double()
            if (stage, layer) == ("post", LAYERS - 1):
                assert torch.allclose(out, logits[0, layout.predict].double(), atol=1e-6)
            p = out.softmax(-1)
            sums[metric, layer, None] += {
                "probability": lambda p=p, first=first: p[first].item(),
                "accuracy": lambda p=p, first=first: float(p.argmax() == first),
                "rank": lambda p=p, first=first: 1.0 + (p > p[first]).sum().item(),
                "entropy": lambda p=p: -(p * p.log()).sum().item(),
                "set_mass": lambda p=p, c=candidates: p[c].sum().item(),
                "candidate_accuracy": lambda p=p, c=candidates, first=first: float(
                    c[p[c].argmax()] == first
                ),
            }[name]()
    n = len(random_data.tokens)
    for key, value in values.items():
        if not key[0].startswith("uniform"):
            assert value == pytest.approx(sums[key] / n, abs=EXACT), key


def test_last_stage_of_the_lens_is_the_models_output(random_wrapped, random_model, random_data):
    values, _ = measured(random_wrapped, random_data, "logit_lens", "random_z")
    start = random_data.layout.target.start
    with torch.no_grad():
        logits = random_model(torch.from_numpy(random_data.tokens))[:, start - 1]
    first = torch.from_numpy(random_data.tokens[:, start])
    loss = q.first_loss(logits, first)
    last = LAYERS - 1
    probability = (-loss).exp().mean().item()
    assert values["probability_resid_post", last, None] == pytest.approx(probability)
    accuracy = q.first_accuracy(logits, first).mean().item()
    assert values["accuracy_resid_post", last, None] == values["accuracy", None, None] == accuracy


@pytest.mark.parametrize("at_once", [1, 2, 16])
def test_candidate_scores_equal_whole_sequences(
    random_wrapped, random_model, random_data, monkeypatch, at_once
):
    monkeypatch.setattr(candidate_set, "CANDIDATES_AT_ONCE", at_once)
    monkeypatch.setattr(candidate_set, "TOKENS_AT_ONCE", 30)
    batch = one_batch(random_wrapped, random_data, "candidate_set")
    with torch.no_grad():
        found = candidate_set.log_probs(batch)
        start = random_data.layout.target.start
        wanted = q.candidate_log_probs(
            lambda tokens: random_model(tokens, start - 1), batch.prompt, batch.candidates
        )
    assert found.dtype == torch.float64
    assert torch.allclose(found, wanted, atol=EXACT)


# --- the driver ----------------------------------------------------------------------------------


def test_chunks_do_not_matter(random_wrapped, random_data):
    whole, _ = measured(random_wrapped, random_data, batch_size=1000)
    chunks, _ = measured(random_wrapped, random_data, batch_size=7)
    assert list(whole) == list(chunks)
    assert list(whole.values()) == pytest.approx(list(chunks.values()), abs=1e-5, nan_ok=True)


def test_one_clean_forward_pass_a_chunk(random_wrapped, random_data, monkeypatch):
    runs = []
    run = random_wrapped.run_with_hooks

    def counted(tokens, **kwargs):
        runs.append(len(tokens))
        return run(tokens, **kwargs)

    monkeypatch.setattr(random_wrapped, "run_with_hooks", counted)
    measured(random_wrapped, random_data, "attention_to_z", "logit_lens", "candidate_set")
    assert runs == [len(random_data.tokens)]
    runs.clear()
    measured(random_wrapped, random_data)
    assert runs == [len(random_data.tokens)] * 2  # the clean prompt, and the one with the other z


def test_the_other_z_names_another_target(random_wrapped, random_data):
    batch = one_batch(random_wrapped, random_data, "random_z")
    assert (batch.other_right != batch.right).all()
    z = random_data.layout.z
    differs = batch.tokens != batch.other_tokens
    assert differs[:, z].any(1).all()
    differs[:, z] = False
    assert not differs.any()
    with torch.no_grad():
        assert (batch.other_first != batch.first).all()


def test_patching_pairs_that_share_a_first_token_are_left_out():
    config = DataConfig(
        k=3,
        n_unique_b=6,
        b_length=2,
        a_length=3,
        z_length=1,
        alphabet="abc",
        unique_first_char=False,
    )
    data = encode(make_facts(config, 0), config)
    shape = TransformerConfig(2, 16, 2, 16, data.layout.length, len(data.vocabulary), 0.5, 0.5)
    wrapped = wrap(Transformer(shape).init_weights(0))
    batch = one_batch(wrapped, data, "causal_patching")
    apart = (batch.other_first != batch.first).sum().item()
    assert 0 < apart < len(batch)
    values, rows = measured(wrapped, data, "causal_patching")
    assert rows["causal_patching", "z_dependence", None, None]["n"] == apart
    index = batch.other_first != batch.first
    with torch.no_grad():
        d = [
            (x.gather(1, batch.other_first[:, None]) - x.gather(1, batch.first[:, None]))[index]
            for x in (batch.logits.double(), batch.other_logits.double())
        ]
    wanted = (d[1].sigmoid() - d[0].sigmoid()).mean().item()
    assert values["z_dependence", None, None] == pytest.approx(wanted, abs=EXACT)


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ({"task": "b_to_a", "k": 3}, {"attention_to_z", "causal_patching", "random_z"}),
        ({"task": "bz_to_a", "k": 1}, {"causal_patching", "random_z", "candidate_set"}),
        ({"task": "az_to_b", "k": 3}, {"causal_patching", "candidate_set"}),
        ({"task": "a_to_b", "k": 3}, set(PROBES) - {"logit_lens"}),
    ],
)
def test_what_the_data_lack_is_refused_and_not_faked(config, refused):
    from zscope.studies.lag.study import applies

    config = DataConfig(n_unique_b=4, b_length=3, a_length=3, alphabet="abcdef", **config)
    data = encode(make_facts(config, 0), config)
    shape = TransformerConfig(1, 8, 2, 8, data.layout.length, len(data.vocabulary))
    wrapped = wrap(Transformer(shape).init_weights(0))
    run = SimpleNamespace(data=config)
    for name in PROBES:
        assert applies(name, run) is (name not in refused)
        if name in refused:
            with pytest.raises(DataError, match="needs"):
                measured(wrapped, data, name)
        else:
            values, _ = measured(wrapped, data, name)
            assert values


def test_no_rows_are_an_error(random_wrapped, random_data):
    with pytest.raises(DataError, match="no rows"):
        measured(random_wrapped, random_data, "logit_lens", rows=np.array([], dtype=np.int64))


def test_an_undeclared_activation_is_named(random_wrapped, random_data):
    undeclared = Hook("blocks.0.hook_resid_pre", "z")
    greedy = SimpleNamespace(hooks=lambda n: [], measure=lambda batch: batch.clean[undeclared])
    with pytest.raises(KeyError, match="hooks"):
        run_probes(
            random_wrapped, random_data, np.arange(4), {"greedy": greedy}, bootstrap=Bootstrap()
        )


def test_a_ratio_is_resampled_as_a_whole():
    rng = np.random.default_rng(0)
    below = torch.from_numpy(rng.normal(5, 2, 400))
    rows = summarise(
        [
            Readout("ratio", 0.5 * below, weight=below),
            Readout("mean", below),
            Readout("constant", torch.ones(400), baseline=True),
        ],
        Bootstrap(),
    )
    ratio, mean, constant = rows
    # Numerator and denominator move together, so a constant ratio has no spread.
    assert (ratio["value"], ratio["ci_low"], ratio["ci_high"]) == pytest.approx((0.5, 0.5, 0.5))
    half = 1.96 * below.std().item() / 20
    assert mean["ci_low"] == pytest.approx(mean["value"] - half, abs=half / 4)
    assert mean["ci_high"] == pytest.approx(mean["value"] + half, abs=half / 4)
    assert constant["value"] == 1
    assert math.isnan(constant["ci_low"])


def test_a_ratio_with_a_denominator_about_zero_is_null():
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1, 200))
    noise -= noise.mean() - 1e-3
    tiny = torch.full((200,), 1e-6, dtype=torch.float64)
    rows = summarise(
        [
            Readout("noise", noise, weight=noise),
            Readout("rounding", tiny, weight=tiny, floor=1e-4),
            Readout("small", tiny, weight=tiny),
        ],
        Bootstrap(),
    )
    assert [math.isnan(r["value"]) for r in rows] == [True, True, False]


# --- the documented example, and the workflow's script ------------------------------------------


def test_the_documented_probe_runs(copier, copy_data):
    text = (ROOT / "docs/adding-a-probe.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(code.splitlines()) < 40
    probe = ModuleType("direct_logit")
    exec(code, probe.__dict__)
    examples = np.arange(len(copy_data.tokens))
    rows = run_probes(
        copier, copy_data, examples, {"direct_logit": probe}, bootstrap=Bootstrap(resamples=20)
    )
    values = {(r["metric"], r["layer"]): r["value"] for r in rows}
    assert len(values) == 2 * LAYERS
    writer = values.pop(("direct_logit_attn", COPIER[0]))
    assert writer > 10
    assert all(abs(v) < 1e-4 for v in values.values())


@pytest.fixture
def two_runs(tmp_path):
    """Checkpoints and facts of two seeds, and their configs."""
    runs, checkpoints, facts = {}, [], []
    for seed in (0, 1):
        config = RunConfig.model_validate({"data": RANDOM_CONFIG.model_dump(), "seed": seed})
        made = make_facts(config.data, seed)
        data = encode(made, config.data)
        shape = TransformerConfig(2, 8, 2, 8, data.layout.length, len(data.vocabulary), 0.3, 0.3)
        parts = {}
        for step in (0, 50):
            parts[step] = tmp_path / f"{seed}-{step}.safetensors"
            state = Transformer(shape).init_weights(seed + step).state_dict()
            save_tensors(state, parts[step], {})
        checkpoints.append(tmp_path / f"{seed}.safetensors")
        join(parts, checkpoints[-1], shape, {})
        facts.append(tmp_path / f"{seed}.parquet")
        write_table(made, facts[-1], FACTS, {})
        runs[config.run_id()] = config
    return checkpoints, facts, runs


def measured_by_script(two_runs, path, level=0.9):
    script = importlib.util.spec_from_file_location(
        "measure_probe", ROOT / "workflow/scripts/lag/measure_probe.py"
    )
    module = importlib.util.module_from_spec(script)
    script.loader.exec_module(module)
    checkpoints, facts, runs = two_runs
    module.measure_probe(
        checkpoints,
        facts,
        path,
        name="causal_patching",
        runs=runs,
        n_examples=8,
        batch_size=5,
        split="train",
        bootstrap=Bootstrap(level=level, resamples=50),
        device=torch.device("cpu"),
        provenance={"code": "0123"},
    )
    return read_table(path, PROBE)


def test_every_checkpoint_of_every_seed_is_measured(two_runs, tmp_path):
    paths = [tmp_path / f"{name}.parquet" for name in ("a", "b")]
    table, _ = (measured_by_script(two_runs, path) for path in paths)
    first, second = (path.read_bytes() for path in paths)
    assert first == second, "a job's output must not differ between repeats"
    assert set(zip(table["run"], table["seed"], table["step"], strict=True)) == {
        (run, seed, step) for seed, run in enumerate(two_runs[2]) for step in (0, 50)
    }
    one = table[(table["seed"] == 0) & (table["metric"] == "z_dependence")]
    assert one["value"].nunique() == 2, "every checkpoint has its own weights"
    assert one["layer"].isna().all()
    assert read_provenance(paths[0]) == {"code": "0123"}


def test_the_intervals_of_a_probe_follow_the_level(two_runs, tmp_path):
    narrow, wide = (
        measured_by_script(two_runs, tmp_path / f"{level}.parquet", level) for level in (0.5, 0.99)
    )
    # A ratio is null if the interval of its denominator holds 0, so a wider one leaves fewer.
    known = narrow["ci_low"].notna() & wide["ci_low"].notna()
    assert 0 < known.sum() < narrow["ci_low"].notna().sum()
    narrow, wide = narrow[known], wide[known]
    assert narrow["value"].equals(wide["value"])
    assert (wide["ci_low"] <= narrow["ci_low"]).all()
    assert (wide["ci_high"] >= narrow["ci_high"]).all()
    assert (wide["ci_high"] > narrow["ci_high"]).any()


def test_a_job_depends_on_the_code_of_its_own_probe_alone():
    script = ROOT / "workflow/scripts/lag/measure_probe.py"
    lib = ROOT / "lib"
    paths = {p: lib / (probe_module(p).replace(".", "/") + ".py") for p in PROBES}
    for name, path in paths.items():
        closure = set(import_closure(script, path, search=[lib]))
        assert closure & set(paths.values()) == {path}, name


def test_a_new_probe_makes_no_other_stale_and_retrains_nothing():
    lists = {ROOT / "lib/zscope/studies/lag" / name for name in ("config.py", "probes/registry.py")}
    for name in ("make_facts", "train_run", "measure_probe"):
        script = ROOT / f"workflow/scripts/lag/{name}.py"
        assert not lists & set(import_closure(script, search=[ROOT / "lib"])), name
