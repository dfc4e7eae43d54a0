"""3-1 articles of the Criminal Law, by F1 of the sets of their numbers, averaged.

Officially (`ljp_article.py`, commit e30981b) an answer is cut at 、 and each piece gives the first number in it,
after 第…款 has been deleted and Chinese numbers converted. 第264条第1款 gives nothing, because the deletion begins
at the first 第; a year, an amount or a list's number before the article is taken for it; articles joined by 和 or a
comma are one piece.

Corrected: an article is a number before 条 (or one of a list before 条, as the published answers write: 第345、346条);
paragraphs and items are not read. After the mark that the prompt asks for, [法条], plain numbers do as well.
"""

from __future__ import annotations

import re

from .answer_text import final, fold
from .case import Case, Outcome, malformed
from .numerals import NUMERAL, arabic, number
from .set_f1 import set_f1

LAST_ARTICLE = 490
"""No published answer is above it; the law itself ends with 452."""

_JOIN = r"\s*(?:[、,，;和及与或]|以及)\s*"
_ARTICLES = re.compile(f"(?:第\\s*)?({NUMERAL}(?:{_JOIN}(?:第\\s*)?{NUMERAL})*)\\s*条")
_PLAIN = re.compile(r"(?<![\d.第])(\d{2,3})(?!\s*[\d款项目年月日元万.])")


def upstream(case: Case) -> Outcome:
    """The official rule. Raises ValueError for a published answer of another form."""
    if not (case.reference.startswith("法条:刑法第") and case.reference.endswith("条")):
        raise ValueError("the answer must be 法条:刑法第 … 条")
    pieces = case.reference.replace("法条:刑法第", "").replace("条", "").split("、")
    if not all(piece.isdigit() for piece in pieces):
        raise ValueError("an article must be a number")
    gold = {int(piece) for piece in pieces}
    if max(gold) > LAST_ARTICLE:
        raise ValueError("there is no such article")
    found = {
        article for chunk in case.prediction.split("、") if (article := _first_number(chunk)) is not None
    }
    return Outcome(set_f1(gold, found), abstained=not found)


def _first_number(chunk: str) -> int | None:
    chunk = re.sub(r"第(.*?)款", "", chunk.replace("万元", "元"))
    chunk = re.sub(r"第(.*?)条", r"\1", chunk)
    numbers = re.findall(r"\d+", arabic(chunk))
    return int(numbers[0]) if numbers else None


def corrected(case: Case) -> Outcome:
    """Articles by their 条."""
    gold = articles(case.reference)
    if not gold:
        raise malformed(case, "articles of the Criminal Law such as 刑法第264条")
    found = articles(case.prediction)
    return Outcome(set_f1(gold, found), abstained=not found)


def articles(text: str) -> set[int]:
    """The numbers of the articles named: '[法条]刑法第二百六十四条第1款、第266条<eoa>' → {264, 266}."""
    text = fold(text)
    marked = final(text, ("法条",), several=True)
    found = _before_article(marked or "")
    if not found and marked:
        found = {int(match.group(1)) for match in _PLAIN.finditer(marked)}
    return found or _before_article(text)


def _before_article(text: str) -> set[int]:
    lists = (match.group(1) for match in _ARTICLES.finditer(text))
    numbers = (number(numeral) for group in lists for numeral in re.findall(NUMERAL, group))
    return {int(value) for value in numbers if value.is_integer() and 0 < value <= LAST_ARTICLE}
