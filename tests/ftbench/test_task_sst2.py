"""SST-2: the samples validate themselves; no phrase of a dev or test sentence is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trex.files import read_jsonl
from trex.ftbench.data_sources import HubHome
from trex.ftbench.tasks import sst2
from trex.ftbench.tasks.sst2 import BENCHMARK, DEV_WORDS, phrases
from trex.ftbench.validation import problems

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spelled(number: int, words: int) -> str:
    """A sentence that no other number has."""
    return " ".join(NUMBERS[int(digit)] for digit in f"{number:0{words}}")


def publish(monkeypatch: pytest.MonkeyPatch, train: list[str], validation: list[str]) -> None:
    def rows(self: HubHome, split: str, config: str | None = None) -> Iterator[dict[str, Any]]:
        assert (self.dataset, config) == ("nyu-mll/glue", "sst2")
        for number, text in enumerate({"train": train, "validation": validation}[split]):
            yield {"idx": number, "sentence": text, "label": number % 2}

    monkeypatch.setattr(HubHome, "rows", rows)


def test_smoke_task_validates_itself(fresh_home: Path) -> None:
    task = sst2.load(smoke=True)
    assert problems(task) == []
    assert (len(list(read_jsonl(task.dev))), len(list(read_jsonl(task.test)))) == (6, 6)
    assert len(list(read_jsonl(Path(task.sources[0].path)))) == 12


def test_samples_look_like_the_published_rows() -> None:
    records = BENCHMARK.samples()
    assert len(records) >= 20
    for record in records:
        assert tuple(record.row) == ("idx", "sentence", "label")
    for part in ("train", "dev", "test"):
        labels = [record.row["label"] for record in records if record.part == part]
        assert 2 * sum(labels) == len(labels)  # as many of one as of the other


def test_train_loses_what_overlaps_dev_or_test(monkeypatch: pytest.MonkeyPatch) -> None:
    test = "a small film with a big heart "
    kept = ["big", "a dull film", "a big", "with a heart"]
    lost = ["a small film with a big heart", "A Big Heart", "see a small film with a big heart today"]
    publish(monkeypatch, train=[*kept, *lost], validation=[test])
    records = list(sst2.read())
    assert [record.row["sentence"] for record in records if record.part == "test"] == [test]
    assert [record.row["sentence"] for record in records if record.part == "train"] == kept


def test_dev_is_a_share_of_the_long_train_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    long = [spelled(number * 7919, DEV_WORDS) for number in range(2000)]
    short = [spelled(number * 7919 % 10**8, DEV_WORDS - 1) for number in range(500)]
    publish(monkeypatch, train=[*long, *short, long[0]], validation=["something else altogether"])
    parts: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for record in sst2.read():
        parts[record.part].append(record.row["sentence"])
    assert 60 < len(parts["dev"]) < 150
    assert all(len(text.split()) >= DEV_WORDS for text in parts["dev"])
    assert not set(parts["dev"]) & set(parts["train"])
    assert [record.part for record in sst2.read()] == [record.part for record in sst2.read()]


def test_phrases() -> None:
    assert list(phrases("one two three four")) == ["one two three", "one two three four", "two three four"]
    assert list(phrases("one two")) == ["one two"]
    assert list(phrases("")) == [""]


def test_prompt_and_gold() -> None:
    turn = BENCHMARK.turn({"idx": 3, "sentence": "never {dull} ", "label": 1})
    assert turn.prompt.startswith("Sentence of a film review: never {dull}\n\n")
    assert turn.gold == "positive"
    assert BENCHMARK.turn({"idx": 3, "sentence": "dull ", "label": 0}).gold == "negative"
