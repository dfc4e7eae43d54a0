"""The formats of data files, each as rows with the number of their line."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from .text_files import COMPRESSIONS, one_line, open_bytes, open_text, printable
from .values import plain

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

_PANDAS_INDEX = re.compile(r"(Unnamed: \d+|__index_level_\d+__)?")


@dataclass(frozen=True)
class Line:
    """One row of a file, or the fault of a line from which no row can be read."""

    number: int
    row: Row | None
    fault: str = ""


def data_suffix(path: Path) -> str:
    """The suffix that names the format: '.jsonl' of 'rows.jsonl.gz'."""
    return (path.with_suffix("") if path.suffix in COMPRESSIONS else path).suffix.lower()


def read_lines(path: Path) -> Iterator[Line]:
    """The rows of a data file, in order and one at a time; lines that cannot be read come with their fault.

    Rows hold JSON's kinds of values; all values of a CSV file are text. Raises InputError for a file that is
    missing, of an unknown format, or damaged as a whole.
    """
    suffix = data_suffix(path)
    if suffix not in FORMATS:
        raise InputError(
            f"{path}: the format {suffix or 'without a suffix'!r} is none of {', '.join(FORMATS)}"
        )
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    for line in FORMATS[suffix](path):
        row = line.row
        if row is not None and any(map(_is_index, row)):
            line = Line(line.number, {name: value for name, value in row.items() if not _is_index(name)})
        yield line


@lru_cache(maxsize=10_000)
def _is_index(name: str) -> bool:
    """Whether pandas added the column when it wrote a frame with its index."""
    return bool(_PANDAS_INDEX.fullmatch(name))


def _jsonl(path: Path) -> Iterator[Line]:
    with open_text(path, newline="\n") as file:
        for number, text in enumerate(file, start=1):
            if text.strip():
                yield _json_line(number, text)


def _json_line(number: int, text: str) -> Line:
    try:
        row = parse_json(text)
        if "\\u" in text:
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Line(number, None, "half of a surrogate pair, which is no character")
    except ValueError as error:
        return Line(number, None, f"not JSON ({error})")
    return _object(number, row)


def _object(number: int, row: Any) -> Line:
    if not isinstance(row, dict):
        return Line(number, None, f"a JSON object is needed, found {type(row).__name__}")
    return Line(number, row)


# NaN and infinity are no JSON, but Python writes them: they are values that are missing.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


def parse_json(text: str) -> Any:
    """A JSON value. Raises ValueError, in short words, for whatever is none."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1}") from None
    except ValueError as error:
        message = "a number of too many digits" if "integer string conversion" in str(error) else str(error)
        raise ValueError(message) from None


def _json(path: Path) -> Iterator[Line]:
    """An array of objects, an object that holds one such array, or JSON lines under another name."""
    with open_text(path) as file:
        text = file.read()
    try:
        value = parse_json(text)
    except ValueError as error:
        lines = list(_jsonl(path))
        if len(lines) > 1 and lines[0].row is not None:
            yield from lines
            return
        raise InputError(f"{path}: not JSON ({error}); an array of objects is needed") from None
    if isinstance(value, dict):
        lists = [
            part for part in value.values() if isinstance(part, list) and part and isinstance(part[0], dict)
        ]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise InputError(f"{path}: an array of objects is needed, found {type(value).__name__}")
    for number, row in enumerate(value, start=1):
        yield _object(number, row)


def _csv(path: Path) -> Iterator[Line]:
    csv.field_size_limit(sys.maxsize)
    with open_text(path) as file:
        sample = file.read(65_536)
        delimiter = "\t" if data_suffix(path) == ".tsv" else _delimiter(sample)
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter)
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{path}: two columns share the name {printable(twice)!r}; rename one")
        yield from _csv_rows(reader, names)


def _csv_rows(reader: Any, names: list[str]) -> Iterator[Line]:
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Line(number, None, one_line(error))
            continue
        if not values:
            continue
        if len(values) != len(names):
            yield Line(number, None, f"{len(values)} values for {len(names)} columns")
        else:
            yield Line(number, dict(zip(names, values, strict=True)))


def _delimiter(sample: str) -> str:
    """The candidate that splits the header into the most columns outside of quotes; a comma if none does."""
    header = next(csv.reader(sample.splitlines()[:1], delimiter="\0"), [""])
    line = header[0] if header else ""
    counts = {
        candidate: len(next(csv.reader([line], delimiter=candidate), []))
        for candidate in (",", ";", "\t", "|")
    }
    return max(counts, key=lambda candidate: counts[candidate])


def _parquet(path: Path) -> Iterator[Line]:
    import pyarrow.parquet as pq

    yield from _arrow_rows(path, lambda file: pq.ParquetFile(file).iter_batches(10_000))


def _arrow(path: Path) -> Iterator[Line]:
    """An Arrow or Feather file, or an Arrow stream as `datasets` writes it."""
    import pyarrow as pa

    def batches(file: Any) -> Iterator[pa.RecordBatch]:
        try:
            reader = pa.ipc.open_file(file)
        except pa.ArrowInvalid:
            file.seek(0)
            yield from pa.ipc.open_stream(file)
            return
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))

    yield from _arrow_rows(path, batches)


def _arrow_rows(path: Path, batches: Callable[[Any], Iterator[pa.RecordBatch]]) -> Iterator[Line]:
    import pyarrow as pa

    number = 0
    with open_bytes(path) as file:
        whole = pa.BufferReader(file.read()) if path.suffix in COMPRESSIONS else pa.memory_map(str(path))
    try:
        for batch in batches(whole):
            for row in batch.to_pylist(maps_as_pydicts="lossy"):
                number += 1
                yield Line(number, {str(name): plain(value) for name, value in row.items()})
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{path}: {one_line(error)}; write the file again") from None


FORMATS: dict[str, Callable[[Path], Iterator[Line]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
}
"""The reader of each format, by suffix."""
