"""Heads with a known pattern get the score that they must have, and no other name."""

# ruff: noqa: N806

from __future__ import annotations

import numpy as np
import pytest
import torch

from plain_scores import plain_score
from planted_heads import (
    BOOTSTRAP,
    SETTINGS,
    answers,
    at_offset,
    collect,
    detectors,
    one_hot_rows,
    uniform,
    zipf_text,
)
from zscope.core.errors import DataError
from zscope.studies.heads.detectors.induction import behind_copies
from zscope.studies.heads.protocol import protocol_answers
from zscope.studies.heads.scores import score
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.sums import Collector, Key, concatenate
from zscope.studies.heads.tokens.random_tokens import fixed_repeats, random_sequences, repeats
from zscope.studies.heads.weights import contribution, layer_weights

FOUND = detectors()
PERIOD = 20


def varied(n: int = 52, length: int = 64, seed: int = 0) -> Stream:
    return repeats(range(1, 500), n, length, periods=(14, 26), front=[0], seed=seed)


@pytest.fixture(scope="module")
def table():
    """Four heads on repeats with varied periods: true, positional, uniform, and a sink with 3 %."""
    stream = varied()
    n, seq = stream.ids.shape
    true = one_hot_rows(behind_copies(stream).mask)
    sink = 0.03 * true
    sink[..., 0] += 0.97
    heads = torch.stack([true, at_offset(n, seq, PERIOD - 1), uniform(n, seq), sink], 1)
    sums = collect(stream, [heads], FOUND)
    return sums, answers([sums], FOUND)["induction", "repeats"]


def test_the_table_of_the_fixed_period(table):
    """True 1, positional 0, uniform 0, and a sink .03 above chance: but 1 without the first key."""
    _, answer = table
    true, positional, even, sink = answer.scores.score[0]
    assert true == pytest.approx(1, abs=1e-6)
    assert positional == pytest.approx(0, abs=1e-6)
    assert even == pytest.approx(0, abs=1e-6)
    assert sink == pytest.approx(0.028, abs=0.0015)
    without = answer.beside["without_first"].score[0]
    assert without[[0, 3]] == pytest.approx([1, 1], abs=1e-6)
    assert answer.scores.p[0, [1, 2]] == pytest.approx([1, 1])
    assert answer.scores.low[0, 1] < 0 < answer.scores.high[0, 1]


def test_only_the_true_head_is_named(table):
    """The sink is far from chance (q), and still no induction head."""
    _, answer = table
    assert answer.named.tolist() == [[True, False, False, False]]
    assert answer.q[0, 3] < 0.05
    assert answer.reachable


def test_the_protocols_number_cannot_tell_a_positional_head_from_the_true_one():
    stream = fixed_repeats(range(100, 900), 12, PERIOD, seed=1)
    n, seq = stream.ids.shape
    heads = torch.stack(
        [at_offset(n, seq, PERIOD - 1), at_offset(n, seq, PERIOD - 2), uniform(n, seq)], 1
    )
    (answer,) = protocol_answers([collect(stream, [heads], FOUND)], FOUND, {})
    assert answer.question == "induction"
    assert answer.value[0, :2] == pytest.approx([1, 0])
    assert answer.named.tolist() == [[True, False, False]]


def test_one_period_alone_is_undefined():
    """Repeats that are all alike have the same masks: no number, and no name for a true head."""
    body = torch.arange(1, 9).repeat(12, 3)
    stream = Stream("repeats", torch.cat([torch.zeros(12, 1, dtype=torch.long), body], 1))
    heads = torch.stack([one_hot_rows(behind_copies(stream).mask), at_offset(12, 25, 7)], 1)
    answer = answers([collect(stream, [heads], FOUND)], FOUND)["induction", "repeats"]
    assert np.isnan(answer.scores.score).all()
    assert np.isnan(answer.scores.p).all()
    assert answer.scores.raw == pytest.approx(np.ones((1, 2)))
    assert not answer.named.any()


def test_200_heads_that_see_only_positions_have_no_content():
    """Random profiles over offsets and keys, on text and on repeats, in all classes."""
    draws = torch.Generator().manual_seed(3)
    text, again = zipf_text(24, 48, 0), varied(24, 48)
    by_offset = 3 * torch.randn(200, 48, generator=draws)
    by_key = 2 * torch.randn(200, 48, generator=draws)
    place = torch.arange(48)
    logits = by_offset[:, (place[:, None] - place).clamp(min=0)] + by_key[:, None]
    pattern = logits.masked_fill(~torch.ones(48, 48).tril().bool(), -torch.inf).softmax(-1)
    heads = pattern.expand(24, 200, 48, 48)
    content = detectors("duplicate", "induction", "delimiter")
    found = answers([collect(s, [heads], content) for s in (text, again)], content)
    assert len(found) == 5
    for answer in found.values():
        assert not answer.named.any()
        assert not answer.named_by_class.any()
        assert np.abs(answer.scores.score).max() < 1e-5
        assert answer.scores.p.min() > 0.9
    positional = detectors("positional", "previous")
    named = answers([collect(text, [heads], positional)], positional)
    assert named["positional", "text"].named.any()  # as they should be


