"""Where a generated text goes on with a problem of its own, as base models do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zscope.studies.crosslingual.problems.numbers import find_numbers, normalise

_ENGLISH = (
    r"(?:questions?|problems?|exercises?|examples?|tasks?|quiz|query|puzzle|riddle|instructions?"
    r"|prompt|input|user|human|q)"
)
_CHINESE = (
    r"(?:(?:[下另新]?一?[道个]?|类似|相似)(?:题目|问题|例题|习题|试题|考题)|题|例|练习题?|思考题|应用题"
    r"|变式(?:题|训练)?|提问|追问|问|用户|指令|输入|第\s?[\d一二三四五六七八九十]+\s?[道个]?[题问]"
    r"|[下另新]一[道个]?题)"
)
_COUNT = (
    r"\s*(?:no\.?|number)?\s*[#(（]?\s*(?:\d+|[一二三四五六七八九十]+|[a-z](?![a-z]))?\s*[)）]?"
)
_WORDS = (
    r"(?:(?:a|the|new|next|another|similar|more|follow[- ]?up|practice|math|word|your|here is)\s+)*"
)
_LINE = r"(?:^|\n)[ \t]*"
_LABEL = re.compile(
    # At the start of a line or sentence, with a colon: "Question 2:", "2. **Q:**", "题目：",
    # "【问题】"; not "to answer the question: 59".
    rf"(?:{_LINE}|(?<=[.!?;。！？；)）\]】])[ \t]*)(?:\d+[.)、][ \t]*)?[ \t#*_>\-—\[【(（「《]*"
    rf"(?:{_WORDS}{_ENGLISH}{_COUNT}|{_CHINESE}{_COUNT})[\s*_]*"
    r"(?:[:：\]】」》]|(?<=\d)[.、](?!\d)|(?<=\d\)))"
    # A capital inside a line.
    r"|(?<=\s)(?-i:Question|Problem|Exercise|Q)\s*\d*:"
    # A heading, or a line of its own.
    rf"|{_LINE}(?:#+|\*\*|__|【|\[)[ \t]*(?:{_ENGLISH}\b|{_CHINESE})"
    rf"|{_LINE}(?:{_ENGLISH}{_COUNT}|第\s?[\d一二三四五六七八九十]+\s?[道个]?题)[ \t]*(?=\n)"
    rf"|{_LINE}题目{_COUNT}[ \t]*(?=\s)"
    r"|<\|?(?:im_start|im_end|endoftext|eot_id|end|user|assistant|/?s)\|?>|\[/?INST\]",
    re.IGNORECASE,
)
_BREAK = re.compile(r"\n[ \t]*\n\s*|\n[ \t]*(?=\(?\d+[.)、])", re.ASCII)
_QUESTION = re.compile(
    r"[?？]|\bhow (?:many|much|old|long|far|fast)\b|\bwhat (?:is|are|was|were|will)\b|多少"
    r"|几(?=[个只支本])",
    re.IGNORECASE,
)


def before_label(text: str) -> str:
    """The text before the first label of a new problem ("Question:", "题目", "<|im_end|>")."""
    label = _LABEL.search(text)
    return text[: label.start()] if label else text


def question_breaks(text: str) -> Iterator[tuple[int, bool]]:
    """Where a paragraph, or an item of a list, begins that asks something.

    With it, whether numbers are told before the question: the text of a problem. If none are, the
    text may ask itself ("How many are left? 5").
    """
    breaks = list(_BREAK.finditer(text))
    ends = [later.start() for later in breaks[1:]] + [len(text)]
    for at, end in zip(breaks, ends, strict=False):
        paragraph = text[at.end() : end]
        question = _QUESTION.search(paragraph)
        if question and text[: at.start()].strip():
            told = paragraph[: question.start()]
            listed = re.sub(r"^\(?\d+[.)、]", "", told)
            yield at.start(), bool(find_numbers(normalise(listed)))
