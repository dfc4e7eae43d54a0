"""From data files to the fields of a task, each with the reason for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..base_models import resolve_model
from ..data_files import FORMATS, HUB, Row, data_suffix, plain, printable, read_hub_lines, read_lines
from ..task import EMBEDDED_MODEL, Prompt, Task
from ..task_file import task_from_fields, write_rows
from .answer_kinds import AnswerKind, kind_of_answer
from .column_choice import choose_answer, choose_questions, explain_unused
from .column_profiles import Table
from .conversation_columns import answers, conversation_columns, usable_rows

_ROLES = {
    "test": re.compile(r"(.*[_\W])?(test|holdout|heldout)([_\W].*)?", re.IGNORECASE),
    "dev": re.compile(r"(.*[_\W])?(dev|valid|validation|val|eval)([_\W].*)?", re.IGNORECASE),
}
_SHOWN_CHOICES = 400  # characters of choices that the prompt lists
_REQUIREMENT = "what you want, in a sentence or two: the Researcher reads it, so say more than this"
_GROUP = re.compile(
    r"(.*[_\W])?(user|customer|client|patient|author|account|session|thread|conversation|document|doc|group|company)"
    r"([_\W]?(id|name|number|no))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Wanted:
    """What the user decided; None and empty leave it to the proposal."""

    answer: str | None = None
    question: Sequence[str] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)  # fields of the task file, as they are


@dataclass
class Proposal:
    """The fields of a task file, in order, with a reason for each that was chosen."""

    fields: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: Any, reason: str = "") -> None:
        """Propose the value of a field."""
        self.fields[name] = value
        self.reasons[name] = reason

    def task(self, folder: Path) -> Task:
        """The task of these fields; `folder` is where relative paths begin. Raises InputError."""
        return task_from_fields(dict(self.fields), folder, "the proposed task", "task")


def task_from_data(data: Any, given: Mapping[str, Any]) -> Task:
    """See `Task.from_data`."""
    columns = {name: given[name] for name in ("answer", "question") if name in given}
    question = columns.get("question") or ()
    fields = {name: value for name, value in given.items() if name not in columns}
    wanted = Wanted(
        columns.get("answer"), [question] if isinstance(question, str) else list(question), fields
    )
    return propose(_parts_of(data), wanted).task(Path.cwd())


def propose(parts: Mapping[str, list[str]], wanted: Wanted) -> Proposal:
    """Look at the files, see `parts_by_name`, and propose a task.

    Raises InputError if no column can be the answer or the question.
    """
    table = Table()
    for path in parts.get("data", []) + parts.get("dev", []):
        for row in _rows(path):
            table.add(row)
    if not table.rows:
        raise InputError(f"{', '.join(parts['data'])}: no row that can be read")
    result = Proposal()
    result.add("name", str(wanted.fields.get("name") or _task_name(parts)))
    talks = () if wanted.answer or wanted.question else conversation_columns(table)
    if talks:
        _add_conversations(result, parts, table, talks)
    else:
        _add_columns(result, parts, table, wanted)
    result.add(
        "base_model",
        EMBEDDED_MODEL,
        "comes with TREX, 135 million parameters, trains on a laptop; or a directory, or a hub id such as "
        "Qwen/Qwen2.5-0.5B-Instruct",
    )
    for field_name, value in wanted.fields.items():
        result.add(field_name, value, "as you said")
    if "choices" not in result.fields and "generation" not in wanted.fields:
        _add_generation(result, table.sample)
    return result


def _add_columns(result: Proposal, parts: Mapping[str, list[str]], table: Table, wanted: Wanted) -> None:
    """Rows with columns of a question and an answer."""
    answer = choose_answer(table, wanted.answer, wanted.question)
    questions = choose_questions(table, answer.column, wanted.question)
    kind = kind_of_answer(table.columns[answer.column], table.sample)
    result.add(
        "requirement",
        f"Answer with the {_words(answer.column)} of a row, given its {' and '.join(map(_words, questions.columns))}.",
        _REQUIREMENT,
    )
    _add_data(result, parts, table)
    _add_prompt(result, answer.column, questions.columns, kind)
    result.reasons["prompt"] = f"{answer.reason}; {questions.reason}"
    result.add("answer_column", answer.column)
    _add_scoring(result, kind)
    result.notes = [*kind.notes, *explain_unused(table, answer.column, questions.columns)]


def _add_conversations(
    result: Proposal, parts: Mapping[str, list[str]], table: Table, columns: Sequence[str]
) -> None:
    """Rows with whole conversations."""
    fields: dict[str, Any] = {"messages": columns[0] if len(columns) == 1 else list(columns)}
    if "tools" in table.columns:
        fields["tools"] = "tools"
    result.add("requirement", "Answer as the assistant of these conversations does.", _REQUIREMENT)
    _add_data(result, parts, table)
    held = f"{columns[0]} holds turns" if len(columns) == 1 else f"{' and '.join(columns)} hold turns"
    reason = f"{held}; the assistant's last one is the answer"
    result.add("prompt", fields, f"{reason}; loss_on: all trains on all of its turns")
    kind = kind_of_answer(answers(table, Prompt.model_validate(fields)), [])
    _add_scoring(result, kind)
    result.notes = list(kind.notes)


def _add_scoring(result: Proposal, kind: AnswerKind) -> None:
    if kind.choices:
        result.add("choices", list(kind.choices), kind.choices_reason)
    result.add("metric", kind.metric, kind.metric_reason)


def _add_data(result: Proposal, parts: Mapping[str, list[str]], table: Table) -> None:
    """The files. What is missing of dev and test is cut from the first file."""
    first, *others = parts["data"]
    missing = [name for name in ("dev", "test") if name not in parts]
    if missing:
        cut = " and ".join(missing)
        result.add("data", first, f"cut into a training pool and {cut}: equal questions stay in one part")
        groups = [name for name in table.columns if _GROUP.fullmatch(name) and table.repeats(name)]
        if groups:
            reason = f"rows with the same {groups[0]} stay in one part, so that {cut} ask about new ones"
            result.add("group_by", groups[0], reason)
    else:
        others = parts["data"]
    if others:
        names = [f"source_{number}" for number in range(1, len(others) + 1)] if len(others) > 1 else ["train"]
        names = ["more"] if missing and len(others) == 1 else names
        sources = [{"name": name, "path": path} for name, path in zip(names, others, strict=True)]
        result.add("sources", sources, "the only files that training may use")
    for name in ("dev", "test"):
        if name in parts:
            use = {"dev": "scores models during the search", "test": "opened once, at the end"}[name]
            result.add(name, parts[name][0], f"found by its name; {use}")


def _add_prompt(result: Proposal, answer: str, questions: Sequence[str], kind: AnswerKind) -> None:
    heading = _words(answer).capitalize()
    if len(questions) == 1:
        asked = f"{{{questions[0]}}}"
    else:
        asked = "\n".join(f"{_words(name).capitalize()}: {{{name}}}" for name in questions)
    listed = ", ".join(kind.choices or ()).replace("{", "{{").replace("}", "}}")
    if kind.choices and len(listed) <= _SHOWN_CHOICES:
        asked += f"\n\n{heading} ({listed}):"
    elif kind.instruction:
        asked += f"\n\n{kind.instruction.format(answer=heading)}"
    result.add("prompt", {"user": asked, "answer": f"{{{answer}}}"})


def _add_generation(result: Proposal, sample: Iterable[Row]) -> None:
    """Limits in tokens that 99.5 % of the rows keep, as the base model's tokenizer counts them."""
    from transformers import AutoTokenizer

    try:
        folder = resolve_model(str(result.fields["base_model"]))
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (InputError, OSError, ValueError) as error:
        result.notes.append(f"lengths in tokens were not measured: {printable(str(error), 200)}")
        return
    prompt = Prompt.model_validate(result.fields["prompt"])
    rows = [row for row in sample if prompt.fields <= row.keys()][:1_000]
    rows = usable_rows(rows, prompt) if prompt.messages else rows
    if not rows:
        return
    limits = {}
    for name, texts, least, most in (
        ("max_new_tokens", [prompt.reference(row) for row in rows], 8, 1024),
        ("max_prompt_tokens", [_asked(prompt, row) for row in rows], 512, 2048),
    ):
        lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        needed = int(np.percentile(lengths, 99.5) * 1.1) + 8
        limits[name] = min(most, max(least, 8 * -(-needed // 8)))
    result.add("generation", limits, "in tokens: 99.5 % of the answers and prompts are shorter")


def _asked(prompt: Prompt, row: Row) -> str:
    return "\n".join(turn["content"] for turn in prompt.turns(row))


def parts_by_name(given: Iterable[str | Path]) -> dict[str, list[str]]:
    """The files, and those in folders, by what their names say they are: 'data', 'dev' or 'test'.

    Raises InputError for a path that does not exist, and if there is nothing to train on.
    """
    files = _data_paths(given)
    parts: dict[str, list[str]] = {}
    for path in files:
        stem = path.rpartition("#")[2] if path.startswith(HUB) else Path(path).name.split(".")[0]
        role = next((role for role, form in _ROLES.items() if form.fullmatch(stem)), "data")
        parts.setdefault(role if len(files) > 1 else "data", []).append(path)
    for role in ("dev", "test"):
        if len(parts.get(role, [])) > 1:
            raise InputError(f"{', '.join(parts[role])}: more than one file is named as {role}; give one")
    if "data" not in parts:
        raise InputError(f"{', '.join(files)}: no file to train on; all are named as dev or test")
    return parts


def _rows(path: str) -> Iterable[Row]:
    lines = read_hub_lines(path) if path.startswith(HUB) else read_lines(Path(path))
    return (line.row for line in lines if line.row is not None)


def _parts_of(data: Any) -> dict[str, list[str]]:
    """The files of what Python code gives: paths as they are; rows, data frames and data sets in TREX_HOME."""
    if isinstance(data, str | Path):
        return parts_by_name([data])
    if isinstance(data, Mapping):
        known = {"train": "data", "data": "data", "dev": "dev", "validation": "dev", "test": "test"}
        if unknown := set(data) - set(known):
            raise InputError(
                f"data has the parts {', '.join(map(str, unknown))}: known are {', '.join(known)}"
            )
        return {known[name]: _parts_of(part)["data"] for name, part in data.items()}
    if isinstance(data, Sequence) and data and all(isinstance(part, str | Path) for part in data):
        return parts_by_name(data)
    rows = data.to_dict("records") if hasattr(data, "to_dict") and hasattr(data, "columns") else data
    try:
        kept = [plain(dict(row)) for row in rows]
    except (TypeError, ValueError):
        raise InputError(
            f"data is a {type(data).__name__}: give a path, rows as dictionaries, a data frame, or a datasets.Dataset"
        ) from None
    return {"data": [str(write_rows(kept))]}


def _data_paths(given: Iterable[str | Path]) -> list[str]:
    """Files as they are given, and the data files of folders. Raises InputError for a path that does not exist."""
    found: list[str] = []
    for entry in map(str, given):
        if entry.startswith(HUB):
            found.append(entry)
            continue
        path = Path(entry).expanduser().absolute()
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        inside = (
            sorted(part for part in path.iterdir() if data_suffix(part) in FORMATS)
            if path.is_dir()
            else [path]
        )
        if not inside:
            raise InputError(f"{path}: holds no data file ({', '.join(FORMATS)})")
        found += map(str, inside)
    return found


def _task_name(parts: Mapping[str, list[str]]) -> str:
    first = parts["data"][0]
    stem = first.removeprefix(HUB).split("/")[-1].split(":")[0] if first.startswith(HUB) else Path(first).name
    stem = stem.split(".")[0]
    if re.fullmatch(r"(train|training|data|all|rows)", stem, re.IGNORECASE) and not first.startswith(HUB):
        stem = Path(first).absolute().parent.name
    name = re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:40]
    return name if name[:1].isalpha() else f"task-{name}".rstrip("-")


def _words(column: str) -> str:
    """A column's name as words: 'customerText' and 'customer_text' are 'customer text'."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_+", " ", column).strip().lower() or column
