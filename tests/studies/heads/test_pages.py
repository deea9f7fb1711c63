"""The pages by an HTML parser: every row, number and token is there, and no markup of a model's."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from made_up import (
    DETECTORS,
    LABELS,
    PROMPTS,
    SUBJECT,
    WORDS,
    condition_frame,
    continuation_frame,
    map_frame,
    pattern_frame,
    shift_frame,
    softmax_patterns,
    token_frame,
)
from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.studies.heads.pages import asset_files
from zscope.studies.heads.pages.ablation_page import ablation_page
from zscope.studies.heads.pages.condition_summary import METRICS, summarise_conditions
from zscope.studies.heads.pages.head_map import DetectorText, head_map_page
from zscope.studies.heads.tables import (
    CONDITION_SUMMARY,
    CONTINUATIONS,
    MAP,
    PATTERNS,
    PROMPT_CONDITIONS,
    PROMPT_SHIFTS,
    PROMPT_TOKENS,
    TABLES,
)
from zscope.tables.read import read_table
from zscope.tables.write import write_table

HOSTILE = "</script></td><script>alert(1)</script><img src=x onerror=alert(1)>'\"&amp;"
VOID = {"meta", "link", "input", "br", "img"}


class Node:
    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag, self.attributes = tag, attributes
        self.inside: list[Node | str] = []

    def text(self) -> str:
        return "".join(x if isinstance(x, str) else x.text() for x in self.inside)

    def all(self, tag: str, **attributes: str) -> list[Node]:
        found = []
        for node in self.inside:
            if isinstance(node, Node):
                same = all(node.attributes.get(k.rstrip("_")) == v for k, v in attributes.items())
                found += [node] * (node.tag == tag and same)
                found += node.all(tag, **attributes)
        return found


class Tree(HTMLParser):
    """Raises AssertionError where an element is closed that is not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open = [Node("", {})]
        self.feed(page)
        self.close()
        assert len(self.open) == 1, [node.tag for node in self.open]
        self.root = self.open[0]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self.open[-1].inside.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def ablations(**texts: Any) -> Node:
    conditions = condition_frame(**texts)
    made = ablation_page(
        token_frame(texts.get("prompts", PROMPTS)),
        conditions,
        shift_frame(conditions),
        pd.DataFrame(summarise_conditions(conditions, Bootstrap(resamples=50))),
        continuation_frame(conditions),
        subject=SUBJECT,
        level=0.95,
    )
    return Tree(made).root


def patterns(*prompts: str) -> pd.DataFrame:
    frames = [
        pattern_frame(prompt, softmax_patterns(6, len(PROMPTS[prompt][1])), 3) for prompt in prompts
    ]
    return pd.concat(frames)


def map_data(page: str) -> dict[str, Any]:
    (block,) = Tree(page).root.all("script", id="data")
    return json.loads(block.text())


def small_map(**changed: Any) -> str:
    arguments: dict[str, Any] = {
        "heads": map_frame(2, 3),
        "tokens": token_frame(),
        "patterns": patterns("list-days", "own-mixed"),
        "detectors": DETECTORS,
    }
    return head_map_page(**(arguments | changed), subject=SUBJECT, level=0.95)


def cells(row: Node) -> list[str]:
    return [x.text() for x in row.inside if isinstance(x, Node)]


def test_every_prompt_has_a_table_with_a_row_per_condition() -> None:
    frame = condition_frame()
    sections = ablations().all("section", class_="prompt")
    assert len(sections) == len(PROMPTS)
    for section, (prompt, (family, _, _)) in zip(sections, PROMPTS.items(), strict=True):
        assert section.all("h2")[0].text().startswith(f"{prompt} {family}, t = ")
        (bases,) = section.all("tbody", class_="bases")
        (rows,) = section.all("tbody", class_="rows")
        assert [cells(row)[:2] for row in bases.all("tr")] == [["as it is", "base run"]]
        of_prompt = frame[(frame["prompt"] == prompt) & frame["base"].notna()]
        for row, said in zip(of_prompt.itertuples(), rows.all("tr"), strict=True):
            label, base, predicted, *numbers = cells(said)
            assert (label, base) == (row.label, "as it is")
            assert predicted.endswith("\u2260") == (row.predicted_id != 5)
            assert ("data-changed" in said.attributes) == (row.predicted_id != 5)
            exact = [td.attributes.get("data-sort") for td in said.all("td", class_="number")]
            assert np.allclose(np.array(exact, float), [row.kl, row.log_p, row.log_p_change])
            for text, value in zip(numbers, (row.kl, row.log_p, row.log_p_change), strict=False):
                shown = float(text.replace("\u2212", "-"))
                assert abs(shown - value) <= max(0.0005, 0.05 * abs(value))


