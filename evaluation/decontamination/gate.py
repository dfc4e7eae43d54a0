"""The contamination gate: does a training set repeat dev or test items?

All strings of a training row count, at any depth and under any name, each by itself and in the order in which
they stand, so that an item may be spread over the turns of a conversation. An item is known by its rendered
question and by each of its columns of four words or more, but for the answer; by a shorter column only if no
other tells items apart, or together with the rest of the question. Texts are compared in the form that
`normal_form` describes, in three ways:

* **In full, at every length.** A string, a line of one, or strings in a row are an item, letter for letter.
  Below ten words nothing else counts: one word turns 'not bad' into 'bad'. A column of three words or fewer
  counts only where the longer strings of the row quote it: 'good' may be a label.
* **Quoted**, from eight words on: a longer text holds all of an item. GPT-2's overlap study takes eight words
  for a repeat (Radford et al. 2019, section 4), GPT-3's decontamination eight to thirteen (Brown et al. 2020,
  arXiv:2005.14165, appendix C).
* **In part**, from ten words on: a stretch of a row, up to half longer than the item, holds 55 % of the item's
  sequences of six letters by IDF weight (Spärck Jones 1972; see `near_index`). Letters instead of GPT-3's words
  find an item of ten words of which one was changed, and need no word boundaries: words may be joined or
  parted, and Chinese is read like English. Half of the item's numbers and chemical formulas must be there, too:
  the same sentence about another number or molecule is another question. A text that consists of them for a
  third or more is found only in full.

What more than five items share (in a set below 24, a quarter of it) is the task's own wording and identifies
none: whole columns, and stretches of 24 letters within one. If little else is left, only the whole text counts.

The share of 55 % was chosen on one half of 22,000 rated snippets, with 5,000 items and 30,000 rows. Of items of
10 to 19 words, a tenth of them changed, it finds 98.7 %, of longer ones 99 %; of other rows it takes at most
.01 % of any length for repeats. 70 % find 93.5 % of the shorter ones, 40 % take up to .25 % of other rows for
repeats. Before numbers counted, grams of five and eight letters were tried: five took more rows for repeats,
eight found fewer items; 64 seeds an item found no more than 32.

On the other half, `benchmarks/contamination.py` (10,000 items, 100,000 rows): all verbatim repeats of every
length but one of 5,136 (some with symbols parted or joined), all that are quoted or split over turns, and of
those with a tenth of their words changed 98.3 % at 10 to 19 words and 99 % of longer ones; .01 % of other rows.
It takes about 20 s on one core and 0.3 GB.

The gate fails closed: a set that can't be read, is empty or has rows that are no objects is an IntegrityError.
Its report has row numbers, and no text.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import IntegrityError
from ..results import ContaminationReport
from ..task import Item, Prompt
from .near_index import Known, NearIndex
from .normal_form import Units, fold, forms, key, letters_prevail, units, word_count

NEAR_WORDS = 10
"""From this length on a text is found in part; a shorter one only in full."""
QUOTED_WORDS = 8
"""From this length on a text is found where a longer one quotes it in full."""
FIELD_WORDS = 4
"""A column is compared by itself only if it says enough to identify an item: {count} = 2 doesn't."""
SHARED_BY = 5
"""What more items than this share is the task's own wording."""
SMALL_SHARE = 4
"""In a small set, so is what more than one item in four shares."""
EXAMPLES = 20
BATCH = 2000
ROLES = {"system", "developer", "user", "human", "assistant", "gpt", "model", "tool", "function"}
_LONGEST_LINE, _LONGEST_LABEL = 100, 20  # longer lines are found by their parts
_QUOTED_FROM = 20
"""Strings of a row that are shorter may stand in another by chance."""

Row = Mapping[str, Any]


