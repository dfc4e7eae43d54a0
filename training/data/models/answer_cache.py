"""Answers of models on disk, by a hash of all that determines them, so that none is computed or paid for twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from ....errors import TrexError, reading
from ....files import read_jsonl, write_atomic
from .text_model import DrawnAnswer

ANSWERS = ".answers.sqlite"
"""The file's name, in a folder of data sets."""

LLM_ANSWERS = "answers.jsonl"
"""The file of a data set with the answers of the run's chat model that its rows were made of."""

_AT_ONCE = 500  # keys of one query


class AnswerCache:
    """A SQLite file that processes may share; each lot of answers is written in one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, keys: Sequence[str]) -> dict[str, DrawnAnswer]:
        """The answers that are known. Raises TrexError for a file that cannot be used."""
        found: dict[str, DrawnAnswer] = {}
        with closing(self._opened()) as connection:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(f"SELECT key, text, cut FROM answers WHERE key IN ({marks})", some)
                found |= {key: DrawnAnswer(json.loads(text), bool(cut)) for key, text, cut in rows}
        return found

    def write(self, answers: Iterable[tuple[str, DrawnAnswer]]) -> None:
        """Keep answers by their keys. Raises TrexError for a file that cannot be written."""
        # As JSON: a model may write half of a surrogate pair, which SQLite's texts cannot hold.
        rows = [(key, json.dumps(answer.text), answer.cut) for key, answer in answers]
        with closing(self._opened()) as connection, self._explained(), connection:
            connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)

    def _opened(self) -> sqlite3.Connection:
        with self._explained():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=60)
            connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT, cut INTEGER) WITHOUT ROWID"
            )
            return connection

    def _explained(self) -> _Explained:
        return _Explained(self._path)


def write_answers(path: Path, answers: Mapping[str, DrawnAnswer | None]) -> None:
    """Write answers with their keys, a line each; None for one that the model did not give."""
    lines = [
        json.dumps({"key": key, "text": answer and answer.text, "cut": bool(answer and answer.cut)})
        for key, answer in sorted(answers.items())
    ]
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_answers(path: Path) -> dict[str, DrawnAnswer | None]:
    """What `write_answers` wrote; nothing if there is no file. Raises InputError for a damaged one."""
    if not path.exists():
        return {}
    with reading(path, "restore it as the run wrote it"):
        return {row["key"]: _answer(row["text"], row["cut"]) for row in read_jsonl(path)}


def _answer(text: str | None, cut: bool) -> DrawnAnswer | None:
    return None if text is None else DrawnAnswer(str(text), bool(cut))


class _Explained:
    """Turns SQLite's errors and those of the file system into one line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error | OSError):
            raise TrexError(
                f"{self._path}: answers of models cannot be kept ({error}): remove the file, or free space"
            ) from error
