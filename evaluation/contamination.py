"""The contamination gate: does a training set repeat dev or test items?

A training row matches an item if one of its strings, normalised, equals the item's rendered prompt or one of
the item's prompt fields, or if it contains at least 60 % of the word 8-grams of such a field. Values and
8-grams shared by many items are the task's own wording and tell no items apart, so they don't count.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import IntegrityError
from .results import ContaminationReport
from .task import Item, Prompt

GRAM = 8
CONTAINED = 0.6
MIN_WORDS = 10
# A field is compared by itself only if it says enough to identify an item: {count} = 2 doesn't.
MIN_FIELD_WORDS = 4
SHARED_BY = 5
EXAMPLES = 20


def words(text: str) -> list[str]:
    """Words after Unicode NFKC and case folding, without punctuation and symbols."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c if c.isalnum() else " " for c in folded).split()


def normalise(text: str) -> str:
    """The text without case, white space and punctuation; what is left of symbols alone is the text itself.

    Text in which symbols carry the meaning ('C=O', '2 + 2') keeps those that are not punctuation of prose.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if c.isalnum() or c in "=#+<>@/\\%^*~|$&") or "".join(folded.split())


class ContaminationGate:
    """An index of items, built once, against which training sets are checked."""

    def __init__(self, items: Sequence[Item], prompt: Prompt) -> None:
        fields = _prompt_fields(prompt)
        texts = [[str(item[field]) for field in fields] for item in items]
        carriers = Counter(normalise(text) for own in texts for text in set(own))
        self._items = len(items)
        self._exact: set[str] = {
            normalise(message["content"])
            for item in items
            for message in prompt.messages(item)
            if message["role"] == "user"
        }
        self._grams: dict[str, list[int]] = {}
        self._sizes: list[int] = []
        # Neither an empty field nor a short one identifies an item; its rendered prompt does.
        telling = {
            text
            for own in texts
            for text in own
            if carriers[normalise(text)] <= SHARED_BY and len(words(text)) >= MIN_FIELD_WORDS
        }
        self._exact |= {normalise(text) for text in telling}
        self._index(sorted(text for text in telling if len(words(text)) >= MIN_WORDS))

    def _index(self, texts: Iterable[str]) -> None:
        grams_of = [set(_grams(words(text))) for text in texts]
        carriers = Counter(gram for grams in grams_of for gram in grams)
        for grams in grams_of:
            own = [gram for gram in grams if carriers[gram] <= SHARED_BY]
            if len(own) <= MIN_WORDS - GRAM:
                continue
            number = len(self._sizes)
            self._sizes.append(len(own))
            for gram in own:
                self._grams.setdefault(gram, []).append(number)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether any string of the row, at any depth, repeats an item."""
        for text in set(_strings(row)):
            if normalise(text) in self._exact:
                return True
            found: Counter[int] = Counter()
            for gram in set(_grams(words(text))):
                found.update(self._grams.get(gram, ()))
            if any(count >= CONTAINED * self._sizes[number] for number, count in found.items()):
                return True
        return False

    def check(self, rows: Iterable[Mapping[str, Any]]) -> ContaminationReport:
        """Report on a training set: row numbers only, never an item's text."""
        checked, found = 0, []
        for index, row in enumerate(rows):
            checked += 1
            if self.matches(row):
                found.append(index)
        return ContaminationReport(
            checked_rows=checked,
            against_items=self._items,
            matches=len(found),
            examples=found[:EXAMPLES],
            clean=not found,
        )


def training_rows(dataset: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of `dataset`/train.jsonl. Raises IntegrityError if it can't be read: the gate fails closed."""
    from ..files import read_jsonl

    path = dataset / "train.jsonl"
    try:
        yield from read_jsonl(path)
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{path} can't be checked against dev and test ({error}); build it again"
        ) from error


def _prompt_fields(prompt: Prompt) -> list[str]:
    """Columns of the question, in order; the answer is no secret, many items share it."""
    parsed = string.Formatter().parse((prompt.system or "") + prompt.user)
    return list(dict.fromkeys(name for _, name, _, _ in parsed if name))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)


def _grams(tokens: Sequence[str]) -> Iterator[str]:
    for start in range(len(tokens) - GRAM + 1):
        yield " ".join(tokens[start : start + GRAM])
