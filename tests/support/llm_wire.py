"""OpenAI's chat completions API for tests: whole and streamed responses, tool calls, usage, errors, faults."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import httpx

from support.llm_model import Model, Reply, answer_by_schema, call_with, shortened, written

CHARACTERS_PER_TOKEN = 4

Kind = Literal[
    *("rate_limit", "error", "refused", "timeout", "dropped", "truncated", "no_json", "no_usage", "slow"),
    *("wrong_schema", "unknown_tool", "empty", "huge", "words", "too_long", "no_tools", "no_format"),
    *("no_choice", "quota", "overcounted"),
]


@dataclass(frozen=True)
class Fault:
    """A fault of one request. `wait` is its Retry-After; `status` and `seconds` apply to some kinds."""

    kind: Kind
    wait: str | None = None
    status: int = 500
    seconds: float = 0.05


@dataclass(frozen=True)
class ServerUsage:
    """Tokens as counted by the server."""

    tokens_in: int
    tokens_out: int

    def fields(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in + self.tokens_out,
        }


@dataclass(frozen=True)
class Sent:
    """A response: status, headers and body; `instead`: why there is no response."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    instead: Literal["timeout", "dropped"] | None = None
    delay: float = 0.0


_LOST = ("timeout", "dropped", "truncated", "no_json")
_REFUSALS = {
    "too_long": ("This model's maximum context length is 2048 tokens.", "context_length_exceeded"),
    "no_tools": ("this model does not support tools", None),
    "no_format": ("response_format of type json_schema is not supported", None),
    "no_choice": ("tool_choice 'required' is not supported", None),
}


