from __future__ import annotations

from pathlib import Path

import pytest
from trex.errors import InputError, TrexError
from trex.evaluation.failures.analysis import Failures, Prediction, compare, prediction_row, read_predictions
from trex.evaluation.metrics import Measured
from trex.evaluation.metrics.accuracy import Accuracy
from trex.evaluation.results import Evaluation
from trex.evaluation.splits import confirm_items, search_items
from trex.evaluation.statistics.intervals import score_measured
from trex.evaluation.task import Item, Prompt, Source, Split, Task
from trex.files import write_jsonl


@pytest.fixture
def task(tmp_path: Path) -> Task:
    dev = [
        {
            "text": f"film {i} is {'not ' if i % 4 == 0 else ''}{'good' if i % 2 else 'bad'}"
            + " really" * (i % 9),
            "label": "positive" if i % 2 or i % 4 == 0 else "negative",
        }
        for i in range(200)
    ]
    write_jsonl(tmp_path / "dev.jsonl", dev)
    return Task(
        name="films",
        requirement="Classify.",
        sources=[Source(name="train", path="train.jsonl")],
        dev=tmp_path / "dev.jsonl",
        test=tmp_path / "test.jsonl",
        prompt=Prompt(user="Review: {text}", answer="{label}"),
        choices=["negative", "positive"],
    )


def evaluation(
    run_dir: Path,
    name: str,
    items: list[Item],
    answers: list[str],
    split: Split = "search",
    cut: bool = False,
) -> Evaluation:
    values = [float(a == i["reference"]) for a, i in zip(answers, items, strict=True)]
    rows = [
        prediction_row(Prediction(i["id"], a, v, cut)) for i, a, v in zip(items, answers, values, strict=True)
    ]
    write_jsonl(run_dir / "predictions" / f"{name}.jsonl", rows)
    return Evaluation(
        id=name,
        split=split,
        scoring="choices",
        score=score_measured(Accuracy(), Measured(values, {})),
        predictions=f"predictions/{name}.jsonl",
    )


def blind_to_not(items: list[Item]) -> list[str]:
    return ["negative" if "bad" in item["text"] else "positive" for item in items]


def test_failure_cases_are_the_wrong_search_items(task: Task, tmp_path: Path) -> None:
    items = search_items(task)
    cases = Failures(evaluation(tmp_path, "a", items, blind_to_not(items)), task, tmp_path).cases
    assert {case.id for case in cases} == {i["id"] for i in items if "not" in i["text"]}
    assert all(case.prompt.startswith("Review: film") for case in cases)
    assert {(case.reference, case.prediction) for case in cases} == {("positive", "negative")}


def test_the_causes_name_the_confusion_and_the_word(task: Task, tmp_path: Path) -> None:
    items = search_items(task)
    groups = Failures(evaluation(tmp_path, "a", items, blind_to_not(items)), task, tmp_path).groups
    wrong = sum("not" in item["text"] for item in items)
    assert groups[0].cause == f"positive→negative {wrong}×"
    words = [group.cause for group in groups if group.kind == "word"]
    assert any(cause.startswith("inputs with 'not'") for cause in words)
    assert not any("'film'" in cause or "'is'" in cause for cause in words)


def test_answers_of_the_wrong_form_are_named(task: Task, tmp_path: Path) -> None:
    items = search_items(task)
    answers = [["", "perhaps", item["reference"]][n % 3] for n, item in enumerate(items)]
    groups = Failures(evaluation(tmp_path, "a", items, answers), task, tmp_path).groups
    forms = {group.cause.rsplit(" ", 1)[0] for group in groups if group.kind == "format"}
    assert forms == {"empty answer", "answer is none of the choices"}
    cut = Failures(
        evaluation(tmp_path, "b", items, ["perhaps"] * len(items), cut=True), task, tmp_path
    ).groups
    assert [g.cause for g in cut if g.kind == "format"] == [f"answer cut at the token limit {len(items)}×"]


def test_a_length_that_fails_more_is_named(task: Task, tmp_path: Path) -> None:
    items = search_items(task)
    answers = ["?" if len(item["text"].split()) > 9 else item["reference"] for item in items]
    groups = Failures(evaluation(tmp_path, "a", items, answers), task, tmp_path).groups
    [length] = [group for group in groups if group.kind == "length"]
    assert length.cause.startswith("long inputs")


def test_nothing_wrong_has_no_cause(task: Task, tmp_path: Path) -> None:
    items = search_items(task)
    found = evaluation(tmp_path, "a", items, [item["reference"] for item in items])
    assert Failures(found, task, tmp_path).cases == [] == Failures(found, task, tmp_path).groups


def test_evaluations_are_compared_on_the_items_they_share(task: Task, tmp_path: Path) -> None:
    items = search_items(task)
    before = evaluation(tmp_path, "a", items, blind_to_not(items))
    fewer = items[:40]
    answers = [item["reference"] for item in fewer]
    lost = next(n for n, item in enumerate(fewer) if "not" not in item["text"])
    answers[lost] = "?"
    after = evaluation(tmp_path, "b", fewer, answers)
    found = compare(before, after, tmp_path)
    fixed = [item["id"] for item in fewer if "not" in item["text"]]
    assert found.ids == [item["id"] for item in fewer]
    assert (found.fixed, found.regressed) == (fixed, [fewer[lost]["id"]])
    assert found.gain == pytest.approx((len(fixed) - 1) / 40)


def test_only_search_is_shown(task: Task, tmp_path: Path) -> None:
    items = confirm_items(task)
    confirm = evaluation(tmp_path, "a", items, blind_to_not(items), "confirm")
    test = evaluation(tmp_path, "b", items, blind_to_not(items), "test")
    with pytest.raises(InputError, match="'search' only"):
        Failures(confirm, task, tmp_path)
    with pytest.raises(InputError, match="'search' only"):
        Failures(test, task, tmp_path)
    with pytest.raises(InputError, match="test split are not read"):
        read_predictions(tmp_path, test)
    with pytest.raises(InputError, match="share no items"):
        compare(confirm, test, tmp_path)


def test_lost_or_foreign_predictions_are_an_error(task: Task, tmp_path: Path) -> None:
    items = search_items(task)
    found = evaluation(tmp_path, "a", items, blind_to_not(items))
    with pytest.raises(TrexError, match="which is not in dev"):
        Failures(evaluation(tmp_path, "b", [{"id": "0" * 16, "reference": "x"}], ["y"]), task, tmp_path)
    (tmp_path / "predictions" / "a.jsonl").unlink()
    with pytest.raises(TrexError, match="evaluate again"):
        Failures(found, task, tmp_path)
