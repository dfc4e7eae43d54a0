"""What a task's files hold: rows kept and left out, answers, duplicates, lengths in tokens, the noise of dev.

Every row of every file is read once, one at a time. Of test only counts are kept; none of its rows is shown.
"""

from __future__ import annotations

import difflib
import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from ..errors import InputError
from .base_model_check import check_base_model
from .data_files import HUB, Row, file_name, printable, read_hub_lines, read_lines
from .decontamination.normal_form import key
from .decontamination.prompt_repeats import prompt_repeats
from .grader.metric_trial import check_metric
from .rendering_check import RowRendering, limit_notes, refusal
from .splits import FEWEST_DEV, content_id
from .task import Task
from .usable_rows import Dropped, RowCounts, right_answer, usable

SHOWN_ROWS = 10
SHOWN_ANSWERS = 20
_SAMPLE = 1_000  # rows of a file that are tokenised, besides its longest
_LONGEST = 50
_RARE = 0.02  # of the rows of the answer it resembles


class FileCheck(BaseModel):
    """One file: its rows, answers and lengths."""

    name: str = Field(description="The source's name, 'dev' or 'test'")
    path: str
    read: int
    kept: int
    dropped: list[Dropped]
    refused: str | None = Field(description="Why the task is refused because of this file")
    answers: dict[str, int] = Field(
        description="Rows with each answer, the most frequent first; none for free text"
    )
    repeated: int = Field(description="Rows whose question an earlier row of the file has")
    measured: int = Field(description="Rows that were tokenised: a sample, and the longest")
    prompt_tokens: dict[str, int] = Field(
        description="Median, 95th percentile and maximum of the tokenised rows"
    )
    not_rendered: int = Field(description="Tokenised rows that the chat template refuses")
    cut_prompts: int = Field(description="Tokenised rows whose prompt is longer than max_prompt_tokens")
    long_answers: int = Field(description="Tokenised rows whose answer is longer than max_new_tokens")


class TaskCheck(BaseModel):
    """The files of a task, what they share, and how rows look to the model."""

    task: str
    files: list[FileCheck]
    shared: dict[str, int] = Field(
        description="Questions of one file that another has too, e.g. 'train and dev'"
    )
    prompt_repeats: list[str] = Field(description="Items of dev and test that the prompt contains")
    variants: list[str] = Field(description="Rare answers that resemble a frequent one")
    examples: list[dict[str, str]] = Field(
        description="Rows of the sources, or of dev, as the model sees them"
    )
    smallest_gain: dict[str, float] = Field(description="Smallest gain that dev, its parts, or test can show")
    notes: list[str]
    refused: list[str] = Field(description="Why a run would not start, beside what the files say")

    @property
    def refusals(self) -> list[str]:
        """Why a run would not start, a line each."""
        refused = [entry.refused for entry in self.files if entry.refused]
        return [*refused, *self.prompt_repeats, *self.refused]


@dataclass
class _Reading:
    """What is remembered of a file while it is read."""

    counts: RowCounts
    answers: Counter[str] = field(default_factory=Counter)
    questions: set[int] = field(default_factory=set)
    items: set[str] = field(default_factory=set)  # ids of dev and test
    repeated: int = 0
    sample: list[Row] = field(default_factory=list)
    longest: list[tuple[int, int, Row]] = field(default_factory=list)

    def add(self, row: Row, task: Task) -> None:
        """Remember a usable row."""
        text = " ".join(turn["content"] for turn in task.prompt.turns(row))
        digest = int.from_bytes(blake2b(key(text).encode(), digest_size=8).digest())
        self.repeated += digest in self.questions
        self.questions.add(digest)
        if task.prompt.answer_fields <= row.keys() and len(self.answers) <= 10_000:
            self.answers[right_answer(task, row)] += 1
        if len(self.sample) < _SAMPLE:
            self.sample.append(row)
        else:
            heapq.heappush(self.longest, (len(text), self.counts.read, row))
            if len(self.longest) > _LONGEST:
                heapq.heappop(self.longest)


def inspect_task(task: Task) -> TaskCheck:
    """Read every file of a task.

    Raises InputError for a file or a base model that cannot be read at all, and for a metric that cannot be used.
    """
    check_base_model(task)
    readings = {source.name: _read(task, source.path, complete=False) for source in task.sources}
    readings |= {name: _read(task, str(getattr(task, name)), complete=True) for name in ("dev", "test")}
    rendering = RowRendering(task)
    paths = {source.name: source.path for source in task.sources} | {
        "dev": str(task.dev),
        "test": str(task.test),
    }
    check_metric(task)
    files = [_file_check(task, name, paths[name], reading, rendering) for name, reading in readings.items()]
    shown = [row for name, reading in readings.items() if name != "test" for row in reading.sample]
    complete = [row for row in shown if task.prompt.fields <= row.keys()][:SHOWN_ROWS]
    return TaskCheck(
        task=task.name,
        files=files,
        shared=_shared(readings),
        prompt_repeats=prompt_repeats(task),
        variants=sorted(
            {line for name, r in readings.items() if name != "test" for line in _variants(r.answers)}
        ),
        examples=[rendering.example(row) for row in complete],
        smallest_gain=_smallest_gain(task, readings),
        notes=[
            *rendering.notes,
            *limit_notes(task, rendering.measure(readings["dev"].sample)),
            *_not_rendered(files),
        ],
        refused=list(_refused(task, readings)),
    )


