"""The pages in a real browser: sorting, filtering, picking and clicking work, nothing is loaded,
and no text of a model's is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import Browser, browser, find_browser

from made_up import (
    DETECTORS,
    LABELS,
    PROMPTS,
    SUBJECT,
    condition_frame,
    continuation_frame,
    map_frame,
    pattern_frame,
    shift_frame,
    softmax_patterns,
    token_frame,
)
from zscope.config.base import Bootstrap
from zscope.studies.heads.pages.ablation_page import ablation_page
from zscope.studies.heads.pages.condition_summary import summarise_conditions
from zscope.studies.heads.pages.head_map import head_map_page

pytestmark = pytest.mark.slow
HOSTILE = "</script><script>window.hacked=1</script><img src=http://127.0.0.1:9/x onerror=hacked=1>"
TABLE = "section.prompt:nth-of-type(2)"
ROWS = f"{TABLE} tbody.rows tr:not([hidden])"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("no chromium here (apt-get install chromium)")
    with browser(program, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def opened(tab: Browser, folder: Path, page: str) -> Browser:
    file = folder / "page.html"
    file.write_text(page, "utf-8")
    tab.screen(1200)
    tab.open(file)
    return tab


def is_clean(tab: Browser, folder: Path) -> None:
    assert tab.problems == []
    assert [r for r in tab.requests if not r.startswith("data:")] == [
        (folder / "page.html").as_uri()
    ]
    assert tab.evaluate("window.hacked") is None


def ablations() -> str:
    conditions = condition_frame()
    return ablation_page(
        token_frame(),
        conditions,
        shift_frame(conditions, words=[*"abcd", HOSTILE]),
        pd.DataFrame(summarise_conditions(conditions, Bootstrap(resamples=50))),
        continuation_frame(conditions),
        subject=SUBJECT,
        level=0.95,
    )


def numbers_of(tab: Browser, column: int) -> list[float]:
    texts = tab.texts(f"{ROWS} > :nth-child({column})")
    return [float(text.replace("\u2212", "-")) for text in texts]


def test_what_is_wrong_in_a_page_would_be_seen(chromium: Browser, tmp_path: Path) -> None:
    page = "<script>console.error('so'); missing()</script><img src='http://127.0.0.1:9/x.png'>"
    opened(chromium, tmp_path, page)
    chromium.wait_for("document.images[0].complete")
    assert any("so" in p for p in chromium.problems)
    assert any("missing is not defined" in p for p in chromium.problems)
    assert "http://127.0.0.1:9/x.png" in chromium.requests


def test_a_heading_sorts_numbers_as_numbers_and_gives_the_order_back(
    chromium: Browser, tmp_path: Path
) -> None:
    tab = opened(chromium, tmp_path, ablations())
    assert tab.texts(f"{ROWS} th") == list(LABELS.values())
    prompt = next(iter(PROMPTS))
    frame = condition_frame()
    frame = frame[(frame["prompt"] == prompt) & frame["base"].notna()]
    kl = f"{TABLE} thead th:nth-child(4)"
    for order, expected in (
        ("descending", frame.sort_values("kl", ascending=False)),
        ("ascending", frame.sort_values("kl")),
        (None, frame),
    ):
        tab.click(f"{kl} button")
        assert tab.evaluate(f"document.querySelector('{kl}').getAttribute('aria-sort')") == order
        assert tab.texts(f"{ROWS} th") == expected["label"].tolist()
        # The base run stays on top.
        assert tab.texts(f"{TABLE} tbody th")[0] == "as it is"
    # Texts, by the keyboard; numbers in texts as numbers, and the other heading is sorted no more.
    tab.click(f"{kl} button")
    tab.evaluate(f"document.querySelector('{TABLE} thead th button').focus()")
    tab.press("Enter")
    assert tab.texts(f"{ROWS} th") == sorted(LABELS.values(), key=str.lower)
    assert tab.evaluate(f"document.querySelectorAll('{TABLE} [aria-sort]').length") == 1
    # A list of tokens is sorted by its first number.
    tab.click(f"{TABLE} thead th:nth-child(8) button")
    firsts = tab.texts(f"{ROWS} td:nth-child(8) li:first-child span")
    values = [float(text.replace("\u2212", "-")) for text in firsts]
    assert values == sorted(values, reverse=True)
    is_clean(tab, tmp_path)


def test_continuations_are_sorted_by_their_first_other_token(
    chromium: Browser, tmp_path: Path
) -> None:
    tab = opened(chromium, tmp_path, ablations())
    heading = f"{TABLE} thead th:nth-child(11)"
    assert tab.texts(f"{heading} button") == ["persistent"]
    names = list(LABELS.values())
    tab.click(f"{heading} button")
    # The n-th persistent edit is other from step n on; from the fourth on there is none.
    assert tab.texts(f"{ROWS} th") == [*names[2::-1], *names[3:]]
    tab.click(f"{heading} button")
    assert tab.texts(f"{ROWS} th") == names
    assert len(tab.texts(f"{ROWS} td:nth-child(11) .other")) == 3
    tab.choose("#show", "logit")
    assert tab.texts(f"{TABLE} thead th:nth-child(12)")
    is_clean(tab, tmp_path)


def test_the_summary_is_sorted_too(chromium: Browser, tmp_path: Path) -> None:
    tab = opened(chromium, tmp_path, ablations())
    tab.click("#summary thead th:nth-child(5) button")
    values = [float(text) for text in tab.texts("#summary tbody tr > :nth-child(5)")]
    assert values == sorted(values, reverse=True)
    assert len(values) == len(LABELS)


def test_filters_leave_what_they_say(chromium: Browser, tmp_path: Path) -> None:
    tab = opened(chromium, tmp_path, ablations())
    frame = condition_frame()
    frame = frame[frame["base"].notna()]
    n = len(PROMPTS)
    assert tab.texts("#count") == [f"{len(frame)} ablations, {n} of {n} prompts"]

    tab.click("#filter-text")
    tab.write("All LAYERS")
    assert len(tab.texts("section.prompt tbody.rows tr")) == 2 * n
    tab.evaluate("document.querySelector('#filter-text').value = ''")
    tab.choose("#filter-family", "code")
    assert tab.texts("section.prompt h2") == ["code-imports code, t = 3"]
    tab.choose("#filter-family", "")

    tab.click("#filter-kl")
    tab.write("0.1")
    large = frame[frame["kl"] >= 0.1]
    assert len(tab.texts("section.prompt tbody.rows tr")) == len(large)
    tab.evaluate("document.querySelector('#filter-kl').value = ''")
    tab.click("#filter-changed")
    changed = frame[frame["predicted_id"] != 5]
    assert len(tab.texts("section.prompt tbody.rows tr")) == len(changed) > 0
    assert tab.texts("#count") == [
        f"{len(changed)} ablations, {changed['prompt'].nunique()} of {n} prompts"
    ]
    tab.click("#filter-changed")

    tab.choose("#show", "p")
    assert len(tab.texts(f"{TABLE} thead th")) == 10
    is_clean(tab, tmp_path)


def head_map(detectors=DETECTORS) -> str:
    """Heads of the first prompt look at the token before, the first one, or anywhere."""
    patterns = pd.concat(
        [
            pattern_frame("bigram-peanut-butter", softmax_patterns(270, 4), 9),
            pattern_frame("list-days", np.where(np.tri(3), -2.0, 0)[None].repeat(270, 0), 9),
        ]
    )
    return head_map_page(
        map_frame(), token_frame(), patterns, detectors, subject=SUBJECT, level=0.9
    )


def button(layer: int, head: int) -> str:
    return f".grid tbody tr:nth-child({layer + 1}) td:nth-child({head + 2}) button"


def details(tab: Browser) -> dict[str, str]:
    return dict(zip(tab.texts("#details dt"), tab.texts("#details dd"), strict=True))


def test_a_detector_is_picked_and_a_head_says_its_numbers(
    chromium: Browser, tmp_path: Path
) -> None:
    tab = opened(chromium, tmp_path, head_map())
    frame = map_frame()
    for number, detector in enumerate(DETECTORS[:2]):
        tab.choose("#detector", str(number))
        rows = frame[frame["detector"] == detector.detector]
        assert len(tab.texts(".grid .named")) == rows["named_by"].notna().sum() > 0
        assert len(tab.texts(".grid .unknown")) == rows["score"].isna().sum()
        row = rows[rows["named_by"].notna()].iloc[0]
        tab.move_to(button(row["layer"], row["head"]))
        assert tab.texts("#details h2") == [f"L{row['layer']}H{row['head']}"]
        said = details(tab)
        assert said["score"] == f"{row['score']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        assert said["null"] == f"{row['null']:.3f}"
        assert said["named"] == "yes"
        low, high = row["effect_low"], row["effect_high"]
        effect = f"{row['effect']:.3f} nats [{low:.3f}, {high:.3f}]".replace("-", "\u2212")
        assert said["effect"] == effect
        assert "90 %" in tab.texts("#details p")[0]
        assert detector.asks in tab.texts("#asks")[0]
    tab.choose("#measure", "effect")
    assert len(tab.texts(".grid .unknown")) == rows["effect"].isna().sum()
    tab.choose("#detector", "2")
    assert "Skipped: the vocabulary has 3 ordinals" in tab.texts("#asks")[0]
    assert len(tab.texts(".grid .unknown")) == 270
    is_clean(tab, tmp_path)


def test_a_click_or_a_key_shows_the_heads_pattern(chromium: Browser, tmp_path: Path) -> None:
    tab = opened(chromium, tmp_path, head_map())
    patterns = softmax_patterns(270, 4)
    tab.click(button(2, 3))
    assert tab.texts("#attention-title") == ["Attention of L2H3"]
    assert len(tab.texts(".pattern td.cell")) == 10
    tab.move_to(".pattern tbody tr:nth-child(4) td:nth-child(4)")
    weight = patterns[21, 3, 2]
    assert tab.texts("#readout")[0].startswith("3 \u2423and \u2192 2 \u2423butter: ")
    assert abs(float(tab.texts("#readout")[0].split()[-1]) - weight) < 1 / 254 + 0.0005

    # The same by the keyboard: one to the right, one down, and back over the end of the row.
    tab.evaluate(f"document.querySelector('{button(2, 3)}').focus()")
    for key, name in (
        *(("ArrowRight", "L2H4"), ("ArrowDown", "L3H4"), ("ArrowLeft", "L3H3")),
        *(("ArrowUp", "L2H3"), ("ArrowDown", "L3H3"), ("End", "L3H8"), ("ArrowRight", "L3H8")),
    ):
        tab.press(key)
        assert tab.texts("#details h2") == [name]
    tab.press("Enter")
    assert tab.texts("#attention-title") == ["Attention of L3H8"]
    assert tab.texts("#details h2") == ["L3H8"]
    assert tab.evaluate("document.querySelectorAll('.grid [tabindex=\"0\"]').length") == 1
    assert tab.evaluate("document.querySelectorAll('.grid [aria-pressed=true]').length") == 1

    # Patterns that are signed and no shares. Away with the mouse, or what is drawn beneath it
    # counts as pointed at.
    tab.move_to("#attention-title")
    tab.choose("#prompt", "1")
    assert len(tab.texts(".pattern td.cell.less")) == 6
    assert "\u00b12.000" in tab.texts("#scale")[0]
    tab.evaluate("document.querySelector('.pattern td.cell').focus()")
    tab.press("ArrowDown")
    assert tab.texts("#readout") == ["1 \u2423Tuesday \u2192 0 Monday: \u22122.000"]
    is_clean(tab, tmp_path)


def test_on_a_phone_nothing_but_tables_is_wider_than_the_screen(
    chromium: Browser, tmp_path: Path
) -> None:
    for page in (ablations(), head_map()):
        tab = opened(chromium, tmp_path, page)
        tab.screen(360, 700)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("kind", ["ablations", "head map"])
def test_a_script_that_got_in_would_not_run(chromium: Browser, tmp_path: Path, kind: str) -> None:
    """The policy of the page, should escaping ever fail."""
    page = ablations() if kind == "ablations" else head_map()
    tab = opened(chromium, tmp_path, page.replace("<main>", f"<main>{HOSTILE}<b onclick=0>"))
    assert tab.evaluate("window.hacked") is None
    assert any("Content Security Policy" in p for p in tab.problems)
    assert not [r for r in tab.requests if r.startswith("http")]
