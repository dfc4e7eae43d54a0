"""What ChERRANT knows of Chinese characters when it weighs one against another (2-1).

Four things decide how alike two characters are: their readings (pypinyin), their classes in the thesaurus 同义词词林,
a table of characters that are confused, and, for the answer, its form in simplified characters (OpenCC). The two
tables are published beside the official scorer and are not ours to ship: they are read from a mirror
(`TREX_DATA/open-compass/LawBench`) or from where loading the task leaves them. Without any of the four, or with a
package in another version than LawBench's, the official form of 2-1 is an approximation, and `Lexicon.parts` says so.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ....errors import InputError
from ....home import home
from .packages import PINNED, is_pinned, package

REPOSITORY = "open-compass/LawBench"
COMMIT = "e30981bb3ff54c41571f222e0b23e92d27375388"
THESAURUS = "evaluation/utils/data/cilin.txt"
CONFUSIONS = "evaluation/utils/data/confusion_dict.txt"

_UNKNOWN = 4 / 6.0
"""The cost of meaning where the thesaurus lacks either side."""

SemanticClass = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Costs of meaning and of sound, and the simplified form."""

    classes: Mapping[str, SemanticClass] = field(default_factory=dict)
    confused: Mapping[str, frozenset[str]] = field(default_factory=dict)
    readings: Callable[[str], frozenset[str]] = lambda token: frozenset((token,))
    simplify: Callable[[str], str] = lambda text: text
    parts: int = 0
    """How many of the four are as in the official scorer."""

    def meaning(self, a: str, b: str) -> float:
        """0 for the same class up to 1 for nothing in common: three levels, a third each."""
        first, second = self.classes.get(a), self.classes.get(b)
        if first is None or second is None:
            return _UNKNOWN
        return 2 * (3 - sum(x == y for x, y in zip(first, second, strict=True))) / 6.0

    def sound(self, a: str, b: str) -> float:
        """0 for two characters with a reading in common or known to be confused, else 0.5.

        Of tokens of more characters the shorter one's share of unlike characters, halved.
        """
        if len(a) > len(b):
            a, b = b, a
        if self.readings(a) & self.readings(b):
            return 0.0
        alike = sum(any(self._alike(x, y) for y in b) for x in a)
        return (len(a) - alike) / (len(a) * 2)

    def _alike(self, a: str, b: str) -> bool:
        return a == b or a in self.confused.get(b, ()) or b in self.confused.get(a, ())


@cache
def official() -> Lexicon:
    """What there is of the official scorer's knowledge; warns, once, of what is missing."""
    parts: dict[str, Any] = {
        "classes": _classes(_table(THESAURUS)),
        "confused": _confused(_table(CONFUSIONS)),
        "readings": _readings(),
        "simplify": _simplify(),
    }
    known = {name: part for name, part in parts.items() if part is not None}
    needed = {
        "classes": THESAURUS,
        "confused": CONFUSIONS,
        "readings": f"pypinyin {PINNED['pypinyin']}",
        "simplify": f"opencc {PINNED['opencc']}",
    }
    exact = known.keys() - {
        part for part, name in (("readings", "pypinyin"), ("simplify", "opencc")) if not is_pinned(name)
    }
    if len(exact) < len(parts):
        missing = [needed[name] for name in parts if name not in exact]
        warnings.warn(
            f"LawBench 2-1 in its official form is approximated: {', '.join(missing)} missing. The packages come "
            f"with 'trex-finetune[ftbench]'; the tables are fetched when the task lawbench is loaded, or read from "
            f"TREX_DATA/{REPOSITORY}",
            stacklevel=2,
        )
    return Lexicon(**known, parts=len(exact))


def _table(path: str) -> Path | None:
    """A table of the official repository, in the mirror or where it was fetched to; None if in neither."""
    mirror = os.environ.get("TREX_DATA")
    places = [home() / "data" / REPOSITORY / COMMIT / path]
    if mirror:
        places.insert(0, Path(mirror).expanduser() / REPOSITORY / path)
    return next((place for place in places if place.is_file()), None)


def _classes(table: Path | None) -> dict[str, SemanticClass] | None:
    """Words and the first three levels of their class; a later line wins."""
    if table is None:
        return None
    classes = {}
    for line in table.read_text(encoding="gbk").strip().split("\n"):
        code, *words = line.split(" ")
        classes.update(dict.fromkeys(words, (code[0], code[1], code[2:4])))
    return classes


def _confused(table: Path | None) -> dict[str, frozenset[str]] | None:
    """Characters and those they are confused with; a later line wins."""
    if table is None:
        return None
    with table.open(encoding="utf-8") as lines:
        rows = (line.rstrip("\n").split(" ") for line in lines)
        return {first: frozenset(others) for first, *others in rows}


def _readings() -> Callable[[str], frozenset[str]] | None:
    """All readings of a token's first character, without tones; what is no Chinese character reads as itself."""
    try:
        pypinyin = package("pypinyin")
    except InputError:
        return None

    @lru_cache(maxsize=20_000)
    def readings(token: str) -> frozenset[str]:
        return frozenset(pypinyin.pinyin(token, style=pypinyin.Style.NORMAL, heteronym=True)[0])

    return readings


def _simplify() -> Callable[[str], str] | None:
    try:
        convert: Callable[[str], str] = package("opencc").OpenCC("t2s").convert
    except InputError:
        return None
    return convert
