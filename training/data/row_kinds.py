"""What a row of a training set is made of: one row of a recipe gives one or two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from ...errors import PlanError
from ...evaluation.data_files import as_text
from ...evaluation.task import Task
from ...evaluation.usable_rows import Reason, answered, judge
from .row_table import DESIRABLE, REJECTED, TEXT, visible

Row = dict[str, Any]
RowKind = Literal["answers", "pairs", "unpaired", "text"]
Fault = tuple[Reason, str]

_MARKS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def require_columns(kind: RowKind, names: Sequence[str]) -> None:
    """Raise PlanError for a missing column that rows of this kind need besides those of the prompt."""
    needed = {"answers": (), "pairs": (REJECTED,), "unpaired": (DESIRABLE, REJECTED), "text": (TEXT,)}[kind]
    if needed and not set(needed) & set(names):
        mend = {
            "pairs": "add the step `reject`",
            "unpaired": "make one by a `compute` step, or add the step `reject`",
            "text": "make one by a `compute` step",
        }[kind]
        columns = " or ".join(f"'{name}'" for name in needed)
        raise PlanError(f"no column {columns}; the rows have: {', '.join(visible(names))}; {mend}")


def made_rows(row: Mapping[str, Any], stream: str, task: Task, kind: RowKind) -> Iterator[Row | Fault]:
    """The rows that are made of a row of a recipe, or why there are none.

    They have TRL's conversational format with columns of our own: `source`, the row's columns; `stream`, where it is
    from. Plain text has an empty prompt, and is the completion.
    """
    if kind == "text":
        text = as_text(row[TEXT]).strip()
        yield _conversation([], text, {}, stream) if text else ("no text", "")
        return
    source, fault = judge({name: row[name] for name in visible(list(row))}, task)
    if fault is not None:
        yield fault
        return
    *prompt, answer = answered(task, source)
    made: Row = {"prompt": prompt, "completion": [answer], "source": source, "stream": stream}
    if kind == "answers":
        yield made
        return
    worse = as_text(row.get(REJECTED)).strip()
    other = worse if worse != answer["content"] else ""
    if kind == "pairs":
        yield (
            made | {REJECTED: [{"role": "assistant", "content": worse}]}
            if other
            else ("no worse answer", f"{worse!r:.80}")
        )
        return
    mark = as_text(row.get(DESIRABLE)).strip().lower()
    if mark in _MARKS or (other and not mark):
        yield made | {DESIRABLE: _MARKS.get(mark, True)}
    else:
        yield ("not marked good or bad", f"{mark!r:.80}")
    if other:
        yield _conversation(prompt, worse, source, stream) | {DESIRABLE: False}


def _conversation(prompt: Sequence[Any], answer: str, source: Row, stream: str) -> Row:
    completion = [{"role": "assistant", "content": answer}]
    return {"prompt": list(prompt), "completion": completion, "source": source, "stream": stream}
