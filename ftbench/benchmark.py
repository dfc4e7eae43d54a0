"""What a task of FT-Bench is: published rows, how they become items, and the splits that never leak.

A task file under `tasks/` makes one `Benchmark`; `load` turns it into the `Task` that a run works on. Rows keep
the columns of the published data, because the scorer reads those; two are added: `prompt`, what the model is
told, and `gold`, the right answer as a model should write it ('' where the data states none).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from ..errors import InputError
from ..evaluation.decontamination.gate import ContaminationGate
from ..evaluation.decontamination.item_texts import NormalForms
from ..evaluation.splits import content_id, position
from ..evaluation.task import TINY_MODEL, GenerationSettings, Prompt, RowRules, Source, Task
from ..files import hash_file, read_jsonl, write_jsonl
from .data_sources import Home
from .tasks.materialise import materialise

Row = dict[str, Any]
Part = Literal["train", "dev", "test", "cut"]

BASE_MODEL = "Qwen/Qwen3-1.7B"
"""The base model of the paper's experiments."""

SAMPLES = Path(__file__).parent / "tasks" / "samples"
_STRENGTH: dict[str, int] = {"train": 0, "dev": 1, "test": 2}
_ADDED = ("prompt", "gold")


@dataclass(frozen=True)
class Licence:
    """What the data's licence allows. Rows that are not `trainable` never reach a train pool."""

    name: str
    commercial: bool
    trainable: bool = True
    note: str = ""


@dataclass(frozen=True)
class Published:
    """Scores of the paper (arXiv 2604.14116), None where it gives none."""

    base: float | None = None
    reference: float | None = None
    trex_open: float | None = None
    trex_best: float | None = None


@dataclass(frozen=True)
class Record:
    """A published row and the part it belongs to; 'cut' leaves the choice to us.

    Rows of one `group` (default: of one content) never stand in two parts: the stronger one keeps them, test
    before dev before train, and the others lose them.
    """

    part: Part
    row: Row
    group: str = ""
    gold: str | None = None


@dataclass(frozen=True)
class GoldTurn:
    """The user turn of a row, and the answer that the model should give."""

    prompt: str
    gold: str = ""


@dataclass(frozen=True)
class Benchmark:
    """One task of FT-Bench."""

    name: str
    title: str
    domain: str
    requirement: str
    metric: str
    licence: Licence
    citation: str
    homes: tuple[Home, ...]
    read: Callable[[], Iterable[Record]] = field(repr=False)
    """The published rows. Raises InputError if they can't be had."""
    turn: Callable[[Row], GoldTurn] = field(repr=False)
    generation: GenerationSettings
    system: str | None = None
    subtasks: tuple[str, ...] = ()
    choices: tuple[str, ...] | None = None
    cut: Mapping[str, float] = field(default_factory=lambda: {"dev": 0.4, "test": 0.6})
    """Shares of dev and test among the rows that are cut; of train, too, where upstream's pool repeats its test."""
    public_sources: tuple[Source, ...] = ()
    """Other public data that may be trained on, by its licence."""
    published: Published = Published()

    def load(self, smoke: bool = False) -> Task:
        """The task on its published data; with `smoke`, on samples written by hand and a tiny model.

        Raises InputError if the data is out of reach.
        """
        made_from = hash_file(self.samples_file) if smoke else " ".join(home.identity for home in self.homes)
        records = self.samples if smoke else self.read
        folder = materialise(
            f"{self.name}-smoke" if smoke else self.name,
            self._modules(),
            f"{self.cut} {made_from}",
            lambda target: self._write(records(), target, smoke),
        )
        own: list[Source] = []
        if (folder / "train.jsonl").exists():
            own = [
                Source(
                    name="train",
                    path=str(folder / "train.jsonl"),
                    description="hand-written samples" if smoke else f"The train pool of {self.title}",
                    licence="Apache-2.0 (written for TREX)" if smoke else self.licence.name,
                )
            ]
        return Task(
            name=self.name,
            requirement=self.requirement,
            base_model=TINY_MODEL if smoke else BASE_MODEL,
            sources=[*own, *(() if smoke else self.public_sources)],
            dev=folder / "dev.jsonl",
            test=folder / "test.jsonl",
            prompt=Prompt(system=self.system, user="{prompt}", answer="{gold}"),
            metric=self.metric,
            choices=list(self.choices) if self.choices else None,
            generation=self.generation,
            answer_column="gold",
            rows=RowRules(unanswered="keep", max_dropped=0),
            licence=self.licence.name,
            citation=self.citation,
        )

    @property
    def samples_file(self) -> Path:
        return SAMPLES / f"{self.name}.jsonl"

    def samples(self) -> list[Record]:
        """The hand-written rows that ship with the task, in the published schema."""
        return [
            Record(part=line["part"], row=line["row"], gold=line.get("gold"))
            for line in read_jsonl(self.samples_file)
        ]

    def item(self, record: Record) -> Row:
        """A row with its prompt and its gold answer. Raises InputError if the data has such columns already."""
        taken = [name for name in _ADDED if name in record.row]
        if taken:
            raise InputError(f"{self.name}: a published column is called {taken[0]!r}, as ours is: rename it")
        turn = self.turn(record.row)
        return {
            **record.row,
            "prompt": turn.prompt,
            "gold": turn.gold if record.gold is None else record.gold,
        }

    def _write(self, records: Iterable[Record], folder: Path, smoke: bool) -> None:
        parts = self.parts(records, smoke)
        write_jsonl(folder / "dev.jsonl", parts["dev"])
        write_jsonl(folder / "test.jsonl", parts["test"])
        if parts["train"]:
            write_jsonl(folder / "train.jsonl", [_flat(row) for row in parts["train"]])

    def parts(self, records: Iterable[Record], smoke: bool = False) -> dict[str, list[Row]]:
        """Items by part: no group in two, no dev row that repeats a test item, no train row that repeats either.

        Raises InputError for a part of dev and test without rows, and for train rows of data that must not be
        trained on (samples are ours and may be).
        """
        placed = [(self._part(record), record) for record in records]
        if not (self.licence.trainable or smoke) and any(part == "train" for part, _ in placed):
            raise InputError(
                f"{self.title}: its licence forbids training on it, and its reader gives train rows"
            )
        strongest: dict[str, str] = {}
        for part, record in placed:
            known = strongest.setdefault(_group(record), part)
            if _STRENGTH[part] > _STRENGTH[known]:
                strongest[_group(record)] = part
        parts: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
        for part, record in placed:
            if strongest[_group(record)] == part:
                parts[part].append(self.item(record))
        if not parts["dev"] or not parts["test"]:
            raise InputError(f"{self.title}: dev or test has no rows")
        prompt = Prompt(system=self.system, user="{prompt}", answer="{gold}")
        parts["test"] = _distinct(parts["test"], prompt)
        parts["dev"] = _apart(_distinct(parts["dev"], prompt), parts["test"], prompt)
        if parts["train"]:
            found = repeats(
                ContaminationGate([*parts["dev"], *parts["test"]], prompt), parts["train"], prompt
            )
            parts["train"] = [row for row, is_item in zip(parts["train"], found, strict=True) if not is_item]
        return parts

    def _part(self, record: Record) -> str:
        """The part of a record, by the hash of its group where it is ours to choose."""
        if record.part != "cut":
            return record.part
        place, end = position(_group(record), "ftbench"), 0.0
        for name, share in self.cut.items():
            end += share
            if place < end:
                return name
        return list(self.cut)[-1]

    def _modules(self) -> list[ModuleType]:
        """The code that decides what stands in the files."""
        return [
            sys.modules[name]
            for name in dict.fromkeys((__name__, self.read.__module__, self.turn.__module__))
        ]


