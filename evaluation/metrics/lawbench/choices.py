"""One right option: letters (1-2, 2-8, 3-6), dispute foci (2-2) and topics of consultations (2-4).

Officially (`multi_choice_judge`, commit e30981b) an answer is right if the gold option occurs in it and no other
option does, anywhere and in any role: an ABC公司, a word of English in capitals or a discussion of the options
that were rejected makes a right answer wrong, and one that weighs all of them is never right. In 2-2 the rows
whose answer is 赔偿, which the prompt does not offer, are skipped.

Corrected: letters are read by `option` of `metrics/variants.py`. Of foci and topics, what follows the last label that
the prompt asks for decides, and only without one the whole text, by the official rule. Two options still are no
answer. The rows of 赔偿 stay skipped.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..variants import option
from .answer_text import final, fold, labels
from .case import Case, Outcome, Rule, malformed

_FOCI = (
    "诉讼主体 租金情况 利息 本金争议 责任认定 责任划分 损失认定及处理 原审判决是否适当 合同效力 财产分割 责任承担 "
    "鉴定结论采信问题 诉讼时效 违约 合同解除 肇事逃逸"
)
_TOPICS = (
    "婚姻家庭 劳动纠纷 交通事故 债权债务 刑事辩护 合同纠纷 房产纠纷 侵权 公司法 医疗纠纷 拆迁安置 行政诉讼 "
    "建设工程 知识产权 综合咨询 人身损害 涉外法律 海事海商 消费权益 抵押担保"
)
FOCI, TOPICS = tuple(_FOCI.split()), tuple(_TOPICS.split())
_UNOFFERED = "赔偿"


def upstream_letters(prefix: str, options: str) -> Rule:
    """The rule of 1-2, 2-8 or 3-6, whose published answers begin with `prefix`, then the letter."""

    def rule(case: Case) -> Outcome:
        if not case.reference.startswith(prefix) or case.reference[len(prefix)] not in options:
            raise ValueError(f"the answer must be {prefix} and one of {options}")
        return _only(case.prediction, options, case.reference[len(prefix)])

    return rule


def upstream_focus(case: Case) -> Outcome:
    """2-2."""
    label = case.reference[7:-1]
    if label == _UNOFFERED:
        return Outcome(counted=False)
    if not case.reference.startswith("争议焦点类别：") or label not in FOCI:
        raise ValueError("the answer must be 争议焦点类别： and one of the foci")
    return _only(case.prediction, FOCI, label)


def upstream_topic(case: Case) -> Outcome:
    """2-4. An answer without any topic is an abstention even where the published one is unknown."""
    return _only(case.prediction, TOPICS, case.reference)


def _only(text: str, options: Sequence[str], gold: str) -> Outcome:
    """1 if the gold option is the only one that occurs. Raises KeyError for an unknown gold option."""
    found = [option for option in options if option in text]
    if not found:
        return Outcome(abstained=True)
    if gold not in options:
        raise KeyError(gold)
    return Outcome(float(found == [gold]))


def corrected_letters(options: str) -> Rule:
    """The rule of 1-2, 2-8 or 3-6."""

    def rule(case: Case) -> Outcome:
        gold, found = (option(text, options) for text in (case.reference, case.prediction))
        if not gold:
            raise malformed(case, f"one of the letters {options}")
        return Outcome(float(found == gold), abstained=not found)

    return rule


def corrected_focus(case: Case) -> Outcome:
    """2-2."""
    gold = case.reference.strip().rstrip("。").split("：")[-1].split(":")[-1]
    if gold == _UNOFFERED:
        return Outcome(counted=False)
    return _settled(case, FOCI, gold, ("争议焦点类别", "争议焦点"))


def corrected_topic(case: Case) -> Outcome:
    """2-4."""
    return _settled(case, TOPICS, case.reference.strip(), ("类别",))


def _settled(case: Case, options: Sequence[str], gold: str, marks: Sequence[str]) -> Outcome:
    if gold not in options:
        raise malformed(case, f"one of {'、'.join(options)}")
    text = fold(case.prediction)
    found = labels(final(text, marks) or "", options) or labels(text, options)
    return Outcome(float(found == [gold]), abstained=not found)
