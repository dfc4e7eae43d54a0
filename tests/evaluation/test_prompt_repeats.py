"""Items of dev and test in the task's own prompt: refused with the place; labels and formats are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.cli import caller
from support.own_task import Row, tickets, write_task
from trex.errors import InputError
from trex.evaluation.decontamination.prompt_repeats import prompt_repeats
from trex.evaluation.task_file import load_task, read_task_file
from trex.files import write_jsonl

TEST, DEV = tickets(30, 2000), tickets(40, 1000)
USER = "Ticket: {text}\nTeam:"
LONG = "Thank the customer, name the team and promise an answer within two working days"


def task_file(folder: Path, **prompt: str) -> Path:
    return write_task(folder, prompt={"user": USER, "answer": "{team}"} | prompt)


def example(row: Row, line: str = "Ticket: {text}\nTeam: {team}\n\n") -> str:
    return line.format(**row)


ROUTER = "Route each ticket to billing, network or accounts."
LEAKS: dict[str, tuple[dict[str, str], str]] = {
    "worked example of test": (
        {"user": example(TEST[4]) + USER},
        "prompt.user contains the question of test.jsonl:5:",
    ),
    "worked example of dev": (
        {"user": example(DEV[0]) + USER},
        "prompt.user contains the question of dev.jsonl:1:",
    ),
    "in the system text": (
        {"system": f"{ROUTER} {example(TEST[0], '“{text}” is for {team}.')}"},
        "prompt.system contains the question of test.jsonl:1:",
    ),
    "without the answer": (
        {"system": f"{ROUTER} A ticket looks like this: {TEST[29]['text']}. Answer with one word."},
        "prompt.system contains the question of test.jsonl:30:",
    ),
    "in capitals, behind the column": (
        {"user": USER + example(DEV[39]).upper()},
        "prompt.user contains the question of dev.jsonl:40:",
    ),
}


@pytest.mark.parametrize(("prompt", "words"), LEAKS.values(), ids=LEAKS)
def test_an_item_in_the_prompt_is_refused(tmp_path: Path, prompt: dict[str, str], words: str) -> None:
    path = task_file(tmp_path, **prompt)
    with pytest.raises(InputError) as refusal:
        load_task(path)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
    assert "(and" not in str(refusal.value)


@pytest.mark.parametrize(
    "prompt",
    [
        {"system": ROUTER},
        {
            "system": "Say billing, network or accounts. My invoice is wrong: billing. My router is old: network."
        },
        {"user": example(tickets(1, 9000)[0]) + USER},
        {"system": "A number, a colon, then what is wrong: number 7: my parcel is late, and the phone too"},
        {"user": "{text}"},
        {"user": "{{" + USER + "}}"},
    ],
    ids=["labels", "examples of words", "another item", "the form of an item", "nothing else", "braces"],
)
def test_other_texts_may_stand_in_the_prompt(tmp_path: Path, prompt: dict[str, str]) -> None:
    assert load_task(task_file(tmp_path, **prompt)).prompt.user


def own(folder: Path, items: list[dict[str, Any]], system: str, **changes: Any) -> list[str]:
    """What is found with these items in test, and none like them in dev."""
    prompt = {"system": system, "user": "{question}", "answer": "{answer}"}
    path = write_task(folder, prompt=prompt, answer_column="answer", choices=None, **changes)
    dev = [{"question": f"{n} plus {n} and one?", "answer": f"{2 * n + 1}"} for n in range(10, 60)]
    write_jsonl(folder / "dev.jsonl", dev)
    write_jsonl(
        folder / "test.jsonl", [*({"question": f"say {n}", "answer": f"{n}"} for n in range(40)), *items]
    )
    return prompt_repeats(read_task_file(path))


SHORT = {"question": "not bad", "answer": "positive"}
WORD = {"question": "superb", "answer": "positive"}
SUM = {"question": "2 + 7", "answer": "9"}
CHINESE = {"question": "很好看", "answer": "正面"}
ADVICE = {"question": "what now", "answer": LONG}


@pytest.mark.parametrize(
    ("item", "system", "part"),
    [
        (SHORT, "Review: not bad\nSentiment: positive", "question"),
        (SHORT, "For example, 'Not bad!' is rather positive, of course", "question"),
        (SHORT, "Do not call it bad; positive or negative", None),
        (SHORT, "Negations such as 'not bad' are hard. Say positive or negative", None),
        (WORD, "Review: superb\nSentiment: positive", "question"),
        (WORD, "superb -> positive", "question"),
        (WORD, "Superb films are positive", None),
        (SUM, "2 + 7 = 9", "question"),
        (SUM, "2 - 7 = 9, 27 = 9", None),
        (CHINESE, "评论：很好看\n情感：正面", "question"),
        (CHINESE, "情感：正面或负面", None),
        (ADVICE, f"Always do this. {LONG.upper()}!", "answer"),
        (ADVICE, "Thank the customer and name the team.", None),
    ],
)
def test_short_questions_count_with_their_answers_and_answers_if_they_are_long(
    tmp_path: Path, item: dict[str, str], system: str, part: str | None
) -> None:
    found = own(tmp_path, [item], system)
    if part is None:
        assert found == []
    else:
        assert found == [f"prompt.system contains the {part} of test.jsonl:41: take it out of one of them"]


def test_long_answers_that_are_choices_or_common_may_be_named(tmp_path: Path) -> None:
    rows = [
        {"question": f"what now, {name}", "answer": LONG} for name in ("Ann", "Bo", "Cy", "Di", "Ed", "Flo")
    ]
    assert own(tmp_path / "a", rows, LONG) == []
    assert len(own(tmp_path / "b", rows[:2], LONG)) == 2
    path = write_task(
        tmp_path / "c", prompt={"system": LONG, "user": USER, "answer": "{team}"}, choices=[LONG, "no"]
    )
    write_jsonl(
        tmp_path / "c" / "test.jsonl",
        [row | {"team": LONG if n == 3 else "no"} for n, row in enumerate(TEST)],
    )
    assert prompt_repeats(read_task_file(path)) == []


def test_both_commands_name_every_item_and_show_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = task_file(tmp_path, user="".join(map(example, TEST[:3])) + USER)
    trex = caller(monkeypatch, capfd)
    said = trex("run", path, "--out", tmp_path / "run", "--smoke")
    said.complains(2, "prompt.user contains the question of test.jsonl:1:", "(and 2 more)")
    assert not (tmp_path / "run").exists()
    said = trex("check", path, "--smoke")
    assert said.code == 2 and "the task can run" not in said.out
    assert all(f"prompt.user contains the question of test.jsonl:{n}:" in said.out for n in (1, 2, 3))
