"""Conversations as text: what stands before an answer, and what is written after it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from ...errors import InputError
from ..conversations import Message

# Texts that no template changes and no row contains.
_ANSWER = "TheAnswerGoesHere7b1f"
_QUESTION = "TheQuestionGoesHere7b1f"
_SYSTEM = "TheSystemTextGoesHere7b1f"
_OPEN_THOUGHTS = re.compile(r"<think>\s*$")
_TOOL = "the_tool_name_7b1f"
_SYSTEM_NOTE = "the chat template takes no system turn: its text begins the first user turn"
_THOUGHTS_NOTE = (
    "the chat template has thoughts: they are closed before the answer; prompt.thoughts keeps them"
)
_PLAIN_NOTE = "the tokenizer has no chat template: conversations are rendered as plain text"


@dataclass(frozen=True)
class AnswerFrame:
    """The text around an answer: `head` ends where the answer begins, `tail` begins where it ends."""

    head: str
    tail: str


class TextTemplate(Protocol):
    """How a conversation becomes text."""

    notes: list[str]
    """What a user would not expect, a sentence each."""

    def frame(self, messages: Sequence[Message]) -> AnswerFrame:
        """The text around the answer to a conversation. Raises InputError if it cannot be rendered."""

    def whole(self, messages: Sequence[Message], answer: Message) -> str:
        """The conversation with its answer. Raises InputError if it cannot be rendered."""

    def written(self, answer: str) -> str:
        """An answer as it is written: many templates remove white space at its ends."""


class ChatTemplate:
    """A tokenizer's chat template. Raises InputError if it cannot render a question and its answer."""

    def __init__(self, tokenizer: Any, thoughts: bool) -> None:
        self._tokenizer = tokenizer
        self._thoughts = thoughts
        self._folds_system = False
        self.notes: list[str] = []
        question = [_turn("user", _QUESTION)]
        whole = self.whole(question, _turn("assistant", _ANSWER))
        self._strips_left = self.whole(question, _turn("assistant", f"\n {_ANSWER}")) == whole
        self._strips_right = self.whole(question, _turn("assistant", f"{_ANSWER} \n")) == whole
        try:
            shown = self._render([_turn("system", _SYSTEM), *question])
        except InputError:
            shown = ""
        if _SYSTEM not in shown:
            self._folds_system = True
            self.notes.append(_SYSTEM_NOTE)

        if not thoughts and "</think>" in self.frame(question).head:
            self.notes.append(_THOUGHTS_NOTE)

    @cached_property
    def _writes_tools(self) -> bool:
        """Whether tool calls and what tools return stand in the text: many templates leave them out."""
        call = {"type": "function", "function": {"name": _TOOL, "arguments": {}}}
        turns = [
            _turn("user", _QUESTION),
            _turn("assistant", "") | {"tool_calls": [call]},
            _turn("tool", _ANSWER) | {"name": _TOOL},
        ]
        try:
            text = self._render(turns, generation=True)
        except InputError:
            return False
        return _TOOL in text and _ANSWER in text

    def frame(self, messages: Sequence[Message]) -> AnswerFrame:
        """See `TextTemplate.frame`."""
        head, found, tail = self.whole(messages, _turn("assistant", _ANSWER)).rpartition(_ANSWER)
        if not found:
            raise InputError("the chat template does not write the assistant's turn")
        if self._thoughts:
            # Many templates write an empty block of thoughts before an answer that has none.
            asked = self._rendered(messages, generation=True)
            head = _OPEN_THOUGHTS.sub("", head[: common(head, asked)])
        return AnswerFrame(head, tail)

    def whole(self, messages: Sequence[Message], answer: Message) -> str:
        """See `TextTemplate.whole`."""
        return self._rendered([*messages, answer])

    def written(self, answer: str) -> str:
        """See `TextTemplate.written`."""
        answer = answer.lstrip() if self._strips_left else answer
        return answer.rstrip() if self._strips_right else answer

    def _rendered(self, messages: Sequence[Message], generation: bool = False) -> str:
        turns = _folded(messages) if self._folds_system else list(messages)
        if not self._writes_tools_of(turns):
            raise InputError("the chat template writes no tool calls: take a model that has them")
        try:
            return self._render(turns, generation)
        except InputError:
            joined = _joined(turns)  # many templates want user and assistant to alternate
            if len(joined) == len(turns):
                raise
            return self._render(joined, generation)

    def _writes_tools_of(self, turns: Sequence[Message]) -> bool:
        needed = any(turn["role"] == "tool" or "tool_calls" in turn for turn in turns)
        return not needed or self._writes_tools

    def _render(self, turns: Sequence[Message], generation: bool = False) -> str:
        tools = next((turn["tools"] for turn in turns if "tools" in turn), None)
        shown = [{key: value for key, value in turn.items() if key != "tools"} for turn in turns]
        try:
            text: str = self._tokenizer.apply_chat_template(
                shown,
                tools=tools,
                tokenize=False,
                add_generation_prompt=generation,
                enable_thinking=self._thoughts,
                thinking=self._thoughts,
            )
        except Exception as error:  # a chat template raises what its author chose
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(f"the chat template cannot render the conversation: {reason}") from error
        return text