def test_a_planted_head_of_each_kind_is_named_and_only_for_what_it_does():
    ids = zipf_text(40, 48, 1, n_tokens=60).ids
    # Delimiters that are seldom repeated, or a duplicate-token head would attend to them more.
    text = Stream("text", ids, dict.fromkeys(("delimiter", "protocol_delimiter"), ids >= 25))
    n, seq = text.ids.shape
    by_name = {d.name: d for d in FOUND}
    planted = {
        "previous": at_offset(n, seq, 1),
        "offset_5": at_offset(n, seq, 5),
        **{
            x: one_hot_rows(by_name[x].targets(text).mask)
            for x in ("duplicate", "induction", "delimiter")
        },
        "sink": at_offset(n, seq, seq),
    }
    heads = torch.stack(list(planted.values()), 1)
    found = answers([collect(text, [heads], FOUND)], FOUND)
    names = {
        question: {list(planted)[h] for h in np.flatnonzero(answer.named[0])}
        for (question, _), answer in found.items()
    }
    assert names["previous"] == {"previous"}
    assert names["positional"] == {"previous", "offset_5"}
    offsets = found["positional", "text"].offset[0]
    assert offsets[:2].tolist() == [1, 5]
    for name in ("duplicate", "induction", "delimiter"):
        assert names[name] == {name}
    assert names["first"] == names["self"] == set()
    assert found["first", "text"].scores.score[0, 5] == pytest.approx(1)


# --- gated heads ---------------------------------------------------------------------------------


def test_a_gated_head_is_named_by_its_class():
    """An induction head where the query has class b, parked on the first key elsewhere."""
    text = zipf_text(60, 48, 2)
    true = one_hot_rows(behind_copies(text).mask)
    parked = at_offset(60, 48, 48)
    gated = torch.where((text.classes == 1).unsqueeze(-1), true, parked)
    answer = answers([collect(text, [torch.stack([gated, parked], 1)], FOUND)], FOUND)[
        "induction", "text"
    ]
    assert answer.by_class.names[answer.by_class.index[0, 0]] == "b"
    assert answer.by_class.score[0, 0] == pytest.approx(1, abs=1e-6)
    assert answer.by_class.rows[0, 0] == sum(
        int((behind_copies(text).rows & (text.classes == 1)).sum(1)[i]) for i in range(60)
    )
    assert answer.named_by_class.tolist() == [[True, False]]
    assert answer.scores.score[0, 0] < 0.7


def quoted(n: int, seq: int) -> Stream:
    """Text in which the token 5, a class of its own, always stands behind a delimiter (token 1)."""
    text = zipf_text(n, seq, 4)
    ids = text.ids.where(text.ids != 5, torch.tensor(8))
    draws = torch.Generator().manual_seed(5)
    behind = torch.zeros(n, seq, dtype=torch.bool)
    behind[:, 2:] = (ids[:, 1:-1] == 1) & (torch.rand(n, seq - 2, generator=draws) < 0.15)
    ids = torch.where(behind, 5, ids)
    marks = dict.fromkeys(("delimiter", "protocol_delimiter"), ids == 1)
    return Stream("text", ids, marks, (ids == 5).long(), ("other", "quote"))


def test_a_positional_head_that_is_gated_by_the_query_is_no_delimiter_head():
    """It attends one back where the query is a quote. Delimiters stand there, but it sees only the
    position and the class of the query; without the second null it would be named."""
    text = quoted(80, 48)
    gated = torch.where(
        (text.classes == 1).unsqueeze(-1), at_offset(80, 48, 1), at_offset(80, 48, 48)
    )
    sums = collect(text, [gated.unsqueeze(1)], FOUND)
    first, _ = sums.by_class[Key("delimiter", "score", "attention")].nulls
    assert score(first, bootstrap=BOOTSTRAP, flips=1000).low[0, 0, 1] > 0.3
    answer = answers([sums], FOUND)["delimiter", "text"]
    assert not answer.named_by_class.any()
    assert not answer.named.any()


# --- against loops -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def random_model():
    """Two layers of two heads with random patterns, values and W_o on random text."""
    draws = torch.Generator().manual_seed(7)
    text = zipf_text(9, 12, 6, n_tokens=7)
    logits = 2 * torch.randn(2, 9, 2, 12, 12, generator=draws)
    patterns = logits.masked_fill(~torch.ones(12, 12).tril().bool(), -torch.inf).softmax(-1)
    values = torch.randn(9, 2, 12, 3, generator=draws)
    return text, patterns, values, torch.randn(2, 3, 5, generator=draws)


