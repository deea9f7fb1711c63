"""Patched generation against one prompt at a time, explicit projectors and planted models."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from untrained import ending_anywhere
from zscope.core.errors import ConfigError, DataError
from zscope.core.provenance import derive_seed
from zscope.models.attention_kernels import stacked_right_space
from zscope.models.language_model import LanguageModel, generate
from zscope.studies.crosslingual.config import GenerationConfig, PatchingConfig, Space
from zscope.studies.crosslingual.declared import DeclaredCell, verdict_nulls
from zscope.studies.crosslingual.patching.conditions import NO_NULLS, cells, n_parts
from zscope.studies.crosslingual.patching.layer_patching import LayerPatching
from zscope.studies.crosslingual.patching.matching import matched_on
from zscope.studies.crosslingual.patching.null_spaces import draw_spaces
from zscope.studies.crosslingual.patching.patched_generation import (
    Component,
    Patch,
    generate_from,
    last_position,
    patched,
    run_prefix,
)
from zscope.studies.crosslingual.patching.readouts import output_columns, read_text, stopping_rule
from zscope.studies.crosslingual.patching.sources import (
    SOURCES_OF,
    completion_states,
    forced_stem,
    mismatched_partners,
    read_states,
    source_states,
)
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, Problem, load_problems
from zscope.studies.crosslingual.problems.parallel import generate as make_problems
from zscope.studies.crosslingual.space.alignment import barycentric_image, transport_plan
from zscope.studies.crosslingual.space.subspaces import energy_share, random_space

LAYER, N, LENGTH, K = 2, 5, 5, 12
RANDOM = ("random", "random_perp", "energy", "energy_perp")
DECLARED = DeclaredCell(LAYER, K, "qk", "mean", "mismatched", "all", "exclude", "zh->en")
GENERATION = GenerationConfig(max_new_tokens=LENGTH, batch_size=N)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return ending_anywhere()


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    """Held-out ones, of unequal lengths."""
    return make_problems(40, 1, held_out=True)[:N]


@pytest.fixture(scope="module")
def Z(lm):
    return stacked_right_space(lm.attention_weights(LAYER), K)


@pytest.fixture(scope="module")
def prefix(lm, problems):
    ids, mask = lm.encode([p.prompt("en") for p in problems])
    assert (mask == 0).any(), "the prompts must need padding"
    return run_prefix(lm, ids, mask, LAYER)


@pytest.fixture(scope="module")
def rows(lm, problems, Z):
    """Every cell of the default grid in three spaces, batched."""
    config = PatchingConfig(draws=1, spaces=["z", "energy_perp", "full"])
    return [r for part in _study(lm, problems, Z, config) for r in part]


def _patching(lm, problems, Z, config, batch_size=N, position_0=False, seed=7, read=NO_NULLS):
    settings = GENERATION.model_copy(update={"batch_size": batch_size})
    return LayerPatching(lm, problems, LAYER, [Z], config, settings, position_0, seed, read)


def _study(lm, problems, Z, config, **more):
    return list(_patching(lm, problems, Z, config, **more).outputs())


# --- one prompt at a time, with explicit projectors ----------------------------------------


def _alone(lm, text, change=None, layer=LAYER):
    """transformers' own generation of one unpadded prompt; change(h, first) edits resid_pre."""
    ids, mask = lm.encode([text])
    first = [True]

    def hook(module, args):
        was, first[0] = first[0], False
        return (change(args[0], was), *args[1:])

    handle = lm.layer(layer).register_forward_pre_hook(hook) if change else None
    try:
        return generate(lm, ids, mask, LENGTH)[0]
    finally:
        if handle:
            handle.remove()


def _states(lm, text):
    ids, _ = lm.encode([text])
    with torch.no_grad():
        return lm.model(input_ids=ids, output_hidden_states=True).hidden_states[LAYER][0]


def _projector(name, k, Z, drawn):
    d = Z.shape[1]
    V = {"z": Z, "random": drawn["random"], "energy": drawn["energy"]}.get(name.split("_")[0])
    if V is None:
        return torch.eye(d)
    P = (V.double().mT @ V.double()).float()
    return torch.eye(d) - P if name.endswith("_perp") else P


