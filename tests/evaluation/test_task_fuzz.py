"""Task files and data files made at random: a report, or one clear line; never another exception, never half a file.

TREX_FUZZ_TASKS says how many are tried (100).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from trex.errors import InputError, PlanError
from trex.evaluation.task import Task
from trex.evaluation.task_check import inspect_task
from trex.evaluation.task_file import check_task, read_task_file
from trex.training.data.sources import load

TRIED = int(os.environ.get("TREX_FUZZ_TASKS", "100"))
WORDS = [
    "invoice",
    "Störung",
    "ログイン",
    "пароль",
    "naïve",
    "router",
    "",
    " ",
    "\t",
    "a\nb",
    "\x1b[31mred",
    "\u202eabc",
]
WORDS.extend(
    ["<|im_end|>", "{text}", "}", "{{", "[" * 40, "🙂", "e\u0301", "\u200b", "NA", "null", "0", "true"]
)
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2.0,
    0.5,
    1e308,
    10**30,
    "",
    " ",
    "NA",
    [],
    ["a", 1],
    {"a": {"b": 1}},
]
ODD.extend(["00714", "x" * 5_000, float("nan"), float("inf"), "1,5", "2024-01-01"])
COLUMNS = ["text", "label", "id", "reference", "customer text", "row", "Été", "a:b", "{x}", "0", ""]
KINDS = ["jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "utf-16-le"]


class Maker:
    """One random task: its files and what its author may have got wrong."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random, self.folder = random.Random(seed), folder
        self.question, self.answer = self.random.sample(COLUMNS, 2)
        if self.random.random() < 0.9:
            self.question, self.answer = "text", "label"
        labels = ["a", "B b", "1", "true", "0.5", "é", "no, yes"]
        self.labels = self.random.sample(labels, self.random.choice([1, 2, 3, 3, 5]))
        self.odd = self.random.choice([0.0, 0.0, 0.02, 0.02, 0.1, 0.3])

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Rows, some of them odd, some repeated."""
        rows = []
        for number in range(count):
            row: dict[str, Any] = {
                self.question: f"{' '.join(self.random.choices(WORDS, k=self.random.randint(1, 8)))} {number}",
                self.answer: self.random.choice(self.labels),
            }
            for name in list(row):
                if self.random.random() < self.odd:
                    row[name] = self.random.choice(ODD)
            if self.random.random() < self.odd:
                row[self.random.choice(COLUMNS)] = self.random.choice(ODD)
            if self.random.random() < self.odd:
                row.pop(self.question)
            rows.append(self.random.choice(rows) if rows and self.random.random() < self.odd else row)
        return rows

    def file(self, stem: str) -> str:
        """A data file in some format and encoding, maybe damaged; its name."""
        rows = self.rows(self.random.choice([0, 1, 3, 12, 30, 30, 60, 60, 60]))
        kind = self.random.choice([*KINDS, *KINDS, *KINDS, "xlsx"])
        path = self.folder / f"{stem}.{kind}"
        data = self._bytes(rows, kind)
        damage = self.random.random()
        if damage < 0.02 and data:
            data = data[: self.random.randrange(len(data))]
        elif damage < 0.04 and data:
            place = self.random.randrange(len(data))
            data = data[:place] + self.random.randbytes(3) + data[place + 3 :]
        elif damage < 0.05:
            data = self.random.randbytes(200)
        path.write_bytes(data)
        return path.name if self.random.random() > 0.01 else "nowhere.jsonl"

    def _bytes(self, rows: list[dict[str, Any]], kind: str) -> bytes:
        if kind == "parquet":
            return _parquet(rows)
        if kind in ("csv", "tsv"):
            text = io.StringIO()
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(
                text, names, delimiter="\t" if kind == "tsv" else self.random.choice(",;")
            )
            writer.writeheader()
            writer.writerows(rows)
            return text.getvalue().encode(self.random.choice(ENCODINGS), "replace")
        if kind == "json":
            return json.dumps(rows if self.random.random() < 0.9 else {"rows": rows}).encode()
        lines = [json.dumps(row, ensure_ascii=self.random.random() < 0.5) for row in rows]
        if lines and self.random.random() < self.odd:
            broken = self.random.choice(["{", "[1]", "[" * 3000, "7", "nul", "\x00"])
            lines.insert(self.random.randrange(len(lines)), broken)
        data = "\n".join(lines).encode(self.random.choice(["utf-8", *ENCODINGS]), "replace")
        return gzip.compress(data) if kind.endswith("gz") else data

    def fields(self) -> dict[str, Any]:
        """The task file's fields."""
        fields: dict[str, Any] = {
            "requirement": "Answer.",
            "base_model": "tiny",
            "prompt": {"user": f"Q: {{{self.question}}}\nA:", "answer": f"{{{self.answer}}}"},
            "answer_column": self.answer,
        }
        if self.random.random() < 0.5:
            fields["data"] = self.file("data")
        if "data" not in fields or self.random.random() < 0.3:
            fields |= {"sources": [{"name": "train", "path": self.file("train")}], "dev": self.file("dev")}
            fields["test"] = self.file("test")
        if self.random.random() < 0.6:
            fields["choices"] = [
                *self.labels,
                self.random.choice(["c", 7, False, 0.25]),
            ]
        fields["metric"] = self.random.choice(
            ["accuracy", "macro_f1", "exact_match", "numeric", "rouge", "token_f1"]
        )
        if self.random.random() < 0.15:
            fields |= self.random.choice(MISTAKES)
        return fields