@pytest.mark.parametrize(
    "name", ["previous", "offset_3", "first", "duplicate", "induction", "delimiter"]
)
@pytest.mark.parametrize("kind", ["attention", "contribution", "without_first"])
def test_sums_are_those_of_the_definition(random_model, name, kind):
    text, patterns, values, W_o = random_model
    (detector,) = (d for d in FOUND if d.name == name)
    if kind not in detector.weights:
        pytest.skip(f"{name} has no {kind}")
    sums = collect(text, list(patterns), [detector], values=values, W_o=W_o, batch_size=4)
    found = score(sums.sums[Key(name, "score", kind)], bootstrap=BOOTSTRAP, flips=100)
    for layer, pattern in enumerate(patterns):
        weights = layer_weights(kind, pattern, values, W_o)
        uniform_null = detector.null == "uniform"
        raw, null, rows = plain_score(name, text, weights, SETTINGS.shifts, uniform_null)
        assert found.raw[layer] == pytest.approx(raw, abs=1e-6)
        if kind != "without_first" or not uniform_null:
            assert found.null[layer] == pytest.approx(null, abs=1e-6)
            assert found.score[layer] == pytest.approx((raw - null) / (1 - null), abs=1e-5)
        assert (found.rows[layer] == rows).all()


@pytest.mark.parametrize("name", ["previous", "duplicate", "induction", "delimiter"])
def test_sums_by_class_are_those_of_the_definition(random_model, name):
    text, patterns, values, W_o = random_model
    (detector,) = (d for d in FOUND if d.name == name)
    sums = collect(text, list(patterns), [detector], values=values, W_o=W_o, batch_size=2)
    nulls = sums.by_class[Key(name, "score", "attention")].nulls
    assert len(nulls) == (1 if detector.null == "uniform" else 2)
    for both, of in enumerate(nulls):
        found = score(of, bootstrap=BOOTSTRAP, flips=100)
        for klass in range(3):
            raw, null, rows = plain_score(
                name,
                text,
                patterns[1],
                SETTINGS.shifts,
                detector.null == "uniform",
                klass,
                bool(both),
            )
            assert found.raw[1, :, klass] == pytest.approx(raw, abs=1e-6)
            assert found.null[1, :, klass] == pytest.approx(null, abs=1e-6)
            assert (found.rows[1, :, klass] == rows).all()


def test_uniform_attention_without_the_first_key_scores_0():
    text = zipf_text(12, 20, 8)
    sums = collect(text, [uniform(12, 20).unsqueeze(1)], detectors("previous"))
    for kind in ("attention", "without_first"):
        found = score(sums.sums[Key("previous", "score", kind)], bootstrap=BOOTSTRAP, flips=100)
        assert found.score[0, 0] == pytest.approx(0, abs=1e-6)


def test_batches_do_not_matter_and_what_is_kept_does_not_grow_with_the_length(random_model):
    text, patterns, values, W_o = random_model
    one, many = (
        collect(text, list(patterns), FOUND, values=values, W_o=W_o, batch_size=b) for b in (9, 2)
    )
    assert set(one.sums) == set(many.sums)
    for key, sums in one.sums.items():
        assert many.sums[key].hits == pytest.approx(sums.hits, abs=1e-6)
        if sums.null_hits is not None:
            assert many.sums[key].null_hits == pytest.approx(sums.null_hits, abs=1e-6)

    def kept(seq: int) -> int:
        text = zipf_text(12, seq, 0)
        sums = collect(text, [uniform(12, seq).unsqueeze(1)], detectors("duplicate", "delimiter"))
        return sum(s.hits.nbytes for s in sums.sums.values())

    assert kept(16) == kept(40)


# --- controls, signs, mistakes -------------------------------------------------------------------


def pairs(n: int = 20) -> tuple[Stream, Stream]:
    draws = torch.Generator().manual_seed(9)
    ids = torch.randint(1, 50, (n, 9), generator=draws)
    item = torch.zeros(n, 9, dtype=torch.bool)
    item[:, ::2] = True
    return Stream("ordinals", ids, {"item": item}), Stream(
        "shuffled_ordinals", ids.flip(0), {"item": item}
    )


def test_a_head_that_attends_to_any_item_is_no_successor_head():
    """Two back in every list scores 0; in ordered lists alone it scores 1."""
    ordered, shuffled = pairs()
    back, parked = at_offset(20, 9, 2), at_offset(20, 9, 9)
    found = detectors("successor")
    sums = [
        collect(ordered, [torch.stack([back, back], 1)], found),
        collect(shuffled, [torch.stack([back, parked], 1)], found),
    ]
    answer = answers(sums, found)["successor", "ordinals"]
    assert np.isnan(answer.scores.score[0, 0])  # all on target in both: 0/0
    assert answer.scores.score[0, 1] == pytest.approx(1)
    assert answer.named.tolist() == [[False, True]]
    assert not answers(sums[:1], found)  # without its control it says nothing


