"""`LLMChat`: a chat model of one role, with recorded calls, budgets, retries and a fallback between output modes."""

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
from .call_ledger import CallLedger, CallRequest, request_key
from .call_spellings import ANSWER
from .context_window import ContextWindow, json_bytes, max_request_tokens
from .model_settings import ModelSettings
from .output_modes import MODES, ModelInput, first_mode, next_mode
from .output_request import OutputRequest
from .protocol import Answer, ModelError, ModelTurn, Role, ToolRequest
from .providers import OpenedModel, open_model
from .responses import TRUNCATED, message_fields, normalise, reported_usage
from .retries import CallFailed, CallFault, classify_error, with_retries
from .usage import Usage

MAX_RECORDED_CHARACTERS = 40_000
"""Longest text of one message in the record."""

MAX_TURNS_WITHOUT_CALL = 2
"""After this many turns without a tool call, mode 'auto' changes from tool calls to a JSON schema."""

_ROLES = {"system": "system", "human": "user", "tool": "tool"}


def open_chat(
    role: Role,
    settings: ModelSettings,
    ledger: CallLedger,
    *,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> LLMChat:
    """The model of a role; its calls are booked in the run's ledger. Raises InputError.

    `transport` replaces the network in tests, `sleep` waits between attempts.
    """
    return LLMChat(role, settings, ledger, open_model(settings, role, transport), sleep)


@dataclass
class _PendingCall(Generic[Answer]):
    """A call to be made. `new` are its messages that the record does not have yet."""

    request: OutputRequest[Answer]
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
        self._settings, self._ledger, self._model, self._sleep = settings, ledger, model, sleep
        self._window = ContextWindow(settings.context_tokens, settings.max_tokens)
        self._mode = ledger.mode(role) or first_mode(settings.output, dict(model.client.profile or {}))
        self._without_call = 0
        self._recorded: dict[str, list[str]] = {}

    @property
    def mode(self) -> str:
        """The output mode of the next call."""
        return self._mode

    def turn(
        self,
        messages: Sequence[BaseMessage],
        answer: type[Answer],
        tools: Sequence[BaseTool] = (),
        *,
        purpose: str,
    ) -> ModelTurn[Answer]:
        """See `Chat`."""
        request = OutputRequest(answer, tools)
        keys = [request_key(_identity(message)) for message in messages]
        key = request_key(self.role, purpose, keys, answer.__name__, request.answer_schema, request.names)
        recorded = self._ledger.replay(key)
        if recorded is not None:
            turn = _parse(recorded.mode, AIMessage(**recorded.message), request)
        else:
            new = messages[_common_start(self._recorded.get(purpose, []), keys) :]
            turn = self._ask(_PendingCall(request, messages, purpose, key, [*map(_message_record, new)]))
            self._watch_for_calls(turn)
        self._recorded[purpose] = keys
        return turn

    def tool_result(self, request: ToolRequest, text: str) -> BaseMessage:
        """See `Chat`."""
        return ToolMessage(text, tool_call_id=request.id, name=request.name)

    def correction(self, turn: ModelTurn[Any]) -> BaseMessage:
        """See `Chat`."""
        return HumanMessage(f"Invalid answer: {turn.problem}. Correct it.")

    def _ask(self, call: _PendingCall[Answer]) -> ModelTurn[Answer]:
        """Call until there is an answer; if the server refuses the mode or the length, change it and call again."""
        shortened = False
        while True:
            try:
                return with_retries(lambda: self._attempt(call), self._settings.attempts, self._sleep)
            except CallFailed as failed:
                fault = failed.fault
                if fault.context_exceeded and not shortened:
                    self._window.shrink()
                    shortened = True
                elif after := self._mode_after(failed):
                    if self._mode == failed.mode:
                        self._change_mode(after, str(fault))
                else:
                    raise ModelError(f"{call.purpose}: {self._model.name}: {_advice(fault)}") from failed

    def _mode_after(self, failed: CallFailed) -> str | None:
        if not failed.fault.format_refused:
            return None
        return next_mode(failed.mode, self._settings.output, failed.fault.tool_choice_refused)

    def _attempt(self, call: _PendingCall[Answer]) -> ModelTurn[Answer]:
        """Reserve, make and settle one call. Raises CallFailed, ModelError, ModelBudgetSpent."""
        name, request = self._mode, call.request  # another thread may change the mode meanwhile
        mode = MODES[name]

        def length(messages: Sequence[BaseMessage]) -> int:
            return json_bytes(_tokens_of(mode.prepare(messages, request)))

        model_input = mode.prepare(self._window.fit(call.messages, length), request)
        most = self._max_usage(model_input)
        if self._model.pace is not None:
            self._model.pace.acquire()
        reservation = self._ledger.reserve(
            CallRequest(call.key, self.role, call.purpose, self._model.name, name, tuple(call.new)), most
        )
        call.new = []  # the next attempt does not record them again
        try:
            raw = self._invoke(model_input)
        except BaseException as error:
            # An interrupted call may be billed, like one that has timed out.
            ordinary = isinstance(error, Exception)
            fault = classify_error(error, redact) if ordinary else CallFault("interrupted")
            no_answer = {"text": "", "tools": [], "problem": str(fault)}
            if fault.billed:
                self._ledger.settle(reservation, "unknown", most, no_answer)
            else:
                self._ledger.settle(reservation, "failed", Usage(calls=1), no_answer)
            if ordinary:
                raise CallFailed(fault, name) from error
            raise
        message = normalise(raw, self._settings.max_tokens, reservation.id)
        turn = _parse(name, message, request)
        usage = reported_usage(raw, self._model.price)
        record = _answer_record(turn, _usage_note(usage, most))
        self._ledger.settle(reservation, "answered", usage or most, record, message_fields(message))
        if usage is not None:
            self._window.calibrate(json_bytes(_tokens_of(model_input)), usage.tokens_in)
        return turn

    def _max_usage(self, model_input: ModelInput) -> Usage:
        """Upper bound on the usage of a call."""
        count = len(model_input.messages), len(model_input.tools)
        tokens = max_request_tokens(_tokens_of(model_input), *count)
        price, written = self._model.price, self._settings.max_tokens
        return Usage(1, tokens, written, price.of(tokens, written) if price else 0.0)

    def _invoke(self, model_input: ModelInput) -> AIMessage:
        client = self._model.client
        messages = model_input.messages
        if model_input.tools:
            choice = {"tool_choice": "any"} if model_input.forced else {}
            return client.bind_tools(model_input.tools, **choice).invoke(messages)
        if model_input.schema is None:
            return client.invoke(messages)
        schema = {"title": "step", "description": "A tool call or the answer.", **model_input.schema}
        if self._model.openai:
            # Sent in the body: the client would raise for an answer that was cut off, and its usage would be lost.
            wanted = {"type": "json_schema", "json_schema": {"name": "step", "schema": model_input.schema}}
            body = {**(getattr(client, "extra_body", None) or {}), "response_format": wanted}
            return client.invoke(messages, extra_body=body)
        structured = client.with_structured_output(schema, method="json_schema", include_raw=True)
        return cast(AIMessage, cast(dict[str, Any], structured.invoke(messages))["raw"])

    def _watch_for_calls(self, turn: ModelTurn[Any]) -> None:
        """Change the mode of a model that accepts tools but never calls one."""
        if turn.message.tool_calls or not turn.message.text.strip() or turn.answer is not None:
            self._without_call = 0
            return
        self._without_call += 1
        may_change = self._settings.output == "auto" and self._mode.startswith("tools")
        if may_change and self._without_call >= MAX_TURNS_WITHOUT_CALL:
            self._change_mode("json_schema", f"{self._without_call} turns without a tool call")

    def _change_mode(self, mode: str, why: str) -> None:
        self._mode = mode
        self._without_call = 0
        self._ledger.change_mode(self.role, mode, why)


def _parse(mode: str, message: AIMessage, request: OutputRequest[Answer]) -> ModelTurn[Answer]:
    truncated = message.response_metadata.get(TRUNCATED)
    return ModelTurn(message, problem=truncated) if truncated else MODES[mode].parse(message, request)


def _tokens_of(model_input: ModelInput) -> dict[str, Any]:
    """The parts of a request that count as tokens."""
    messages = convert_to_openai_messages(model_input.messages)
    return {"messages": messages, "tools": model_input.tools, "schema": model_input.schema}


def _identity(message: BaseMessage) -> dict[str, Any]:
    """The fields by which messages are compared."""
    calls = [(call["name"], call["args"]) for call in getattr(message, "tool_calls", [])]
    return {"role": message.type, "content": message.content, "calls": calls}


def _common_start(before: Sequence[str], now: Sequence[str]) -> int:
    """How many messages at the start are the same."""
    pairs = zip(before, now, strict=False)
    return next((place for place, (was, is_) in enumerate(pairs) if was != is_), min(len(before), len(now)))


def _message_record(message: BaseMessage) -> dict[str, str]:
    text = redact(message.text[:MAX_RECORDED_CHARACTERS])
    return {"role": _ROLES.get(message.type, "assistant"), "text": text}


def _answer_record(turn: ModelTurn[Any], note: str | None) -> dict[str, Any]:
    """The turn as the record shows it. An answer that was given as a tool call is shown as text."""
    text = str(turn.message.text)
    answers = [call["args"] for call in turn.message.tool_calls if call["name"] == ANSWER and not turn.tools]
    text = "\n\n".join(filter(None, [text, *(json.dumps(each, ensure_ascii=False) for each in answers)]))
    record: dict[str, Any] = {
        "text": redact(text[:MAX_RECORDED_CHARACTERS]),
        "tools": [{"name": each.name, "arguments": each.arguments} for each in turn.tools],
        "problem": redact(turn.problem) if turn.problem else None,
    }
    return {**record, "note": note} if note else record


def _usage_note(usage: Usage | None, most: Usage) -> str | None:
    if usage is None:
        return "the server reported no usage: the whole reservation counts as spent"
    if usage.tokens_in > most.tokens_in or usage.tokens_out > most.tokens_out:
        return "the server reported more tokens than the call was allowed: the report counts as spent"
    return None


def _advice(fault: CallFault) -> str:
    """The fault, and what the user can do about it."""
    if fault.status in (401, 403):
        return f"{fault}: check the key in the environment or .env"
    if fault.format_refused:
        return f"{fault}: choose another output mode (auto, json_schema or text)"
    return str(fault)
