"""The tokens of conversations and their answers, the same for training and evaluation.

Every conversation is tokenised as a whole, with its answer, so an answer has the tokens that the template gives it:
with the space or the new line before it and the end of the turn after it. A prompt ends at the last token that does
not depend on the answer. In messages, the names of control tokens ('<|im_end|>') are text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import read_json
from ..conversations import Message
from ..task import RenderingOptions
from .chat_template import ChatTemplate, PlainTemplate, TextTemplate, beginning, common

_NO_LOSS = -100  # the label that cross entropy ignores
_BATCH = 500  # conversations that are tokenised together
_LETTER = "a"  # stands for an answer where the tokens of a prompt may merge with it
_ENDING = 16
"""Characters at the end of a prompt that decide how it merges with an answer: longer than a word is."""
_MARK = "\U000f0000"  # transformers writes it before the name of a control token in a message


@dataclass(frozen=True)
class TokenRow:
    """A conversation with its answer. `answer[i]` says whether token i belongs to an answer.

    The last answer begins at token `last`.
    """

    ids: list[int]
    answer: list[bool]
    last: int

    @property
    def labels(self) -> list[int]:
        """The ids of the answer's tokens, -100 elsewhere."""
        return [token if taught else _NO_LOSS for token, taught in zip(self.ids, self.answer, strict=True)]

    @property
    def prompt(self) -> int:
        """The number of tokens before the answer."""
        return self.answer.index(True) if True in self.answer else len(self.ids)


@dataclass(frozen=True)
class ChoicePrompt:
    """A prompt, and for each choice the tokens that are compared after it."""

    ids: list[int]
    choices: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Prompt:
    """A prompt in tokens: of `ids` the first `kept` do not depend on the answer, `cut` are left out."""

    head: str
    tail: str
    ids: list[int]
    kept: int
    cut: range

    def shortened(self, ids: Sequence[Any], stop: int | None = None) -> list[Any]:
        return [*ids[: self.cut.start], *ids[self.cut.stop : stop]]


