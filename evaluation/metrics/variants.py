"""The option, A to E, that an answer to a multiple-choice question settles on.

Made for benchmarks whose own rule is too simple for chat models ('the first lone letter', 'the last capital').
In this order, the first that applies:

1. The answer is the text of exactly one option, and no letter.
2. It opens with a letter: 'B', '(b) because …', '**C**. …', 'D：…'.
3. A letter is stated: 'the answer is B', '答案是B', 'Antwort: C', 'réponse : D', '故选A', '\\boxed{B}'. The last one.
4. The last lone capital.

Full-width letters are letters. An article is no option ('A stack is …', 'the answer is a queue'), and neither is
a letter within a name ('C++', 'B2', 'A/D', 'GDP', '600519.SH'). What precedes the end of a `</think>` block is
not the answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

STATED = (
    r"(?:(?<![a-z])(?:answers?|antwort|r[ée]ponse|choose|choice)|答案|正确选项|选择|(?<![可不])选(?!项))"
    r"(?:[\s*:=：'\"“‘(\[{$]|\\boxed|\\text|(?:is|ist|lautet|est|should be)(?![a-z])|应该|应|该|正确|为|是)*"
)
"""What comes before an answer that is stated."""

_INSIDE = r"(?![A-Za-z0-9_+#/]|['’][a-z]|-[A-Za-z0-9])"
_LONE = r"(?<![A-Za-z0-9_+#/.\\-])"
_REASON = r"because|since|as|is|for|and|or|weil|denn|ist|car|parce|est|et"
_ARTICLE = re.compile(rf"[Aa]\s+(?!(?:{_REASON})\b)[a-zà-ÿ]")
_OPENING = re.compile(r"[\W_]*([A-E])(?=[\W_]|$)" + _INSIDE)
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
    for opening in (_OPENING.match(text), _SMALL_OPENING.match(text)):
        if opening and opening[1].upper() in letters and not _ARTICLE.match(text, opening.start(1)):
            return opening[1].upper()
    anywhere = f"[{letters}{letters.lower()}]"
    stated = _lone(
        rf"(?i:{STATED})({anywhere}){_INSIDE}(?!\w)|(?i:{STATED})([{letters}])(?=[\u3400-\u9fff])", text
    )
    return stated or _lone(rf"{_LONE}([{letters}]){_INSIDE}", text)


def word_f1(one: str, other: str) -> float:
    """The F1 of the words two texts share: 1 for the same words in any order, 0 for none.

    Case does not count. Chinese is compared by characters: it has no spaces, and a pair of characters, as `words` in
    this package gives, would need the same neighbour to match.
    """
    left, right = (Counter(_WORD.findall(final(text).casefold())) for text in (one, other))
    shared = (left & right).total()
    return 2 * shared / (left.total() + right.total()) if shared else 0.0


def _lone(pattern: str, text: str) -> str:
    """The last letter a pattern finds that is no article; '' if there is none."""
    found = ""
    for match in re.finditer(pattern, text):
        place = match.start(match.lastindex or 0)
        if not _ARTICLE.match(text, place):
            found = text[place].upper()
    return found


def _same(content: str, text: str) -> bool:
    """Whether an option's text is what was answered, punctuation at the ends and case aside."""
    ends = " \t\r\n.,;:!?。，；：！？*\"'`“”"
    left, right = (" ".join(final(part).casefold().split()).strip(ends) for part in (content, text))
    return bool(left) and left == right
