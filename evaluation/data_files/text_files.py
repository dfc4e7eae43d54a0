"""Text files as they are found: compressed or not, in UTF-8 or another encoding."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from ...errors import InputError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_CHUNK = 1 << 20
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SURE = 0.9  # of a text in an unknown encoding, the share of letters, digits and ASCII


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed by its suffix (`.gz`, `.zst`). Raises InputError for a damaged archive."""
    import pyarrow as pa

    try:
        if path.suffix in COMPRESSIONS:
            stream = pa.input_stream(str(path), compression=COMPRESSIONS[path.suffix])
        else:
            stream = path.open("rb")
        with stream:
            yield cast(BinaryIO, stream)
    except pa.ArrowException as error:
        raise InputError(f"{path}: {one_line(error)}; compress the file again") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or one_line(error)})") from None


@contextmanager
def open_text(path: Path, newline: str = "") -> Iterator[TextIO]:
    """The text of a file in its encoding, line ends as they are. Raises InputError if it is no text.

    `newline` is what ends a line: "" stands for all of \\n, \\r and \\r\\n.
    """
    encoding = find_encoding(path)
    with open_bytes(path) as raw:
        text = io.TextIOWrapper(raw, encoding=encoding, newline=newline)
        try:
            yield text
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not {encoding} text ({error.reason}); save it as UTF-8") from None
        finally:
            text.detach()


def find_encoding(path: Path) -> str:
    """The encoding of a text file: by its mark, else UTF-8 if all of it is, else by its letters.

    Raises InputError, naming the first line that is not UTF-8, if no encoding fits.
    """
    with open_bytes(path) as file:
        head = file.read(4)
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, sample = 1, b""
    with open_bytes(path) as file:
        while chunk := file.read(_CHUNK):
            try:
                text = decoder.decode(chunk)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                sample = error.object[max(0, error.start - 50_000) : error.start + 50_000]
                break
            if text.count("\0") > len(text) / 4:  # UTF-16 without a mark
                return _guess(path, chunk, line)
            line += text.count("\n")
        else:
            return "utf-8"
    return _guess(path, sample, line)


def _guess(path: Path, sample: bytes, line: int) -> str:
    from charset_normalizer import from_bytes

    for encoding in ("utf-16-le", "utf-16-be") if b"\0" in sample else ():
        try:
            text = sample[: len(sample) // 2 * 2].decode(encoding)
        except UnicodeDecodeError:
            continue
        if sum(char.isascii() for char in text) > len(text) / 2:
            return encoding
    # Short texts in a Western encoding are the most frequent case, and guessers are weak on short texts.
    best = from_bytes(sample).best()
    for encoding in ("cp1252", "latin-1", *((best.encoding,) if best else ())):
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        foreign = [char for char in text if not char.isascii()]
        letters = sum(char.isalpha() or char in "€£°§«»–—‘’“”…¡¿" for char in foreign)
        if "\0" not in text and letters >= _SURE * len(foreign) and _is_western(foreign):
            return str(encoding)
    if best and "\0" not in str(best):
        return str(best.encoding)
    raise InputError(
        f"{path}: line {line} is not UTF-8 text, and no other encoding fits; save the file as UTF-8"
    )


def _is_western(foreign: list[str]) -> bool:
    """Whether accented letters are a small part of what would be words; Cyrillic read as Latin-1 is all accents."""
    return len(foreign) < 20 or len(set(foreign)) < 40


def one_line(error: Exception) -> str:
    """An error's message in one printable line."""
    return printable(" ".join(str(error).split()) or type(error).__name__, 300)


def printable(text: str, length: int = 60) -> str:
    """A text of a file for a message: control characters escaped, cut to `length` characters."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[: length + 1])
    return shown if len(shown) <= length else f"{shown[:length]}…"