def test_the_tokens_that_moved_stand_in_their_order_with_their_change() -> None:
    shifts = shift_frame(condition_frame())
    prompt, condition = "list-days", "values-t1-model"
    mine = shifts[(shifts["prompt"] == prompt) & (shifts["condition"] == condition)]
    section = ablations().all("section", class_="prompt")[list(PROMPTS).index(prompt)]
    row = next(
        r for r in section.all("tr") if r.all("th") and r.all("th")[0].text() == LABELS[condition]
    )
    for cell, (_, rows) in zip(
        row.all("td")[-4:], mine.groupby("ranking", sort=False), strict=True
    ):
        words = [li.all("bdi")[0].attributes["title"] for li in cell.all("li")]
        ids = [int(re.match(r"token (\d+)", w)[1]) for w in words]
        assert ids == rows.sort_values("rank")["token_id"].tolist()
        signs = {li.all("span")[0].text()[0] for li in cell.all("li")}
        assert signs == ({"+"} if rows["value"].iloc[0] > 0 else {"\u2212"})
        assert float(cell.attributes["data-sort"]) == pytest.approx(rows["value"].iloc[0])


@pytest.mark.parametrize("t", [0, 1, 3])
def test_t_and_the_token_before_it_are_marked_by_words(t: int) -> None:
    frame = condition_frame({"code-imports": PROMPTS["code-imports"]}).assign(t=t)
    page = ablation_page(token_frame(), frame, shift_frame(frame), subject="x", level=0.9)
    (line,) = Tree(page).root.all("ol", class_="tokens")
    marked = {
        i: li.all("small")[0].text() for i, li in enumerate(line.all("li")) if li.all("small")
    }
    assert marked == ({t: "t", t - 1: "t\u22121"} if t else {0: "t"})
    assert [li.all("bdi")[0].text() for li in line.all("li")] == [
        "import", "\u2423os", "\u21b5", "import",
    ]  # fmt: skip


def test_what_is_written_stands_in_its_row_with_the_first_other_token_marked() -> None:
    sections = ablations().all("section", class_="prompt")
    base, *rows = sections[0].all("tr")[1:]
    words = [w.replace(" ", "\u2423") for w in WORDS]
    assert [td.text() for td in base.all("td", class_="written")] == ["".join(words[1:4])] * 2
    for number, row in enumerate(rows, 1):
        always, once = row.all("td", class_="written")
        begins = min(number, 4)
        expected = "".join([*words[1:begins], *words[3 + begins : 7]])
        note = f" other from {number}" if number <= 3 else ""
        assert always.text() == expected + note
        assert always.attributes.get("data-sort") == (str(number) if number <= 3 else None)
        assert len(always.all("span", class_="other")) == (number <= 3)
        assert once.text().endswith(" other from 1") == bool(number % 2)
    # Prompts that were not continued have no such columns.
    heads = [len(s.all("thead")[0].all("th")) for s in sections]
    assert heads == [12, *[10] * (len(PROMPTS) - 1)]


