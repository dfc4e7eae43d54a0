"""Fields of a task that people get wrong: braces in prompts, numbers as choices, prompts that show the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.own_task import fields, write_task
from trex.errors import InputError
from trex.evaluation.splits import dev_items
from trex.evaluation.task import Prompt, Task
from trex.evaluation.task_file import read_task_file
from trex.files import write_jsonl, write_yaml


@pytest.mark.parametrize(
    ("user", "mend"),
    [
        ('Answer as {"queue": 1}: {text}', "write {{"),
        ("{text}\nset {1, 2", "a brace without its partner"),
        ("{text} }", "write {{ or }}"),
        ("$\\frac{{a}{b}$ {text}", "write {{ or }}"),
        ("{} {text}", "{{}} for literal braces"),
        ("{text:>10}", "write {text}"),
        ("{text!r}", "write {text}"),
        ("{ } {text}", "names no column"),
    ],
)
def test_braces_that_are_no_column_are_refused_with_the_mend(tmp_path: Path, user: str, mend: str) -> None:
    write_yaml(tmp_path / "task.yaml", fields(prompt={"user": user, "answer": "{team}"}))
    with pytest.raises(InputError) as refused:
        read_task_file(tmp_path / "task.yaml")
    assert mend in str(refused.value) and "task.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        ('{{"team": "{team}"}}', {"team": "network"}, '{"team": "network"}'),
        ("\\frac{{1}}{{{n}}}", {"n": 2.0}, "\\frac{1}{2}"),
        ("{customer text}?", {"customer text": "hot {water}"}, "hot {water}?"),
        ("{{}} {a.b} {a[0]}", {"a.b": True, "a[0]": None}, "{} true "),
    ],
)
def test_doubled_braces_are_literal_and_values_are_never_templates(
    template: str, row: dict[str, Any], text: str
) -> None:
    prompt = Prompt(user=template, answer="{team}")
    assert prompt.turns(row)[-1]["content"] == text


@pytest.mark.parametrize(
    ("choices", "labels", "texts"),
    [
        ([1, 2, 10], [1, 2.0, "10"], ["1", "2", "10"]),
        ([0, 1], ["0", True, False, " 1.0"], ["0", "1", "0", "1"]),
        ([True, False], ["true", False, "FALSE"], ["true", "false", "false"]),
        ([0.5, 1.5], [0.5, "1.5"], ["0.5", "1.5"]),
    ],
)
def test_numbers_and_truth_may_be_choices(
    tmp_path: Path, choices: list[Any], labels: list[Any], texts: list[str]
) -> None:
    path = write_task(tmp_path, choices=choices)
    rows = [{"text": f"ticket {n}", "team": label} for n, label in enumerate(labels)]
    write_jsonl(tmp_path / "dev.jsonl", rows)
    items = {item["text"]: item["reference"] for item in dev_items(read_task_file(path))}
    assert [items[f"ticket {n}"] for n in range(len(labels))] == texts


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"choices": ["a", "a"]}, "names 'a' twice"),
        ({"choices": [1, "1"]}, "names '1' twice"),
        ({"choices": ["a"]}, "at least two"),
        ({"prompt": {"user": "Sort this.", "answer": "{team}"}}, "shows no column"),
        ({"prompt": {"user": "{text} {team}", "answer": "{team}"}}, "shows the answer: take {team} out"),
        ({"prompt": {"user": "{text}"}}, "user and answer, or messages"),
        ({"prompt": {"messages": "talk", "answer": "{team}"}}, "either messages, or user and answer"),
    ],
)
def test_a_task_that_cannot_work_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as refused:
        Task.model_validate(fields(**changes))
    assert says in str(refused.value)
