"""The texts by which items are recognised: whole questions, columns, columns together. `gate` says when they count."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data_files import as_text
from ..task import Item, Prompt
from .near_index import Known
from .normal_form import Units, fold, forms, letters_prevail, units, word_count

NEAR_WORDS = 10
"""A text of at least so many words is found in part."""
QUOTED_WORDS = 8
"""A text of at least so many words is found where a longer text contains all of it."""
FIELD_WORDS = 4
"""A column of fewer words does not identify an item by itself: {count} = 2."""

ItemsByKey = dict[str, list[int]]
Combinations = dict[str, list[tuple[frozenset[str], int]]]


@dataclass(frozen=True)
class Normal:
    """A text in its normal forms, see `normal_form.forms`."""

    key: str
    letters: str
    words: int


class NormalForms(dict[str, Normal]):
    """Normal forms by text. Each is needed up to eight times, and is most of the work for Chinese items."""

    def __missing__(self, text: str) -> Normal:
        self[text] = Normal(*forms(text), word_count(text))
        return self[text]


class ItemTexts:
    """The texts of items. A text that more than `shared_by` of them have is wording of the task."""

    def __init__(
        self, items: Sequence[Item], prompt: Prompt, shared_by: int, normal: NormalForms | None = None
    ) -> None:
        self._items, self._prompt = items, prompt
        self._normal = NormalForms() if normal is None else normal
        self._asked = _distinct([*_template_columns(prompt.system), *_template_columns(prompt.user)])
        columns = [self._column_texts(item) for item in items]
        counts = Counter(text_key for own in columns for text_key in {self._normal[text].key for text in own})
        self._identifying = [
            [
                text
                for text in own
                if counts[self._normal[text].key] <= shared_by and self._is_identifying(text)
            ]
            for own in columns
        ]
        rare = {name: self._rare_keys(name, shared_by) for name in self._asked}
        self._varying = [name for name in self._asked if rare[name]]
        """The columns of the question that differ between items: not an instruction that all items share."""
        self._short = rare[self._varying[0]] if len(self._varying) == 1 else set()

    def whole(self) -> tuple[ItemsByKey, ItemsByKey]:
        """The items by the keys of their columns and questions; and by the visible signs of those without letters."""
        questions = [self._question_turn(item) for item in self._items]
        lettered = [
            [*(self._normal[text].key for text in own), *(() if without else (self._normal[question].key,))]
            for own, (question, without) in zip(self._identifying, questions, strict=True)
        ]
        return _items_by_key(lettered), _items_by_key(
            [visible(question)] if without else () for question, without in questions
        )

    def short_columns(self) -> ItemsByKey:
        """The items by the only column that differs between items: even short ones identify an item, answers do not."""
        answers = {answer for item in self._items for answer in self._answers(item)} if self._short else set()
        known = self._short - answers
        return _items_by_key(
            known.intersection(map(self._key_of, self._values(item))) for item in self._items
        )

    def combinations(self) -> Combinations:
        """For items of several columns: the keys of all columns, and the item's number, by the longest of them."""
        found: Combinations = {}
        for number, item in enumerate(self._items if len(self._varying) > 1 else ()):
            texts = [self._normal[text] for text in self._values(item)]
            keys = frozenset(text.key for text in texts) - {""}
            if len(keys) > 1 and sum(text.words for text in texts) >= FIELD_WORDS:
                found.setdefault(max(keys, key=len), []).append((keys, number))
        return found

    def known(self) -> Iterator[Known]:
        """Texts for the index: long columns, and whole questions if several columns differ."""
        seen: set[str] = set()
        for number, (item, texts) in enumerate(zip(self._items, self._identifying, strict=True)):
            for text in texts:
                normal = self._normal[text]
                if normal.letters not in seen and normal.words >= QUOTED_WORDS:
                    seen.add(normal.letters)
                    yield Known(number, units(normal.letters), in_full=normal.words < NEAR_WORDS)
            if len(self._varying) > 1:
                yield from self._known_question(number, item)

    def _known_question(self, number: int, item: Item) -> Iterator[Known]:
        """A question of ten words or more, with the units of the prompt's template marked as wording of the task."""
        parts, wording, words = list[Units](), list[bool](), 0
        for template in (self._prompt.system or "", self._prompt.user):
            for literal, name, _, _ in string.Formatter().parse(template):
                value = self._normal["" if name is None else as_text(item.get(name))]
                words += value.words
                parts += [units(self._normal[literal].letters), units(value.letters)]
                wording += [True, False]
        if words >= NEAR_WORDS:
            yield Known(number, np.concatenate(parts), np.repeat(wording, [part.size for part in parts]))

    def _key_of(self, text: str) -> str:
        return self._normal[text].key

    def _values(self, item: Item) -> list[str]:
        return [as_text(item.get(name)) for name in self._varying]

    def _answers(self, item: Item) -> set[str]:
        """The keys of an item's answer. It does not identify the item, since many items may share it."""
        values = [item.get(name) for name in ("reference", *_template_columns(self._prompt.answer))]
        return set(map(self._key_of, strings(values)))

    def _column_texts(self, item: Item) -> list[str]:
        """The distinct strings of an item's columns, without its id and its answer."""
        answers = self._answers(item)
        hidden = {"id", "reference", *_template_columns(self._prompt.answer)} - set(self._asked)
        columns = {name: value for name, value in item.items() if name not in hidden}
        columns |= {
            name: as_text(item.get(name))
            for name in self._asked
            if not isinstance(item.get(name), Mapping | list | tuple)
        }
        return [text for text in _distinct(strings(columns)) if self._normal[text].key not in answers]

    def _is_identifying(self, text: str) -> bool:
        return self._normal[text].words >= FIELD_WORDS and letters_prevail(text)

    def _question_turn(self, item: Item) -> tuple[str, bool]:
        """The turn that asks the question, and whether the item's columns in it contain no letter."""
        user_columns = _template_columns(self._prompt.user)
        role = "user" if user_columns else "system"
        turns = self._prompt.turns(item)
        text = next((turn["content"] for turn in turns if turn["role"] == role), "")
        values = (as_text(item.get(name)) for name in user_columns or self._asked)
        return text, not any(self._normal[value].letters for value in values)

    def _rare_keys(self, column: str, shared_by: int) -> set[str]:
        """The keys of a column's values that at most `shared_by` items have."""
        counts = Counter(self._normal[as_text(item.get(column))].key for item in self._items)
        return {text_key for text_key, count in counts.items() if text_key and count <= shared_by}


def leaves(value: Any) -> Iterator[Any]:
    """The values inside a nested value, at any depth and in order, without the names of columns."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            stack += reversed(list(value.values()))
        elif isinstance(value, list | tuple):
            stack += reversed(value)
        else:
            yield value


def strings(value: Any) -> list[str]:
    """The texts inside a nested value."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, str)]


def visible(text: str) -> str:
    """The text without white space, for texts that have no letters."""
    return "".join(fold(text).split())


def _template_columns(template: str | None) -> list[str]:
    return _distinct(name for _, name, _, _ in string.Formatter().parse(template or "") if name)


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _items_by_key(keys: Iterable[Iterable[str]]) -> ItemsByKey:
    """The numbers of the items with a key, from the keys of each item."""
    found: ItemsByKey = {}
    for number, own in enumerate(keys):
        for text_key in set(own):
            found.setdefault(text_key, []).append(number)
    return found