class ContaminationGate:
    """An index of items, built once, against which training sets are checked."""

    def __init__(self, items: Sequence[Item], prompt: Prompt) -> None:
        self._items = len(items)
        shared_by = min(SHARED_BY, max(1, len(items) // SMALL_SHARE))
        values = [_values(item, prompt) for item in items]
        carriers = Counter(text_key for own in values for text_key in {key(text) for text in own})
        telling = [
            [text for text in own if carriers[key(text)] <= shared_by and _identifies(text)] for own in values
        ]
        varying = _varying_fields(items, prompt, shared_by)
        asked = [_asked(item, prompt) for item in items]
        self._exact = {key(text) for own in telling for text in own} | {
            key(text) for text, wordless in asked if not wordless
        }
        self._wordless = {_visible(text) for text, wordless in asked if wordless}
        self._short = _sole_values(items, varying, prompt, shared_by) - self._exact
        self._combined = _combinations(items, varying)
        self._longest = max(map(len, self._exact), default=0)
        known = list(_known(items, telling, prompt if len(varying) > 1 else None))
        self._near = NearIndex(known, len(items), shared_by)

    def matches(self, row: Row) -> bool:
        """Whether the strings of the row, at any depth, repeat an item."""
        return self._matching([row])[0]

    def check(self, rows: Iterable[Row]) -> ContaminationReport:
        """Report on a training set: row numbers only, never an item's text.

        Raises IntegrityError if there are no rows, or one is no object: nothing unread passes for clean.
        """
        checked, found = 0, list[int]()
        waiting = iter(rows)
        while batch := list(islice(waiting, BATCH)):
            for index, row in enumerate(batch):
                if not isinstance(row, Mapping):
                    raise IntegrityError(
                        f"row {checked + index} is no object and can't be checked; build the set again"
                    )
            found += [checked + index for index, match in enumerate(self._matching(batch)) if match]
            checked += len(batch)
        if not checked:
            raise IntegrityError("the training set has no rows, so there is nothing to check; build it again")
        return ContaminationReport(
            checked_rows=checked,
            against_items=self._items,
            matches=len(found),
            examples=found[:EXAMPLES],
            clean=not found,
        )

    def _matching(self, rows: Sequence[Row]) -> list[bool]:
        found, documents, open_rows = [False] * len(rows), [], []
        for index, row in enumerate(rows):
            texts = [text for text in _strings(row) if text not in ROLES]
            formed = {text: forms(text) for text in texts}
            if self._is_repeat(row, texts, [formed[text][0] for text in texts]):
                found[index] = True
            else:
                open_rows.append(index)
                documents.append(units("".join(formed[text][1] for text in _unquoted(texts))))
        for index, near in zip(open_rows, self._near.found_in(documents), strict=True):
            found[index] = near
        return found

    def _is_repeat(self, row: Row, texts: Sequence[str], keys: Sequence[str]) -> bool:
        """Whether a string of the row, strings in sequence, or strings together are an item."""
        distinct = set(keys)
        if not distinct.isdisjoint(self._exact) or self._is_joined(keys):
            return True
        if any(key(line) in self._exact for text in texts for line in _lines(text)):
            return True
        if self._wordless and any(_visible(text) in self._wordless for text in texts):
            return True
        short = distinct & self._short
        if short:
            longer = [own for text, own in zip(texts, keys, strict=True) if word_count(text) >= FIELD_WORDS]
            if any(all(value in own for own in longer) for value in short):
                return True
        if self._combined:
            distinct |= {key(str(value)) for value in _leaves(row) if isinstance(value, int | float)}
            return any(others <= distinct for own in distinct for others in self._combined.get(own, ()))
        return False

    def _is_joined(self, keys: Sequence[str]) -> bool:
        """Whether strings that follow each other, as the messages of a conversation do, make up an item."""
        for start, joined in enumerate(keys):
            for following in islice(keys, start + 1, None):
                joined += following
                if len(joined) > self._longest:
                    break
                if joined in self._exact:
                    return True
        return False


def training_rows(dataset: Path) -> Iterator[Row]:
    """The rows of `dataset`/train.jsonl.

    Raises IntegrityError if it can't be read, has no rows or one that is no object: the gate fails closed.
    """
    from ...files import read_jsonl

    path, number = dataset / "train.jsonl", 0
    try:
        for number, row in enumerate(read_jsonl(path), start=1):
            if not isinstance(row, Mapping):
                raise ValueError(f"row {number} is no JSON object")
            yield row
        if number == 0:
            raise ValueError("it has no rows")
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{path} can't be checked against dev and test ({error}); build it again"
        ) from error


def _leaves(value: Any) -> Iterator[Any]:
    """What is in a value at any depth, in order, but for the names of columns."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += reversed(list(value.values()))
        elif isinstance(value, list | tuple):
            waiting += reversed(value)
        else:
            yield value


def _strings(value: Any) -> list[str]:
    return [leaf for leaf in _leaves(value) if isinstance(leaf, str)]


def _unquoted(texts: Sequence[str]) -> Iterator[str]:
    """The texts in order, but for those that stand in another: a column in the prompt made of it."""
    once = dict.fromkeys(text for text in texts if len(text) >= _QUOTED_FROM)
    quoted = {text for text in once if any(text in other for other in once if len(other) > len(text))}
    for text in texts:
        if len(text) < _QUOTED_FROM:
            yield text
        elif text not in quoted and text in once:
            del once[text]
            yield text


def _lines(text: str) -> Iterator[str]:
    """The short lines of a text of several, and what follows a label in one: 'Review: a fine film'."""
    lines = text.splitlines()
    for line in lines:
        label, _, rest = line.partition(": ")
        if len(line) <= _LONGEST_LINE and len(lines) > 1:
            yield line
        if rest and len(rest) <= _LONGEST_LINE and len(label) <= _LONGEST_LABEL:
            yield rest


def _visible(text: str) -> str:
    return "".join(fold(text).split())


def _template_fields(template: str | None) -> list[str]:
    return list(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template or "") if name))


def _question_fields(prompt: Prompt) -> list[str]:
    """Columns of the question, in order."""
    return list(dict.fromkeys([*_template_fields(prompt.system), *_template_fields(prompt.user)]))


def _answers(item: Item, prompt: Prompt) -> set[str]:
    """The keys of what an item's answer is called: it is no secret, many items share it."""
    values = [item.get(name) for name in ("reference", *_template_fields(prompt.answer))]
    return {key(text) for text in _strings(values)}


def _values(item: Item, prompt: Prompt) -> list[str]:
    """The strings of an item's columns, without its id and its answer."""
    answers, asked = _answers(item, prompt), _question_fields(prompt)
    hidden = {"id", "reference", *_template_fields(prompt.answer)} - set(asked)
    columns = {name: value for name, value in item.items() if name not in hidden}
    columns |= {name: str(item[name]) for name in asked if not isinstance(item[name], Mapping | list | tuple)}
    return [text for text in dict.fromkeys(_strings(columns)) if key(text) not in answers]


def _identifies(text: str) -> bool:
    return word_count(text) >= FIELD_WORDS and letters_prevail(text)


def _asked(item: Item, prompt: Prompt) -> tuple[str, bool]:
    """The turn that asks the question, and whether there is no letter in what the item contributes to it."""
    fields = _template_fields(prompt.user) or _question_fields(prompt)
    role = "user" if _template_fields(prompt.user) else "system"
    text = next((turn["content"] for turn in prompt.messages(item) if turn["role"] == role), "")
    return text, not any(forms(str(item[name]))[1] for name in fields)


def _varying_fields(items: Sequence[Item], prompt: Prompt, shared_by: int) -> list[str]:
    """The columns of the question that tell items apart: not an instruction all of them share."""
    found = []
    for name in _question_fields(prompt):
        carriers = Counter(key(str(item[name])) for item in items)
        if any(count <= shared_by for text_key, count in carriers.items() if text_key):
            found.append(name)
    return found


def _sole_values(items: Sequence[Item], varying: Sequence[str], prompt: Prompt, shared_by: int) -> set[str]:
    """The values of the only column that tells items apart, but for answers: short ones say all there is."""
    if len(varying) != 1:
        return set()
    carriers = Counter(key(str(item[varying[0]])) for item in items)
    answers = {answer for item in items for answer in _answers(item, prompt)}
    return {text_key for text_key, count in carriers.items() if text_key and count <= shared_by} - answers


def _combinations(items: Sequence[Item], varying: Sequence[str]) -> dict[str, list[frozenset[str]]]:
    """For items of several columns: the longest column's key, and all columns' keys."""
    found: dict[str, list[frozenset[str]]] = {}
    for item in items if len(varying) > 1 else ():
        texts = [str(item[name]) for name in varying]
        keys = frozenset(map(key, texts)) - {""}
        if len(keys) > 1 and sum(map(word_count, texts)) >= FIELD_WORDS:
            found.setdefault(max(keys, key=len), []).append(keys)
    return found


def _known(items: Sequence[Item], telling: Sequence[Sequence[str]], prompt: Prompt | None) -> Iterator[Known]:
    """What is found in part: long columns, and, given a prompt, the columns as they follow each other in it."""
    seen: set[str] = set()
    for number, (item, texts) in enumerate(zip(items, telling, strict=True)):
        for text in texts:
            letters = forms(text)[1]
            words = word_count(text)
            if letters not in seen and words >= QUOTED_WORDS:
                seen.add(letters)
                yield Known(number, units(letters), whole=words < NEAR_WORDS)
        if prompt is not None:
            yield from _question(number, item, prompt)


def _question(number: int, item: Item, prompt: Prompt) -> Iterator[Known]:
    """The question with its template, whose words are marked as the task's own."""
    parts, own, words = list[Units](), list[bool](), 0
    for template in (prompt.system or "", prompt.user):
        for literal, name, _, _ in string.Formatter().parse(template):
            value = "" if name is None else str(item[name])
            words += word_count(value)
            parts += [units(forms(literal)[1]), units(forms(value)[1])]
            own += [True, False]
    if words >= NEAR_WORDS:
        yield Known(number, np.concatenate(parts), np.repeat(own, [part.size for part in parts]))
