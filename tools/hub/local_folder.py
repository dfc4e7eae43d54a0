"""A hub in a local folder, for work without a network: `owner/name/` with a README.md and data files.

Models are in `models/owner/name/`. Data files end in .jsonl, .json (a list), .csv or .parquet. The split of a file
is its name up to the first '-' or '.'; its configuration is its folder ('default' at the top).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import InputError, TrexError
from ...evaluation.words import word_set, words
from ...files import parse_yaml
from .protocol import (
    Card,
    HubRow,
    Kind,
    Listing,
    SplitSchema,
    checked_name,
    declared_licences,
    without_metadata,
)

_KINDS = (".jsonl", ".json", ".csv", ".parquet")
_README_BYTES = 1 << 20
_JSON_BYTES = 64 << 20
_MOST_REPOSITORIES = 2_000
_MOST_COUNTED = 500_000  # rows; the size of a larger split is not reported


class FolderHub:
    """See `protocol.Hub`. Raises InputError if `root` is not a folder."""

    title = "the local hub"

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise InputError(f"TREX_HUB: {root} is not a folder")
        self._root = root.resolve()

    def search(self, kind: Kind, query: str, most: int) -> list[Listing]:
        """Sorted by the number of query words in the name and the README, then by name."""
        found = []
        for folder in islice(self._repositories(kind), _MOST_REPOSITORIES):
            name = f"{folder.parent.name}/{folder.name}"
            metadata, text = self._readme(folder)
            if shared := word_set(query) & set(words(f"{name} {text}")):
                found.append((-len(shared), name, Listing(name=name, licences=declared_licences(metadata))))
        return [listing for _, _, listing in sorted(found, key=lambda entry: entry[:2])[:most]]

    def card(self, name: str) -> Card:
        """Metadata and text of the README. Raises TrexError."""
        metadata, text = self._readme(self._folder(name))
        return Card(name=name, licences=declared_licences(metadata), text=text)

    def splits(self, name: str) -> list[SplitSchema]:
        """From the data files, which are read to count the rows. Raises TrexError."""
        splits = []
        for (config, split), files in sorted(self._files(name).items()):
            rows = 0
            columns: dict[str, str] = {}
            for row in islice(self._read(files), _MOST_COUNTED + 1):
                columns = columns or {key: type(value).__name__ for key, value in row.items()}
                rows += 1
            known = rows if rows <= _MOST_COUNTED else None
            splits.append(SplitSchema(config=config, split=split, rows=known, columns=columns))
        if not splits:
            raise TrexError(f"{name} has no readable data file ({', '.join(_KINDS)})")
        return splits

    def rows(self, name: str, config: str, split: str, offset: int, most: int) -> list[HubRow]:
        """Rows of a split, in the order of its files. Raises TrexError."""
        files = self._files(name).get((config, split))
        if files is None:
            raise TrexError(f"{name} has no split of this name in this configuration: see dataset_schema")
        wanted = islice(enumerate(self._read(files)), offset, offset + most)
        return [HubRow(number=number, values=row) for number, row in wanted]

    def _repositories(self, kind: Kind) -> Iterator[Path]:
        top = self._root / "models" if kind == "models" else self._root
        for readme in sorted(top.glob("*/*/README.md")):
            if kind == "models" or readme.parent.parent.name != "models":
                yield readme.parent

    def _folder(self, name: str) -> Path:
        folder = (self._root / checked_name(name)).resolve()
        if not folder.is_dir() or "/" not in name or not folder.is_relative_to(self._root):
            raise TrexError("the local hub has no data set of this name: search_datasets lists what it has")
        return folder

    def _readme(self, folder: Path) -> tuple[dict[str, Any], str]:
        """Metadata and text. Unreadable metadata counts as none, so that the licence is unknown."""
        path = folder / "README.md"
        if not path.resolve().is_relative_to(self._root) or not path.is_file():
            return {}, ""
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_README_BYTES)
        block = re.match(r"\A\s*---\s*\n(.*?)\n---\s*(\n|\Z)", text, re.DOTALL)
        try:
            metadata = parse_yaml(block[1], "README.md") if block else {}
        except InputError:
            metadata = {}
        return metadata if isinstance(metadata, dict) else {}, without_metadata(text)

    def _files(self, name: str) -> dict[tuple[str, str], list[Path]]:
        """Data files by configuration and split. Links to files outside of the hub are ignored."""
        folder = self._folder(name)
        files: dict[tuple[str, str], list[Path]] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix in _KINDS and path.is_file() and path.resolve().is_relative_to(folder):
                inside = path.relative_to(folder).parts[:-1]
                config = inside[0] if inside and inside[0] != "data" else "default"
                files.setdefault((config, re.split(r"[-.]", path.name)[0]), []).append(path)
        return files

    def _read(self, files: list[Path]) -> Iterator[dict[str, Any]]:
        for path in files:
            try:
                for row in _rows(path):
                    if not isinstance(row, dict):
                        raise ValueError("a row is not an object")
                    yield {str(key): value for key, value in row.items()}
            except (OSError, ValueError, csv.Error, RecursionError) as error:
                raise TrexError(f"{path.name} cannot be read ({type(error).__name__})") from None


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches(batch_size=1_000):
            yield from batch.to_pylist()
        return
    if path.suffix == ".json" and path.stat().st_size > _JSON_BYTES:
        raise ValueError("too large to be one JSON value")
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            yield from csv.DictReader(file)
        elif path.suffix == ".json":
            rows = json.load(file)
            if not isinstance(rows, list):
                raise ValueError("not a list of rows")
            yield from rows
        else:
            yield from (json.loads(line) for line in file if line.strip())