class Renderer:
    """Renders conversations for one tokenizer. `ends` are the tokens that end an answer, `notes` say what is special.

    Raises InputError for a chat template that cannot render a question and its answer.
    """

    def __init__(
        self, tokenizer: Any, options: RenderingOptions | None = None, ends: Iterable[int] = ()
    ) -> None:
        options = options or RenderingOptions()
        self._tokenizer = tokenizer
        self._limit = options.max_prompt_tokens
        self._all_turns = options.loss_on == "all"
        self._template: TextTemplate
        if options.plain or not tokenizer.chat_template:
            self._template = PlainTemplate(tokenizer, options.plain)
        else:
            self._template = ChatTemplate(tokenizer, options.thoughts)
        self.notes = self._template.notes
        self._merging: dict[str, int] = {}
        added = {
            token: name for token, name in tokenizer.added_tokens_decoder.items() if name.content.strip()
        }
        frame = self._template.frame([{"role": "user", "content": _LETTER}])
        marks = [token for token in self._encode([frame.tail])[0] if token in added]
        if not marks and tokenizer.eos_token is None:
            raise InputError("the tokenizer has no end-of-sequence token: set its eos_token")
        self.end: int = marks[0] if marks else tokenizer.eos_token_id
        self.ends = frozenset({self.end, tokenizer.eos_token_id, *ends} - {None})
        self._added_tail = "" if marks else str(tokenizer.eos_token)
        before, end, _ = (self._added_tail + frame.tail).partition(tokenizer.convert_ids_to_tokens(self.end))
        self._turn_end = before + end
        opening = self._encode([beginning(self._template, []) + frame.tail])[0]
        written = {token for token in opening if token in added}
        control = [name.content for token, name in added.items() if name.special or token in written]
        self._control = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))))

    def prompts(
        self, conversations: Sequence[Sequence[Message]], limit: int | None = None
    ) -> list[list[int]]:
        """The tokens before the answer to each conversation, at most `limit` (None: as in the options)."""
        prompts = self._prompts([self._as_text(turns) for turns in conversations], limit)
        return [prompt.shortened(prompt.ids, prompt.kept) for prompt in prompts]

    def accepts(self, conversations: Sequence[Sequence[Message]]) -> list[bool]:
        """Whether each conversation, up to its answer, can be rendered."""
        found = []
        for turns in conversations:
            try:
                self._template.frame(turns)
            except InputError:
                found.append(False)
            else:
                found.append(True)
        return found

    def rows(self, conversations: Sequence[Sequence[Message]]) -> list[TokenRow]:
        """Conversations whose last turn is the answer; with `loss_on` 'all' every assistant turn is one."""
        turns = [self._as_text(conversation) for conversation in conversations]
        prompts = self._prompts([conversation[:-1] for conversation in turns], None)
        texts = [self._text(prompt, each[:-1], each[-1]) for prompt, each in zip(prompts, turns, strict=True)]
        rows = []
        for prompt, text, ids, conversation in zip(prompts, texts, self._encode(texts), turns, strict=True):
            start = min(prompt.kept, common(prompt.ids, ids))
            answer = [place >= start for place in range(len(ids))]
            if self._all_turns:
                for span in self._earlier_turns(text, ids, conversation):
                    answer[span.start : span.stop] = [True] * len(span)
            last = start - len(prompt.cut)
            rows.append(TokenRow(prompt.shortened(ids), prompt.shortened(answer), last))
        return rows

    def rows_or_errors(self, conversations: Sequence[Sequence[Message]]) -> list[TokenRow | InputError]:
        """As `rows`, with the error in the place of a conversation that the template refuses."""
        found: list[TokenRow | InputError] = []
        for start in range(0, len(conversations), _BATCH):
            batch = conversations[start : start + _BATCH]
            try:
                found += self.rows(batch)
            except InputError:
                found += map(self._row_or_error, batch)
        return found

    def texts(self, texts: Sequence[str]) -> list[TokenRow]:
        """Plain texts as documents, from the tokenizer's beginning to its end token, with a loss on every token."""
        begin = [token for token in self._tokenizer("")["input_ids"] if token == self._tokenizer.bos_token_id]
        end = self._tokenizer.eos_token_id
        marked = [self._as_text([{"role": "user", "content": text}])[0]["content"] for text in texts]
        rows = [[*begin, *ids, self.end if end is None else end] for ids in self._encode(marked)]
        return [TokenRow(ids, [True] * len(ids), 0) for ids in rows]

    def answer_tokens(self, row: TokenRow) -> int:
        """The number of tokens of the last answer, without the end of its turn."""
        rest = row.ids[row.last :]
        return rest.index(self.end) if self.end in rest else len(rest)

    def choices(
        self, conversations: Sequence[Sequence[Message]], choices: Sequence[str], limit: int | None = None
    ) -> list[ChoicePrompt]:
        """Each conversation's prompt with the tokens of the choices.

        If one choice's tokens begin another's, the end of the turn counts too: otherwise the shorter always wins.
        """
        answers = [
            self._template.written(self._as_text([{"content": choice}])[0]["content"]) for choice in choices
        ]
        known: dict[tuple[str, str, tuple[int, ...]], tuple[int, tuple[tuple[int, ...], ...]]] = {}
        prompts = []
        for prompt in self._prompts([self._as_text(turns) for turns in conversations], limit):
            key = prompt.head[-_ENDING:], prompt.tail, tuple(prompt.ids[prompt.kept :])
            if key not in known:
                known[key] = self._continuations(prompt, answers)
            back, continuations = known[key]
            prompts.append(ChoicePrompt(prompt.shortened(prompt.ids, prompt.kept - back), continuations))
        return prompts

    def text(self, ids: Sequence[int]) -> str:
        """Tokens as the text that they stand for, control tokens included."""
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def answers(self, generated: Sequence[Sequence[int]]) -> list[str]:
        """Generated tokens as text, without control tokens and white space at the ends."""
        texts: list[str] = self._tokenizer.batch_decode(generated, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _row_or_error(self, conversation: Sequence[Message]) -> TokenRow | InputError:
        try:
            return self.rows([conversation])[0]
        except InputError as error:
            return error

    def _prompts(self, conversations: Sequence[Sequence[Message]], limit: int | None) -> list[_Prompt]:
        limit = limit or self._limit
        frames = [self._template.frame(turns) for turns in conversations]
        encoded = self._encode([frame.head for frame in frames])
        self._measure_merging([frame.head for frame in frames], encoded)
        prompts = []
        for frame, ids, turns in zip(frames, encoded, conversations, strict=True):
            kept = max(0, len(ids) - self._merging[frame.head[-_ENDING:]])
            cut = range(0)
            if limit is not None and kept > limit:
                [first] = self._encode([beginning(self._template, turns)])
                start = min(common(first, ids), limit // 2)
                cut = range(start, kept - (limit - start))
            prompts.append(_Prompt(frame.head, self._added_tail + frame.tail, ids, kept, cut))
        return prompts

    def _measure_merging(self, heads: Sequence[str], encoded: Sequence[Sequence[int]]) -> None:
        """How many tokens at the end of each head become others if an answer follows, by the head's last characters."""
        new = {head[-_ENDING:]: (head, ids) for head, ids in zip(heads, encoded, strict=True)}
        new = {ending: known for ending, known in new.items() if ending not in self._merging}
        followed = self._encode([head + _LETTER for head, _ in new.values()])
        for (ending, (_, ids)), other in zip(new.items(), followed, strict=True):
            self._merging[ending] = len(ids) - common(ids, other)

    def _continuations(self, prompt: _Prompt, answers: list[str]) -> tuple[int, tuple[tuple[int, ...], ...]]:
        """How many tokens of the prompt merge with a choice, and the tokens of the choices after the others."""
        wholes = self._encode([prompt.head + answer + prompt.tail for answer in answers])
        bare = self._encode([prompt.head + answer for answer in answers])
        start = min(prompt.kept, *(common(prompt.ids, whole) for whole in wholes))
        stops = [common(whole, other) for whole, other in zip(wholes, bare, strict=True)]
        short = [tuple(whole[start:stop]) for whole, stop in zip(wholes, stops, strict=True)]
        if all(map(len, short)) and not any(a[: len(b)] == b for a, b in itertools.permutations(short, 2)):
            return prompt.kept - start, tuple(short)
        ends = [whole.index(self.end, start) for whole in wholes]
        return prompt.kept - start, tuple(
            tuple(whole[start : end + 1]) for whole, end in zip(wholes, ends, strict=True)
        )

    def _text(self, prompt: _Prompt, messages: Sequence[Message], answer: Message) -> str:
        if answer.keys() == {"role", "content"}:
            return f"{prompt.head}{self._template.written(answer['content'])}{prompt.tail}"
        return self._template.whole(messages, answer)  # tool calls: only the template can write them

    def _earlier_turns(self, text: str, ids: Sequence[int], turns: Sequence[Message]) -> list[range]:
        """The tokens of the assistant turns before the last one, each with its end. Text that is not found has none."""
        spans, place = [], 0
        for number, turn in enumerate(turns[:-1]):
            content = self._template.written(turn["content"])
            if turn["role"] == "assistant" and "tool_calls" in turn:
                content = self._written_turn(turns[:number], turn)
            start = text.find(content, place) if content else -1
            if start < 0:
                continue
            place = start + len(content)
            if turn["role"] == "assistant":
                place += len(self._turn_end) if text.startswith(self._turn_end, place) else 0
                before, after = self._encode([text[:start], text[:place]])
                spans.append(range(common(before, ids), common(after, ids)))
        return spans

    def _written_turn(self, before: Sequence[Message], turn: Message) -> str:
        """A turn with tool calls as the template writes it, without what surrounds every answer."""
        frame, whole = self._template.frame(before), self._template.whole(before, turn)
        return whole[common(frame.head, whole) : len(whole) - common(frame.tail[::-1], whole[::-1])]

    def _as_text(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the names of control tokens marked, so that they become text."""
        from transformers.utils.chat_template_utils import mark_control_tokens

        return [
            mark_control_tokens(turn, self._control) if self._control.search(str(turn)) else dict(turn)
            for turn in messages
        ]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        ordinary = [text for text in texts if _MARK not in text]
        ids = iter(self._tokenizer(ordinary, add_special_tokens=False)["input_ids"] if ordinary else ())
        return [
            self._tokenizer(text, add_special_tokens=False, sanitize_control_tokens=True)["input_ids"]
            if _MARK in text
            else next(ids)
            for text in texts
        ]


@lru_cache(maxsize=4)
def open_renderer(base_model: Path, options: RenderingOptions) -> Renderer:
    """The renderer of a model directory. Raises InputError for a tokenizer that cannot be loaded or used."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base_model, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the tokenizer in {base_model} can't be loaded: {error}") from error
    settings, ends = base_model / "generation_config.json", set[int]()
    if settings.is_file():
        known = read_json(settings).get("eos_token_id")
        ends = set(known) if isinstance(known, list) else {known}
    try:
        return Renderer(tokenizer, options, ends - {None})
    except InputError as error:
        raise InputError(f"{base_model}: {error}") from error
