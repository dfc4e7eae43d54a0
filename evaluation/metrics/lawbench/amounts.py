"""3-7 amounts of crimes: right if the published amount is the answer.

Officially (`jetq.py`, commit e30981b) it is right if the published amount is among all numbers of the answer: a
list of every number of the document is right, 14,200元 and 1.42万元 are wrong.

Corrected: one amount is the answer: the first after the mark [金额] that the prompt asks for (of a sum, the total),
else the last one in 元, else the last number; commas may separate thousands, and 千 and 万 are multiplied.
"""

from __future__ import annotations

import re

from .answer_text import final, fold
from .case import Case, Outcome, malformed

_NUMBER = r"(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)\s*(万|千)?"
_YUAN = re.compile(_NUMBER + r"\s*(?:余|多)?元")
_ANY = re.compile(_NUMBER)
_UNITS = {"万": 10_000.0, "千": 1_000.0}
_CENT = 0.005


def upstream(case: Case) -> Outcome:
    """The official rule. Raises ValueError for a published answer of another form."""
    prefix = "上文涉及到的犯罪金额:"
    gold_text = case.reference.replace(prefix, "")
    if not (case.reference.startswith(prefix) and case.reference.endswith("元。")):
        raise ValueError(f"the answer must be {prefix} … 元。")
    if "千元" in gold_text or "万" in gold_text:
        raise ValueError("the amount must be in yuan")
    gold = float(gold_text.replace("元。", ""))
    found = [float(digits) for digits in re.findall(r"\d+\.?\d*", case.prediction)]
    return Outcome(float(gold in found), abstained=not found)


def corrected(case: Case) -> Outcome:
    """One amount is the answer."""
    gold, found = amount(case.reference), amount(case.prediction)
    if gold is None:
        raise malformed(case, "an amount such as 上文涉及到的犯罪金额:8500.0元。")
    return Outcome(float(found is not None and abs(gold - found) < _CENT), abstained=found is None)


def amount(text: str) -> float | None:
    """The amount a text settles on, in yuan, or None: '共计1.42万元' → 14200."""
    text = fold(text)
    marked = final(text, ("[金额", "【金额"))
    if marked:
        found = _amounts(marked.rpartition("=")[2])
        if found:
            return found[0]
    found = _amounts(text)
    return found[-1] if found else None


def _amounts(text: str) -> list[float]:
    """The amounts in 元 in their order, or all numbers where none is."""
    found = list(_YUAN.finditer(text)) or list(_ANY.finditer(text))
    return [float(match.group(1).replace(",", "")) * _UNITS.get(match.group(2) or "", 1.0) for match in found]