def _slow_text(lm, problems, i, row, Z, drawn, position_0):
    """The output of one condition, for one problem, from the definitions."""
    source_language, language = row["direction"].split("->")
    design, source = row["design"], row["source"]
    forced = design == "site_answer"
    j = [p.id for p in problems].index(row["source_problem"]) if row["source_problem"] else None
    P = _projector(row["space"], K, Z, drawn[language, matched_on(design, row["where"])])
    skip = 0 if position_0 else 1

    def text(problem, language):
        return problem.prompt(language) + (forced_stem(language) if forced else "")

    def vector(states):
        return states[skip:].mean(0) if design == "mean" else states[-1]

    if source == "own":
        s = vector(_states(lm, text(problems[i], language)))
    elif source == "mean":
        others = [p for p in problems if p is not problems[i]]
        s = torch.stack([vector(_states(lm, text(p, language))) for p in others]).mean(0)
    elif design == "ot":
        x = _states(lm, text(problems[j], source_language))[skip:]
        h = _states(lm, text(problems[i], language))[skip:]
        plan = transport_plan(x, h).float()
        s = plan.mT @ x * len(h)
    else:
        s = vector(_states(lm, text(problems[j], source_language)))

    def change(h, first):
        if not first:
            return h if row["where"] == "prefill" else h - h @ P + s @ P
        h = h.clone()
        where = slice(-1, None) if design.startswith("site") else slice(skip, None)
        h[0, where] = h[0, where] - h[0, where] @ P + s @ P
        return h

    return _alone(lm, text(problems[i], language), change).text


def _patched_states(lm, problems, matched, language, position_0=False):
    """What the patches act on, one problem at a time."""
    if matched == "answer site":
        texts = [p.prompt(language) + forced_stem(language) for p in problems]
        return torch.stack([_states(lm, text)[-1] for text in texts])
    prompts = [p.prompt(language) for p in problems]
    if matched == "last prompt tokens":
        return torch.stack([_states(lm, text)[-1] for text in prompts])
    skip = 0 if position_0 else 1
    if matched == "prompt tokens":
        return torch.cat([_states(lm, text)[skip:] for text in prompts])
    found = []
    for text in prompts:
        ids, _ = lm.encode([text])
        written = lm.model.generate(input_ids=ids, max_new_tokens=LENGTH, do_sample=False)
        states = lm.model(input_ids=written, output_hidden_states=True).hidden_states[LAYER][0]
        found.append(states[skip:-1])  # the last token is never run
    return torch.cat(found)


def _drawn(lm, problems, Z, position_0=False, seed=7):
    """The random spaces of the study, found again, by language and what they are matched on."""
    out = {}
    for language in LANGUAGES:
        for design, where in (("mean", "prefill"), ("mean", "all"), ("site_answer", "prefill"),
                              ("site_language", "prefill")):  # fmt: skip
            matched = matched_on(design, where)
            states = _patched_states(lm, problems, matched, language, position_0)
            spaces = draw_spaces(
                Z,
                states,
                dict.fromkeys(get_args(Space), 1),
                derive_seed(seed, f"spaces/{language}"),
                matched,
            )
            out[language, matched] = {s.space: s.component.V for s in spaces}
    return out


@pytest.mark.slow
@pytest.mark.parametrize("position_0", [False, True])
def test_every_condition_equals_its_definition_one_prompt_at_a_time(lm, problems, Z, position_0):
    config = PatchingConfig(draws=1, spaces=["z", "full", "energy", "random_perp"])
    if position_0:  # what position 0 changes is pooling and patching of whole prompts
        config = config.model_copy(update={"designs": ["mean", "ot"], "spaces": ["z", "full"]})
    else:
        config = config.model_copy(update={"directions": ["zh->en"]})
    drawn = _drawn(lm, problems, Z, position_0)
    index = {p.id: i for i, p in enumerate(problems)}
    seen = Counter()
    for part in _study(lm, problems, Z, config, position_0=position_0):
        for row in part:
            if row["source"] in ("none", "placebo"):
                continue
            slow = _slow_text(lm, problems, index[row["problem"]], row, Z, drawn, position_0)
            assert row["text"] == slow, row
            seen[row["design"], row["source"], row["where"]] += 1
    wanted = {(c.design, c.source, c.where) for c in cells(config) if c.source != "placebo"}
    assert set(seen) == wanted


def test_unpatched_outputs_equal_transformers_own_one_by_one(lm, problems, rows):
    index = {p.id: p for p in problems}
    baseline = [r for r in rows if r["space"] == "none"]
    assert len(baseline) == N * 2 * 2  # plain and with the forced stem, both prompt languages
    for row in baseline:
        language = row["direction"].split("->")[1]
        stem = forced_stem(language) if row["design"] == "site_answer" else ""
        alone = _alone(lm, index[row["problem"]].prompt(language) + stem)
        assert (row["text"], row["finished"]) == (alone.text, alone.finished)
    assert {r["finished"] for r in baseline} == {True, False}, "rows must end at unequal times"


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_generation_from_a_prefix_equals_transformers_generation(lm, problems, layer):
    ids, mask = lm.encode([p.prompt("zh") for p in problems])
    prefix = run_prefix(lm, ids, mask, layer)
    assert generate_from(lm, prefix, None, LENGTH) == generate(lm, ids, mask, LENGTH)


