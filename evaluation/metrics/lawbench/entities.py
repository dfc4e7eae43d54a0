"""2-6 entities of a theft: `type:value` pairs, by F1 whose hits are character F1 of the values.

Officially (`compute_ie_f1` of evaluation/utils/comprehension_scores.py, commit e30981b) a value ends at a space or
a line break, and the last one of a type counts. The published answers separate with `;`, so that their own score
is .629; a value of one character at the very end is lost; and a colon inside a published value (13:30) cuts it.

Corrected: a value goes on to `;`, the end of the line or the next type; values of one type that stand apart are
joined by 、, as the published answers join them; and the ways to say that there is none (无, 未提及, 无明确信息…)
are not values.
"""

from __future__ import annotations

import re
from itertools import zip_longest

from .answer_text import fold
from .case import Case, Outcome
from .set_f1 import character_f1

_TYPES = "犯罪嫌疑人 受害人 被盗货币 物品价值 盗窃获利 被盗物品 作案工具 时间 地点 组织机构"
TYPES = tuple(_TYPES.split())
_LABEL = re.compile(f"({'|'.join(TYPES)})\\s*:")
_NONE = re.compile(
    r"(?:暂?无|没有|未(?:提及|提到|知|明确|说明|出现|涉及)|不(?:详|明|知|适用))(?:.*(?:信息|提及|提到|说明|记录))?[。.]?"
)


def upstream(case: Case) -> Outcome:
    """The official rule. Raises IndexError for a published answer with a part that has no colon."""
    gold: dict[str, str] = {}
    if case.reference.strip():
        for part in case.reference.split(";"):
            fields = part.split(":")
            gold[fields[0]] = fields[1]
    found = _up_to_space(case.prediction)
    if not gold:
        return Outcome(float(not found))
    hits = sum(character_f1(gold[kind], value) for kind, value in found.items() if kind in gold)
    precision = hits / len(found) if found else 0.0
    recall = hits / len(gold)
    return Outcome(2 * precision * recall / (precision + recall + 1e-10), abstained=not found)


def _up_to_space(text: str) -> dict[str, str]:
    """The last value of each type, as the official code reads them."""
    found = {}
    for kind in TYPES:
        for match in re.finditer(kind, text):
            end = match.end()
            if end < len(text) - 2 and text[end] in ":：":
                value = re.split("\n| ", text[end + 1 :].strip())[0].strip()
                if value not in ("无", "未提及"):
                    found[kind] = value
    return found


def corrected(case: Case) -> Outcome:
    """Entities read to their ends on both sides."""
    gold, found = entities(case.reference), entities(case.prediction)
    if not gold or not found:
        return Outcome(float(not gold and not found), abstained=bool(gold))
    hits = sum(character_f1(gold[kind], value) for kind, value in found.items() if kind in gold)
    return Outcome(2 * hits / (len(gold) + len(found)))


def entities(text: str) -> dict[str, str]:
    """The values by type: '受害人:甲；时间：6月 2日' → {'受害人': '甲', '时间': '6月 2日'}."""
    text = re.sub(r"<\s*eoa\s*>", "", fold(text))
    starts = list(_LABEL.finditer(text))
    found: dict[str, list[str]] = {}
    for match, following in zip_longest(starts, starts[1:]):
        span = text[match.end() : following.start() if following else len(text)]
        value = re.split(r"[;\n]", span.lstrip(), maxsplit=1)[0].strip(" \t,、。*-")
        if value and not _NONE.fullmatch(value):
            values = found.setdefault(match.group(1), [])
            if value not in values:
                values.append(value)
    return {kind: "、".join(values) for kind, values in found.items()}