def _group(record: Record) -> str:
    return record.group or content_id(record.row)


def repeats(gate: ContaminationGate, rows: Iterable[Row], prompt: Prompt) -> list[bool]:
    """Whether each row repeats an item, as the gate of a run finds it.

    A row may lack the answer (a recipe derives it), so that only the question is rendered.
    """
    asked = [{**row, "messages": prompt.turns(row)} for row in rows]
    return list(map(bool, gate.repeated_items(asked, every=False)))


def across(
    dev: Sequence[Row], test: Sequence[Row], prompt: Prompt, normal: NormalForms | None = None
) -> list[tuple[int, int]]:
    """The pairs of a dev row and a test row of which one's question repeats the other's.

    One gate knows both parts, as that of a run does: what many of their questions share is wording. `normal`:
    forms of their texts that are known already.
    """
    asked = [{name: row.get(name) for name in prompt.fields} for row in (*dev, *test)]
    gate = ContaminationGate(asked, prompt, NormalForms() if normal is None else normal)
    found = gate.repeated_items([{"messages": prompt.turns(row)} for row in asked])
    pairs = {(min(i, j), max(i, j) - len(dev)) for i, items in enumerate(found) for j in items}
    return sorted((i, j) for i, j in pairs if i < len(dev) and j >= 0)


def _apart(dev: list[Row], test: list[Row], prompt: Prompt) -> list[Row]:
    """The dev rows that repeat no test row and are repeated by none.

    Without them, fewer rows share a text, which may then identify one: so it is asked again.
    """
    normal = NormalForms()
    while pairs := across(dev, test, prompt, normal):
        gone = {i for i, _ in pairs}
        dev = [row for i, row in enumerate(dev) if i not in gone]
    return dev


def _distinct(rows: list[Row], prompt: Prompt) -> list[Row]:
    """The rows as `load_items` gives them: one for each content, in the order of their ids.

    What several rows of one content share must not count as wording of the task, and near the gate's limits its
    sums depend on the order.
    """
    return [row for _, row in sorted({content_id(row, prompt.fields): row for row in rows}.items())]


def _flat(row: Row) -> Row:
    """A train row without nested columns, which a table of sources cannot hold when they differ by row."""
    return {name: value for name, value in row.items() if not isinstance(value, dict | list)}
