"""The word lists are what they say: no word twice, and sentences with their three places."""

import string

from zscope.text.word_lists import SLOTS, ioi_sentences, names, ordinals, plain_words


def test_no_word_stands_twice_and_classes_share_none():
    for words in (*ordinals().values(), names(), plain_words()):
        assert len(set(words)) == len(words) >= 5
    every = [w for words in ordinals().values() for w in words]
    assert len(set(every)) == len(every)
    assert not set(names()) & {w for s in ioi_sentences().values() for w in s.split()}


def test_ioi_sentences_name_two_people_and_then_the_subject():
    assert len(ioi_sentences()) >= 3
    for text in ioi_sentences().values():
        found = [name for _, name, _, _ in string.Formatter().parse(text) if name]
        assert tuple(found) == SLOTS
        assert text.endswith("to")
        assert all(f" {{{slot}}}" in text for slot in SLOTS)  # a name has a space in front