MISTAKES: list[dict[str, Any]] = [
    {"prompt": {"user": "{", "answer": "{label}"}},
    {"prompt": {"user": "{text:>10}", "answer": "{label}"}},
    {"prompt": {"user": "no column", "answer": "{label}"}},
    {"prompt": {"user": "{label}", "answer": "{label}"}},
    {"prompt": "Q: {text}"},
    {"choices": ["a"]},
    {"choices": ["a", "a"]},
    {"choices": 5},
    {"metric": "acuracy"},
    {"metric": {"name": "numeric", "tolerance": "x"}},
    {"metric": 7},
    {"base_model": "no/such/model"},
    {"base_model": ""},
    {"rows": {"max_dropped": 2}},
    {"generation": {"max_new_tokens": 0}},
    {"group_by": "nothing"},
    {"search_fraction": 1.5},
    {"sources": []},
    {"sources": "train.jsonl"},
    {"dev": 5},
    {"unknown": 1},
    {"name": "Ünmöglich!"},
]


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from trex.evaluation.data_files import rows_to_table

    sink = pa.BufferOutputStream()
    pq.write_table(
        rows_to_table([{str(name) or "_": value for name, value in row.items()} for row in rows]), sink
    )
    return bytes(sink.getvalue())


def outcome(path: Path) -> str:
    """What a user gets of a task file: 'usable', 'refused' by the check, or the line that says what is wrong."""
    try:
        task: Task = read_task_file(path)
        check_task(task)
        report = inspect_task(task)
        for source in task.sources:
            load(task, source.name)
    except (InputError, PlanError) as error:
        return str(error)
    return "refused" if report.refusals else "usable"


def test_any_task_file_ends_in_a_report_or_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came: Counter[str] = Counter()
    first = int(os.environ.get("TREX_FUZZ_SEED", "0"))
    for seed in range(first, first + TRIED):
        folder = tmp_path / str(seed)
        folder.mkdir()
        maker = Maker(seed, folder)
        path = folder / "task.yaml"
        path.write_text(yaml.safe_dump(maker.fields(), allow_unicode=True), encoding="utf-8")
        try:
            said = outcome(path)
        except Exception as error:
            raise AssertionError(f"seed {seed} in {folder}: {type(error).__name__}: {error}") from error
        assert "\n" not in said and "\x1b" not in said and len(said) < 2_000, (seed, said)
        came[said if said in ("usable", "refused") else "one line"] += 1
    assert min(came[kind] for kind in ("usable", "one line")) >= TRIED // 10, came