def test_the_summary_is_counted_over_prompts() -> None:
    """Against counts and means made by hand."""
    frame = condition_frame()
    rows = pd.DataFrame(summarise_conditions(frame, Bootstrap(level=0.9, resamples=200)))
    assert set(rows["metric"]) == set(METRICS)
    for condition in LABELS:
        of_it = frame[frame["condition"] == condition]
        values = rows[rows["condition"] == condition].set_index("metric")
        changed = [p != 5 for p in of_it["predicted_id"]]
        assert values.loc["changed", "value"] == sum(changed) / len(PROMPTS)
        assert values.loc["kl_mean", "value"] == pytest.approx(sum(of_it["kl"]) / len(of_it))
        assert values.loc["kl_median", "value"] == sorted(of_it["kl"])[len(of_it) // 2]
        assert (values["ci_low"] <= values["value"]).all()
        assert (values["value"] <= values["ci_high"]).all()
        assert set(values["n"]) == {len(PROMPTS)}
    # Wilson (1927) for 0 of 7 at 90 %: the upper end is z^2 / (n + z^2).
    none = rows[(rows["metric"] == "changed") & (rows["value"] == 0)].iloc[0]
    assert none["ci_high"] == pytest.approx(1.6448536**2 / (7 + 1.6448536**2), rel=1e-6)


def test_two_bases_are_each_compared_with_their_own() -> None:
    frame = condition_frame({"list-days": PROMPTS["list-days"]}, {"a": "A", "b": "B"})
    second = frame.iloc[:1].assign(condition="other", label="the other base", predicted_id=9)
    frame = pd.concat([frame, second], ignore_index=True)
    frame.loc[frame["condition"] == "b", ["base", "predicted_id"]] = ["other", 9]
    frame.loc[frame["condition"] == "a", "predicted_id"] = 9
    page = ablation_page(token_frame(), frame, shift_frame(frame), subject="x", level=0.9)
    (rows,) = Tree(page).root.all("tbody", class_="rows")
    assert [cells(r)[1] for r in rows.all("tr")] == ["as it is", "the other base"]
    assert ["data-changed" in r.attributes for r in rows.all("tr")] == [True, False]
    summary = pd.DataFrame(summarise_conditions(frame, Bootstrap(resamples=50)))
    assert summary[summary["metric"] == "changed"]["value"].tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["ablations", "head map"])
def test_no_text_of_a_model_is_markup(kind: str) -> None:
    """The page with hostile texts has the elements and attributes of the one without."""

    def made(text: str) -> str:
        prompts = {text + "1": (text, [text, " x"], text)}
        if kind == "ablations":
            frame = condition_frame(prompts, {text + "2": text})
            shifts = shift_frame(frame, words=[text])
            return ablation_page(token_frame(prompts), frame, shifts, subject=text, level=0.9)
        heads = map_frame(1, 1).assign(named_by=text)
        detectors = (DetectorText("previous", "attention", *[text] * 5),)
        shown = pattern_frame(text + "1", np.ones((1, 2, 2)), 1)
        return head_map_page(heads, token_frame(prompts), shown, detectors, subject=text, level=0.9)

    def shape(page: str) -> list[tuple[str, list[str]]]:
        found: list[tuple[str, list[str]]] = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attrs: found.append((tag, [k for k, _ in attrs]))  # type: ignore[method-assign]
        parser.feed(page)
        return found

    hostile = made(HOSTILE)
    assert shape(hostile) == shape(made("plain"))
    assert HOSTILE not in hostile
    if kind == "head map":
        data = map_data(hostile)
        assert data["detectors"][0]["asks"] == HOSTILE
        assert data["prompts"][0]["id"] == HOSTILE + "1"


@pytest.mark.parametrize("page", ["ablations", "head map"])
def test_a_page_is_one_file_that_may_load_nothing(page: str) -> None:
    frame = condition_frame()
    made = (
        ablation_page(token_frame(), frame, shift_frame(frame), subject="x", level=0.9)
        if page == "ablations"
        else small_map()
    )
    root = Tree(made).root
    (policy,) = root.all("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(r.strip().split(" ", 1) for r in policy.attributes["content"].split(";"))
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/=]{44}'", rules["script-src"])
    for tag in ("script", "img", "iframe"):
        assert not [n for n in root.all(tag) if "src" in n.attributes]
    assert [n.attributes["href"] for n in root.all("link")] == ["data:,"]
    assert not re.search(r"https?://|url\(|@import", made)
    for n in root.all("button"):
        assert n.attributes["type"] == "button"
    assert root.all("html")[0].attributes["lang"] == "en"


def test_scripts_and_styles_cannot_end_their_element() -> None:
    for file in {*asset_files.PROMPT_PAGE, *asset_files.HEAD_MAP}:
        text = file.read_text("utf-8")
        assert text.isascii()
        assert not re.search(r"</(script|style)|<!--|innerHTML|insertAdjacent", text, re.I), file


