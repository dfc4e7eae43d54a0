"""3-4 and 3-5 prison terms in months: 1 − |ln(1 + gold) − ln(1 + found)| / ln 216, averaged.

Officially (`ljp_imprison.py`, commit e30981b) the first number before 个月, else the first before 月, else the
first before 年 counts, so 1年6个月 is 6 months and 2016年3月 is three; `12 个月` is none at all. What has no number
costs ln 216 (18 years), and a wrong one may cost more: values below −1 occur. Rows whose published answer is death
or life are skipped, but stay in the denominator of the abstention rate.

Corrected: years and months add up (一年六个月 is 18, 半年 is 6), spaces don't matter, dates (2016年3月28日) and limits
of the law (三年以下) are not terms, the mark [刑期] decides where there is one, else the last term in the text,
免予刑事处罚 is 0 months, and no value is below 0. Rows of death or life stay skipped.
"""

from __future__ import annotations

import math
import re

from .answer_text import final, fold
from .case import Case, Outcome, malformed
from .numerals import NUMERAL, arabic, number

WORST = math.log(216)
_LONGEST_YEARS = 50
_TERM = re.compile(
    f"(?<![\\d.年])(?:({NUMERAL})\\s*年)?(?:\\s*零?\\s*({NUMERAL})\\s*个?\\s*月)?(半年)?(?!\\s*(?:\\d|以上|以下|以内|份))"
)
_BARE = re.compile(r"\s*(\d+)\s*(?:[<。.]|$)")
_SPARED = re.compile(r"免[予于除](?:刑事)?处罚")


def upstream(case: Case) -> Outcome:
    """The official rule; the value may be negative. Raises ValueError for a published answer of another form."""
    if "死刑" in case.reference or "无期" in case.reference:
        return Outcome(counted=False)
    if not (case.reference.startswith("刑期:") and case.reference.endswith("个月")):
        raise ValueError("the answer must be 刑期: … 个月")
    gold = int(case.reference.replace("刑期:", "").replace("个月", ""))
    text = arabic(case.prediction)
    readings = {unit: [int(n) for n in re.findall(rf"(\d+){unit}", text)] for unit in ("个月", "月", "年")}
    if readings["个月"] or readings["月"]:
        found = (readings["个月"] or readings["月"])[0]
    elif readings["年"]:
        found = readings["年"][0] * 12
    else:
        return Outcome(0.0, abstained=True)
    distance = abs(math.log(gold + 1) - math.log(found + 1))
    return Outcome((WORST - distance) / WORST)


def corrected(case: Case) -> Outcome:
    """Terms read whole, values in 0…1."""
    if "死刑" in case.reference or "无期" in case.reference:
        return Outcome(counted=False)
    gold, found = months(case.reference), months(case.prediction)
    if gold is None:
        raise malformed(case, "a term such as 刑期:18个月")
    if found is None:
        return Outcome(abstained=True)
    return Outcome(max(0.0, 1 - abs(math.log1p(gold) - math.log1p(found)) / WORST))


def months(text: str) -> float | None:
    """The term a text settles on, in months, or None: '判处有期徒刑一年六个月' → 18."""
    text = fold(text)
    marked = final(text, ("刑期",))
    if marked:
        terms = _terms(marked)
        bare = _BARE.match(marked)
        if terms:
            return terms[0]
        if bare:
            return float(bare.group(1))
    terms = _terms(text)
    if terms:
        return terms[-1]
    return 0.0 if _SPARED.search(text) else None


def _terms(text: str) -> list[float]:
    """Every term in order."""
    found = []
    for match in _TERM.finditer(text):
        years, rest, half = match.groups()
        if not (years or rest or half) or (years and number(years) > _LONGEST_YEARS):
            continue
        found.append(12 * number(years or "0") + number(rest or "0") + (6 if half else 0))
    return found