@pytest.mark.parametrize("length", [0, 4, 9])
def test_a_row_ends_where_its_text_is_complete(lm, problems, prefix, length):
    """Whatever else stands in the batch, and with no other text than without the rule."""

    def stop(text):
        return len(text) > length

    prompts = [p.prompt("en") for p in problems]
    whole = generate(lm, *lm.encode(prompts), LENGTH)
    ended = generate(lm, *lm.encode(prompts), LENGTH, stop)
    assert ended == generate_from(lm, prefix, None, LENGTH, stop)
    assert ended == [generate(lm, *lm.encode([p]), LENGTH, stop)[0] for p in prompts]
    assert generate(lm, *lm.encode(prompts), LENGTH, lambda text: False) == whole
    shorter = [generate(lm, *lm.encode(prompts), n) for n in range(1, LENGTH + 1)]
    for row, full in enumerate(whole):
        assert ended[row] == next((s[row] for s in shorter if stop(s[row].text)), full)
    if length < 9:
        assert ended != whole


def test_patched_hook_under_transformers_generation_gives_the_same(lm, problems, prefix, Z):
    ids, mask = lm.encode([p.prompt("en") for p in problems])
    source = torch.randn(N, 1, lm.d_model, generator=torch.Generator().manual_seed(0))
    patch = Patch(Component(Z), source, prefix.used(False), "all")
    with patched(lm, LAYER, patch):
        theirs = lm.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=1, do_sample=False
        )
        ours = lm.tokenizer.batch_decode(theirs[:, -1:])
    first = [o.text for o in generate_from(lm, prefix, patch, 1)]
    ends = set(lm.model.generation_config.eos_token_id)
    assert first == [
        "" if int(t) in ends else text for t, text in zip(theirs[:, -1], ours, strict=True)
    ]


@pytest.mark.slow
def test_batch_size_and_rerun_change_nothing(lm, problems, Z, rows):
    config = PatchingConfig(draws=1, spaces=["z", "energy_perp", "full"])

    def key(row):
        return tuple(str(row[c]) for c in sorted(row))

    parts = _study(lm, problems, Z, config)
    assert [r for part in parts for r in part] == rows
    assert len(parts) == n_parts(config, [K], N, N)
    small = [r for part in _study(lm, problems, Z, config, batch_size=2) for r in part]
    assert sorted(small, key=key) == sorted(rows, key=key)


@pytest.mark.parametrize("where", ["prefill", "all"])
@pytest.mark.parametrize("placebo", [False, True])
def test_draws_that_are_patched_together_equal_one_at_a_time(lm, prefix, Z, where, placebo):
    generator = torch.Generator().manual_seed(9)
    drawn = [random_space(lm.d_model, K, generator).float() for _ in range(3)]
    components = [Component(V, perp) for perp in (False, True) for V in (Z.float(), *drawn)]
    source, noise = torch.randn(2, N, 1, lm.d_model, generator=generator)

    def patch(component, prefix, times):
        directions = None
        if placebo:
            inside = component.of(noise.repeat(times, 1, 1)).squeeze(1)
            directions = torch.nn.functional.normalize(inside, dim=-1)
        used = prefix.used(False)
        return Patch(component, source.repeat(times, 1, 1), used, where, directions)

    many = prefix.repeated(len(components))
    together = patch(Component.stacked(components, N), many, len(components))
    alone = [patch(component, prefix, 1) for component in components]
    torch.testing.assert_close(
        together.prompt(many.states), torch.cat([p.prompt(prefix.states) for p in alone])
    )
    texts = [o for p in alone for o in generate_from(lm, prefix, p, LENGTH)]
    assert generate_from(lm, many, together, LENGTH) == texts
    assert len({o.text for o in texts}) > N, "the draws must differ"


def test_a_whole_stream_is_never_stacked(Z):
    with pytest.raises(ValueError, match="alone"):
        Component.stacked([Component(Z), Component(None)], N)