def _refused(task: Task, readings: dict[str, _Reading]) -> Iterator[str]:
    """What is wrong with dev and test together."""
    dev, test = readings["dev"], readings["test"]
    if 0 < dev.counts.kept < FEWEST_DEV:
        yield f"{file_name(task.dev)}: dev has one item and is cut into two parts, 'search' and 'confirm'; add items"
    if both := len(dev.items & test.items):
        yield f"{both} test items of task {task.name!r} are also in dev; remove them from dev"


def _read(task: Task, path: str, complete: bool) -> _Reading:
    reading = _Reading(RowCounts(file_name(path), path))
    keep = complete and task.rows.unanswered == "keep"
    lines = read_hub_lines(path) if path.startswith(HUB) else read_lines(Path(path).expanduser())
    for row in usable(lines, task, reading.counts, complete, keep):
        if complete:
            reading.items.add(content_id(row))
        if task.prompt.question_fields <= row.keys():
            reading.add(row, task)
    return reading


def _file_check(task: Task, name: str, path: str, reading: _Reading, rendering: RowRendering) -> FileCheck:
    rows = [*reading.sample, *(row for _, _, row in reading.longest)]
    tokens = rendering.measure(rows)
    # The template may name what stands in the row, and what stands in test is not shown.
    shown = ["its chat template refuses them"] * len(tokens.refused) if name == "test" else tokens.refused
    # Every item of dev and test is asked; a source may lose rows.
    if tokens.refused and (name in ("dev", "test") or not tokens.prompts):
        refused = f"{file_name(path)}: {refusal(task, shown, len(rows))}"
    else:
        refused = None
    try:
        reading.counts.check(task.rows.max_dropped)
    except InputError as error:
        refused = str(error)
    few = len(reading.answers) <= max(SHOWN_ANSWERS, len(task.choices or ()))
    percentiles = np.percentile(
        tokens.prompts or [0], (50, 95, 100), method="inverted_cdf"
    )  # the nearest rank
    return FileCheck(
        name=name,
        path=path,
        read=reading.counts.read,
        kept=reading.counts.kept,
        dropped=_without_texts(reading.counts.dropped) if name == "test" else reading.counts.dropped,
        refused=refused,
        answers=dict(reading.answers.most_common()) if few else {},
        repeated=reading.repeated,
        measured=len(rows),
        prompt_tokens=dict(zip(("p50", "p95", "max"), percentiles.tolist(), strict=True)),
        not_rendered=len(tokens.refused),
        cut_prompts=sum(length > task.generation.max_prompt_tokens for length in tokens.prompts),
        long_answers=sum(length > task.generation.max_new_tokens for length in tokens.answers),
    )


def _not_rendered(files: list[FileCheck]) -> list[str]:
    return [
        f"{entry.name}: {entry.not_rendered} of {entry.measured} rows cannot be rendered and are left out"
        for entry in files
        if entry.not_rendered and not entry.refused
    ]


def _without_texts(dropped: list[Dropped]) -> list[Dropped]:
    """The places of rows alone: what stands in test is not shown."""
    places = [[":".join(example.split(":")[:2]) for example in entry.examples] for entry in dropped]
    return [entry.model_copy(update={"examples": at}) for entry, at in zip(dropped, places, strict=True)]


def _shared(readings: dict[str, _Reading]) -> dict[str, int]:
    names = list(readings)
    pairs = [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
    counts = {
        f"{one} and {other}": len(readings[one].questions & readings[other].questions) for one, other in pairs
    }
    return {pair: count for pair, count in counts.items() if count}


def _variants(answers: Counter[str]) -> Iterator[str]:
    """Rare answers that resemble a frequent one, as typos do. Not for free text, where all answers differ."""
    if len(answers) > 500:
        return
    for rare, count in answers.items():
        frequent = [other for other in answers if answers[other] * _RARE >= count]
        close = difflib.get_close_matches(rare, frequent, n=1, cutoff=0.8)
        if close:
            rows = "1 row" if count == 1 else f"{count} rows"
            yield f"{printable(rare)!r} {rows}: did you mean {printable(close[0])!r}?"


def _smallest_gain(task: Task, readings: dict[str, _Reading]) -> dict[str, float]:
    """The gain in a share of right answers that is significant at 5 % in n items, if no more than that gain changes.

    Of n paired answers, those that change are at least gain·n; a sign test of d changes in one direction is
    significant from d = 1.96² on (normal approximation of the binomial), so that 1.96² / n is the least gain.
    """
    dev, test = readings["dev"].counts.kept, readings["test"].counts.kept
    search = round(dev * task.search_fraction)
    sizes = {"dev": dev, "search": search, "confirm": dev - search, "test": test}
    return {name: round(min(1.0, 1.96**2 / n), 4) for name, n in sizes.items() if n}
