"""The option, A to E, that an answer to a multiple-choice question settles on.

Made for benchmarks whose own rule is too simple for chat models ('the first lone letter', 'the last capital').
In this order, the first that applies:

1. The answer is the text of exactly one option, and no letter.
2. It opens with a letter: 'B', '(b) because …', '**C**. …', 'D：…'.
3. A letter is stated: 'the answer is B', '答案是B', 'Antwort: C', 'réponse : D', '故选A', '\\boxed{B}'. The last one.
4. The last lone capital.

A letter that is rejected ('不是C', 'not C', 'C is wrong', 'C项错误') is no answer, and neither are several at once
('A、B', 'A or B'). Full-width letters are letters. An article is no option ('A stack is …', 'the answer is a queue'),
and neither is a letter within a name ('C++', 'B2', 'A/D', 'GDP', '600519.SH'). What precedes the end of a `</think>`
block is not the answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

STATED = (
    r"(?:(?<![a-z])(?:answers?|antwort|r[ée]ponse|choose|choice)|答案|正确选项|选择|(?<![可不])选(?!项))"
    r"(?:[\s*:=：'\"“‘(\[{$\])】》」]|\\boxed|\\text|(?:is|ist|lautet|est|should be)(?![a-z])|应该|应|该|正确|为|是)*"
)
"""What comes before an answer that is stated."""

_INSIDE = r"(?![A-Za-z0-9_+#/]|['’][a-z]|-[A-Za-z0-9])"
_LONE = r"(?<![A-Za-z0-9_+#/.\\-])"
_REASON = r"because|since|as|is|for|and|or|weil|denn|ist|car|parce|est|et"
_ARTICLE = re.compile(rf"[Aa]\s+(?!(?:{_REASON})\b)[a-zà-ÿ]")
_OPENING = re.compile(r"[\W_]*([A-E])(?=[\W_]|$)" + _INSIDE)
_CAPITAL = r"(?<![A-Za-z0-9])[A-E](?![A-Za-z0-9])"
_SEVERAL = re.compile(
    rf"{_CAPITAL}(?:\s*(?:[、,/&+]|和|与|及|或|(?<![a-z])(?:and|or|und|oder|et|ou)(?![a-z]))\s*{_CAPITAL}"
    rf"|\s+{_CAPITAL}(?=\s*(?:[^\w\s]|\Z|\n)))+"
)
_REJECTED_BEFORE = re.compile(
    r"(?:不(?:应该?|该|能|可|会|要)?(?:是|选|为)|[并而绝]非|排除|除[了去开]?"
    r"|(?<![a-z])(?:not|\w+n['’]t|cannot|never|except|excluding|neither|nor|nicht|pas|sauf"
    r"|(?:rul|eliminat)\w+(?: out)?)"
    r"(?:\s+(?:be|choose|select|pick|the|an?|options?|answers?|choices?))*)"
    r"(?:选项|选择|答案|[\s*:\"'“‘(\[【])*\Z",
    re.IGNORECASE,
)
_REJECTED_AFTER = re.compile(
    r"[\s*\"'”’)\]】]*(?:选?项)?中?的?(?:说法|表述|观点|内容)?\s*(?:是|也|都|均|则|显然|明显|可|并)*"
    r"(?:错|不(?:对|正确|符|成立|准确|可能|是|[能应可]?选|当选)|有误|排除|[×✗✘❌])"
    r"|[\s*\"'”’)\]]*(?:(?:is|are|was|were|seems?|looks?)\s+(?:\w+ly\s+|also\s+|both\s+)?"
    r"(?:not(?![a-z])|wrong|incorrect|false|untrue|impossible|eliminated|ruled out)|(?:is|are)n['’]t"
    r"|ist\s+(?:falsch|nicht)|est\s+(?:fau|incorrect)|n['’]est pas)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")
_SMALL_OPENING = re.compile(r"[\W_]*([a-e])(?=\s*(?:[.):,;、。\]}*\"'”’]|$|\n))")


def final(answer: str) -> str:
    """An answer without its reasoning block, in Unicode's NFKC form and without white space at the ends."""
    return unicodedata.normalize("NFKC", answer.rpartition("</think>")[2]).strip()


def option(answer: str, letters: str, texts: Mapping[str, str] | None = None) -> str:
    """The letter an answer settles on, one of `letters` (capitals); '' if none. `texts` are the options' own."""
    text = final(answer)
    matching = [letter for letter, content in (texts or {}).items() if _same(content, text)]
    if len(matching) == 1 and matching[0] in letters and text.upper() not in {*letters}:
        return matching[0]
    several = {place: run.span() for run in _SEVERAL.finditer(text) for place in range(*run.span())}
    for opening in (_OPENING.match(text), _SMALL_OPENING.match(text)):
        if opening and opening[1].upper() in letters:
            place = opening.start(1)
            if place not in several and _counts(text, place, place + 1):
                return opening[1].upper()
    anywhere = f"[{letters}{letters.lower()}]"
    stated = rf"(?i:{STATED})({anywhere}){_INSIDE}(?!\w)|(?i:{STATED})([{letters}])(?=[\u3400-\u9fff])"
    found = ""
    for match in re.finditer(stated, text):
        place = match.start(match.lastindex or 0)
        if _counts(text, *several.get(place, (place, place + 1))):
            found = "" if place in several else text[place].upper()
    lone = [match.start(1) for match in re.finditer(rf"{_LONE}([{letters}]){_INSIDE}", text)]
    alone = [text[p] for p in lone if p not in several and _counts(text, p, p + 1)]
    return found or (alone[-1] if alone else "")


def _counts(text: str, start: int, end: int) -> bool:
    """Whether a letter, or several at once, are neither an article nor rejected by what stands around them."""
    before = text[max(0, start - 40) : start]
    return not (
        _ARTICLE.match(text, start) or _REJECTED_BEFORE.search(before) or _REJECTED_AFTER.match(text, end)
    )


def word_f1(one: str, other: str) -> float:
    """The F1 of the words two texts share: 1 for the same words in any order, 0 for none.

    Case does not count. Chinese is compared by characters: it has no spaces, and a pair of characters, as `words` in
    this package gives, would need the same neighbour to match.
    """
    left, right = (Counter(_WORD.findall(final(text).casefold())) for text in (one, other))
    shared = (left & right).total()
    return 2 * shared / (left.total() + right.total()) if shared else 0.0


def _same(content: str, text: str) -> bool:
    """Whether an option's text is what was answered, punctuation at the ends and case aside."""
    ends = " \t\r\n.,;:!?。，；：！？*\"'`“”"
    left, right = (" ".join(final(part).casefold().split()).strip(ends) for part in (content, text))
    return bool(left) and left == right