@pytest.mark.parametrize("layer", [0, LAYER, 3])
def test_a_patch_of_the_last_position_equals_running_the_whole_prompt(lm, problems, Z, layer):
    ids, mask = lm.encode([p.prompt("en") for p in problems])
    whole = run_prefix(lm, ids, mask, layer)
    site = last_position(lm, whole)
    before = [keys.clone() for keys, _ in site.cache]
    assert site.states.shape[1] == 1
    source = torch.randn(N, 1, lm.d_model, generator=torch.Generator().manual_seed(6))
    at_last = torch.zeros_like(mask, dtype=torch.bool)
    at_last[:, -1] = True
    texts = []
    for component in _components(Z.float()):
        one = Patch(component, source, torch.ones(N, 1, dtype=torch.bool))
        slow = generate_from(lm, whole, Patch(component, source, at_last), LENGTH)
        assert generate_from(lm, site, one, LENGTH) == slow
        texts += slow
    assert generate_from(lm, site, None, LENGTH) == generate_from(lm, whole, None, LENGTH)
    assert len({o.text for o in texts}) > N
    for keys, old in zip(site.cache, before, strict=True):
        assert torch.equal(keys[0], old), "a run leaves the shared cache as it was"


def test_a_study_with_large_batches_equals_one_component_at_a_time(lm, problems, Z):
    config = PatchingConfig(draws=2, directions=["zh->en"], sources=["mismatched", "placebo"])
    alone, together = (
        [row for part in _study(lm, problems, Z, config, batch_size=n) for row in part]
        for n in (N, 7 * N)
    )
    assert together == alone


def test_transformer_lens_hooks_give_the_same_tokens(lm, problems, prefix, Z):
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    hf = copy.deepcopy(lm.model)
    bridge = build_bridge_from_module(hf, "Qwen2ForCausalLM", hf_config=hf.config, tokenizer=None)
    ids, mask = lm.encode([p.prompt("en") for p in problems])
    source = torch.randn(N, 1, lm.d_model, generator=torch.Generator().manual_seed(1))
    for where in ("prefill", "all"):
        patch = Patch(Component(Z, perp=True), source, prefix.used(False), where)

        def change(h, hook, patch=patch):
            if h.shape[1] > 1:
                return patch.prompt(h)
            return patch.token(h) if patch.where == "all" else h

        with bridge.hooks(fwd_hooks=[(f"blocks.{LAYER}.hook_resid_pre", change)]):
            tokens = bridge.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=LENGTH,
                do_sample=False,
                stop_at_eos=False,
                return_type="tokens",
                verbose=False,
            )
        ends = set(lm.model.generation_config.eos_token_id)
        for row, output in zip(
            tokens[:, ids.shape[1] :].tolist(),
            generate_from(lm, prefix, patch, LENGTH),
            strict=True,
        ):
            stop = next((i for i, t in enumerate(row) if t in ends), len(row))
            assert output.text == lm.tokenizer.decode(row[:stop], skip_special_tokens=True)
            assert output.n_tokens == stop


# --- the algebra ---------------------------------------------------------------------------


def _components(Z):
    return [Component(Z), Component(Z, perp=True), Component(None)]


def test_patching_a_prompt_with_its_own_states_is_the_identity(lm, prefix, Z):
    plain = generate_from(lm, prefix, None, LENGTH)
    for component in _components(Z):
        patch = Patch(component, prefix.states, prefix.used(True))
        assert torch.equal(patch.prompt(prefix.states), prefix.states)
        assert generate_from(lm, prefix, patch, LENGTH) == plain


def test_full_is_z_and_then_its_complement(prefix, Z):
    source = torch.randn(N, 1, Z.shape[1], generator=torch.Generator().manual_seed(2))
    z, perp, full = (Patch(c, source, prefix.used(False)) for c in _components(Z))
    both = perp.prompt(z.prompt(prefix.states))
    torch.testing.assert_close(both, full.prompt(prefix.states), rtol=1e-5, atol=1e-5)
    expected = torch.where(prefix.used(False).unsqueeze(-1), source, prefix.states)
    assert torch.equal(full.prompt(prefix.states), expected)


def test_the_layer_sees_the_sources_component_and_its_own_complement(lm, problems, Z):
    """Planted: what reaches the layer, caught behind our hook, at prompt and generated tokens."""
    ids, mask = lm.encode([p.prompt("en") for p in problems])
    prefix = run_prefix(lm, ids, mask, LAYER)
    used, d = prefix.used(False), lm.d_model
    source = torch.randn(N, 1, d, generator=torch.Generator().manual_seed(3))
    P = (Z.mT @ Z).float()
    seen = []
    with patched(lm, LAYER, Patch(Component(Z), source, used, "all")):
        handle = lm.layer(LAYER).register_forward_pre_hook(lambda m, args: seen.append(args[0]))
        lm.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=3, do_sample=False)
        handle.remove()
    prompt, *steps = seen
    h = prefix.states
    near = {"atol": 1e-4, "rtol": 0}
    torch.testing.assert_close((prompt @ P)[used], (source @ P).expand_as(h)[used], **near)
    torch.testing.assert_close((prompt - prompt @ P)[used], (h - h @ P)[used], **near)
    assert torch.equal(prompt[~used], h[~used]), "padding and position 0 stay as they are"
    assert steps
    for step in steps:
        torch.testing.assert_close(step @ P, source @ P, **near)


