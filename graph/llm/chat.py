"""`LLMChat`: a chat model of one role, with recorded calls, budgets, retries and a fallback between output modes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, cast

import httpx
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.utils import convert_to_openai_messages
from langchain_core.tools import BaseTool
from langsmith import tracing_context

from ...errors import Interrupted
from ...keys import redact
from .call_ledger import CallLedger, CallRequest, request_key
from .call_limits import CallLimits
from .call_spellings import ANSWER, canonical
from .context_window import ContextWindow, json_bytes, max_request_tokens
from .model_settings import ModelSettings, plan_tokens
from .output_modes import MODES, ModelInput, first_mode
from .output_request import OutputRequest
from .protocol import Answer, ModelError, ModelRefused, ModelTurn, Role, ToolRequest
from .providers import OpenedModel, open_model
from .responses import TRUNCATED, answer_bytes, message_fields, normalise, reported_usage
from .retries import CallFailed, CallFault, classify_error, numbers_in, with_retries
from .server_profile import ServerProfile, asked_otherwise, with_shorter_answer, without_named
from .usage import Usage

MAX_RECORDED_CHARACTERS = 40_000
"""Longest text of one message in the record."""

MAX_SHRINKS = 3
"""Times that one request is shortened after the server refused it as too long."""

BEFORE_PLANS = ("analyze", "research")
"""Purposes whose calls leave enough of the budget for one plan."""

_LONG_REQUEST = 8000
"""Bytes. A shorter request is not refused for its length."""

MAX_TURNS_WITHOUT_CALL = 2
"""After this many turns without a tool call, mode 'auto' changes from tool calls to a JSON schema."""

_ROLES = {"system": "system", "human": "user", "tool": "tool"}


def open_chat(
    role: Role,
    settings: ModelSettings,
    ledger: CallLedger,
    *,
    limits: CallLimits | None = None,
    private: bool = False,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] | None = None,
) -> LLMChat:
    """The model of a role; its calls are booked in the run's ledger. Raises InputError.

    `limits` end its calls early. Of `private` calls the record holds hashes, sums and answers that fit the schema, and
    no other text; no callback and no tracer sees them. `transport` replaces the network in tests, `sleep` waits between
    attempts.
    """
    model = open_model(settings, role, transport)
    return LLMChat(role, settings, ledger, model, limits or CallLimits(sleep=sleep), private)


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
        limits: CallLimits,
        private: bool = False,
    ) -> None:
        self.role: Role = role
        self._private = private
        self._settings, self._ledger, self._model, self._limits = settings, ledger, model, limits
        self._window = ContextWindow(settings.context_tokens, settings.max_tokens)
        known = ledger.profile(role)
        first = first_mode(settings.output, dict(model.client.profile or {}))
        self._profile = ServerProfile.read(known) if known else ServerProfile(first, model.limits)
        self._without_call = self._failures = 0
        self._recorded: dict[str, list[str]] = {}

    @property
    def mode(self) -> str:
        """The output mode of the next call."""
        return self._profile.mode

    @property
    def profile(self) -> ServerProfile:
        """What the server was found to accept."""
        return self._profile

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
        new = messages[_common_start(self._recorded.get(purpose, []), keys) :]
        shown = [] if self._private else [*map(_message_record, new)]
        call = _PendingCall(request, messages, purpose, key, shown)
        recorded = self._ledger.replay(key)
        turn = _parse(recorded.mode, AIMessage(**recorded.message), request) if recorded else None
        if turn is None or (self._private and turn.answer is None):
            turn = self._answer_without_tools(self._ask(call, self._profile), call)
            self._watch_for_calls(turn)
        self._recorded[purpose] = keys
        return turn

    def _answer_without_tools(self, turn: ModelTurn[Answer], call: _PendingCall[Answer]) -> ModelTurn[Answer]:
        """The turn; of a model that calls a tool where none is offered, its answer without tools in the request."""
        names = [canonical(each["name"], call.request.schemas) for each in turn.message.tool_calls]
        if call.request.tools or not names or ANSWER in names or self._settings.output != "auto":
            return turn
        try:
            return self._ask(call, replace(self._profile, mode="json_schema"))
        except ModelError:
            return turn

    def tool_result(self, request: ToolRequest, text: str) -> BaseMessage:
        """See `Chat`."""
        return ToolMessage(text, tool_call_id=request.id, name=request.name)

    def correction(self, turn: ModelTurn[Any]) -> BaseMessage:
        """See `Chat`."""
        return HumanMessage(f"Invalid answer: {turn.problem}. Correct it.")

    def _ask(self, call: _PendingCall[Answer], profile: ServerProfile) -> ModelTurn[Answer]:
        """Call until there is an answer. What the server refuses is left out, and stays out if that helped."""
        room, why, fault = self._window.room, "", CallFault("")
        refused: list[int] = []  # sizes of the requests that were too long
        while True:
            try:
                turn = self._tried(call, profile)
            except CallFailed as failed:
                fault, why = failed.fault, str(failed.fault)
                named = without_named(profile, fault, self._settings.max_tokens)
                size = failed.length + (profile.max_tokens or self._settings.max_tokens)
                shorter = len(refused) < MAX_SHRINKS and (not refused or size < refused[-1])
                if shorter and (fault.context_exceeded or (named is None and self._is_long(failed))):
                    if refused or not fault.names_limit:  # first a shorter answer, then a shorter request
                        self._window.shrink(failed.length, numbers_in(fault.words))
                    refused.append(size)
                    profile = with_shorter_answer(profile, fault, self._settings.max_tokens)
                elif after := named or asked_otherwise(profile, fault, self._settings.output):
                    profile = after
                else:
                    self._window.room = room
                    raise self._given_up(call, fault) from failed
            else:
                if why and profile != self._profile and not self._passing(fault):
                    self._change_profile(profile, why)
                return turn

    def _passing(self, fault: CallFault) -> bool:
        """Whether what failed may work again: a server error, or unreadable output, the first time that it lasts."""
        passing = (fault.status or 0) >= 500 or fault.badly_generated
        self._failures += passing
        return passing and self._failures == 1

    def _tried(self, call: _PendingCall[Answer], profile: ServerProfile) -> ModelTurn[Answer]:
        """The turn after at most `attempts` attempts; of a server that failed the task before, after one."""
        name, limits = self._model.name, self._limits
        tries = 1 if name in limits.failing else self._settings.attempts
        try:
            turn = with_retries(partial(self._attempt, call, profile), tries, limits.wait, limits.allows)
        except CallFailed as failed:
            if failed.fault.retryable or failed.fault.unreadable:
                limits.failing.add(name)
            raise
        limits.failing.discard(name)
        return turn

    def _is_long(self, failed: CallFailed) -> bool:
        """Whether a request that was refused without a reason is longer than all that were accepted."""
        long = failed.length > max(_LONG_REQUEST, self._window.accepted)
        return long and failed.fault.unexplained and not failed.fault.format_refused

    def _given_up(self, call: _PendingCall[Any], fault: CallFault) -> ModelError:
        kind = (
            ModelError if self._ledger.answered or fault.status not in (400, 401, 403, 404) else ModelRefused
        )
        return kind(f"{call.purpose}: {self._model.name}: {_advice(fault)}")

    def _attempt(self, call: _PendingCall[Answer], profile: ServerProfile) -> ModelTurn[Answer]:
        """Reserve, make and settle one call. Raises CallFailed, ModelError, ModelBudgetSpent."""
        self._limits.check()
        name, request = profile.mode, call.request
        mode = MODES[name]

        def prepared(messages: Sequence[BaseMessage]) -> ModelInput:
            return profile.shape(mode.prepare(messages, request))

        def length(messages: Sequence[BaseMessage]) -> int:
            return json_bytes(_tokens_of(prepared(messages)))

        model_input = prepared(self._window.fit(call.messages, length))
        size = json_bytes(_tokens_of(model_input))
        most = self._max_usage(model_input, size, name)
        if self._model.pace is not None:
            self._model.pace.acquire()
        first = CallRequest(call.key, self.role, call.purpose, self._model.name, name, tuple(call.new))
        kept = self._usage(*plan_tokens(self._settings)) if call.purpose in BEFORE_PLANS else None
        reservation = self._ledger.reserve(first, most, kept)
        call.new = []  # the next attempt does not record them again
        try:
            invoke = partial(self._invoke, model_input, profile)
            call_model = partial(_unseen, invoke) if self._private else invoke
            raw = self._limits.run(call_model, self._settings.timeout_s)
        except BaseException as error:
            # An interrupted call may be billed, like one that has timed out.
            ordinary = isinstance(error, Exception) and not isinstance(error, ModelError | Interrupted)
            fault = classify_error(error, redact) if ordinary else CallFault("interrupted")
            problem = f"status {fault.status}" if self._private else str(fault)
            no_answer = {"text": "", "tools": [], "problem": problem}
            if fault.billed:
                self._ledger.settle(reservation, "unknown", most, no_answer)
            else:
                self._ledger.settle(reservation, "failed", Usage(calls=1), no_answer)
            if ordinary:
                raise CallFailed(fault, size) from error
            raise
        message = normalise(raw, self._settings.max_tokens, reservation.id)
        turn = _parse(name, message, request)
        reported = reported_usage(raw)
        usage, note = self._booked(reported, most, _bytes_bound(model_input), raw)
        if self._private:
            turn = _without_other_text(turn)
        record = _answer_record(turn, note)
        self._ledger.settle(reservation, "answered", usage, record, message_fields(turn.message))
        if reported is not None:
            self._window.calibrate(size, usage.tokens_in, name)
        return turn

    def _max_usage(self, model_input: ModelInput, size: int, mode: str) -> Usage:
        """Upper bound on the usage of a call: from the counts so far, else from its bytes."""
        most = _bytes_bound(model_input)
        tokens = min(most, self._window.bound(size, mode) or most)
        return self._usage(tokens, self._settings.max_tokens)

    def _usage(self, read: int, written: int) -> Usage:
        price = self._model.price
        return Usage(1, read, written, price.of(read, written) if price else 0.0)

    def _booked(
        self, reported: tuple[int, int] | None, most: Usage, read_bound: int, raw: AIMessage
    ) -> tuple[Usage, str | None]:
        """The usage to book, and a note: what the server reports, as far as the bytes can bear it."""
        if reported is None:
            return most, "the server reported no usage: the whole reservation counts as spent"
        bounds = read_bound, max(most.tokens_out, answer_bytes(raw))
        usage = self._usage(*map(min, reported, bounds))
        if (usage.tokens_in, usage.tokens_out) != reported:
            return usage, (
                f"the server reported {reported[0]:,} tokens read and {reported[1]:,} written, more than the bytes "
                "allow: the bytes count as spent"
            )
        if usage.tokens_in > most.tokens_in or usage.tokens_out > most.tokens_out:
            return usage, "the server reported more tokens than were reserved: the report counts as spent"
        return usage, None

    def _invoke(self, model_input: ModelInput, profile: ServerProfile) -> AIMessage:
        client: Any = self._model.client
        messages = model_input.messages
        wire = {"profile": profile, "limit": self._settings.max_tokens} if self._model.openai else {}
        if model_input.tools:
            choice = {"tool_choice": "any"} if model_input.forced else {}
            return cast(AIMessage, client.bind_tools(model_input.tools, **choice, **wire).invoke(messages))
        if model_input.schema is None:
            return cast(AIMessage, client.invoke(messages, **wire))
        if self._model.openai:
            wanted = {"type": "json_schema", "json_schema": {"name": "step", "schema": model_input.schema}}
            return cast(AIMessage, client.invoke(messages, response_format=wanted, **wire))
        schema = {"title": "step", "description": "A tool call or the answer.", **model_input.schema}
        structured = client.with_structured_output(schema, method="json_schema", include_raw=True)
        return cast(AIMessage, cast(dict[str, Any], structured.invoke(messages))["raw"])

    def _watch_for_calls(self, turn: ModelTurn[Any]) -> None:
        """Change the mode of a model that accepts tools but never calls one."""
        if turn.message.tool_calls or not turn.message.text.strip() or turn.answer is not None or turn.tools:
            self._without_call = 0
            return
        self._without_call += 1
        may_change = self._settings.output == "auto" and self.mode.startswith("tools")
        if may_change and self._without_call >= MAX_TURNS_WITHOUT_CALL:
            why = f"{self._without_call} turns without a tool call"
            self._change_profile(replace(self._profile, mode="json_schema"), why)

    def _change_profile(self, profile: ServerProfile, why: str) -> None:
        self._profile = profile
        self._without_call = 0
        self._ledger.change_profile(self.role, profile.record(), "refused" if self._private else why)


def _parse(mode: str, message: AIMessage, request: OutputRequest[Answer]) -> ModelTurn[Answer]:
    truncated = message.response_metadata.get(TRUNCATED)
    return ModelTurn(message, problem=truncated) if truncated else MODES[mode].parse(message, request)


def _unseen(invoke: Callable[[], AIMessage]) -> AIMessage:
    """The result of a call outside of the graph's context: no callback, no stream and no tracer sees anything of it."""

    def work() -> AIMessage:
        with tracing_context(enabled=False):
            return invoke()

    return Context().run(work)


def _without_other_text(turn: ModelTurn[Answer]) -> ModelTurn[Answer]:
    """The turn with nothing but its answer, as every mode reads it."""
    if turn.answer is None:
        return ModelTurn(AIMessage(""), problem="no valid answer")
    return replace(turn, message=AIMessage(json.dumps({ANSWER: turn.answer.model_dump(mode="json")})))


def _tokens_of(model_input: ModelInput) -> dict[str, Any]:
    """The parts of a request that count as tokens."""
    messages = convert_to_openai_messages(model_input.messages)
    return {"messages": messages, "tools": model_input.tools, "schema": model_input.schema}


def _bytes_bound(model_input: ModelInput) -> int:
    return max_request_tokens(_tokens_of(model_input), len(model_input.messages), len(model_input.tools))


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


def _advice(fault: CallFault) -> str:
    """The fault, and what the user can do about it."""
    if fault.status in (401, 403):
        return f"{fault}: check the key in the environment or .env"
    if fault.status == 404 and not fault.format_refused:
        return f"{fault}: check the model's name and base_url"
    if fault.format_refused:
        return f"{fault}: choose another output mode (auto, json_schema or text)"
    return str(fault)
