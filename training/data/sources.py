"""Sources: the data that a recipe may load, by name. Everything else is rejected.

Besides its own columns a row has the hash of its content. Rows are selected by that hash, so that the selection
depends neither on the order of a file nor on the number of processes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ...errors import InputError, IntegrityError, PlanError
from ...evaluation.task import Source, Task
from ...files import fingerprint, hash_file
from ...home import home
from .row_table import KEY, RESERVED

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

HUB = "hub:"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_CSV_BLOCK = 2**31 - 1


@dataclass(frozen=True)
class HubReference:
    """A data set on the Hugging Face hub: `hub:owner/name@revision#split`; only the name is required."""

    name: str
    revision: str | None
    split: str

    @classmethod
    def parse(cls, path: str) -> HubReference:
        """Parse a reference. Raises ValueError if it does not have this form."""
        found = re.fullmatch(
            r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?(#(?P<split>[\w.-]+))?", path
        )
        if not found:
            raise ValueError(f"{path!r} is not of the form hub:owner/name@revision#split")
        return cls(found["name"], found["revision"], found["split"] or "train")


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
    reference = _hub_reference(source)
    if reference.revision and _COMMIT.fullmatch(reference.revision):
        return fingerprint([reference.name, reference.revision, reference.split], length=64)
    return fingerprint(list(load(task, name)[KEY]), length=64)


def load(task: Task, name: str) -> Dataset:
    """The rows of a source, with the column `KEY`.

    Raises InputError for a file that is missing, empty or malformed, PlanError for a name the task does not
    list, and IntegrityError for a source that is the task's dev or test split.
    """
    from datasets import Dataset

    table = _table(task, find_source(task, name))
    keys = [row_key(row) for row in _rows(table)]
    return Dataset(table.append_column(KEY, [keys]), fingerprint=f"source-{name}")


def check_sources(task: Task) -> None:
    """Raise InputError for a task from whose files no data set can be built, before anything is written.

    Every file is compared with dev and test. Of a source on the hub only the name is checked; `load` fetches it.
    """
    found: dict[str, list[str]] = {}
    for source in task.sources:
        if source.path.startswith(HUB):
            _hub_reference(source)
            continue
        try:
            found[source.name] = _table(task, source).column_names
        except IntegrityError as error:
            raise InputError(str(error)) from error
    if len(found) < len(task.sources):
        return  # a source on the hub may have the columns
    question = task.prompt.model_copy(update={"answer": ""}).fields
    for columns in found.values():
        needed = question if task.rating_column in columns else task.prompt.fields
        if needed <= set(columns):
            return
    raise InputError(missing_columns(task, found))


def missing_columns(task: Task, columns: Mapping[str, Sequence[str]]) -> str:
    """The error for a task of which no source can be used; `columns` are those of each source."""
    return (
        f"no source of task {task.name!r} has the columns its prompt needs "
        f"({', '.join(sorted(task.prompt.fields))}); they have {columns}: rename columns, or set rating_column"
    )


def _table(task: Task, source: Source) -> pa.Table:
    hub = source.path.startswith(HUB)
    table = _hub_table(source) if hub else _file_table(source, _allowed_file(task, source))
    fault = _fault(table)
    if fault:
        raise InputError(f"source '{source.name}', {source.path}: {fault}")
    return table


def row_key(row: dict[str, Any]) -> str:
    """A hash of a row's columns that does not depend on their order. Columns without a value are ignored."""
    present = {column: value for column, value in row.items() if value is not None}
    text = json.dumps(present, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _fault(table: pa.Table) -> str | None:
    names = table.column_names
    if table.num_rows == 0:
        return "it is empty"
    if len(set(names)) < len(names):
        return f"two columns share a name: {', '.join(names)}"
    reserved = [name for name in names if not name or name.startswith(RESERVED)]
    return f"rename column {reserved[0]!r}; such names are reserved" if reserved else None


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


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


def _file_table(source: Source, path: Path) -> pa.Table:
    import pyarrow as pa

    if path.stat().st_size == 0:
        raise InputError(f"source '{source.name}', {path}: it is empty")
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise InputError(f"source '{source.name}': {path.name} is none of {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except (pa.ArrowException, ValueError, OverflowError, OSError) as error:
        raise InputError(f"source '{source.name}', {path}: {_one_line(error)}") from None


def _read_jsonl(path: Path) -> pa.Table:
    """The columns are the union of the rows' keys. Reads line by line, so that an error can name the line."""
    import pyarrow as pa

    rows = list(_json_rows(path))
    columns = dict.fromkeys(column for row in rows for column in row)
    return pa.table({column: _array(column, [row.get(column) for row in rows]) for column in columns})


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), parse_constant=refuse)
            except ValueError as error:
                raise ValueError(f"line {number} is malformed: {_one_line(error)}") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is malformed: not an object but a {type(row).__name__}")
            yield row


def _array(column: str, values: list[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        detail = f"mixes {' and '.join(kinds)}" if len(kinds) > 1 else _one_line(error)
        raise ValueError(f"column '{column}' {detail}") from None


def _read_csv(path: Path) -> pa.Table:
    """Columns of numbers become numeric; all others stay text, dates, 'true' and 'NA' included.

    The file is read as one block, so that the type of a column is determined by all its values.
    """
    import pyarrow as pa
    from pyarrow import csv

    reading = csv.ReadOptions(use_threads=False, block_size=min(path.stat().st_size + 1, _MAX_CSV_BLOCK))
    parsing = csv.ParseOptions(newlines_in_values=True)
    table = csv.read_csv(path, read_options=reading, parse_options=parsing)
    kinds = {field.name: field.type for field in table.schema}
    texts = {
        name: pa.string()
        for name, kind in kinds.items()
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind))
    }
    return csv.read_csv(
        path,
        read_options=reading,
        parse_options=parsing,
        convert_options=csv.ConvertOptions(column_types=texts),
    )


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path, memory_map=True)


def _hub_reference(source: Source) -> HubReference:
    try:
        reference = HubReference.parse(source.path)
    except ValueError as error:
        raise InputError(f"source '{source.name}': {error}") from None
    if Path(reference.name).exists():  # `datasets` would load it instead
        raise InputError(
            f"source '{source.name}': {reference.name} is a file or folder here, not on the hub: give its path"
        )
    return reference


def _hub_table(source: Source) -> pa.Table:
    """A table from the hub, cached in TREX_HOME. Code of a data set is never executed."""
    import datasets

    reference = _hub_reference(source)
    cache = home() / "hub"
    try:
        with _no_progress_bars():
            rows = datasets.load_dataset(
                reference.name,
                revision=reference.revision,
                split=reference.split,
                cache_dir=str(cache),
                download_config=datasets.DownloadConfig(cache_dir=str(cache / "downloads")),
            )
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"source '{source.name}': {source.path} could not be loaded: {_one_line(error)}; "
            "check the name and the network, or give a local .parquet file"
        ) from None
    return rows.with_format("arrow")[:]


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
