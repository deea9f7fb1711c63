"""Pairs of prompts are what they say, by the program itself."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from zscope.studies.components.attribution.config import PairsConfig
from zscope.studies.components.attribution.prompt_pairs import (
    PairRule,
    all_pairs,
    next_token,
    pairs_of,
)
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import ToyLanguage

RULE = PairRule(6, 40, 0.25, 0.3)


@pytest.fixture(scope="module")
def language():
    return ToyLanguage(LanguageConfig())


@pytest.fixture(scope="module")
def made(language):
    return {of.primitive: of for of in all_pairs(language, 4, RULE, 7)}


def test_every_primitive_has_its_pairs_or_says_why_not(made):
    with_pairs = {name for name, of in made.items() if of.pairs}
    assert with_pairs == {"long_range", "induction", "skip", "suppress", "bigram", "bracket"}
    for name, of in made.items():
        assert (of.why is None) == (len(of.pairs) == 4), name
    # Six colours are equally likely, so none can lose a quarter.
    assert "no token after it has more than p = 0.17" in made["novel"].why


def test_prompts_differ_in_one_token_and_the_language_can_produce_both(language, made):
    for name, of in made.items():
        for pair in of.pairs:
            assert RULE.shortest <= len(pair.clean) <= RULE.longest
            assert np.flatnonzero(pair.clean != pair.corrupted).tolist() == [pair.edit]
            label = LABELS.index(name)
            for prompt in (pair.clean, pair.corrupted):
                # `conditionals` raises DataError for what cannot be produced.
                ended = np.append(prompt, next_token(language, prompt[None])[0].argmax())[None]
                _, labels = language.conditionals(ended)
                if prompt is pair.clean:
                    assert labels[0, -1] == label


def test_the_edit_takes_the_answer_away_or_allows_the_forbidden_verb(language, made):
    for name, of in made.items():
        for pair in of.pairs:
            before, after = (next_token(language, p[None])[0] for p in (pair.clean, pair.corrupted))
            assert pair.p_clean == before[pair.answer]
            assert pair.p_corrupted == after[pair.answer]
            if name == "suppress":
                assert before[pair.answer] == 0
                assert after[pair.answer] > RULE.least_raise
                top = next_token(language, np.array([[0, pair.clean[-1]]]))[0].argmax()
                assert pair.answer == top
            else:
                assert pair.answer == before.argmax()
                assert before[pair.answer] - after[pair.answer] > RULE.least_drop


def test_they_come_from_the_seed_and_from_different_sequences(language, made):
    again = pairs_of(language, "skip", 4, RULE, 1)
    same = pairs_of(language, "skip", 4, RULE, 1)
    other = pairs_of(language, "skip", 4, RULE, 2)
    prompts = [tuple(p.clean) for p in again.pairs]
    assert prompts == [tuple(p.clean) for p in same.pairs]
    assert prompts != [tuple(p.clean) for p in other.pairs]
    assert len({*prompts}) == 4


def test_a_primitive_that_never_governs_in_the_window_says_so():
    short = ToyLanguage(LanguageConfig(length=8))
    late = PairRule(7, 7, 0.25, 0.3)
    never = pairs_of(short.__class__(short.config.without("suppress")), "suppress", 2, late, 0)
    assert never.pairs == ()
    assert "governs no token 7 to 7 tokens from the start" in never.why


def test_bounds_that_no_edit_meets_are_named(language):
    strict = PairRule(6, 40, 0.26, 0.99)
    found = pairs_of(language, "suppress", 1, strict, 0)
    assert found.pairs == ()
    assert found.tried == 40
    assert "no edit of 40 prompts" in found.why


def test_a_config_whose_shortest_prompt_is_above_the_longest_is_wrong():
    with pytest.raises(ValidationError, match="9 is above longest, 8"):
        PairsConfig(shortest=9, longest=8)
