"""The targets of all seven detectors on six tokens, by hand, and when a detector applies."""

from __future__ import annotations

import pytest
import torch

from zscope.core.errors import ConfigError, DataError
from zscope.studies.heads.detector import Detector, Vocabulary
from zscope.studies.heads.registry import detector_names, load_detectors
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream

SETTINGS = DetectorSettings(max_offset=5)
ALL = {d.name: d for name in detector_names() for d in load_detectors(name, SETTINGS)}
TOKENS = [9, 1, 2, 1, 1, 2]


def stream(tokens: list[int], **marks: set[int]) -> Stream:
    ids = torch.tensor([tokens])
    places = {
        name: torch.tensor([[i in at for i in range(len(tokens))]]) for name, at in marks.items()
    }
    return Stream("text", ids, places)


def counted(detector: Detector, of: Stream) -> dict[int, set[int]]:
    """The keys that each eligible row should attend to."""
    targets = detector.targets(of)
    rows = targets.rows[0].nonzero().flatten().tolist()
    return {i: set(targets.mask[0, i].nonzero().flatten().tolist()) for i in rows}


@pytest.mark.parametrize(
    ("name", "tokens", "expected"),
    [
        ("previous", TOKENS, {2: {1}, 3: {2}, 4: {3}, 5: {4}}),
        ("first", TOKENS, {2: {0}, 3: {0}, 4: {0}, 5: {0}}),
        ("self", TOKENS, {2: {2}, 3: {3}, 4: {4}, 5: {5}}),
        ("offset_1", TOKENS, {2: {1}, 3: {2}, 4: {3}, 5: {4}}),
        ("offset_2", TOKENS, {3: {1}, 4: {2}, 5: {3}}),
        ("offset_5", TOKENS, {}),
        ("duplicate", TOKENS, {3: {1}, 4: {1}, 5: {2}}),
        ("duplicate", [9, 1, 1], {}),
        ("duplicate", [1, 2, 1, 1], {}),  # the first key is no target
        ("duplicate", [9, 1, 1, 1, 1, 1], {3: {1}, 4: {1, 2}, 5: {1, 2, 3}}),
        ("induction", TOKENS, {3: {2}, 4: {2}, 5: {3}}),
        ("induction", [9, 1, 1], {}),
        ("induction", [9, 1, 1, 1, 1, 1], {3: {2}, 4: {2, 3}, 5: {2, 3, 4}}),
        ("induction", [1, 2, 1, 2, 1, 2], {2: {1}, 3: {2}, 4: {1, 3}, 5: {2, 4}}),
    ],
)
def test_targets_on_six_tokens(name, tokens, expected):
    assert counted(ALL[name], stream(tokens)) == expected


def test_delimiters_are_earlier_keys_but_for_the_first_from_row_4_on():
    found = counted(ALL["delimiter"], stream(TOKENS, delimiter={0, 2, 4}))
    assert found == {4: {2}, 5: {2, 4}}
    assert counted(ALL["delimiter"], stream(TOKENS, delimiter={0, 5})) == {}


def test_list_items_look_at_the_item_before():
    assert counted(ALL["successor"], stream(TOKENS, item={1, 3, 5})) == {3: {1}, 5: {3}}


def test_the_end_of_an_ioi_sentence_looks_at_each_name():
    sentence = stream(TOKENS, end={5}, s2={4}, s1={1}, io={2})
    for name, key in (("s_inhibition", 4), ("end_to_s1", 1), ("end_to_io", 2)):
        assert counted(ALL[name], sentence) == {5: {key}}