def test_the_map_has_every_number_at_its_head_and_null_where_there_is_none() -> None:
    frame = map_frame(2, 3).sample(frac=1, random_state=0)
    data = map_data(small_map(heads=frame))
    assert (data["layers"], data["heads"], data["level"]) == (2, 3, "95 %")
    for text, said in zip(DETECTORS, data["detectors"], strict=True):
        rows = frame[frame["detector"] == text.detector].set_index(["layer", "head"])
        for name, values in said["columns"].items():
            for i, value in enumerate(values):
                where = (i // 3, i % 3)
                expected = rows[name].get(where)
                if pd.isna(expected):
                    assert value is None
                else:
                    assert value == pytest.approx(float(expected), rel=1e-4)
        assert len(said["named"]) == 6


def test_a_pattern_is_back_within_a_254th_of_its_largest_weight() -> None:
    from base64 import b64decode

    data = map_data(small_map())
    assert [p["id"] for p in data["prompts"]] == ["list-days", "own-mixed"]
    for prompt in data["prompts"]:
        seq = len(PROMPTS[prompt["id"]][1])
        true = softmax_patterns(6, seq)
        steps = np.frombuffer(b64decode(prompt["packed"]), np.int8).reshape(6, -1)
        assert not prompt["signed"]
        for head in range(6):
            at = 0
            for query in range(seq):
                for key in range(query + 1):
                    weight = steps[head, at] * prompt["scale"][head] / 127
                    largest = true[head].max()
                    assert abs(weight - true[head, query, key]) <= 1.01 * largest / 254
                    at += 1
            assert at == steps.shape[1]


def test_270_heads_on_four_prompts_of_48_tokens_are_below_2_mb() -> None:
    prompts = {f"p{i}": ("own", [f" w{j}" for j in range(48)], "") for i in range(4)}
    frames = [pattern_frame(p, softmax_patterns(270, 48, i), 9) for i, p in enumerate(prompts)]
    made = head_map_page(
        map_frame(30, 9), token_frame(prompts), pd.concat(frames), DETECTORS, subject="x", level=0.9
    )
    assert 1e6 < len(made) < 2e6


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"heads": map_frame(2, 3).drop(columns="q")}, "heads_map has no column q"),
        ({"heads": pd.concat([map_frame(2, 3)] * 2)}, "two rows with {'model': 'smollm2'"),
        (
            {"heads": pd.concat([map_frame(2, 3), map_frame(2, 3).assign(subject="b")])},
            "of several subjects: b, smollm2",
        ),
        ({"patterns": patterns("list-days").iloc[1:]}, "35 entries, of which 35 fit"),
        (
            {"patterns": patterns("list-days").assign(key=lambda f: f["query"] + 1)},
            "of which 0 fit",
        ),
        ({"patterns": patterns("list-days").assign(weight=np.nan)}, "or no number"),
        ({"most_bytes": 1000}, "give fewer or shorter prompts (they have 3, 7 tokens)"),
        (
            {"heads": map_frame(0, 0).reindex(columns=map_frame(1, 1).columns),
             "patterns": patterns("list-days").iloc[:0]},
            "a map of no heads",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_frame_is_one_line(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        small_map(**changed)
    assert "\n" not in str(caught.value)


def test_pages_of_nothing_say_so() -> None:
    empty = condition_frame().iloc[:0]
    shifts = shift_frame(condition_frame()).iloc[:0]
    page = ablation_page(token_frame(), empty, shifts, subject="x", level=0.9)
    assert "No prompt was run." in Tree(page).root.text()
    data = map_data(small_map(patterns=patterns("list-days").iloc[:0]))
    assert data["prompts"] == []


def test_the_frames_are_tables(tmp_path) -> None:
    conditions = condition_frame()
    frames = (
        token_frame(),
        conditions,
        shift_frame(conditions),
        continuation_frame(conditions),
        pd.DataFrame(summarise_conditions(conditions, Bootstrap(resamples=50))),
        patterns("list-days"),
        map_frame(2, 3),
    )
    tables = (PROMPT_TOKENS, PROMPT_CONDITIONS, PROMPT_SHIFTS, CONTINUATIONS, CONDITION_SUMMARY)
    for table, frame in zip((*tables, PATTERNS, MAP), frames, strict=True):
        write_table(frame, tmp_path / "x.parquet", table, {})
        assert len(read_table(tmp_path / "x.parquet", table)) == len(frame) > 0
        assert table in TABLES
