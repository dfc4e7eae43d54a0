"""Files that survive a crash: atomic writes, content hashes, locks."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import stat
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from .errors import InputError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_YAML_LIMIT = 1 << 20
_UMASK = os.umask(0)
os.umask(_UMASK)  # the only way to read it is to set it
_YAML_DEPTH = 20


def canonical_json(value: Any) -> str:
    """One spelling for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of a JSON value."""
    # JSON can hold a surrogate that stands alone, which is no UTF-8.
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:length]


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading. Raises OSError for what is no regular file: reading a FIFO would wait without end."""
    return open(_handle(path, os.O_RDONLY), "rb")


def read_regular(path: Path) -> bytes:
    """All bytes of a file. Raises OSError for what is no regular file."""
    with open_regular(path) as file:
        return file.read()


def _handle(path: Path, flags: int) -> int:
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666 & ~_UMASK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return handle


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(folder: Path, pattern: str = "**/*") -> str:
    """SHA-256 over the relative names and contents of the files in a folder that match `pattern`."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.glob(pattern) if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{hash_file(path)}\n".encode())
    return digest.hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write a text file whole or not at all, durable before it becomes visible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(handle, 0o666 & ~_UMASK)  # mkstemp's own mode would hide reports from other users
            file.write(text)
            file.flush()
            os.fsync(handle)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN is refused, because no other program reads it."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises ValueError for one that is not JSON, is nested too deeply, or is not UTF-8."""
    return _parse(read_regular(path).decode("utf-8"))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file."""
    with io.TextIOWrapper(open_regular(path), encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield _parse(line)


def write_jsonl(path: Path, rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    """Write rows as JSON lines, atomically."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def append_line(path: Path, text: str) -> None:
    """Append one line and wait until it is on disk. A caller among several processes holds a lock.

    A crash may have left half a line: it is ended first, so that it spoils no other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _handle(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    with os.fdopen(handle, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        # A surrogate that stands alone is no UTF-8.
        file.write(b"\n" * torn + text.encode("utf-8", "backslashreplace") + b"\n")
        file.flush()
        os.fsync(handle)


def read_lines(path: Path, tail: int | None = None) -> Iterator[tuple[int, Any]]:
    """Number and JSON value of each line of a file written by `append_line`; a torn line is left out.

    With `tail`, of the last so many bytes only.
    """
    if not path.exists():
        return
    with open_regular(path) as file:
        if tail is not None:
            file.seek(max(0, path.stat().st_size - tail))
        lines = file.read().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield number, _parse(line.decode("utf-8", "replace"))
        except ValueError:
            continue


def read_yaml(path: Path) -> Any:
    """Read a small YAML file written by a person or an agent. Raises InputError."""
    with open_regular(path) as file:
        content = file.read(_YAML_LIMIT + 1)
    if len(content) > _YAML_LIMIT:
        raise InputError(f"{path}: more than {_YAML_LIMIT >> 10} KiB is too large for a settings file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Read YAML text; `name` is what an error calls it. Raises InputError with the line.

    Aliases, deep nesting and repeated keys are refused: a few lines of aliases can stand for gigabytes, or
    for themselves. Labels such as `yes`, `no` and `off`, and dates, are texts, as their author meant them.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{where}: not valid YAML ({reason})") from error


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader for a tree of plain values, with YAML 1.2's booleans."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = parent.start_mark if parent else None
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", mark)
        self._depth += 1
        if self._depth > _YAML_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"'{key.value}' is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _stays_text(first: str, tag: str) -> bool:
    """Whether plain scalars that begin with `first` are texts here, though YAML 1.1 gives them that tag."""
    return tag.endswith(":timestamp") or (tag.endswith(":bool") and first not in "tTfF")


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not _stays_text(first, tag)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def write_yaml(path: Path, value: Any) -> None:
    """Write a YAML file atomically, keys in their own order."""
    write_atomic(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))


def try_lock(path: Path) -> IO[str] | None:
    """Take an exclusive `flock` without waiting: the open file holds it, `None` means somebody else does.

    Raises FileLocksMissing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _open_lock(path)
    try:
        _flock(file, path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file


def is_locked(path: Path) -> bool:
    """Whether a process holds the exclusive `flock` of this file. The probe takes the lock for an instant."""
    file = try_lock(path) if path.exists() else None
    if file is not None:
        file.close()
    return path.exists() and file is None


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive `flock`, waiting for it. Raises FileLocksMissing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open_lock(path) as file:
        _flock(file, path, fcntl.LOCK_EX)
        yield


class FileLocksMissing(InputError):
    """The file system of `path` has no file locks, as NFS without a lock service."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: its file system has no file locks ({reason}; network file systems, NFS for one, may lack "
            "them): use a local disk, by --out for a run, by TREX_HOME for what runs share"
        )


def _flock(file: IO[str], path: Path, operation: int) -> None:
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise FileLocksMissing(path, os.strerror(error.errno)) from error
        raise


def _open_lock(path: Path) -> IO[str]:
    return os.fdopen(_handle(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a", encoding="utf-8")
