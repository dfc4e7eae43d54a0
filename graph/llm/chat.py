"""A chat model in the hands of one role: asked once for each question, paid for within the budgets, tried again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast

import httpx
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.utils import convert_to_openai_messages
from langchain_core.tools import BaseTool

from ...keys import redact
from .call_ledger import CallLedger, CallRequest, question_key
from .context_window import Window, bytes_of, most_tokens
from .model_settings import ModelSettings
from .output_modes import MODES, Form, first_mode, next_mode
from .protocol import Answer, ModelError, Role, ToolRequest, Turn
from .providers import OpenedModel, open_model
from .question import ANSWER, Question
from .responses import CUT, kept, received, reported
from .retries import CallFailed, Fault, attempts, fault_of
from .usage import Usage

LONGEST_RECORDED = 40_000
"""Characters of one message that the record keeps."""

SILENT_TURNS = 2
"""After so many turns in words alone, a model that should call tools is held to a JSON schema instead."""

_ROLES = {"system": "system", "human": "user", "tool": "tool"}


def open_chat(
    role: Role,
    settings: ModelSettings,
    ledger: CallLedger,
    *,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> LLMChat:
    """The model of a role, whose calls go through the ledger of the run. Raises InputError.

    `transport` takes the place of the network, `sleep` waits between tries.
    """
    return LLMChat(role, settings, ledger, open_model(settings, role, transport), sleep)


@dataclass
class _Asking(Generic[Answer]):
    """A question on its way. `new`: its messages that the record does not have yet."""

    question: Question[Answer]
    messages: Sequence[BaseMessage]
    purpose: str
    key: str
    new: list[dict[str, str]]


class LLMChat:
    """See `protocol.Chat`."""

    def __init__(
        self,
        role: Role,
        settings: ModelSettings,
        ledger: CallLedger,
        model: OpenedModel,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.role: Role = role
        self._settings = settings
        self._ledger = ledger
        self._model = model
        self._sleep = sleep
        self._window = Window(settings.context_tokens, settings.max_tokens)
        self._mode = ledger.mode(role) or first_mode(settings.output, dict(model.client.profile or {}))
        self._silent = 0
        self._told: dict[str, list[str]] = {}

    @property
    def mode(self) -> str:
        """The output mode that the next question is asked in."""
        return self._mode

    def turn(
        self,
        messages: Sequence[BaseMessage],
        answer: type[Answer],
        tools: Sequence[BaseTool] = (),
        *,
        purpose: str,
    ) -> Turn[Answer]:
        """See `Chat`."""
        question = Question(answer, tools)
        prints = [question_key(_identity(message)) for message in messages]
        key = question_key(
            self.role, purpose, prints, answer.__name__, question.answer_schema, question.names
        )
        settled = self._ledger.replay(key)
        if settled is not None:
            turn = _read(settled.mode, AIMessage(**settled.message), question)
        else:
            new = messages[_shared(self._told.get(purpose, []), prints) :]
            request = _Asking(question, messages, purpose, key, [*map(_recorded, new)])
            turn = self._ask(request)
            self._listen(turn)
        self._told[purpose] = prints
        return turn

    def tool_result(self, request: ToolRequest, text: str) -> BaseMessage:
        """See `Chat`."""
        return ToolMessage(text, tool_call_id=request.id, name=request.name)

    def correction(self, turn: Turn[Any]) -> BaseMessage:
        """See `Chat`."""
        return HumanMessage(f"That will not do: {turn.problem}. Put it right and answer again.")

    def _ask(self, asking: _Asking[Answer]) -> Turn[Answer]:
        """Try until there is an answer, in another form or with fewer words where the server wants that."""
        shrunk = False
        while True:
            try:
                return attempts(lambda: self._call(asking), self._settings.attempts, self._sleep)
            except CallFailed as failed:
                fault = failed.fault
                if fault.too_long and not shrunk:
                    self._window.shrink()
                    shrunk = True
                elif fault.form and (after := next_mode(failed.mode, self._settings.output, fault.choice)):
                    if self._mode == failed.mode:
                        self._go_over(after, str(fault))
                else:
                    raise ModelError(f"{asking.purpose}: {self._model.name}: {_advice(fault)}") from failed

    def _call(self, asking: _Asking[Answer]) -> Turn[Answer]:
        """One try: reserved, made, settled. Raises CallFailed, ModelError, ModelBudgetSpent."""
        name, question = self._mode, asking.question  # other threads may go over to another
        mode = MODES[name]

        def length(messages: Sequence[BaseMessage]) -> int:
            return bytes_of(_wire(mode.form(messages, question)))

        form = mode.form(self._window.fit(asking.messages, length), question)
        most = self._most(form)
        if self._model.pace is not None:
            self._model.pace.acquire()
        request = CallRequest(
            asking.key, self.role, asking.purpose, self._model.name, name, tuple(asking.new)
        )
        reservation = self._ledger.reserve(request, most)
        asking.new = []  # a further try records them no more
        try:
            raw = self._invoke(form)
        except BaseException as error:
            # A call that was interrupted is billed like one that has timed out.
            fault = fault_of(error, redact) if isinstance(error, Exception) else Fault("interrupted")
            told = {"text": "", "tools": [], "problem": str(fault)}
            self._ledger.settle(
                reservation,
                "unknown" if fault.billed else "failed",
                most if fault.billed else Usage(calls=1),
                told,
            )
            if isinstance(error, Exception):
                raise CallFailed(fault, name) from error
            raise
        message = received(raw, self._settings.max_tokens, reservation.id)
        turn = _read(name, message, question)
        cost = reported(raw, self._model.price)
        self._ledger.settle(
            reservation, "answered", cost or most, _told(turn, _note(cost, most)), kept(message)
        )
        if cost is not None:
            self._window.learn(bytes_of(_wire(form)), cost.tokens_in)
        return turn

    def _most(self, form: Form) -> Usage:
        """What a call may take at most."""
        tokens = most_tokens(_wire(form), len(form.messages), len(form.tools))
        price, written = self._model.price, self._settings.max_tokens
        return Usage(1, tokens, written, price.of(tokens, written) if price else 0.0)

    def _invoke(self, form: Form) -> AIMessage:
        client = self._model.client
        if form.tools:
            choice = {"tool_choice": "any"} if form.forced else {}
            return client.bind_tools(form.tools, **choice).invoke(form.messages)
        if form.schema is None:
            return client.invoke(form.messages)
        schema = {"title": "step", "description": "A call of a tool, or the answer.", **form.schema}
        if self._model.openai:
            # By the body itself: the client would take an answer that was cut off for an error, its cost unknown.
            wanted = {"type": "json_schema", "json_schema": {"name": "step", "schema": form.schema}}
            body = {**(getattr(client, "extra_body", None) or {}), "response_format": wanted}
            return client.invoke(form.messages, extra_body=body)
        structured = client.with_structured_output(schema, method="json_schema", include_raw=True)
        return cast(AIMessage, cast(dict[str, Any], structured.invoke(form.messages))["raw"])

    def _listen(self, turn: Turn[Any]) -> None:
        """Notice a server that takes tools and never calls one."""
        if turn.message.tool_calls or not turn.message.text.strip() or turn.answer is not None:
            self._silent = 0
            return
        self._silent += 1
        if (
            self._settings.output == "auto"
            and self._mode.startswith("tools")
            and self._silent >= SILENT_TURNS
        ):
            self._go_over("json_schema", f"{self._silent} turns in words without a call of a tool")

    def _go_over(self, mode: str, why: str) -> None:
        self._mode = mode
        self._silent = 0
        self._ledger.change_mode(self.role, mode, why)


def _read(mode: str, message: AIMessage, question: Question[Answer]) -> Turn[Answer]:
    cut = message.response_metadata.get(CUT)
    return Turn(message, problem=cut) if cut else MODES[mode].read(message, question)


def _wire(form: Form) -> dict[str, Any]:
    """The parts of a request that make tokens."""
    return {
        "messages": convert_to_openai_messages(form.messages),
        "tools": form.tools,
        "schema": form.schema,
    }


def _identity(message: BaseMessage) -> dict[str, Any]:
    """What makes two messages the same."""
    calls = [(call["name"], call["args"]) for call in getattr(message, "tool_calls", [])]
    return {"role": message.type, "content": message.content, "calls": calls}


def _shared(before: Sequence[str], now: Sequence[str]) -> int:
    """How many messages at the beginning were told before."""
    pairs = zip(before, now, strict=False)
    return next((place for place, (was, is_) in enumerate(pairs) if was != is_), min(len(before), len(now)))


def _recorded(message: BaseMessage) -> dict[str, str]:
    text = redact(message.text[:LONGEST_RECORDED])
    return {"role": _ROLES.get(message.type, "assistant"), "text": text}


def _told(turn: Turn[Any], note: str | None) -> dict[str, Any]:
    """What came back, as records show it: an answer that was called is shown as text."""
    text = str(turn.message.text)
    answers = [call["args"] for call in turn.message.tool_calls if call["name"] == ANSWER and not turn.tools]
    text = "\n\n".join(filter(None, [text, *(json.dumps(each, ensure_ascii=False) for each in answers)]))
    told: dict[str, Any] = {
        "text": redact(text[:LONGEST_RECORDED]),
        "tools": [{"name": each.name, "arguments": each.arguments} for each in turn.tools],
        "problem": redact(turn.problem) if turn.problem else None,
    }
    return {**told, "note": note} if note else told


def _note(cost: Usage | None, most: Usage) -> str | None:
    if cost is None:
        return "the server did not count the tokens: the whole reservation is booked"
    if cost.tokens_in > most.tokens_in or cost.tokens_out > most.tokens_out:
        return "the server counted more than the call was allowed: what it counted is booked"
    return None


def _advice(fault: Fault) -> str:
    """The fault, and what a person can do about it."""
    if fault.status in (401, 403):
        return f"{fault}: check the key in the environment or .env"
    if fault.form:
        return f"{fault}: choose another way of output (auto, json_schema or text)"
    return str(fault)