def test_a_placebo_has_the_norm_of_the_difference_and_stays_in_the_component(prefix, Z):
    generator = torch.Generator().manual_seed(4)
    source, noise = torch.randn(2, N, Z.shape[1], generator=generator)
    used, h = prefix.used(False), prefix.states
    for component in _components(Z):
        inside = component.of(noise.unsqueeze(1)).squeeze(1)
        directions = torch.nn.functional.normalize(inside, dim=-1)
        patch = Patch(component, source.unsqueeze(1), used, "prefill", directions)
        moved = (patch.prompt(h) - h)[used]
        wanted = component.of(source.unsqueeze(1) - h)[used]
        torch.testing.assert_close(moved.norm(dim=-1), wanted.norm(dim=-1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(component.of(moved), moved, rtol=1e-4, atol=1e-4)


def test_placebo_rows_are_neither_the_patch_nor_the_original(rows):
    by = {(r["source"], r["problem"]): r["text"] for r in rows if _is(r, "mean", "full", "prefill")}
    originals = {r["problem"]: r["text"] for r in rows if _is(r, "none", "none", "none")}
    placebo = {p: text for (source, p), text in by.items() if source == "placebo"}
    assert len(placebo) == N
    assert any(text != by["mismatched", p] for p, text in placebo.items())
    assert any(text != originals[p] for p, text in placebo.items())


def _is(row, design, space, where):
    return (row["design"], row["space"], row["where"], row["direction"]) == (
        design,
        space,
        where,
        "zh->en",
    )


def test_nothing_in_the_padding_is_read_or_written(lm, problems, Z):
    """The states of the padding are put out of range: no output, pool or site may notice."""
    ids, mask = lm.encode([p.prompt("en") for p in problems])
    prefix = run_prefix(lm, ids, mask, LAYER)
    bad = replace(prefix, states=prefix.states.masked_fill(mask.unsqueeze(-1) == 0, 1e4))
    source = torch.randn(N, 1, lm.d_model, generator=torch.Generator().manual_seed(5))
    for used in (prefix.used(True), prefix.used(False)):
        assert not used[mask == 0].any()
        for component in _components(Z):
            patch = Patch(component, source, used)
            assert torch.equal(patch.prompt(bad.states)[mask == 0], bad.states[mask == 0])
            assert generate_from(lm, bad, patch, LENGTH) == generate_from(lm, prefix, patch, LENGTH)
    for i, states in enumerate(read_states(lm, problems, "en", LAYER, N, True).prompts):
        alone = _states(lm, problems[i].prompt("en"))
        torch.testing.assert_close(states, alone, rtol=1e-4, atol=1e-4)


def test_position_0_is_the_first_real_token(prefix):
    first = prefix.used(True) & ~prefix.used(False)
    assert torch.equal(first.sum(1), torch.ones(N, dtype=torch.long))
    assert torch.equal(first.int().argmax(1), prefix.mask.int().argmax(1))


@pytest.mark.parametrize("design", ["mean", "ot"])
def test_a_massive_token_is_neither_patched_nor_a_source(lm, problems, Z, design):
    """One number of the prompts has an embedding twenty times as long as others. Against single
    prompts with an explicit projector."""
    model = copy.deepcopy(lm.model)
    en, zh = (lm.encode([problems[0].prompt(x)])[0][0] for x in ("en", "zh"))
    sink = next(int(x) for x in en[1:] if x in zh[1:])  # a number, the same token in both
    layer = 0  # before it nothing could hide the token
    model.model.embed_tokens.weight.data[sink] *= 20 / float(
        model.model.embed_tokens.weight[sink].norm()
        / model.model.embed_tokens.weight.norm(dim=1).median()
    )
    sunk = LanguageModel(model, lm.tokenizer, "sunk")
    config = PatchingConfig(
        draws=1,
        designs=[design],
        spaces=["z", "full"],
        sources=["mismatched"],
        where=["prefill"],
        directions=["zh->en"],
    )
    study = LayerPatching(sunk, problems, layer, [Z], config, GENERATION, False, 7)
    rows = [r for part in study.outputs() for r in part if r["space"] != "none"]
    projectors = {"z": (Z.double().mT @ Z.double()).float(), "full": torch.eye(lm.d_model)}
    index = {p.id: i for i, p in enumerate(problems)}
    n_massive = 0

    def used(text):
        ids = sunk.encode([text])[0][0]
        return (ids != sink) & (torch.arange(len(ids)) > 0), model.model.embed_tokens(ids).detach()

    for r in rows:
        source_used, source = used(problems[index[r["source_problem"]]].prompt("zh"))
        text = problems[index[r["problem"]]].prompt("en")
        own_used, own = used(text)
        n_massive += int((~own_used).sum()) - 1
        if design == "mean":
            new = source[source_used].mean(0).expand(len(own), -1)
        else:
            new = own.clone()
            new[own_used] = barycentric_image(source[source_used], own[own_used])

        def change(h, first, own_used=own_used, new=new, inside=projectors[r["space"]]):
            if not first:
                return h
            patched = h - h @ inside + new @ inside
            return torch.where(own_used.view(1, -1, 1), patched, h)

        assert _alone(sunk, text, change, layer).text == r["text"]
    assert n_massive > 0


@pytest.mark.parametrize("shape", [(N, 7, 64)])
def test_patching_generated_tokens_needs_one_vector(prefix, Z, shape):
    with pytest.raises(ConfigError, match="design mean"):
        Patch(Component(Z), torch.zeros(shape), prefix.used(True), "all")


def test_the_site_of_a_model_that_reads_one_position_carries_everything(lm, problems):
    """Positive control. Without attention from the layer on, the next token is a function of the
    last state, so the full patch of the site must write the source's own next token."""
    model = copy.deepcopy(lm.model)
    for layer in model.model.layers[LAYER:]:
        layer.self_attn.o_proj.weight.data.zero_()
    deaf = LanguageModel(model, lm.tokenizer, "deaf")
    config = PatchingConfig(
        designs=["site_answer", "site_language"],
        spaces=["z", "full"],
        sources=["mismatched"],
        where=["prefill"],
        directions=["zh->en"],
    )
    Z = random_space(lm.d_model, K, torch.Generator().manual_seed(0))
    settings = GenerationConfig(max_new_tokens=1, batch_size=N)
    parts = LayerPatching(deaf, problems, LAYER, [Z], config, settings, False, 7).outputs()
    texts = {p.id: p for p in problems}
    hit = Counter()
    for row in (r for part in parts for r in part if r["space"] != "none"):
        stem = forced_stem("zh") if row["design"] == "site_answer" else ""
        ids, mask = deaf.encode([texts[row["source_problem"]].prompt("zh") + stem])
        own = generate(deaf, ids, mask, 1)[0].text
        hit[row["design"], row["space"]] += row["text"] == own
    assert hit["site_answer", "full"] == hit["site_language", "full"] == N
    assert hit["site_answer", "z"] + hit["site_language", "z"] < 2 * N


# --- sources -------------------------------------------------------------------------------


def test_a_mismatched_problem_never_shares_the_answer():
    problems = make_problems(600, 3, held_out=True)
    for seed in range(5):
        partners = mismatched_partners(problems, seed)
        for p, j, other in zip(problems, *partners, strict=True):
            assert problems[j].answer != p.answer
            assert other == (problems[j].category != p.category)
        assert not any(partners.other_category), "every category has two answers among 600"
    assert mismatched_partners(problems, 1) == mismatched_partners(problems, 1)
    assert mismatched_partners(problems, 1) != mismatched_partners(problems, 2)


def test_a_problem_alone_in_its_category_takes_another_and_says_so():
    problems = load_problems()[:2]
    first = replace(problems[0], category="a", answer=1)
    lonely = [first, replace(first, id="b", answer=2), replace(first, category="c", answer=3)]
    partners = mismatched_partners(lonely, 0)
    assert partners.other_category == [False, False, True]
    with pytest.raises(DataError, match="same answer"):
        mismatched_partners([first, first], 0)


def test_energy_matched_spaces_hold_zs_share_and_random_ones_do_not(lm, problems, Z):
    states = torch.cat(read_states(lm, problems, "en", LAYER, N, True).prompts)
    asked = {"z": 1, "z_perp": 1, **dict.fromkeys(RANDOM, 4)}
    spaces = draw_spaces(Z, states, asked, 0, "prompt tokens")
    assert Counter(s.space for s in spaces) == asked
    share = {s: [] for s in ("z", "energy", "random")}
    for s in spaces:
        if s.space in share:
            share[s.space].append(energy_share(states, s.component.V))
    assert np.ptp(share["z"] + share["energy"]) < 1e-3
    assert np.ptp(share["random"]) > 1e-2
    drawn = [s.component.V for s in spaces if s.space == "energy"]
    assert not any(torch.allclose(drawn[0], V) for V in drawn[1:])
    for name in ("random", "energy"):
        both = {s.space: s.component for s in spaces if s.draw == 2 and s.space.startswith(name)}
        x = states[:3]
        torch.testing.assert_close(both[name].of(x) + both[f"{name}_perp"].of(x), x)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_energy_is_of_the_states_that_the_patch_acts_on(lm, problems, Z, language):
    """Against states that are read one problem at a time, from transformers' own outputs."""
    direction = "zh->en" if language == "en" else "en->zh"
    config = PatchingConfig(spaces=["energy", "energy_perp"], directions=[direction], draws=2)
    study = _patching(lm, problems, Z, config)
    rows = list(study.energy_shares())
    assert len(rows) == 4 * 2 * 2
    drawn = {
        (cell.matched_on, s.space, s.draw): s.component
        for cell in cells(config)
        for spaces in study.runs(cell, N)
        for s in spaces
    }
    of_z = {}
    for row in rows:
        matched, space = row["matched_on"], row["space"]
        states = _patched_states(lm, problems, matched, language)
        V = drawn[matched, space, row["draw"]].V
        shares = energy_share(states, V), energy_share(states, Z)
        if space == "energy_perp":
            shares = 1 - shares[0], 1 - shares[1]
        assert (row["energy_share"], row["z_energy_share"]) == pytest.approx(shares, abs=1e-4)
        assert row["energy_share"] == pytest.approx(row["z_energy_share"], abs=2e-4)
        of_z[matched, space] = row["z_energy_share"]
    assert len({round(x, 6) for (_, space), x in of_z.items() if space == "energy"}) == 4


def test_the_completions_tokens_are_those_that_a_patch_of_all_tokens_sees(lm, problems, Z):
    """Caught behind the hook of a patch that puts in nothing."""
    ids, mask = lm.encode([p.prompt("zh") for p in problems])
    seen = []
    handle = lm.layer(LAYER).register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    generate_from(lm, run_prefix(lm, ids, mask, LAYER), None, LENGTH)
    handle.remove()
    found = completion_states(lm, problems, "zh", LAYER, GENERATION)
    torch.testing.assert_close(found, torch.cat([h.squeeze(1) for h in seen[1:]]))
    outputs = generate_from(lm, run_prefix(lm, ids, mask, LAYER), None, LENGTH)
    assert len(found) == sum(o.n_tokens - (not o.finished) for o in outputs) > 0


def test_the_nulls_of_a_verdict_have_all_draws_and_no_others(lm, problems, Z):
    config = PatchingConfig(draws=1, verdict_draws=3, sources=["mismatched", "mean"])
    read = verdict_nulls(DECLARED)
    parts = _study(lm, problems[:2], Z, config, batch_size=30, read=read)
    assert len(parts) == n_parts(config, [K], 2, 30, read)
    counts = Counter()
    for row in (part[0] for part in parts):
        if row["space"] in RANDOM:
            counts[tuple(row[c] for c in ("design", "source", "where", "direction", "space"))] += 1
    many = {
        ("mean", "mismatched", "all", "zh->en", "energy"),
        ("mean", "mismatched", "all", "zh->en", "energy_perp"),
        ("mean", "mean", "all", "zh->en", "energy"),
        ("mean", "mean", "all", "zh->en", "random"),
        ("site_answer", "mismatched", "prefill", "zh->en", "energy"),
    }
    assert len(counts) == len(cells(config)) * len(RANDOM)
    assert {null: n for null, n in counts.items() if n != 1} == dict.fromkeys(many, 3)
    assert PatchingConfig().verdict_draws == 40
    elsewhere = {replace(cell, k=K + 1): spaces for cell, spaces in read.items()}
    assert n_parts(config, [K], 2, 30, elsewhere) == n_parts(config, [K], 2, 30)


def test_a_draw_is_the_same_whatever_the_number_of_draws(lm, problems, Z):
    states = torch.cat(read_states(lm, problems, "en", LAYER, N, True).prompts)
    few, many = (
        {(s.space, s.draw): s.component.V for s in draw_spaces(Z, states, n, 0, "x")}
        for n in ({**dict.fromkeys(RANDOM, 2), "energy_perp": 3}, dict.fromkeys(RANDOM, 5))
    )
    assert (len(few), len(many)) == (3 * 2 + 3, 4 * 5)
    assert all(torch.equal(V, many[key]) for key, V in few.items())


def test_a_design_without_a_source_is_refused_and_never_in_the_grid(lm, problems):
    states = read_states(lm, problems, "en", LAYER, N, True)
    with pytest.raises(DataError, match="no source own"):
        source_states("ot", "own", states, states, [0] * N)
    grid = cells(PatchingConfig())
    assert all(c.source in SOURCES_OF[c.design] for c in grid)
    assert all(c.where == "prefill" for c in grid if c.design != "mean")
    assert len(grid) == len(set(grid)) == 2 * (5 * 2 + 3 + 4 + 4)


# --- optimal transport -----------------------------------------------------------------------


def _program(x, y):
    """The cost of the best plan, by a linear program over all its entries."""
    C = np.square(x[:, None] - y[None]).sum(-1)
    n, m = C.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    found = linprog(
        C.ravel(), np.vstack([rows, columns]) * 0, np.zeros(n + m),
        np.vstack([rows, columns]), np.r_[np.full(n, 1 / n), np.full(m, 1 / m)],
    )  # fmt: skip
    return found.fun, found.x.reshape(n, m)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (3, 7), (6, 2), (1, 5), (5, 1)])
