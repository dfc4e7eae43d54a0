"""CS-Bench: the official scorer with its faults, and what was corrected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.places import DATA
from trex.errors import InputError
from trex.evaluation.metrics import PooledMetric, measure, metric
from trex.evaluation.metrics.csbench import SUBTASKS, CsBench, alternatives, blank, judged, verdict
from trex.evaluation.metrics.variants import option, word_f1
from trex.evaluation.statistics.intervals import score_measured
from trex.files import read_jsonl

OFFICIAL = list(read_jsonl(DATA / "csbench_official.jsonl"))
OPTIONS = {"A": "Stack", "B": "Queue", "C": "Both", "D": "Neither"}


def choice(answer: str, **more: Any) -> dict[str, Any]:
    return {"Format": "Multiple-choice", "Answer": answer, **OPTIONS, **more}


def assertion(answer: object) -> dict[str, Any]:
    return {"Format": "Assertion", "Answer": answer}


def score(rows: list[dict[str, Any]], answers: list[str], name: str = "csbench") -> float:
    scorer = metric(name)
    return score_measured(scorer, measure(scorer, rows, answers)).value


def test_every_official_value_is_reproduced() -> None:
    rows, answers = [case["row"] for case in OFFICIAL], [case["answer"] for case in OFFICIAL]
    assert len(rows) >= 240
    official = CsBench(upstream=True)
    assert official.score_items(rows, answers) == [case["score"] or 0 for case in OFFICIAL]
    marks = [case["score"] for case in OFFICIAL if case["score"] is not None]
    assert len(marks) < len(rows)  # some were never judged: upstream's tables leave those out
    assert score(rows, answers, "csbench/upstream") == pytest.approx(sum(marks) / len(marks), abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "official", "corrected"),
    [
        ("B", 1, 1),
        ("b) because", 1, 1),
        ("A queue is first in, first out: B", 0, 1),  # the article is no option
        ("答案是B", 0, 1),
        ("答案：B。", 1, 1),
        ("Ｂ", 0, 1),
        ("Queue.", 0, 1),
        ("B2", 0, 0),
        ("C++", 0, 0),
        ("A", 0, 0),
        ("", 0, 0),
        ("<think>Is it A?</think>B", 0, 1),
    ],
)
def test_choices(answer: str, official: int, corrected: int) -> None:
    assert CsBench(upstream=True).score_items([choice("B")], [answer]) == [official]
    assert CsBench().score_items([choice("B")], [answer]) == [corrected]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("The answer is a stack", ""),
        ("A stack is last in, first out", ""),
        ("A because it is", "A"),
        ("Option A is wrong, so it must be C", "C"),
        ("故选A。", "A"),
        ("not C", ""),
        ("The answer isn't C", ""),
        ("It cannot be option C, so B", "B"),
        ("C is wrong", ""),
        ("A and B are wrong, so is D; C", "C"),
        ("A or B", ""),
        ("B or C? I think C", "C"),
        ("The answer is A, B", ""),
        ("B is right, because A and D are too small", "B"),
        ("Antwort: nicht C, sondern D", "D"),
        ("C is not only fast, it is the answer: C", "C"),
        ("不是C", ""),
        ("C。选项B错误。", "C"),
        ("选项C错误，选D", "D"),
        ("The correct answer is \\boxed{\\text{D}}", "D"),
        ("Die Antwort ist C", "C"),
        ("La réponse est D.", "D"),
        ("I choose b", "B"),
        ("**C**. Because of A", "C"),
        ("GDP of 600519.SH", ""),
        ("A/D converter", ""),
        ("E", ""),
    ],
)
def test_the_letter_of_an_answer(answer: str, letter: str) -> None:
    assert option(answer, "ABCD") == letter


def test_options_may_be_letters_or_digits() -> None:
    texts = {"A": "BBB", "B": "5", "C": "A", "D": "b"}
    assert [option(answer, "ABCD", texts) for answer in ("A", "b", "5", "BBB.", "C")] == list("ABBAC")


def test_an_official_assertion_is_always_wrong_and_a_corrected_one_is_not() -> None:
    rows = [assertion(gold) for gold in (True, False, "Wahr", "Falsch", "Vrai", "Faux", "正确", "错误")]
    answers = ["True", "false.", "wahr", "Das ist falsch.", "vrai", "C'est faux", "对", "不正确"]
    assert CsBench("assertion", upstream=True).score_items(rows, answers) == [0.0] * 8
    assert CsBench("assertion").score_items(rows, answers) == [1.0] * 8
    assert CsBench("assertion").score_items(rows, [*answers[1:], answers[0]]) == [0.0] * 8  # they alternate


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("True or false? False.", False),
        ("This is false, because it is true of queues only", False),
        ("It would be true of a queue. So the answer is false", False),
        ("It isn't true", False),
        ("不是正确的", False),
        ("没错", True),
        ("正确答案是错误", False),
        ("T", True),
        ("The statement is incorrect", False),
        ("untrue", False),
        ("Ｔｒｕｅ", True),
        ("constructed", None),
        ("", None),
    ],
)
def test_verdicts(answer: str, expected: bool | None) -> None:
    assert verdict(answer) is expected


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("post order", "Post-order", True),
        ("$O(\\log_2 n)$", "O(log2n)", True),
        ("Answer: the Program Counter.", "Program Counter", True),
        ("65,536", "65536", True),
        ("inode", "Index node (inode)", True),
        ("index node", "Index node (inode)", True),
        ("WLAN", "WLAN（Wireless Local Area Network）", True),
        ("答案：栈", "栈", True),
        ("2^{23}", "2^23", True),
        ("CPU\nIt computes.", "CPU", True),
        ("n+1", "n-1", False),
        ("101", "-101", False),
        ("6.5", "65", False),
        ("1.3", "13", False),
        ("CPU, GPU, IR", "CPU", False),
        ("n", "n(n-1)", False),
        ("", "6", False),
    ],
)
def test_blanks(answer: str, gold: str, right: bool) -> None:
    assert (blank(answer) in alternatives(gold)) is right
    row = {"Format": "Fill-in-the-blank", "Answer": gold}
    assert CsBench().score_items([row], [answer]) == [float(right)]


@pytest.mark.parametrize(
    ("form", "reply", "official", "corrected"),
    [
        ("Open-ended", "Score: 8", 0.8, 0.8),
        ("Open-ended", "3/10", 1.0, 0.3),
        ("Open-ended", "8.5", 0.5, 0.85),
        ("Open-ended", "11", 0.0, 0.0),
        ("Open-ended", "no", 0.0, 0.0),
        ("Fill-in-the-blank", "Score: 1", 1.0, 1.0),
        ("Fill-in-the-blank", "0/1", 1.0, 0.0),
        ("Fill-in-the-blank", "1.0", 0.0, 1.0),
        ("Fill-in-the-blank", 1, 1.0, 1.0),
        ("Fill-in-the-blank", None, 0.0, 0.0),
    ],
)
def test_judges_are_read(form: str, reply: object, official: float, corrected: float) -> None:
    row = {"Format": form, "Answer": "x", "teacher_output": reply}
    assert CsBench(form, upstream=True).score_items([row], [""]) == [official]
    assert CsBench(form).score_items([row], [""]) == [corrected]
    assert judged("", full=10) == 0


def test_which_rows_count() -> None:
    rows = [
        choice("A", Tag="Knowledge"),
        choice("B", Tag="Other"),
        {"Format": "Open-ended", "Answer": "one two", "Tag": "Reasoning"},
        {"Format": "Fill-in-the-blank", "Answer": "x", "Tag": "Reasoning", "teacher_output": "0"},
    ]
    answers = ["A", "B", "one two", "x"]
    assert score(rows, answers, "csbench/upstream") == 0.5  # the tag is unknown, nobody judged the essay
    assert score(rows, answers) == pytest.approx(2 / 3)  # all but the essay; the judge's 0 stands
    assert score(rows[2:3], answers[2:3], "csbench:open-ended") == 1
    assert score(rows[2:3], answers[2:3]) == 0  # nothing counts
    assert score([choice("Eine"), choice("你提供的文本：“A” 翻译成德语是：“A”")], ["A", "A"]) == 1


def test_figures_beside_the_score() -> None:
    rows = [choice("A", Tag="Knowledge", Domain="Computer Network"), assertion(True), assertion(False)]
    secondary = CsBench().secondary(rows, ["A", "true", "?"])
    assert secondary == {
        "Multiple-choice": 1,
        "Knowledge": 1,
        "Computer Network": 1,
        "Assertion": 0.5,
        "accuracy/upstream": pytest.approx(1 / 3),
        "read": pytest.approx(2 / 3),
    }
    assert isinstance(CsBench(), PooledMetric)
    assert (CsBench().name, CsBench(upstream=True).name) == ("accuracy", "accuracy/upstream")


def test_overlap_of_words() -> None:
    assert word_f1("one two", "two one") == 1
    assert word_f1("one two three", "one") == pytest.approx(0.5)
    assert word_f1("", "one") == 0
    assert word_f1("栈和队列", "栈") == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "7", "Answer": "A"}, "row 7 has no column 'Format'"),
        ({"id": "7", "Format": "Assertion"}, "row 7 has no column 'Answer'"),
        ({"id": "7", "Format": "Essay", "Answer": ""}, "row 7: unknown subtask 'Essay'"),
    ],
)
def test_errors_name_the_row(row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CsBench().score_items([row], [""])


def test_errors_of_sub_tasks() -> None:
    with pytest.raises(InputError, match="Multiple-choice"):
        metric("csbench:essay")
    with pytest.raises(InputError, match="row 3 is of format 'Assertion', the metric scores 'Open-ended'"):
        CsBench("open-ended").score_items([{**assertion(True), "id": "3"}], [""])


@given(answer=st.text(), gold=st.sampled_from("ABCD"), form=st.sampled_from(SUBTASKS))
def test_any_text_is_scored(answer: str, gold: str, form: str) -> None:
    row: dict[str, Any] = {"Format": form, "Answer": gold}
    for upstream in (True, False):
        assert 0 <= CsBench(upstream=upstream).score_items([row], [answer])[0] <= 1
    assert CsBench().score_items([row], [gold]) == [float(form != "Assertion")]
