"""The sequences that detectors are asked on: ids as they should be, from a hand-made tokenizer."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import torch

from zscope.core.errors import DataError
from zscope.studies.heads.detectors.induction import behind_copies
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.tokens.ioi_prompts import ioi_streams
from zscope.studies.heads.tokens.ordinal_lists import comma, ordinal_classes, ordinal_lists
from zscope.studies.heads.tokens.random_tokens import fixed_repeats, repeats
from zscope.studies.heads.tokens.text_windows import (
    is_delimiter,
    protocol_delimiter_ids,
    text_windows,
    token_class,
)
from zscope.text.ioi_sentences import encode_sentence
from zscope.text.single_words import longest_run, single_token, single_tokens
from zscope.text.word_lists import SLOTS, ioi_sentences, names, ordinals, plain_words


class Words:
    """A tokenizer by words with the space in front; `split` are written letter by letter."""

    def __init__(self, *split: str) -> None:
        self.split = split
        self.ids: dict[str, int] = {}

    def __call__(self, text: str) -> list[int]:
        words = re.findall(r" ?[A-Za-z0-9]+|\s|[^\sA-Za-z0-9]", text)
        pieces = [p for w in words for p in (list(w) if w.strip() in self.split else [w])]
        return [self.ids.setdefault(p, len(self.ids)) for p in pieces]


def words_of(tokenizer: Words, ids: torch.Tensor) -> list[str]:
    known = {i: w for w, i in tokenizer.ids.items()}
    return [known.get(i, "<front>") for i in ids.tolist()]


# --- random tokens -------------------------------------------------------------------------------


def test_repeats_are_distinct_tokens_with_periods_that_vary_between_neighbours():
    stream = repeats(range(5, 100), 26, 40, periods=(6, 18), front=[1], seed=0)
    found = []
    for row in stream.ids:
        body = row[1:].tolist()
        period = body[1:].index(body[0]) + 1
        assert body == (body[:period] * 40)[:39]
        assert len(set(body[:period])) == period
        assert set(body) <= set(range(5, 100))
        found.append(period)
    assert sorted(found) == sorted([*range(6, 19)] * 2)
    assert (stream.ids[:, 0] == 1).all()
    assert len({a - b for a, b in pairwise(found)}) > 3
    masks = behind_copies(stream)
    assert masks.rows.any(1).all()
    again = repeats(range(5, 100), 26, 40, periods=(6, 18), front=[1], seed=0)
    assert torch.equal(again.ids, stream.ids)


@pytest.mark.parametrize(
    ("periods", "why"),
    [((8, 8), "one period alone"), ((4, 96), "95 tokens"), ((10, 39), "never repeated within 39")],
)
def test_repeats_that_cannot_be(periods, why):
    with pytest.raises(DataError, match=why):
        repeats(range(5, 100), 4, 40, periods=periods, front=[1], seed=0)


def test_the_protocols_repeats_are_two_halves():
    ids = fixed_repeats(range(100, 900), 3, 7, seed=0).ids
    assert torch.equal(ids[:, :7], ids[:, 7:])


# --- text ----------------------------------------------------------------------------------------


def test_windows_are_the_text_itself_in_order():
    written = {i: "ab"[i % 2] for i in range(60)} | {99: "", 3: ".", 5: " ;\n"}
    stream = text_windows(
        [list(range(10)), list(range(20, 47)), [7]],
        6,
        front=[99],
        written=written,
        protocol_delimiters=frozenset({3}),
    )
    assert stream.ids.tolist() == [
        [99, 0, 1, 2, 3, 4],
        [99, 5, 6, 7, 8, 9],
        *([99, *range(20 + 5 * k, 25 + 5 * k)] for k in range(5)),
    ]
    assert stream.mark("delimiter").nonzero().tolist() == [[0, 4], [1, 1]]
    assert stream.mark("protocol_delimiter").nonzero().tolist() == [[0, 4]]
    assert [stream.class_names[c] for c in stream.classes[0].tolist()][:2] == ["other", "letters"]
    limited = text_windows(
        [list(range(20, 47))],
        6,
        front=[99],
        limit=2,
        written=written,
        protocol_delimiters=frozenset(),
    )
    assert limited.ids[:, 1].tolist() == [20, 30]
    with pytest.raises(DataError, match="the longest has 3"):
        text_windows([[1, 2, 3]], 6, front=[99], written=written, protocol_delimiters=frozenset())


@pytest.mark.parametrize(
    ("text", "klass", "delimits"),
    [
        (" the", "word", False),
        ("ing", "letters", False),
        (" 12", "digits", False),
        ("3rd", "digits", False),
        (" ,", "punctuation", True),
        ('."', "punctuation", False),
        ("\n\n", "line end", True),
        (".\n", "line end", True),
        ("\ufffd", "other", False),
        (" ", "other", False),
        ("，", "punctuation", True),
        (" 山", "word", False),
    ],
)
def test_classes_and_delimiters_by_the_text_of_a_token(text, klass, delimits):
    assert token_class(text) == klass
    assert is_delimiter(text) is delimits


def test_the_protocols_delimiters_are_single_tokens():
    tokenizer = Words()
    ids = protocol_delimiter_ids(tokenizer)
    assert ids == {tokenizer.ids[x] for x in (".", ",", ";", ":", "!", "?", "\n")}


# --- words ---------------------------------------------------------------------------------------


def test_single_tokens_are_those_in_the_middle_of_a_text():
    tokenizer = Words("Wednesday")
    assert single_token(tokenizer, "Monday") == tokenizer.ids[" Monday"]
    assert single_token(tokenizer, "Wednesday") is None
    assert set(single_tokens(tokenizer, ["Monday", "Wednesday", "Friday"])) == {"Monday", "Friday"}
    days = ordinals()["days"]
    run = longest_run(tokenizer, days)
    assert [tokenizer.ids[f" {d}"] for d in ("Thursday", "Friday", "Saturday", "Sunday")] == run
    # A tokenizer that joins words with what is in front has no single ones.
    joined = {"and": 1}
    assert single_token(lambda text: [joined.setdefault(text, len(joined) + 1)], "Monday") is None


def test_lists_are_ordered_shuffled_and_other_words_in_triples():
    tokenizer = Words("Wednesday")
    classes = ordinal_classes(tokenizer, ordinals())
    assert len(classes["letters"]) == 26
    assert len(classes["days"]) == 4
    other = list(single_tokens(tokenizer, plain_words()).values())
    mark = comma(tokenizer)
    ordered, shuffled, random_words = ordinal_lists(
        classes, other, 30, n_items=5, comma=mark, front=[777], seed=0
    )
    assert [s.name for s in (ordered, shuffled, random_words)] == [
        "ordinals",
        "shuffled_ordinals",
        "random_words",
    ]
    used = set()
    for one, two, three in zip(ordered.ids, shuffled.ids, random_words.ids, strict=True):
        for ids in (one, two, three):
            assert ids[0] == 777
            assert (ids[2::2] == mark).all()
        items, mixed = one[1::2].tolist(), two[1::2].tolist()
        (name,) = [n for n, c in classes.items() if set(items) <= set(c) and len(c) >= 5]
        start = classes[name].index(items[0])
        assert items == classes[name][start : start + 5]
        assert sorted(mixed) == sorted(items)
        assert all(items.index(b) - items.index(a) != 1 for a, b in pairwise(mixed))
        assert len(set(three[1::2].tolist())) == 5
        used.add(name)
    assert used == {"digits", "letters", "number_words", "ordinal_words", "months"}
    assert ordered.mark("item")[0].nonzero().flatten().tolist() == [1, 3, 5, 7, 9]
    with pytest.raises(DataError, match="no ordinal class has 40"):
        ordinal_lists(classes, other, 3, n_items=40, comma=mark, front=[], seed=0)


# --- IOI -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ioi_sentences())
def test_prompts_and_controls_read_as_they_should(name):
    tokenizer = Words()
    single = single_tokens(tokenizer, names())
    sentence = encode_sentence(tokenizer, name, ioi_sentences()[name], single)
    ((ioi, abc),) = ioi_streams([sentence], list(single.values()), 8, front=[777], seed=0)
    orders = set()
    for i in range(8):
        words, control = words_of(tokenizer, ioi.ids[i]), words_of(tokenizer, abc.ids[i])
        place = {m: int(ioi.mark(m)[i].nonzero()) for m in ("io", "s1", "s2", "end")}
        assert place["end"] == len(words) - 1
        assert words[place["s1"]] == words[place["s2"]] != words[place["io"]]
        assert max(place["io"], place["s1"]) < place["s2"] < place["end"]
        differ = [k for k, (a, b) in enumerate(zip(words, control, strict=True)) if a != b]
        assert differ == [place["s2"]]
        assert control[place["s2"]] not in (words[place["io"]], words[place["s1"]])
        orders.add(place["io"] < place["s1"])
        first, second = sorted((place["io"], place["s1"]))
        filling = (words[first].strip(), words[second].strip(), words[place["s2"]].strip())
        text = ioi_sentences()[name].format(**dict(zip(SLOTS, filling, strict=True)))
        assert [777, *tokenizer(text)] == ioi.ids[i].tolist()
        assert torch.equal(abc.mark("s2"), ioi.mark("s2"))
    assert orders == {True, False}


def test_a_sentence_that_a_tokenizer_writes_otherwise_is_left_out():
    """Here names melt into the word behind them, so that a name's id is not in the sentence."""
    tokenizer = Words()
    single = single_tokens(tokenizer, names())
    template = ioi_sentences()["store"]

    def melts(text: str) -> list[int]:
        return tokenizer(re.sub(r"(\w+) went", r"\1went", text))

    assert encode_sentence(melts, "store", template, single) is None
    with pytest.raises(DataError, match="tried with 6"):
        encode_sentence(tokenizer, "store", template, {"Mary": 1, "John": 2})
    with pytest.raises(DataError, match="odd number"):
        ioi_streams([], [1, 2, 3], 3, front=[], seed=0)


def test_a_stream_whose_parts_do_not_fit_is_refused():
    ids = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(DataError, match=r"mark 'item' has shape \(2, 2\), not \(2, 3\)"):
        Stream("text", ids, {"item": torch.zeros(2, 2, dtype=torch.bool)})
    with pytest.raises(DataError, match="class without a name"):
        Stream("text", ids, {}, ids + 1, ("one",))