class Wire:
    """Makes responses. `requests` are the bodies received, `used` the usage of those that were not refused,
    `delivered` the usage of readable answers.

    Each request takes one fault from the queue; without one the model answers. `lasting` faults apply to every
    request that they concern, such as a server without tools.
    """

    def __init__(
        self, model: Model = answer_by_schema, faults: Iterable[Fault] = (), lasting: Iterable[Kind] = ()
    ) -> None:
        self.model = model
        self.faults = deque(faults)
        self.lasting = set(lasting)
        self.requests: list[dict[str, Any]] = []
        self.used: list[ServerUsage] = []
        self.delivered: list[ServerUsage] = []

    def answer(self, request: dict[str, Any]) -> Sent:
        """The response to one request."""
        self.requests.append(request)
        fault = self._lasting(request) or (self.faults.popleft() if self.faults else None)
        if fault is not None and (refusal := _refusal(fault)) is not None:
            return refusal
        kind = fault.kind if fault else None
        read = len(json.dumps([request["messages"], request.get("tools")])) // CHARACTERS_PER_TOKEN
        reply = _spoilt(self.model(request), request, kind)
        bound = request.get("max_tokens") or request.get("max_completion_tokens") or 1 << 30
        whole = reply if kind == "huge" else shortened(reply, bound * CHARACTERS_PER_TOKEN)
        used = ServerUsage(read, _tokens(whole))
        if kind == "overcounted":
            used = ServerUsage(10 * read + 10_000, 10 * bound)
        self.used.append(used)
        if kind not in _LOST:
            self.delivered.append(used)
        if kind in ("timeout", "dropped"):
            return Sent(instead=kind)  # type: ignore[arg-type]
        body = _completion(
            request, whole, None if kind == "no_usage" else used, _tokens(whole) < _tokens(reply)
        )
        if request.get("stream"):
            return Sent(_stream(request, body), headers={"content-type": "text/event-stream"})
        sent = Sent(json.dumps(body).encode())
        if kind == "truncated":
            return replace(sent, body=sent.body[: len(sent.body) // 2])
        if kind == "no_json":
            return replace(sent, body=b"<html>bad gateway</html>")
        return replace(sent, delay=fault.seconds) if fault and kind == "slow" else sent

    def transport(self) -> httpx.MockTransport:
        """The same without sockets, for the real client."""

        def handle(request: httpx.Request) -> httpx.Response:
            sent = self.answer(json.loads(request.content))
            if sent.instead == "timeout":
                raise httpx.ReadTimeout("timed out", request=request)
            if sent.instead == "dropped":
                raise httpx.RemoteProtocolError("peer closed connection", request=request)
            return httpx.Response(sent.status, headers=sent.headers, content=sent.body)

        return httpx.MockTransport(handle)

    def _lasting(self, request: dict[str, Any]) -> Fault | None:
        if "no_choice" in self.lasting and request.get("tool_choice"):
            return Fault("no_choice")
        if "no_tools" in self.lasting and request.get("tools"):
            return Fault("no_tools")
        if "no_format" in self.lasting and request.get("response_format"):
            return Fault("no_format")
        return next((Fault(kind) for kind in self.lasting if kind in ("no_usage", "words")), None)


def error(status: int, message: str, code: str | None = None, wait: str | None = None) -> Sent:
    """An error in OpenAI's format."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    headers = {"content-type": "application/json"} | ({"retry-after": wait} if wait is not None else {})
    return Sent(json.dumps(body).encode(), status, headers)


def _refusal(fault: Fault) -> Sent | None:
    if fault.kind == "rate_limit":
        return error(429, "Rate limit reached", "rate_limit_exceeded", fault.wait)
    if fault.kind == "quota":
        return error(429, "You exceeded your current quota", "insufficient_quota")
    if fault.kind == "error":
        return error(fault.status, "The server had an error", wait=fault.wait)
    if fault.kind == "refused":
        return error(401, "Incorrect API key provided")
    if fault.kind in _REFUSALS:
        return error(400, *_REFUSALS[fault.kind])
    return None


def _spoilt(reply: Reply, request: dict[str, Any], kind: str | None) -> Reply:
    if kind == "wrong_schema":
        return call_with(request, "answer", {"nonsense": True})
    if kind == "unknown_tool":
        return call_with(request, "rm_rf", {"path": "/"})
    if kind == "empty":
        return Reply()
    if kind == "words":
        return Reply("I would rather talk about it.")
    return Reply("word " * (200_000 * CHARACTERS_PER_TOKEN // 5)) if kind == "huge" else reply


def _tokens(reply: Reply) -> int:
    characters = len(reply.text) + sum(len(written(arguments)) for _, arguments in reply.tools)
    return -(-characters // CHARACTERS_PER_TOKEN)


def _completion(
    request: dict[str, Any], reply: Reply, usage: ServerUsage | None, cut: bool
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.tools:
        message["tool_calls"] = [
            {
                "id": f"call_{len(request['messages'])}_{place}",
                "type": "function",
                "function": {"name": name, "arguments": written(arguments)},
            }
            for place, (name, arguments) in enumerate(reply.tools)
        ]
    reason = "length" if cut else "tool_calls" if reply.tools else "stop"
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": 1,
        "model": request.get("model", "test"),
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        **({"usage": usage.fields()} if usage else {}),
    }


def _stream(request: dict[str, Any], body: dict[str, Any]) -> bytes:
    """The completion as server-sent events: role, parts of text and calls, end, usage."""
    choice = body["choices"][0]
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    text = message["content"] or ""
    deltas += [{"content": text[start : start + 8]} for start in range(0, len(text), 8)]
    for index, call in enumerate(message.get("tool_calls", [])):
        raw = call["function"]["arguments"]
        head = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": ""}}
        deltas.append({"tool_calls": [head]})
        pieces = [raw[start : start + 8] for start in range(0, len(raw), 8)]
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces]
    base = {"id": body["id"], "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    chunks.append({**base, "choices": [end]})
    if (request.get("stream_options") or {}).get("include_usage") and "usage" in body:
        chunks.append({**base, "choices": [], "usage": body["usage"]})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()
