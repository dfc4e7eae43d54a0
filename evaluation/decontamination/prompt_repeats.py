"""Does a task's prompt contain items of its dev or test, for example as worked examples?

The model would be told the answers, so such a task is refused before a run. What counts:

* a question, in the ways in which the contamination gate compares a training row with items (see `gate`);
* a shorter question followed by its answer, at most two words between them: 'not bad → negative'. A question of one
  word only if it is alone on a line, or with the answer;
* an answer of eight words or more that few items have and that is not one of the choices.

A short answer alone does not count: the prompt may name the labels.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import InputError
from ..data_files import as_text, file_name, line_name, read_lines
from ..task import SplitItem, Task
from ..usable_rows import RowCounts, judge, readable, right_answer
from .gate import SHARED_BY, ContaminationGate
from .item_texts import QUOTED_WORDS
from .normal_form import fold, key, word_count

APART = 2
"""Words between a question and its answer in a worked example."""
_BLOCK = 8  # letters
_SHORTEST_ANSWER = 12  # characters; eight words are never fewer
_SIMILAR = 0.2  # share of a text's blocks in the prompt; a run of 15 letters contains a whole block
_WORD = re.compile(r"\w+")
_LABEL = re.compile(r": |：")


def check_prompt(task: Task) -> None:
    """Raise InputError if the task's prompt contains an item of dev or test."""
    found = prompt_repeats(task)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise InputError(f"task {task.name!r}: {found[0]}{more}")


def prompt_repeats(task: Task) -> list[str]:
    """The items of dev and test that the prompt contains: a line each for the task's author, without their text.

    Raises InputError for a file that cannot be read.
    """
    parts = [
        _Part(f"prompt.{name}", "\n".join(literal for literal, *_ in string.Formatter().parse(template)))
        for name, template in (("system", task.prompt.system or ""), ("user", task.prompt.user))
    ]
    parts = [part for part in parts if part.letters]
    # Few prompts resemble any item, and the gate's index of all items takes far longer than this look at them.
    texts = (key(text) for item in _items(task) for text in item.texts) if parts else ()
    if not any(part.resembles(letters) for letters in texts for part in parts):
        return []
    items = list(_items(task))
    gate = ContaminationGate([item.item for item in items], task.prompt)
    shared = Counter(key(item.answer) for item in items)
    found = []
    for part in parts:
        repeated = gate.repeated_items([{"text": part.text, "lines": part.lines}])[0]
        for number, item in enumerate(items):
            what = "question" if number in repeated or part.works_out(item) else ""
            distinctive = word_count(item.answer) >= QUOTED_WORDS and shared[key(item.answer)] <= SHARED_BY
            if not what and distinctive and key(item.answer) in part.letters:
                what = "" if item.answer in (task.choices or ()) else "answer"
            if what:
                found.append(f"{part.name} contains the {what} of {item.place}: take it out of one of them")
    return found


@dataclass(frozen=True)
class _Asked:
    """An item, where it is, and what makes it up."""

    place: str
    item: SplitItem
    question: str
    answer: str

    @property
    def texts(self) -> Iterator[str]:
        """The columns, without an answer that is too short to count alone."""
        for text in map(as_text, self.item.row.values()):
            if text != self.answer or len(text) >= _SHORTEST_ANSWER:
                yield text


def _items(task: Task) -> Iterator[_Asked]:
    for path in (task.dev, task.test):
        for number, read in readable(read_lines(path), RowCounts(file_name(path), path)):
            row, fault = judge(read, task, keep_unanswered=True)
            if fault is None:
                row = dict.fromkeys(task.prompt.fields, "") | row
                answer = right_answer(task, row)
                question = max((as_text(row[name]) for name in task.prompt.question_fields), key=len)
                item = SplitItem(row, reference=answer).as_asked()
                yield _Asked(line_name(path, number), item, question, answer)


class _Part:
    """The part of the prompt that all items share: its text without columns."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text, self.letters = name, text, key(text)
        self._blocks = {
            self.letters[start : start + _BLOCK] for start in range(len(self.letters) - _BLOCK + 1)
        }
        self._folded = fold(text)
        self._words = list(_WORD.finditer(self._folded))
        own = text.splitlines()
        self.lines = [
            line for line in (*own, *(_LABEL.split(line, maxsplit=1)[-1] for line in own)) if key(line)
        ]
        self._line_keys = set(map(key, self.lines))

    def resembles(self, letters: str) -> bool:
        """Whether a fifth of a text, given by its key, is here: it is worth a closer look."""
        if len(letters) < _BLOCK:
            return letters != "" and letters in self.letters
        starts = range(0, len(letters) - _BLOCK + 1, _BLOCK)
        hits = sum(letters[start : start + _BLOCK] in self._blocks for start in starts)
        return hits >= _SIMILAR * len(starts)

    def works_out(self, item: _Asked) -> bool:
        """Whether the item's question is here with its answer behind it."""
        question, answer = key(item.question), key(item.answer)
        if not (question and answer and question in self.letters and answer in self.letters):
            return False
        if question + answer in self._line_keys:
            return True
        length, after = len(_WORD.findall(fold(item.question))), len(_WORD.findall(fold(item.answer)))
        if length < 2 and question not in self._line_keys:
            return False
        return any(
            self._between(start, length) == question
            and any(self._between(start + length + gap, after) == answer for gap in range(APART + 1))
            for start in range(len(self._words) - length - after + 1)
        )

    def _between(self, start: int, count: int) -> str:
        """The key of so many words of the text, with what is between them."""
        words = self._words[start : start + count]
        return key(self._folded[words[0].start() : words[-1].end()]) if len(words) == count > 0 else ""
