"""Tasks proposed from data: which column is what, the prompt, the metric, the parts, the reasons."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from trex import Task
from trex.errors import InputError
from trex.evaluation.proposal import Proposal, Wanted, parts_by_name, propose, task_yaml
from trex.evaluation.task_check import inspect_task
from trex.evaluation.task_file import read_task_file
from trex.files import write_jsonl

Rows = list[dict[str, Any]]
_TOPICS = ("invoice", "router", "password", "tariff", "contract", "delivery")


def _tickets(n: int) -> Rows:
    return [
        {
            "id": f"T{i:05}",
            "opened": f"2024-03-{i % 28 + 1:02}",
            "message": f"my {_TOPICS[i % 6]} number {i} is not as it should be",
            "team": ("billing", "network", "accounts")[i % 3],
            "team_number": i % 3,
        }
        for i in range(n)
    ]


def _instructions(n: int) -> Rows:
    return [
        {
            "instruction": f"Write a sentence about the {_TOPICS[i % 6]} of customer {i}",
            "input": f"tone {i % 4}",
            "output": f"The {_TOPICS[i % 6]} of customer {i} is here, and " + "it is as good as ever " * 3,
        }
        for i in range(n)
    ]


def _sums(n: int) -> Rows:
    return [
        {"question": f"How much is {i} plus {2 * i + 1}, please?", "answer": str(3 * i + 1)} for i in range(n)
    ]


def _prices(n: int) -> Rows:
    return [
        {"description": f"a used {_TOPICS[i % 6]} with {i} scratches", "target": 1.25 * i + 0.1}
        for i in range(n)
    ]


def _capitals(n: int) -> Rows:
    return [
        {"question": f"Which town is the capital of country {i}?", "answer": f"Town {i} Upon River"}
        for i in range(n)
    ]


def _tags(n: int) -> Rows:
    sets = (["red", "round"], ["green"], ["red", "soft"], ["round", "soft", "green"])
    return [{"text": f"it is a fruit of kind {i} from the market", "tags": sets[i % 4]} for i in range(n)]


def _listed_tags(n: int) -> Rows:
    return [row | {"tags": "; ".join(row["tags"])} for row in _tags(n)]


def _objects(n: int) -> Rows:
    return [
        {
            "note": f"Room for {i % 5 + 1} in town {i} please",
            "output": json.dumps({"beds": i % 5 + 1, "town": i}),
        }
        for i in range(n)
    ]


def _numbers_only(n: int) -> Rows:
    return [
        {"width": i % 17 / 10, "height": i % 23 / 10, "species": ("setosa", "virginica")[i % 2]}
        for i in range(n)
    ]


def _pairs(n: int) -> Rows:
    return [
        {
            "premise": f"The {_TOPICS[i % 6]} number {i} arrived on time",
            "hypothesis": f"It was late by {i} days or more",
            "label": i % 3,
        }
        for i in range(n)
    ]


def _proposed(tmp_path: Path, rows: Rows, **fields: Any) -> Proposal:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, rows)
    return propose(parts_by_name([path]), Wanted(fields={"base_model": "tiny", **fields}))


@pytest.mark.parametrize(
    "make, answer, shown, metric, choices",
    [
        (_tickets, "team", {"message"}, "accuracy", ["accounts", "billing", "network"]),
        (_instructions, "output", {"instruction", "input"}, "rouge", None),
        (_sums, "answer", {"question"}, "numeric", None),
        (_prices, "target", {"description"}, {"name": "numeric", "relative_tolerance": 0.01}, None),
        (_capitals, "answer", {"question"}, "exact_match", None),
        (_tags, "tags", {"text"}, "multilabel_f1", None),
        (_listed_tags, "tags", {"text"}, "multilabel_f1", None),
        (_objects, "output", {"note"}, "json_match", None),
        (_numbers_only, "species", {"width", "height"}, "accuracy", ["setosa", "virginica"]),
        (_pairs, "label", {"premise", "hypothesis"}, "accuracy", ["0", "1", "2"]),
    ],
)
def test_columns_and_metric_follow_from_the_rows(
    tmp_path: Path,
    make: Callable[[int], Rows],
    answer: str,
    shown: set[str],
    metric: Any,
    choices: list[str] | None,
) -> None:
    proposal = _proposed(tmp_path, make(120))
    task = proposal.task(tmp_path)
    assert (task.answer_column, task.prompt.question_fields) == (answer, shown)
    assert (proposal.fields["metric"], task.choices) == (metric, choices)
    report = inspect_task(task)
    assert not report.refusals
    assert sum(entry.kept for entry in report.files) == 120


def test_a_column_that_tells_the_answer_is_not_shown_and_the_note_says_why(tmp_path: Path) -> None:
    notes = _proposed(tmp_path, _tickets(120)).notes
    assert (
        "column team_number is not in the prompt: it tells the team: a prompt with it would show the answer"
        in notes
    )
    assert "column id is not in the prompt: it is an identifier" in notes
    assert "column opened is not in the prompt: it is a date" in notes


def test_typos_other_spellings_and_empty_words_are_no_choices(tmp_path: Path) -> None:
    rows = _tickets(300)
    for index, team in {3: "biling", 6: " Billing", 9: "BILLING ", 12: "N/A", 15: ""}.items():
        rows[index]["team"] = team
    proposal = _proposed(tmp_path, rows)
    assert proposal.fields["choices"] == ["accounts", "billing", "network"]
    assert any("'biling' for 'billing'" in note for note in proposal.notes)
    assert any("'N/A' 1: taken for no answer" in note for note in proposal.notes)


def test_unequal_classes_are_scored_by_macro_f1(tmp_path: Path) -> None:
    rows = [row | {"team": "legal" if i % 10 == 0 else "sales"} for i, row in enumerate(_tickets(200))]
    proposal = _proposed(tmp_path, [{name: row[name] for name in ("message", "team")} for row in rows])
    assert proposal.fields["metric"] == "macro_f1"
    assert "9 times" in proposal.reasons["metric"]


def test_customers_with_several_rows_stay_together(tmp_path: Path) -> None:
    rows = [row | {"customer_id": f"C{i % 60:03}"} for i, row in enumerate(_tickets(240))]
    proposal = _proposed(tmp_path, rows)
    assert proposal.fields["group_by"] == "customer_id"
    task = proposal.task(tmp_path)
    customers = [
        {json.loads(line)["customer_id"] for line in Path(path).read_text().splitlines()}
        for path in (task.sources[0].path, task.dev, task.test)
    ]
    assert (
        not customers[0] & customers[1]
        and not customers[0] & customers[2]
        and not customers[1] & customers[2]
    )


@pytest.mark.parametrize(
    "names, fields",
    [
        (["train", "dev", "test"], {"sources", "dev", "test"}),
        (["training_set", "validation"], {"data", "dev"}),
        (["tickets", "tickets_test"], {"data", "test"}),
        (["january", "february", "holdout-march"], {"data", "sources", "test"}),
    ],
)
def test_files_are_used_as_their_names_say(tmp_path: Path, names: list[str], fields: set[str]) -> None:
    rows = _tickets(300)
    for place, name in enumerate(names):
        write_jsonl(tmp_path / f"{name}.jsonl", rows[place * 70 : (place + 1) * 70])
    proposal = propose(parts_by_name([tmp_path]), Wanted(fields={"base_model": "tiny"}))
    assert {"data", "sources", "dev", "test"} & proposal.fields.keys() == fields
    assert not inspect_task(proposal.task(tmp_path)).refusals


@pytest.mark.parametrize("make", [_tickets, _tags, _prices, _pairs, _objects])
def test_the_written_file_is_the_proposed_task(tmp_path: Path, make: Callable[[int], Rows]) -> None:
    proposal = _proposed(tmp_path, make(120), requirement="Say: 'yes', \"no\" or #3 {like this}")
    path = tmp_path / "task.yaml"
    text = task_yaml(proposal, tmp_path)
    path.write_text(text)
    assert read_task_file(path) == proposal.task(tmp_path)
    assert "data: rows.jsonl" in text
    assert all(reason.split()[0] in text for reason in proposal.reasons.values() if reason)


@pytest.mark.parametrize("form", ["rows", "frame", "dataset", "path", "parts"])
def test_a_task_from_python_data(tmp_path: Path, form: str) -> None:
    rows = _tickets(150)
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, rows)
    data: Any = {
        "rows": rows,
        "frame": pd.DataFrame(rows),
        "dataset": datasets.Dataset.from_list(rows),
        "path": path,
        "parts": {"train": rows[:90], "test": pd.DataFrame(rows[90:])},
    }[form]
    task = Task.from_data(data, base_model="tiny", name="tickets")
    assert (task.name, task.answer_column, task.choices) == (
        "tickets",
        "team",
        ["accounts", "billing", "network"],
    )
    assert not inspect_task(task).refusals


def test_columns_are_taken_as_given() -> None:
    task = Task.from_data(
        _tickets(150), base_model="tiny", answer="team_number", question=["opened", "message"]
    )
    assert task.answer_column == "team_number"
    assert task.prompt.question_fields == {"opened", "message"}


@pytest.mark.parametrize(
    "data, given, says",
    [
        ([{"a": 1.5 * i, "b": 2.5 * i} for i in range(50)], {}, "no column looks like an answer"),
        (_tickets(50), {"answer": "teem"}, "there is no column 'teem': there are id, opened"),
        ([{"label": "x"}, {"label": "y"}] * 20, {}, "no column can be the question"),
        ([], {}, "no row"),
        (7, {}, "data is a int"),
        ("nowhere.csv", {}, "no such file"),
        ({"train": _tickets(50), "tset": _tickets(9)}, {}, "tset"),
    ],
)
def test_data_that_is_no_task_is_refused_in_one_line(data: Any, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Task.from_data(data, base_model="tiny", **given)
    assert "\n" not in str(caught.value)


def test_a_latin_csv_with_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "Rückfragen 2024.csv"
    with path.open("w", encoding="latin-1", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Nachricht", "Abteilung"])
        writer.writerows(
            [f"Störung Nummer {i} über die Leitung", ("Technik", "Büro")[i % 2]] for i in range(80)
        )
    proposal = propose(parts_by_name([path]), Wanted(answer="Abteilung", fields={"base_model": "tiny"}))
    assert proposal.fields["choices"] == ["Büro", "Technik"]
    assert proposal.fields["name"] == "r-ckfragen-2024"


def _chats(n: int) -> list[list[dict[str, str]]]:
    said = "The parcel of order {} left our house on day {} and comes by post within three more days at most"
    return [
        [
            {"role": "user", "content": f"Where is order {number}?"},
            {"role": "assistant", "content": said.format(number, number % 28)},
        ]
        for number in range(n)
    ]


def _shared(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    names = {"user": "human", "assistant": "gpt"}
    return [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (lambda chat: {"id": chat[0]["content"][-3:], "messages": chat}, "messages"),
        (lambda chat: {"source": "web", "conversations": _shared(chat)}, "conversations"),
        (lambda chat: {"talk": json.dumps(chat)}, "talk"),
        (lambda chat: {"prompt": chat[:1], "completion": chat[1:]}, ["prompt", "completion"]),
    ],
)
def test_columns_of_conversations_are_found(
    tmp_path: Path, row: Callable[[Any], dict[str, Any]], messages: Any
) -> None:
    rows = [row(chat) for chat in _chats(60)]
    broken = {name: [{"role": "narrator", "content": "x"}] for name in rows[0]}
    proposal = _proposed(tmp_path, [*rows, broken], base_model="tiny")
    assert proposal.fields["prompt"] == {"messages": messages}
    assert proposal.fields["metric"] == "rouge" and "choices" not in proposal.fields
    task = proposal.task(tmp_path)
    report = inspect_task(task)
    assert not report.refusals and sum(entry.kept for entry in report.files) == 60
    assert report.examples[0]["answer"].startswith("The parcel of order")


def test_data_may_stand_in_another_folder_than_the_task_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "chats.jsonl", [{"messages": chat} for chat in _chats(40)])
    monkeypatch.chdir(tmp_path)
    proposal = propose(parts_by_name(["data/chats.jsonl"]), Wanted(fields={"base_model": "tiny"}))
    assert not inspect_task(proposal.task(tmp_path / "data")).refusals
    assert "data: chats.jsonl" in task_yaml(proposal, tmp_path / "data")