def test_the_plan_is_the_linear_programs(n, m):
    rng = np.random.default_rng(n * 10 + m)
    x, y = rng.normal(size=(n, 3)) + 100, rng.normal(size=(m, 3)) + 100
    cost, plan = _program(x, y)
    ours = transport_plan(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(ours.sum(1), 1 / n)
    np.testing.assert_allclose(ours.sum(0), 1 / m)
    np.testing.assert_allclose((ours * np.square(x[:, None] - y).sum(-1)).sum(), cost, rtol=1e-8)
    # Generic points have one best plan.
    image = barycentric_image(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(image.numpy(), plan.T @ x * m, atol=1e-6)


def test_a_cloud_is_carried_to_itself_in_any_order():
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(barycentric_image(x, x), x)
    torch.testing.assert_close(barycentric_image(x.flip(0), x), x)


def test_states_that_cannot_be_aligned_are_refused():
    x = torch.ones(2, 3)
    with pytest.raises(DataError, match="not finite"):
        transport_plan(x * torch.inf, x)
    with pytest.raises(DataError, match="without tokens"):
        transport_plan(x[:0], x)


# --- readouts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        (" The answer is 12.", True, True),
        ("答案是12。", True, True),
        (" The answer is 12。", False, True),
        ("The answer is 12.", False, True),
        (" The answer is 12. Tom", False, True),
        ("12", False, False),
        (" The answer is.", False, False),
        ("答案是12。" * 8, False, False),
    ],
)
def test_what_is_well_formed(text, strict, loose):
    assert read_text(text, True, 1, True).well_formed == strict
    assert read_text(text, True, 1, False).well_formed == loose