class PlainTemplate:
    """Plain text, for base models: one question is its own text; several turns begin with the name of their role.

    The answer follows after a space if the question ends with a colon, else on a new line, and ends with the
    end-of-sequence token.
    """

    def __init__(self, tokenizer: Any, wanted: bool) -> None:
        begins = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
        self._begin = tokenizer.bos_token if begins else ""
        self._end = tokenizer.eos_token or ""
        self.notes = [] if wanted else [_PLAIN_NOTE]

    def frame(self, messages: Sequence[Message]) -> AnswerFrame:
        """See `TextTemplate.frame`."""
        asked = [turn for turn in messages if turn["role"] != "system"]
        if len(asked) > 1:
            lines = [_named(turn) for turn in messages]
            text = "\n".join([*lines, "Assistant:"])
        else:
            text = "\n\n".join(map(_content, messages))
        gap = "" if text[-1:].isspace() else " " if text.endswith(":") else "\n"
        return AnswerFrame(f"{self._begin}{text}{gap}", self._end)

    def whole(self, messages: Sequence[Message], answer: Message) -> str:
        """See `TextTemplate.whole`."""
        frame = self.frame(messages)
        return f"{frame.head}{_content(answer)}{frame.tail}"

    def written(self, answer: str) -> str:
        """See `TextTemplate.written`."""
        return answer


def beginning(template: TextTemplate, messages: Sequence[Message]) -> str:
    """The text before the first turn that is no system turn."""
    system = list(itertools.takewhile(lambda turn: turn["role"] == "system", messages))
    return template.frame([*system, _turn("user", _QUESTION)]).head.partition(_QUESTION)[0]


def common(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many first tokens or characters are the same."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _content(turn: Message) -> str:
    if "tool_calls" in turn:
        raise InputError("plain text has no form for tool calls: take a model with a chat template")
    return str(turn["content"])


def _named(turn: Message) -> str:
    content = _content(turn)
    return content if turn["role"] == "system" else f"{turn['role'].capitalize()}: {content}"


def _folded(messages: Sequence[Message]) -> list[Message]:
    """The conversation with the text of its system turns at the beginning of the first user turn."""
    system = [turn["content"] for turn in messages if turn["role"] == "system"]
    turns = [turn for turn in messages if turn["role"] != "system"]
    first = next((place for place, turn in enumerate(turns) if turn["role"] == "user"), None)
    if not system or first is None:
        return turns
    text = "\n\n".join([*system, turns[first]["content"]])
    return [*turns[:first], turns[first] | {"content": text}, *turns[first + 1 :]]


def _joined(messages: Sequence[Message]) -> list[Message]:
    """The conversation with consecutive texts of one role as one turn."""
    turns: list[Message] = []
    for turn in messages:
        if (
            turns
            and turn.keys() == turns[-1].keys() == {"role", "content"}
            and turn["role"] == turns[-1]["role"]
        ):
            turns[-1] = _turn(turn["role"], f"{turns[-1]['content']}\n\n{turn['content']}")
        else:
            turns.append(turn)
    return turns
