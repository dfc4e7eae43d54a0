"""Right answers that exploit a metric are named with their share."""

from __future__ import annotations

from trex.evaluation.failures.analysis import AnsweredItem, Prediction
from trex.evaluation.failures.degenerate import degenerate_answers
from trex.ftbench.tasks import molecules, sentiment


def items(answers: list[str], reference: str, value: float = 1.0) -> list[AnsweredItem]:
    return [
        AnsweredItem(str(n), "text", reference, Prediction(str(n), a, value)) for n, a in enumerate(answers)
    ]


def test_several_molecules_have_the_counts_of_one() -> None:
    task = molecules.load(smoke=True)
    pieces, whole = ["C.C.C.O"] * 4, ["CCCO"] * 6
    [told] = degenerate_answers(task, items([*pieces, *whole], "CCCO"))
    assert told == "4 of 10 right answers are several molecules ('C.C.C.O'): the metric permits it"
    assert degenerate_answers(task, items(pieces, "C.O")) == [], "asked for several"
    assert degenerate_answers(task, items(pieces, "CCCO", value=0.0)) == [], "wrong answers"
    assert degenerate_answers(task, items(["C.C.C.O", "C.O", *whole], "CCCO")) == [], "too few"


def test_several_choices_at_once() -> None:
    task = sentiment.load(smoke=True)
    hedged = ["positive or negative"] * 3
    [told] = degenerate_answers(task, items(hedged, "positive"))
    assert told.startswith("3 of 3 right answers name several choices")
    assert degenerate_answers(task, items(["positive"] * 9, "positive")) == []


def test_far_more_text_than_asked_for() -> None:
    task = molecules.load(smoke=True)
    long = [f"CCO is the molecule because {'it fits ' * 20}" for _ in range(3)]
    [told] = degenerate_answers(task, items(long, "CCO"))
    assert "far longer than the reference" in told