def test_only_the_answer_before_a_new_problem_is_read():
    more = "\n\nQuestion: " + "Ann has 3 pens. " * 5
    got = read_text("所以答案就是59。" + more, False, 5, False)
    assert (got.answer, got.language, got.degenerate) == (59, "zh", False)
    assert not read_text(" The answer is 59." + more, True, 1, True).well_formed
    assert stopping_rule(strict=True) is None
    stop = stopping_rule(strict=False, stem=" The answer is ")
    assert not stop("59.\n\n")
    assert stop("59.\n\nAnn has 3 pens. How many")
    assert stop("59. Question:")


def test_only_a_well_formed_other_answer_is_a_change():
    def read(text):
        return read_text(text, True, 1, True)

    before = read(" The answer is 12.")

    def columns(text, baseline=before, source=7):
        return output_columns(read(text), baseline, 12, source)

    same = columns(" The answer is 12.")
    assert same["changed"] is False
    assert same["correct"]
    assert same["source_answer"] is False
    other = columns("答案是7。")
    assert other["changed"]
    assert other["source_answer"]
    assert other["language_changed"]
    broken = columns(" The answer is Tom 7")
    assert broken["changed"] is False
    assert broken["source_answer"] is False
    assert columns("答案是7。", source=12)["source_answer"] is None, "the problem's own answer"
    assert columns("答案是7。", source=None)["source_answer"] is None
    lost = columns("答案是7。", baseline=read("Tom"))
    assert lost["changed"] is None
    assert not lost["baseline_correct"]
    assert read("答案是7。").answer == Fraction(7)