def test_sentences_of_several_lengths_are_joined_and_controls_are_pairs():
    ordered, shuffled = pairs()
    found = detectors("successor")
    back = at_offset(20, 9, 2).unsqueeze(1)
    sums = collect(ordered, [back], found)
    both = concatenate([sums, sums])
    key = Key("successor", "score", "attention")
    assert both.sums[key].hits.shape == (40, 1, 1)
    assert both.sums[key].hits[20:] == pytest.approx(sums.sums[key].hits)
    with pytest.raises(DataError, match="20 control prompts for 40"):
        answers([both, collect(shuffled, [back], found)], found)


def test_signed_patterns_have_contributions_alone():
    """+1 and -1 on two keys: half each. Attention is refused."""
    pattern = torch.zeros(1, 1, 3, 3)
    pattern[0, 0, 2, 0], pattern[0, 0, 2, 1] = 1, -1
    values, W_o = torch.ones(1, 1, 3, 2), torch.eye(2).unsqueeze(0)
    shares = contribution(pattern, values, W_o)
    assert shares[0, 0, 2].tolist() == pytest.approx([0.5, 0.5, 0])
    assert shares[0, 0, 0].tolist() == [0, 0, 0]
    for kind in ("attention", "without_first"):
        with pytest.raises(ValueError, match="signed"):
            layer_weights(kind, pattern, values, W_o)
    with pytest.raises(ValueError, match="sum to 1"):
        layer_weights("attention", pattern.abs(), values, W_o)


def test_contributions_do_not_know_the_gauge():
    """Signs of the pattern (of q1 and q2), and of V and O, change nothing; sizes of V do."""
    draws = torch.Generator().manual_seed(11)
    pattern = torch.randn(2, 3, 5, 5, generator=draws).tril()
    values, W_o = torch.randn(2, 3, 5, 4, generator=draws), torch.randn(3, 4, 6, generator=draws)
    shares = contribution(pattern, values, W_o)
    for changed in ((-pattern, values, W_o), (pattern, -values, W_o), (pattern, values, -W_o)):
        assert torch.equal(contribution(*changed), shares)
    lengths = (values @ W_o).norm(dim=-1)
    expected = pattern.abs() * lengths.unsqueeze(2)
    assert torch.allclose(shares, expected / expected.sum(-1, keepdim=True), atol=1e-5)


def test_bilinear_heads_are_named_by_contribution():
    stream = varied(40)
    sign = torch.where(
        torch.rand(stream.ids.shape, generator=torch.Generator().manual_seed(1)) < 0.5, -1, 1
    )
    true = one_hot_rows(behind_copies(stream).mask) * 3 * sign.unsqueeze(-1)
    heads = torch.stack([true, at_offset(*stream.ids.shape, PERIOD - 1) * sign.unsqueeze(-1)], 1)
    sums = collect(stream, [heads], FOUND, signed=True)
    assert {key.weights for key in sums.sums} == {"contribution"}
    answer = answers([sums], FOUND, signed=True)["induction", "repeats"]
    assert answer.weights == "contribution"
    assert answer.named.tolist() == [[True, False]]


def test_mistakes_of_the_caller_are_named():
    text = zipf_text(4, 12, 0)
    with pytest.raises(DataError, match="4 sequences, but the mismatch null needs more than 4"):
        collect(text, [uniform(4, 12).unsqueeze(1)], FOUND)
    with pytest.raises(DataError, match="no detector asks"):
        collect(Stream("nothing", text.ids), [uniform(4, 12).unsqueeze(1)], FOUND)
    few = DetectorSettings(shifts=(-1, 1))
    collector = Collector(text, FOUND, few, n_layers=2, n_heads=1, signed=False)
    batch = collector.batch(torch.arange(4))
    collector.visit(
        batch, 0, uniform(4, 12).unsqueeze(1), torch.ones(4, 1, 12, 2), torch.ones(1, 2, 2)
    )
    with pytest.raises(DataError, match="layer 1 of sequence 0 was seen 0 times"):
        collector.finish()


def test_random_sequences_are_asked_as_well():
    stream = random_sequences(range(1, 90), 12, 30, front=[0], seed=0)
    sums = collect(stream, [at_offset(12, 30, 1).unsqueeze(1)], FOUND)
    found = answers([sums], FOUND)
    assert {a.asked.question for a in found.values()} == {
        "previous",
        "positional",
        "first",
        "self",
    }
    assert found["previous", "random"].named.all()
