"""Examples in front of prompts are run once, and neither pooled nor patched."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from dataclasses import replace

import pytest
import torch

from untrained import ending_anywhere
from zscope.core.errors import DataError
from zscope.models.attention_kernels import stacked_right_space
from zscope.models.language_model import LanguageModel, generate, residual_states
from zscope.studies.crosslingual.config import GenerationConfig, PatchingConfig
from zscope.studies.crosslingual.patching.layer_patching import LayerPatching
from zscope.studies.crosslingual.patching.patched_generation import (
    Component,
    Patch,
    generate_from,
    last_position,
    prompt_prefix,
    run_examples,
)
from zscope.studies.crosslingual.patching.sources import read_states
from zscope.studies.crosslingual.problems.parallel import LANGUAGES
from zscope.studies.crosslingual.problems.parallel import generate as make_problems
from zscope.studies.crosslingual.problems.prompt_tokens import encode_prompts, shared_examples
from zscope.studies.crosslingual.space.activations import extract, read_layer

LAYER, N, LENGTH, K = 2, 5, 5, 12


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return ending_anywhere()


@pytest.fixture(scope="module")
def problems():
    """Of unequal lengths, with three solved problems in front."""
    made = make_problems(40, 1, held_out=True)
    shown = {x: "".join(p.query(x) + p.completion(x) + "\n" for p in made[-3:]) for x in LANGUAGES}
    return [replace(p, examples_zh=shown["zh"], examples_en=shown["en"]) for p in made[:N]]


@pytest.fixture(scope="module")
def Z(lm):
    return stacked_right_space(lm.attention_weights(LAYER), K)


def _prefix(lm, problems, language="en", layer=LAYER):
    examples = run_examples(lm, shared_examples(problems, language))
    return prompt_prefix(lm, examples, [p.query(language) for p in problems], layer)


def _n_examples(lm, problems, language="en"):
    return lm.encode([problems[0].examples(language)])[0].shape[1]


def _alone(lm, text, n_examples, change, where):
    """transformers' own generation of one whole prompt; change(h) edits resid_pre of the query."""
    first = [True]

    def hook(module, args):
        h, was, first[0] = args[0].clone(), first[0], False
        if was:
            h[:, n_examples:] = change(h[:, n_examples:])
        elif where == "all":
            h = change(h)
        return (h, *args[1:])

    handle = lm.layer(LAYER).register_forward_pre_hook(hook)
    try:
        return generate(lm, *lm.encode([text]), LENGTH)[0]
    finally:
        handle.remove()


@pytest.mark.parametrize("layer", [0, 1, 3])
@pytest.mark.parametrize("language", LANGUAGES)
def test_generation_behind_cached_examples_equals_that_of_whole_prompts(
    lm, problems, layer, language
):
    prefix = _prefix(lm, problems, language, layer)
    assert bool((prefix.own_mask == 0).any()), "the queries must need padding"
    assert prefix.states.shape[1] < prefix.mask.shape[1]
    whole = generate(lm, *lm.encode([p.prompt(language) for p in problems]), LENGTH)
    assert generate_from(lm, prefix, None, LENGTH) == whole
    other = _prefix(lm, [replace(p, examples_en="", examples_zh="") for p in problems], language)
    assert generate_from(lm, other, None, LENGTH) != whole, "the examples must matter"


@pytest.mark.parametrize("where", ["prefill", "all"])
@pytest.mark.parametrize("space", ["z", "z_perp", "full"])
def test_a_patch_acts_on_every_token_of_the_query_and_on_none_of_the_examples(
    lm, problems, Z, space, where
):
    prefix = _prefix(lm, problems)
    n = _n_examples(lm, problems)
    source = torch.randn(N, 1, lm.d_model, generator=torch.Generator().manual_seed(1)) * 3
    component = Component(None if space == "full" else Z, space == "z_perp")
    used = prefix.used(position_0=False)
    assert torch.equal(used, prefix.own_mask.bool()), "the first token is one of the examples"
    found = generate_from(lm, prefix, Patch(component, source, used, where), LENGTH)
    P = torch.eye(lm.d_model)
    if space != "full":
        inside = (Z.double().mT @ Z.double()).float()
        P = P - inside if space == "z_perp" else inside
    for i, p in enumerate(problems):
        alone = _alone(lm, p.prompt("en"), n, lambda h, s=source[i]: h - h @ P + s @ P, where)
        assert found[i] == alone
    assert found != generate_from(lm, prefix, None, LENGTH), "the patch must matter"


def test_the_last_position_behind_examples_equals_running_the_whole_query(lm, problems, Z):
    prefix = _prefix(lm, problems)
    last = last_position(lm, prefix)
    source = torch.randn(N, 1, lm.d_model, generator=torch.Generator().manual_seed(2)) * 3
    only = torch.zeros_like(prefix.own_mask, dtype=torch.bool)
    only[:, -1] = True
    whole = generate_from(lm, prefix, Patch(Component(Z), source, only), LENGTH)
    one = torch.ones(N, 1, dtype=torch.bool)
    assert generate_from(lm, last, Patch(Component(Z), source, one), LENGTH) == whole
    assert whole != generate_from(lm, prefix, None, LENGTH)