@pytest.mark.parametrize("detector", ALL.values(), ids=lambda d: d.name)
def test_no_target_lies_ahead_and_none_in_row_0_but_the_protocols(detector):
    """No eligible row sees its whole score in one key: rows 0 and 1 are left out."""
    marks = {x: {1, 3, 5} for x in ("delimiter", "protocol_delimiter", "item")}
    of = stream([9, 1, 1, 2, 1, 2], **marks, end={5}, s2={4}, s1={1}, io={2})
    targets = detector.targets(of)
    assert not targets.mask[0].triu(1).any()
    assert not targets.rows[0, :2].any()
    if detector.protocol:
        protocol = detector.protocol.targets(of)
        assert not (protocol.mask & protocol.rows.unsqueeze(-1))[0].triu(1).any()


def test_the_protocols_rows_and_keys_are_its_own():
    """Its delimiters include the row's own key, its duplicates the key one back, and so on."""

    def of(name: str, s: Stream) -> dict[int, set[int]]:
        targets = ALL[name].protocol.targets(s)
        rows = targets.rows[0].nonzero().flatten().tolist()
        return {i: set(targets.mask[0, i].nonzero().flatten().tolist()) for i in rows}

    assert of("previous", stream(TOKENS)) == {i: {i - 1} for i in range(1, 6)}
    assert of("offset_2", stream(TOKENS)) == {i: {i - 2} for i in range(2, 6)}
    assert of("first", stream(TOKENS)) == {i: {0} for i in range(6)}
    assert of("duplicate", stream(TOKENS)) == {3: {1}, 4: {1, 3}, 5: {2}}
    assert of("induction", stream([1, 2, 3, 1, 2, 3])) == {3: {1}, 4: {2}}
    delimiters = of("delimiter", stream(TOKENS, protocol_delimiter={0, 3}))
    assert delimiters == {0: {0}, 1: {0}, 2: {0}, 3: {0, 3}, 4: {0, 3}, 5: {0, 3}}


def test_seven_detectors_are_found_by_their_files():
    assert detector_names() == (
        *("delimiter", "duplicate", "induction", "positional", "previous"),
        *("s_inhibition", "successor"),
    )
    with pytest.raises(ConfigError, match=r"no detector 'copy': there are delimiter, .*successor"):
        load_detectors("copy", SETTINGS)


TEXT = Vocabulary(
    running_text=True,
    random_tokens=1000,
    delimiters=5,
    ordinals={"days": 7},
    names=20,
    ioi_templates=5,
)
TOY = Vocabulary(running_text=True, random_tokens=60, delimiters=1)
LAG = Vocabulary(running_text=False, random_tokens=36)


@pytest.mark.parametrize(
    ("vocabulary", "skipped"),
    [
        (TEXT, set()),
        (TOY, {"successor", "s_inhibition"}),
        (LAG, {"successor", "s_inhibition", "duplicate", "delimiter"}),
        (
            Vocabulary(running_text=True, random_tokens=7),
            {"successor", "s_inhibition", "delimiter", "induction"},
        ),
    ],
)
def test_a_detector_that_does_not_apply_says_why(vocabulary, skipped):
    reasons = {
        name: load_detectors(name, SETTINGS)[0].applies(vocabulary) for name in detector_names()
    }
    assert {name for name, reason in reasons.items() if reason is not None} == skipped
    assert all(reason is None or len(reason) > 10 for reason in reasons.values())


def test_reasons_name_the_numbers():
    few = Vocabulary(
        running_text=True, random_tokens=7, ordinals={"days": 4}, names=20, ioi_templates=2
    )
    assert "4 single-token words" in ALL["successor"].applies(few)
    assert "2 IOI sentences" in ALL["s_inhibition"].applies(few)
    assert "fewer than 8" in ALL["induction"].applies(few)


def test_a_mark_that_is_not_there_is_named():
    with pytest.raises(DataError, match="no mark 'item'; it has none"):
        ALL["successor"].targets(stream(TOKENS))


@pytest.mark.parametrize("shifts", [(), (0, 1, -1), (1, 2)])
def test_shifts_must_be_symmetric(shifts):
    with pytest.raises(ValueError, match="shifts"):
        DetectorSettings(shifts=shifts)
