"""LawBench: the official rules with their faults, and what was corrected."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.places import DATA
from trex.errors import InputError
from trex.evaluation.metrics import measure, metric
from trex.evaluation.metrics.lawbench import SUBTASKS, LawBench, charges, lexicon, packages
from trex.evaluation.metrics.lawbench.amounts import amount
from trex.evaluation.metrics.lawbench.articles import articles
from trex.evaluation.metrics.lawbench.character_f1 import paired
from trex.evaluation.metrics.lawbench.entities import entities
from trex.evaluation.metrics.lawbench.numerals import number
from trex.evaluation.metrics.lawbench.prison_terms import WORST, months
from trex.evaluation.statistics.intervals import score_measured
from trex.files import read_jsonl

pytestmark = pytest.mark.filterwarnings("ignore:LawBench 2-1 in its official form")

OFFICIAL = list(read_jsonl(DATA / "lawbench_official.jsonl"))
# what the official code gave for all rows of the table that it does not crash on
AGGREGATES = {
    "1-1": 0.2926553065460919,
    "1-2": 0.2857142857142857,
    "2-1": 0.3917,
    "2-2": 0.16666666666666666,
    "2-3": 0.26666666666666666,
    "2-4": 0.18181818181818182,
    "2-5": 0.32591093117408904,
    "2-6": 0.29420172215337353,
    "2-7": 0.26229396628674884,
    "2-8": 0.2727272727272727,
    "2-9": 0.2857142857142857,
    "2-10": 0.208333333321875,
    "3-1": 0.25,
    "3-2": 0.3929128811649561,
    "3-3": 0.18181818181818182,
    "3-4": 0.5886449495420176,
    "3-5": 0.5886449495420176,
    "3-6": 0.4,
    "3-7": 0.2857142857142857,
    "3-8": 0.3836581332553659,
}
GOLD = {
    "1-1": "答案:账目公开。",
    "1-2": "正确答案：B。",
    "2-1": "被告应当返还原物。",
    "2-2": "争议焦点类别：利息。",
    "2-3": "类别:婚后有子女、支付抚养费。",
    "2-4": "侵权",
    "2-5": "回答:三百元",
    "2-6": "受害人:甲;时间:夜里",
    "2-7": "法院开庭。",
    "2-8": "[正确答案]E<eoa>",
    "2-9": "获利;卖出",
    "2-10": "查获;退还",
    "3-1": "法条:刑法第264、266条",
    "3-2": "应当返还。",
    "3-3": "罪名:受贿;单位受贿",
    "3-4": "刑期:18个月",
    "3-5": "刑期:18个月",
    "3-6": "正确答案:A。",
    "3-7": "上文涉及到的犯罪金额:14200.0元。",
    "3-8": "回答:可以。法律依据:略",
}
PROMPT = "改正。句子：\n被告应当返原还物。"


@pytest.fixture(autouse=True)
def fresh_lexicon() -> Iterator[None]:
    lexicon.official.cache_clear()
    yield
    lexicon.official.cache_clear()


def row(task: str, **more: Any) -> dict[str, Any]:
    return {"origin_prompt": PROMPT, "refr": GOLD[task], **more}


def score(name: str, rows: list[dict[str, Any]], answers: list[str]) -> float:
    scorer = metric(name)
    return score_measured(scorer, measure(scorer, rows, answers)).value


def one(subtask: str, answer: str, upstream: bool = False, **more: Any) -> float:
    return LawBench(subtask, upstream).score_items([row(subtask, **more)], [answer])[0]


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_every_official_value_is_reproduced(subtask: str) -> None:
    cases = [case for case in OFFICIAL if case["subtask"] == subtask]
    rows, answers = [case["row"] for case in cases], [case["prediction"] for case in cases]
    scorer = LawBench(subtask, upstream=True)
    assert scorer.score_items(rows, answers) == pytest.approx(
        [case["score"] or 0.0 for case in cases], abs=1e-12
    )
    sane = [case for case in cases if case["score"] is not None or not case["counted"]]
    rows, answers = [case["row"] for case in sane], [case["prediction"] for case in sane]
    assert score(scorer.name, rows, answers) == pytest.approx(AGGREGATES[subtask], abs=1e-12)
    if subtask == "2-1":
        edits = [case["edits"] for case in cases]
        assert (
            scorer.counts([case["row"] for case in cases], [case["prediction"] for case in cases])[
                :, :3
            ].tolist()
            == edits
        )


def test_the_table_is_large_and_has_rows_that_are_crashed_on_and_skipped() -> None:
    assert len(OFFICIAL) >= 300
    assert {case["subtask"] for case in OFFICIAL} == set(SUBTASKS)
    assert sum(case["score"] is None for case in OFFICIAL) >= 8
    assert sum(not case["counted"] for case in OFFICIAL) == 3


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_the_published_answer_scores_one_when_corrected(subtask: str) -> None:
    assert one(subtask, GOLD[subtask]) == 1.0
    assert score(f"lawbench:{subtask}", [row(subtask)], [GOLD[subtask]]) == 1.0


@pytest.mark.parametrize(
    ("subtask", "answer", "official", "corrected"),
    [
        ("1-1", "答案:账目公开。", 0.75, 1),
        ("1-2", "A错，D也错，所以正确答案是B。", 0, 1),
        ("1-2", "[正确答案]Ｂ<eoa>", 0, 1),
        ("1-2", "[正确答案]A、B<eoa>", 0, 0),
        ("2-2", "不是违约，[争议焦点]利息<eoa>", 0, 1),
        ("2-3", "[类别]婚后有子女<eoa>，没有支付抚养费", 1, 2 / 3),
        ("2-4", "[类别]侵权<eoa>而非知识产权", 0, 1),
        ("2-5", "回答:三百元", 0.75, 1),
        ("2-6", "受害人:甲;时间:夜里", 2 / 3, 1),
        ("2-6", "受害人:甲\n时间:无明确信息", 0.5, 2 / 3),
        ("2-10", "退还;查获", 0, 1),
        ("2-10", "查获；退还", 4 / 9, 1),
        ("3-1", "第264条第1款、第266条", 2 / 3, 1),
        ("3-1", "第二百六十四条和第二百六十六条", 2 / 3, 1),
        ("3-3", "单位受贿", 1, 2 / 3),
        ("3-4", "一年六个月", 1 - math.log(19 / 7) / WORST, 1),
        ("3-4", "1年6个月", 1 - math.log(19 / 7) / WORST, 1),
        ("3-4", "18 个月", 0, 1),
        ("3-4", "999999个月", 1 - math.log(1e6 / 19) / WORST, 0),
        ("3-7", "14,200元", 0, 1),
        ("3-7", "1.42万元", 0, 1),
        ("3-7", "1元、2元、14200元、3元", 1, 0),
        ("3-8", "", 0, 0),
    ],
)
def test_faults_and_their_repair(subtask: str, answer: str, official: float, corrected: float) -> None:
    assert one(subtask, answer, upstream=True) == pytest.approx(official, abs=1e-8)
    assert one(subtask, answer) == pytest.approx(corrected, abs=1e-9)


@pytest.mark.parametrize(
    ("subtask", "gold", "answer", "official", "corrected"),
    [
        ("3-1", "法条:刑法第201条", "刑法第二〇一条", 0, 1),  # 1 officially with cn2an 0.5.24
        ("3-1", "法条:刑法第201条", "刑法第二百零一条", 1, 1),
        ("3-1", "法条:刑法第264条", "刑法第二六四条", 1, 1),
        ("3-4", "刑期:60个月", "半年", 1, 1 - math.log(61 / 7) / WORST),  # 0.5年; 半年 with cn2an 0.5.24
        ("3-5", "刑期:252个月", "二〇二一年", 1, 0),  # 2〇21年; 2021年 with cn2an 0.5.24
    ],
)
def test_numbers_are_read_as_by_the_package_that_lawbench_requires(
    subtask: str, gold: str, answer: str, official: float, corrected: float
) -> None:
    assert one(subtask, answer, upstream=True, refr=gold) == official
    assert one(subtask, answer, refr=gold) == pytest.approx(corrected)


def test_a_package_in_another_version_ends_the_official_form_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packages.PINNED, "cn2an", "0.0.1")
    measured = measure(LawBench("3-1"), [row("3-1", id="other")], ["刑法第264、266条。"])
    assert measured.values == [1.0]
    assert "lawbench:3-1/upstream" not in measured.secondary
    with pytest.raises(
        InputError, match=r"needs cn2an 0\.0\.1, but .* is installed: pip install cn2an==0\.0\.1"
    ):
        one("3-1", "刑法第264、266条。", upstream=True)


@pytest.mark.parametrize("charge", sorted(charges.LEFT_OUT))
def test_charges_left_out_officially_are_known(charge: str) -> None:
    assert one("3-3", charge, refr=f"罪名:{charge}") == 1.0
    assert charge not in charges.OFFICIAL


def test_there_are_189_charges_officially() -> None:
    assert len(charges.OFFICIAL) == 189
    assert len(charges.ALL) == 189 + 13


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("[正确答案]C<eoa>", True),
        ("[正确答案]【Ｃ】", True),
        ("例如[正确答案]A<eoa>。答案C", True),
        ("ABC公司选 C", True),
        ("C。选项B错误。", True),
        ("A、B、D均错误，C正确", True),
        ("不选A、B、D，应选C", True),
        ("不是C", False),
        ("不选C。", False),
        ("答案不是C，而是B", False),
        ("C项错误，故选D", False),
        ("答案：A、C", False),
        ("[正确答案]A C<eoa>", False),
        ("AC", False),
        ("", False),
    ],
)
def test_letters(answer: str, right: bool) -> None:
    for subtask, prefix in (("1-2", "正确答案："), ("2-8", "[正确答案]"), ("3-6", "正确答案:")):
        assert one(subtask, answer, refr=f"{prefix}C。") == right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[刑期]12<eoa>", 12),
        ("判处有期徒刑三年，缓刑四年", 48),
        ("2016年3月28日被捕，拘役五个月", 5),
        ("处三年以下有期徒刑", None),
        ("两年", 24),
        ("一年半年", 18),
        ("十一个月", 11),
        ("免予刑事处罚", 0),
        ("[刑期]1年零2个月<eoa>其中已羁押3个月", 14),
    ],
)
def test_months(text: str, expected: float | None) -> None:
    assert months(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[法条]刑法第二百六十四条第1款、第266条<eoa>", {264, 266}),
        ("[法条]264、266<eoa>", {264, 266}),
        ("法条:刑法第385、395、383条", {385, 395, 383}),
        ("盗窃：[法条]刑法第264条；诈骗：[法条]刑法第266条", {264, 266}),
        ("2016年，三千元，第一百三十三条之一", {133}),
        ("第264款", set()),
    ],
)
def test_articles(text: str, expected: set[int]) -> None:
    assert articles(text) == expected


@given(st.integers(1, 999))
def test_numbers_in_characters(value: int) -> None:
    digits = "零一二三四五六七八九"
    hundreds, tens, ones = value // 100, value // 10 % 10, value % 10
    written = digits[hundreds] + "百" if hundreds else ""
    written += digits[tens] + "十" if tens else "零" if hundreds and ones else ""
    assert number((written + (digits[ones] if ones else "")) or "零") == value
    assert number(str(value)) == value
    assert number("".join(digits[int(d)] for d in str(value))) == value if value > 9 else True


def test_amounts_entities_pairs() -> None:
    assert amount("[金额]2370元+240元=2610元<eoa>") == 2610
    assert amount("先1,280.5元，共计3千元") == 3000
    assert amount("没有") is None
    assert entities("受害人:甲；时间：6月 2日 13:30；受害人：乙") == {
        "受害人": "甲、乙",
        "时间": "6月 2日 13:30",
    }
    assert entities("被盗物品:无。\n地点:未提及") == {}
    assert paired(["甲", "乙", "甲"], ["甲", "丙甲"]) == pytest.approx(1 + 2 / 3)


def test_a_mixture_is_the_mean_over_its_subtasks() -> None:
    rows = [
        row("1-2", subtask="1-2"),
        row("1-2", subtask="1-2"),
        row("3-4", subtask="3-4"),
        row("2-1", subtask="2-1"),
    ]
    answers = ["B", "A", "18个月", GOLD["2-1"]]
    scorer = LawBench()
    measured = measure(scorer, rows, answers)
    assert measured.values == [1, 0, 1, 1]
    assert score_measured(scorer, measured).value == pytest.approx((0.5 + 1 + 1) / 3)
    assert measured.secondary["lawbench:1-2"] == 0.5
    assert measured.secondary["lawbench/upstream"] == pytest.approx(2.5 / 3)
    assert LawBench(upstream=True).name == "lawbench/upstream"


def test_skipped_rows_count_only_in_the_abstention() -> None:
    rows = [row("3-4", refr="刑期:死刑"), row("3-4"), row("3-4")]
    for name in ("lawbench:3-4", "lawbench:3-4/upstream"):
        assert score(name, rows, ["", "18个月", ""]) == pytest.approx(0.5)
        assert measure(metric(name), rows, ["", "18个月", ""]).secondary["abstention"] == pytest.approx(1 / 3)
        assert score(name, rows[:1], ["死刑"]) == 0.0
    assert LawBench("2-2").counts([row("2-2", refr="争议焦点类别：赔偿。")], ["赔偿"]).tolist() == [
        [0, 0, 0, 0]
    ]


def test_counts_can_be_resampled() -> None:
    scorer = LawBench()
    rows = [row(subtask, subtask=subtask) for subtask in SUBTASKS]
    totals = scorer.counts(rows, [GOLD[subtask] for subtask in SUBTASKS])
    assert totals.shape == (20, 80)
    picks = np.array([[0, 0, 2], [5, 6, 7]])
    assert scorer.pooled(totals[picks].sum(axis=1)).tolist() == [1.0, 1.0]


def test_rows_of_the_data_set_score_as_those_of_the_evaluation() -> None:
    published = {"instruction": "改正。句子：", "question": "被告应当返原还物。", "answer": GOLD["2-1"]}
    for upstream in (False, True):
        scorer = LawBench("2-1", upstream)
        turns = row("2-1", origin_prompt=[{"role": "HUMAN", "prompt": PROMPT}])
        for given_row in (published, row("2-1"), turns):
            assert scorer.counts([given_row], [GOLD["2-1"]]).tolist() == [[1, 0, 0, 1]]


@pytest.mark.parametrize(
    ("given_row", "message"),
    [
        ({"id": "r1", "question": "问", "answer": "B"}, "row r1 has no column 'instruction'"),
        ({"id": "r2", "instruction": "问", "answer": "B"}, "row r2 has no column 'question'"),
        ({"id": "r3", "instruction": "问", "question": "问"}, "row r3 has no column 'answer'"),
        ({"id": "r4", "refr": "正确答案：B。"}, "row r4 has no column 'origin_prompt'"),
        ({"id": "r5", "refr": 7, "origin_prompt": "问"}, "row r5: the answer must be text, not int"),
        (
            {"id": "r6", "refr": "乙", "origin_prompt": "问"},
            "row r6: its answer must be one of the letters ABCD",
        ),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(given_row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LawBench("1-2").score_items([given_row], ["B"])


def test_unknown_subtasks_and_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="lawbench: unknown subtask '4-1'; known are 1-1, 1-2"):
        LawBench("4-1")
    with pytest.raises(InputError, match="row r: unknown subtask '9'"):
        LawBench().score_items([row("1-2", id="r", subtask="9")], [""])
    with pytest.raises(InputError, match="row r has no column 'subtask'"):
        LawBench().score_items([row("1-2", id="r")], [""])
    with pytest.raises(
        InputError, match=r"absent_package, which is not installed: pip install 'trex-finetune\[ftbench\]"
    ):
        packages.package("absent_package")


@pytest.mark.parametrize("subtask", SUBTASKS)
@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.text(max_size=30),
        st.text("第条款年个月元万一二十百0123456789ABCDE、;；：:。\n <eoa>[答案]无受害人", max_size=30),
    )
)
def test_any_answer_is_scored(subtask: str, answer: str) -> None:
    assert 0 <= one(subtask, answer) <= 1
    official = one(subtask, answer, upstream=True)
    assert math.isfinite(official)
    assert official <= 1
