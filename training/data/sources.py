"""Sources: the data that a recipe may load, by name. Everything else is rejected.

Besides its own columns a row has the hash of its content. Rows are selected by that hash, so that the selection
depends neither on the order of a file nor on the number of processes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError, IntegrityError, PlanError
from ...evaluation.data_files import (
    HUB,
    HubReference,
    file_name,
    read_hub_lines,
    read_lines,
    rows_to_table,
    table_rows,
)
from ...evaluation.task import Source, Task
from ...evaluation.usable_rows import RowCounts, usable
from ...files import fingerprint, hash_file
from .row_table import KEY, RESERVED

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


@dataclass(frozen=True)
class SourceRows:
    """The rows of a source that the task can use, and the count of all."""

    rows: Dataset
    counts: RowCounts


def find_source(task: Task, name: str) -> Source:
    """The task's source of that name. Raises PlanError for one that the task does not list."""
    try:
        return task.source(name)
    except KeyError as error:
        raise PlanError(str(error.args[0])) from None


def content_hash(task: Task, name: str) -> str:
    """A hash of the source's content. Raises like `load`."""
    source = find_source(task, name)
    if not source.path.startswith(HUB):
        path = _allowed_file(task, source)
        try:
            return hash_file(path)
        except OSError as error:
            raise InputError(f"source '{name}', {path}: {error.strerror}") from None
    reference = HubReference.parse(source.path)
    if reference.pinned:
        return fingerprint([source.path], length=64)
    return fingerprint(list(load(task, name)[KEY]), length=64)


def load(task: Task, name: str) -> Dataset:
    """The usable rows of a source, with the column `KEY`. Raises like `read_source`."""
    return read_source(task, name).rows


def read_source(task: Task, name: str) -> SourceRows:
    """Read a source and leave out the rows that the task cannot use.

    Raises InputError for a file that is missing, empty or malformed and if too many rows are left out, PlanError for a
    name the task does not list, and IntegrityError for a source that is the task's dev or test split.
    """
    from datasets import Dataset

    table, counts = _table(task, find_source(task, name))
    keys = [row_key(row) for row in table_rows(table)]
    return SourceRows(Dataset(table.append_column(KEY, [keys]), fingerprint=f"source-{name}"), counts)


def check_sources(task: Task) -> None:
    """Raise InputError for a task from whose files no data set can be built, before anything is written.

    Every file is compared with dev and test. Of a source on the hub only the name is checked; `load` fetches it.
    """
    found: dict[str, list[str]] = {}
    for source in task.sources:
        if source.path.startswith(HUB):
            HubReference.parse(source.path)
            continue
        try:
            found[source.name] = _table(task, source)[0].column_names
        except IntegrityError as error:
            raise InputError(str(error)) from error
    if len(found) < len(task.sources):
        return
    for columns in found.values():
        needed = task.prompt.question_fields if task.rating_column in columns else task.prompt.fields
        if needed <= set(columns):
            return
    raise InputError(missing_columns(task, found))


def missing_columns(task: Task, columns: Mapping[str, Sequence[str]]) -> str:
    """The error for a task of which no source can be used; `columns` are those of each source."""
    return (
        f"no source of task {task.name!r} has the columns its prompt needs "
        f"({', '.join(sorted(task.prompt.fields))}); they have {columns}: rename columns, or set rating_column"
    )


def _table(task: Task, source: Source) -> tuple[pa.Table, RowCounts]:
    where = f"source '{source.name}', {file_name(source.path)}"
    counts = RowCounts(where, source.path)
    try:
        lines = (
            read_hub_lines(source.path)
            if source.path.startswith(HUB)
            else read_lines(_allowed_file(task, source))
        )
        table = rows_to_table(usable(lines, task, counts, complete=False))
    except InputError as error:
        raise InputError(
            str(error) if str(error).startswith("source ") else f"source '{source.name}': {error}"
        ) from None
    counts.check(task.rows.max_dropped)
    reserved = [name for name in table.column_names if name.startswith(RESERVED)]
    if reserved:
        raise InputError(f"{where}: rename column {reserved[0]!r}; such names are reserved")
    return table, counts


def row_key(row: dict[str, Any]) -> str:
    """A hash of a row's columns that does not depend on their order. Columns without a value are ignored."""
    present = {column: value for column, value in row.items() if value is not None}
    text = json.dumps(present, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _allowed_file(task: Task, source: Source) -> Path:
    path = Path(source.path).expanduser()
    if not path.is_file():
        raise InputError(f"source '{source.name}': no file {path}")
    for split, sealed in (("dev", task.dev), ("test", task.test)):
        if sealed.exists() and _is_same(path, sealed):
            raise IntegrityError(f"source '{source.name}' is the task's {split} split and is refused: {path}")
    return path


def _is_same(path: Path, sealed: Path) -> bool:
    """Whether both are the same file or have the same bytes. A file of another size is not opened."""
    if path.samefile(sealed):
        return True
    return path.stat().st_size == sealed.stat().st_size and hash_file(path) == hash_file(sealed)
