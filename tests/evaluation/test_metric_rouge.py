"""ROUGE-1 of notes: equal to the library on whole notes and to the official files on divisions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from support.places import DATA
from trex.errors import InputError, TrexError
from trex.evaluation.metrics import Metric, measure, metric
from trex.evaluation.metrics.rouge import DIVISIONS, Rouge1, divisions
from trex.files import read_jsonl

OFFICIAL = list(read_jsonl(DATA / "rouge_official.jsonl"))
NOTE = "CHIEF COMPLAINT\n\nCough.\n\nRESULTS\n\nX-ray clear.\n\nASSESSMENT AND PLAN\n\nBronchitis. Rest."


def items(*notes: str) -> list[dict[str, object]]:
    return [{"note": note} for note in notes]


@pytest.mark.parametrize("part", ["full", *DIVISIONS])
def test_every_official_value_is_reproduced(part: str) -> None:
    scorer = Rouge1(None if part == "full" else part, upstream=True)
    for case in OFFICIAL:
        values = scorer.score_items(items(*case["notes"]), case["answers"])
        assert values == pytest.approx(case["f1"][part], abs=1e-12)
        assert scorer.aggregate(values) == pytest.approx(case["mean"][part], abs=1e-12)


def test_the_official_table_tells_apart() -> None:
    assert sum(len(case["notes"]) for case in OFFICIAL) >= 150
    for part in ("full", *DIVISIONS):
        values = [value for case in OFFICIAL for value in case["f1"][part]]
        assert min(values) == 0.0
        assert max(values) == 1.0
        assert sum(0 < value < 1 for value in values) >= 15


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["cough", "Pain,", "5", "mg", "x-ray", "é", "denies", "\n", "DENIES"]), max_size=12
    ),
    st.lists(
        st.sampled_from(["cough", "Pain,", "5", "mg", "x-ray", "é", "denies", "\n", "pains"]), max_size=12
    ),
)
def test_whole_notes_are_scored_as_the_library_does(gold: list[str], answer: list[str]) -> None:
    note, text = " ".join(gold), " ".join(answer)
    expected = RougeScorer(["rouge1"], use_stemmer=False).score(note, text)["rouge1"]
    assert Rouge1().score_items(items(note), [text]) == [expected.fmeasure]
    assert Rouge1(upstream=True).score_items(items(note), [text]) == [expected.fmeasure]


def test_worked_examples() -> None:
    scorer = Rouge1()
    assert scorer.score_items(items("Cough for two days."), ["Dry cough, two days"]) == [0.75]
    assert scorer.score_items(items("pain pain pain"), ["pain"]) == [0.5]  # precision 1, recall 1/3
    assert scorer.score_items(items("pains"), ["pain"]) == [0.0]  # no stemmer
    assert scorer.aggregate([0.75, 0.5, 0.0]) == pytest.approx(1.25 / 3)


def test_missing_predictions_are_the_word_nan_upstream_alone() -> None:
    note = items("nan")
    for answer in ("", "NA", "null", "n/a", "None"):
        assert Rouge1(upstream=True).score_items(note, [answer]) == [1.0]
        assert Rouge1().score_items(note, [answer]) == [0.0]
    assert Rouge1(upstream=True).score_items(note, ["Null"]) == [0.0]


def test_divisions_of_a_note() -> None:
    assert divisions(NOTE) == {
        "subjective": "CHIEF COMPLAINT\n\nCough.\n\n",
        "objective_results": "RESULTS\n\nX-ray clear.\n\n",
        "assessment_and_plan": "ASSESSMENT AND PLAN\n\nBronchitis. Rest.",
    }
    assert divisions("She coughs.\nPlan: rest\nExam: clear\nPlan: again") == {
        "subjective": "She coughs.\n",
        "assessment_and_plan": "Plan: rest\n",
        "objective_exam": "Exam: clear\nPlan: again",
    }
    assert list(divisions("Exam\nfindings of the scan\nimpression: old\nIMPRESSION new")) == [
        "objective_exam",
        "assessment_and_plan",
    ]
    assert divisions("") == {"subjective": ""}


def test_line_breaks_are_words_upstream_alone() -> None:
    gold, answer = items("PLAN:\nrest"), ["PLAN: x\n\nrest"]
    # upstream: plan, lf1, rest against plan, x, lf1, lf1, rest; here without the breaks
    assert Rouge1("assessment_and_plan", upstream=True).score_items(gold, answer) == [
        pytest.approx(2 * 3 / (3 + 5))
    ]
    assert Rouge1("assessment_and_plan").score_items(gold, answer) == [pytest.approx(2 * 2 / (2 + 3))]


def test_a_missing_division_depends_on_the_set_upstream_alone() -> None:
    official, corrected = Rouge1("objective_exam", upstream=True), Rouge1("objective_exam")
    assert official.score_items(items("cough"), ["cough"]) == [0.0]
    both = items("cough", "EXAM: clear")
    assert official.score_items(both, ["cough", "EXAM: clear"]) == [1.0, 1.0]
    assert corrected.score_items(items("cough"), ["cough"]) == [1.0]
    assert corrected.score_items(both, ["EXAM: clear", "cough"]) == [0.0, 0.0]


def test_headings_in_markdown_are_headings() -> None:
    answer = "## Chief complaint\n\nCough.\n\n**RESULTS**\n\nX-ray clear.\n\n**Assessment and plan:** Bronchitis. Rest."
    for division in ("subjective", "objective_results", "assessment_and_plan"):
        assert Rouge1(division).score_items(items(NOTE), [answer]) == [1.0]
        assert Rouge1(division, upstream=True).score_items(items(NOTE), [answer])[0] < 1


def test_thinking_is_not_the_note() -> None:
    assert Rouge1().score_items(items("Cough."), ["<think>fever, maybe</think>\nCough."]) == [1.0]
    assert Rouge1(upstream=True).score_items(items("Cough."), ["<think>fever</think>\nCough."])[0] < 1


def test_figures_beside_the_score() -> None:
    scorer = metric("rouge1")
    assert isinstance(scorer, Metric)
    found = measure(scorer, items("a b c d", "nan"), ["a b", ""])
    assert found.values == [pytest.approx(2 / 3), 0.0]
    assert found.secondary["precision"] == 0.5
    assert found.secondary["recall"] == 0.25
    assert found.secondary["empty"] == 0.5
    assert found.secondary["rouge1/upstream"] == pytest.approx((2 / 3 + 1) / 2)
    assert set(DIVISIONS) <= found.secondary.keys()
    assert metric("rouge1:subjective/upstream").name == "rouge1:subjective/upstream"


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"row n3 .*'note'"):
        Rouge1().score_items([{"id": "n3", "dialogue": "hi"}], ["x"])
    with pytest.raises(InputError, match="unknown subtask 'plan'"):
        metric("rouge1:plan")
    with pytest.raises(TrexError, match="no items"):
        Rouge1().aggregate([])


def test_without_the_library_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from trex.evaluation.metrics import rouge

    rouge._scorer.cache_clear()
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(InputError, match=r"pip install 'trex-finetune\[ftbench\]'"):
        Rouge1()
    rouge._scorer.cache_clear()
