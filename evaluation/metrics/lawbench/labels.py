"""Several right labels: marital disputes (2-3), events (2-9) and charges (3-3), by F1 of sets, averaged.

Officially (`wbfl.py`, `sjjc.py`, `ljp_accusation.py`, commit e30981b) a label is found wherever its name occurs.
So 单位受贿 is also 受贿, 职务侵占 also 侵占 and 盗窃、侮辱尸体 also 盗窃 and 侮辱; and thirteen charges that are
published answers of 3-3 are not looked for: the published answers themselves score .932.

Corrected: of names that contain each other the longest counts, the thirteen charges are known, and where the answer
has the mark that the prompt asks for ([类别], [罪名]), only what follows it is read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from . import charges
from .answer_text import final, fold, labels
from .case import Case, Outcome, malformed
from .set_f1 import set_f1

_DISPUTES = (
    "婚后有子女 限制行为能力子女抚养 有夫妻共同财产 支付抚养费 不动产分割 婚后分局 二次起诉离婚 按月给付抚养费 "
    "准予离婚 有夫妻共同债务 婚前个人财产 法定离婚 不履行家庭义务 存在非婚生子 适当帮助 不履行离婚协议 "
    "损害赔偿 感情不和分居满二年 子女随非抚养权人生活 婚后个人财产"
)
_EVENTS = (
    "支付/给付 欺骗 搜查/扣押 要求/请求 卖出 买入 获利 拘捕 鉴定 同意/接受 供述 联络 帮助/救助 租用/借用 受伤 伪造 "
    "卖淫 伤害人身 赔偿 归还/偿还"
)
DISPUTES, EVENTS = tuple(_DISPUTES.split()), tuple(_EVENTS.split())


def upstream_disputes(case: Case) -> Outcome:
    """2-3. Raises ValueError for a published answer that is not 类别: and known labels."""
    gold = case.reference[3:-1].split("、")
    if not (
        case.reference.startswith("类别:") and case.reference.endswith("。") and set(gold) <= set(DISPUTES)
    ):
        raise ValueError("the answer must be 类别: and labels")
    return _contained(case.prediction, DISPUTES, gold)


def upstream_events(case: Case) -> Outcome:
    """2-9."""
    return _contained(case.prediction, EVENTS, case.reference.split(";"))


def upstream_charges(case: Case) -> Outcome:
    """3-3. Raises ValueError for a published answer without 罪名:."""
    if not case.reference.startswith("罪名:"):
        raise ValueError("the answer must begin with 罪名:")
    return _contained(case.prediction, charges.OFFICIAL, case.reference.replace("罪名:", "").split(";"))


def _contained(text: str, known: Collection[str], gold: Sequence[str]) -> Outcome:
    found = {label for label in known if label in text}
    return Outcome(set_f1(set(gold), found), abstained=not found)


def corrected_disputes(case: Case) -> Outcome:
    """2-3."""
    return _read(case, DISPUTES, ("类别",))


def corrected_events(case: Case) -> Outcome:
    """2-9; its prompt asks for no mark."""
    return _read(case, EVENTS, ())


def corrected_charges(case: Case) -> Outcome:
    """3-3."""
    return _read(case, charges.ALL, ("罪名",))


def _read(case: Case, known: Sequence[str], marks: Sequence[str]) -> Outcome:
    gold = labels(fold(case.reference), known)
    if not gold:
        raise malformed(case, f"labels such as {known[0]}")
    text = fold(case.prediction)
    marked = final(text, marks, several=True) if marks else None
    found = labels(marked or "", known) or labels(text, known)
    return Outcome(set_f1(set(gold), set(found)), abstained=not found)
