"""The contamination gate: does a training set repeat dev or test items?

All strings of a training row are compared, at any depth and in any column: each string alone, and neighbouring
strings joined, since an item may be spread over the turns of a conversation. An item is represented by its rendered
question and by each of its columns of four words or more, except for the answer. A shorter column represents it only
if no other column differs between items, or together with the other columns of the question. Texts are compared in
the form that `normal_form` describes, in four ways:

* **In full, at every length.** A string, a line of a string, or joined neighbours equal an item, letter by letter.
  Below eight words this is the only way: one word turns 'not bad' into 'bad'. A column of three words or fewer counts
  only where the longer strings of the row contain it: 'good' may be a label.
* **Quoted**, from eight words on: a longer text contains the whole item. GPT-2's study of overlap takes eight words
  for a repeat (Radford et al. 2019, section 4), GPT-3's decontamination eight to thirteen (Brown et al. 2020,
  arXiv:2005.14165, appendix C).
* **In part**, from ten words on: a stretch of a row, at most half longer than the item, contains 55 % of the item's
  sequences of six letters by IDF weight (Spärck Jones 1972; see `near_index`). Sequences of letters find an item of
  ten words of which one was changed, unlike GPT-3's sequences of words. They need no word boundaries: words may be
  joined or split, and Chinese is read like English. The stretch must also contain half of the item's numbers and
  chemical formulas: the same sentence about another number or molecule is another question. A text in which they
  make up a third or more is compared in full only.
* **By a half**, from ten words on: an unbroken run of 32 letters or more contains 35 % of the item's weight.

A column or a stretch of 24 letters that more than five items share (in a set below 24, a quarter of it) is wording of
the task and identifies no item. If little else is left of a text, only the whole text counts.

The share of 55 % was chosen on one half of 22,000 rated snippets, with 5,000 items and 30,000 rows. It finds 98.7 % of
items of 10 to 19 words with a tenth of the words changed, and 99 % of longer ones. It reports at most .01 % of other
rows, at any length. A share of 70 % finds 93.5 % of the shorter items; 40 % reports up to .25 % of other rows. Before
numbers were compared, sequences of five and eight letters were tried: five reported more other rows, eight found
fewer items. 64 seeds an item found no more than 32. Runs were chosen on the same half: with 32 letters they reported
no other row more than before, with 28 twice as many. Sayings are shorter, and so are halves of 10 to 13 words.

`docs/integrity.md` has the results on the other half, by `benchmarks/contamination.py`.

The gate fails closed: a set that cannot be read, is empty or contains a row that is not an object is an
IntegrityError. The report contains row numbers and no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ...errors import IntegrityError
from ..results import ContaminationReport
from ..task import Item, Prompt
from .conversation_items import as_texts
from .item_texts import FIELD_WORDS, ItemTexts, NormalForms, leaves, strings, visible
from .near_index import NearIndex
from .normal_form import forms, key, units, word_count

SHARED_BY = 5
"""A text that more items share is wording of the task."""
SMALL_SHARE = 4
"""In a small set, so is a text that more than one item in four shares."""
EXAMPLES = 20
"""Row numbers in a report."""
BATCH = 2000
"""Rows that are compared together."""
ROLES = {"system", "developer", "user", "human", "assistant", "gpt", "model", "tool", "function"}
_LONGEST_LINE, _LONGEST_LABEL = 100, 20  # characters; longer lines are found in part
_QUOTED_FROM = 20
"""Characters; a shorter string of a row may occur in another one by chance."""

Row = Mapping[str, Any]


class ContaminationGate:
    """An index of items, built once, that training sets are checked against.

    Gates that read the same texts share their `normal` forms, which stay in memory; default: none are kept.
    """

    def __init__(self, items: Sequence[Item], prompt: Prompt, normal: NormalForms | None = None) -> None:
        items, prompt = as_texts(items, prompt)
        self._items = len(items)
        shared_by = min(SHARED_BY, max(1, len(items) // SMALL_SHARE))
        self._normal = NormalForms() if normal is None else normal
        texts = ItemTexts(items, prompt, shared_by, normal)
        self._exact, self._without_letters = texts.whole()
        self._short = texts.short_columns()
        self._combined = texts.combinations()
        self._longest = max(map(len, self._exact), default=0)
        self._near = NearIndex(list(texts.known()), len(items), shared_by)

    def matches(self, row: Row) -> bool:
        """Whether the strings of a row, at any depth, repeat an item."""
        return bool(self.repeated_items([row], every=False)[0])

    def check(self, rows: Iterable[Row]) -> ContaminationReport:
        """Compare a training set with the items. The report contains row numbers and no text.

        Raises IntegrityError if there are no rows, or a row is not an object.
        """
        checked, matches = 0, list[int]()
        remaining = iter(rows)
        while batch := list(islice(remaining, BATCH)):
            for index, row in enumerate(batch):
                if not isinstance(row, Mapping):
                    raise IntegrityError(
                        f"row {checked + index} is not an object and cannot be checked; build the set again"
                    )
            found = self.repeated_items(batch, every=False)
            matches += [checked + index for index, items in enumerate(found) if items]
            checked += len(batch)
        if not checked:
            raise IntegrityError("the training set has no rows; build it again")
        return ContaminationReport(
            checked_rows=checked,
            against_items=self._items,
            matches=len(matches),
            examples=matches[:EXAMPLES],
            rows=matches,
            clean=not matches,
        )

    def repeated_items(self, rows: Sequence[Row], every: bool = True) -> list[set[int]]:
        """For each row, the numbers of the items that it repeats; only one of them without `every`."""
        found, documents, undecided = list[set[int]](), [], []
        for row in rows:
            texts = [text for text in strings(row) if text not in ROLES]
            normal = {text: self._forms(text) for text in texts}
            repeats = self._exact_repeats(row, texts, [normal[text][0] for text in texts])
            found.append(set(repeats if every else islice(repeats, 1)))
            if every or not found[-1]:
                undecided.append(found[-1])
                documents.append(units("".join(normal[text][1] for text in _without_quoted(texts))))
        for own, near in zip(undecided, self._near.find_items(documents, every), strict=True):
            own |= near
        return found

    def _forms(self, text: str) -> tuple[str, str]:
        known = self._normal.get(text)
        return forms(text) if known is None else (known.key, known.letters)

    def _exact_repeats(self, row: Row, texts: Sequence[str], keys: Sequence[str]) -> Iterator[int]:
        """The items that equal a string of the row, a line, joined neighbours or a set of strings."""
        distinct = set(keys)
        lines = (key(line) for text in texts for line in _lines(text))
        for own in chain(distinct, self._joined(keys), lines):
            yield from self._exact.get(own, ())
        if self._without_letters:
            for text in texts:
                yield from self._without_letters.get(visible(text), ())
        short = distinct & self._short.keys()
        if short:
            longer = [own for text, own in zip(texts, keys, strict=True) if word_count(text) >= FIELD_WORDS]
            for value in short:
                if all(value in own for own in longer):
                    yield from self._short[value]
        if self._combined:
            distinct |= {key(str(value)) for value in leaves(row) if isinstance(value, int | float)}
            for own in distinct:
                yield from (item for others, item in self._combined.get(own, ()) if others <= distinct)

    def _joined(self, keys: Sequence[str]) -> Iterator[str]:
        """Neighbouring strings, such as messages of a conversation, joined up to the length of the longest item."""
        for start, joined in enumerate(keys):
            for following in islice(keys, start + 1, None):
                joined += following
                if len(joined) > self._longest:
                    break
                yield joined


def training_rows(dataset: Path) -> Iterator[Row]:
    """The rows of `dataset`/train.jsonl.

    Raises IntegrityError if the file cannot be read, has no rows or a row that is not an object.
    """
    from ...files import read_jsonl

    path, number = dataset / "train.jsonl", 0
    try:
        for number, row in enumerate(read_jsonl(path), start=1):
            if not isinstance(row, Mapping):
                raise ValueError(f"row {number} is not a JSON object")
            yield row
        if number == 0:
            raise ValueError("it has no rows")
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{path} cannot be checked against dev and test ({error}); build it again"
        ) from error


def _without_quoted(texts: Sequence[str]) -> Iterator[str]:
    """The texts in order, without those that occur in another text, such as a column in the prompt made from it."""
    once = dict.fromkeys(text for text in texts if len(text) >= _QUOTED_FROM)
    quoted = {text for text in once if any(text in other for other in once if len(other) > len(text))}
    for text in texts:
        if len(text) < _QUOTED_FROM:
            yield text
        elif text not in quoted and text in once:
            del once[text]
            yield text


def _lines(text: str) -> Iterator[str]:
    """Short lines of a text of several lines, and the text behind a label: 'a fine film' of 'Review: a fine film'."""
    lines = text.splitlines()
    for line in lines:
        label, _, rest = line.partition(": ")
        if len(line) <= _LONGEST_LINE and len(lines) > 1:
            yield line
        if rest and len(rest) <= _LONGEST_LINE and len(label) <= _LONGEST_LABEL:
            yield rest