def test_states_of_queries_are_those_of_whole_prompts_without_the_examples(lm, problems):
    n = _n_examples(lm, problems)
    examples = run_examples(lm, problems[0].examples_en)
    found = read_states(lm, problems, "en", LAYER, 2, False, examples)
    for i, p in enumerate(problems):
        ids, mask = lm.encode([p.prompt("en")])
        expected = residual_states(lm, ids, mask, [LAYER])[LAYER][0, n:]
        torch.testing.assert_close(found.prompts[i], expected, rtol=1e-4, atol=1e-4)


CONFIG = PatchingConfig(
    draws=1, spaces=["z", "energy_perp"], sources=["mismatched"], designs=["mean", "site_answer"]
)


def _study(lm, problems, Z, batch_size=N, config=CONFIG):
    settings = GenerationConfig(max_new_tokens=LENGTH, batch_size=batch_size)
    return LayerPatching(lm, problems, LAYER, [Z], config, settings, False, 7)


@pytest.mark.slow
def test_a_study_pools_and_patches_queries_alone_in_batches_of_any_size(lm, problems, Z):
    study = _study(lm, problems, Z)
    rows = [r for part in study.outputs() for r in part]
    again = [r for part in _study(lm, problems, Z, 1).outputs() for r in part]
    name = ("problem", "direction", "design", "source", "where", "space", "draw", "text")
    keys = [sorted(tuple(str(r[c]) for c in name) for r in x) for x in (rows, again)]
    assert keys[0] == keys[1]
    # The declared design from its definition: the mean of the source's query, at each query token.
    index = {p.id: i for i, p in enumerate(problems)}
    n = {x: _n_examples(lm, problems, x) for x in LANGUAGES}
    P = (Z.double().mT @ Z.double()).float()
    checked = 0
    for r in rows:
        if (r["design"], r["source"], r["space"]) != ("mean", "mismatched", "z"):
            continue
        other, language = r["direction"].split("->")
        ids, mask = lm.encode([problems[index[r["source_problem"]]].prompt(other)])
        pooled = residual_states(lm, ids, mask, [LAYER])[LAYER][0, n[other] :].mean(0)
        text = problems[index[r["problem"]]].prompt(language)
        moved = pooled @ P
        alone = _alone(lm, text, n[language], lambda h, s=moved: h - h @ P + s, r["where"])
        assert alone.text == r["text"]
        checked += 1
    assert checked == N * 4


def test_patches_leave_the_shared_examples_as_they_were(lm, problems, Z):
    config = PatchingConfig(
        draws=1,
        spaces=["z", "full"],
        designs=["mean", "site_answer"],
        sources=["mismatched"],
        directions=["zh->en"],
    )
    study = _study(lm, problems, Z, config=config)
    before = [(k.clone(), v.clone()) for k, v in study.examples["en"].cache]
    assert sum(1 for _ in study.outputs()) > 4
    for (k, v), (was_k, was_v) in zip(study.examples["en"].cache, before, strict=True):
        assert torch.equal(k, was_k)
        assert torch.equal(v, was_v)


def test_extracted_states_are_of_queries_and_keep_their_first_token(lm, problems, tmp_path):
    extract(lm, problems, LANGUAGES, tmp_path / "states", batch_size=2)
    for language, states in read_layer(tmp_path / "states", LAYER).items():
        n = _n_examples(lm, problems, language)
        assert states.first == n
        for i, p in enumerate(problems):
            ids, mask = lm.encode([p.prompt(language)])
            expected = residual_states(lm, ids, mask, [LAYER])[LAYER][0, n:]
            for position_0 in ("exclude", "include"):
                own = states.states[i][states.used(position_0)[i]]
                torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


class Pairs:
    """A tokenizer that reads two characters at a time, across the end of examples too."""

    name = "pairs"

    def encode(self, texts):
        pairs = [[t[i : i + 2].encode() for i in range(0, len(t), 2)] for t in texts]
        tokens = [[int.from_bytes(pair) for pair in row] for row in pairs]
        width = max(map(len, tokens))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in tokens])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in tokens])
        return ids, mask


def test_examples_that_cannot_be_shared_are_refused(problems):
    assert encode_prompts(Pairs(), "1 + 1 = 2 ", ["2 + 2 =", "1 +"]).n_examples == 5
    with pytest.raises(DataError, match=r"pairs has no border between .* '2 \+ 2"):
        encode_prompts(Pairs(), "1 + 1 = 2", ["2 + 2 =", "1 +"])
    with pytest.raises(DataError, match="same examples"):
        shared_examples([problems[0], replace(problems[1], examples_en="")], "en")
