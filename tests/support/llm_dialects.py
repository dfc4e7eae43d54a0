"""Servers as people meet them: each dialect refuses some requests and spells its replies in its own way.

The model behind each of them looks at a row first and then answers. The words of refusals are our own, in the manner of
the servers that are named.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from support.llm_model import Reply
from support.llm_wire import CHARACTERS_PER_TOKEN, Sent, ServerUsage, Wire

ROW, ANSWER = {"row": 7}, {"number": 1, "reasons": ["because"]}
Refuse = Callable[[dict[str, Any], int], Sent | None]
Spell = Callable[[str, dict[str, Any]], dict[str, Any]]
"""The message for a call or the answer: its name and arguments."""


def refusal(status: int, message: str, **more: Any) -> Sent:
    body = {"error": {"message": message, "type": "invalid_request_error", **more}}
    return Sent(json.dumps(body).encode(), status)


def never(request: dict[str, Any], number: int) -> Sent | None:
    return None


def native(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [called(name, json.dumps(arguments))]}


def called(name: str, arguments: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": f"call_{name}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **more,
    }


def as_object(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"answer": arguments} if name == "answer" else {"tool": name, "arguments": arguments}


@dataclass(frozen=True)
class Dialect:
    """A way to refuse and to reply. `lacks` are modes that it cannot serve. `usage` and `body` may be unusual."""

    name: str
    refuse: Refuse = never
    spell: Spell = native
    text: Callable[[str], Any] = str
    """What becomes of a JSON text that is the reply to a request without tools."""
    lacks: tuple[str, ...] = ()
    body: Callable[[dict[str, Any]], Any] = dict
    extras: tuple[tuple[str, Any], ...] = ()


class DialectWire(Wire):
    """Replies in a dialect; counts what it has answered. `call` comes first, then `final`."""

    def __init__(
        self,
        dialect: Dialect,
        call: tuple[str, dict[str, Any]] = ("look", ROW),
        final: dict[str, Any] = ANSWER,
    ) -> None:
        super().__init__(lambda request: Reply())
        self.dialect, self.call, self.final = dialect, call, final

    def answer(self, request: dict[str, Any]) -> Sent:
        self.requests.append(request)
        if refused := self.dialect.refuse(request, len(self.requests)):
            return refused
        last = str(request["messages"][-1]["content"])
        name, arguments = ("answer", self.final) if "is blue" in last else self.call
        if request.get("tools"):
            message = self.dialect.spell(name, arguments)
        else:
            step = as_object(name, arguments)
            step = {"step": step} if request.get("response_format") else step
            message = {"content": self.dialect.text(json.dumps(step))}
        message |= dict(self.dialect.extras)
        read = len(json.dumps([request["messages"], request.get("tools")])) // CHARACTERS_PER_TOKEN
        used = ServerUsage(read, len(json.dumps(message)) // CHARACTERS_PER_TOKEN)
        self.used.append(used)
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": None} | message,
        }
        body = self.dialect.body({"choices": [choice], "usage": used.fields(), "model": "m", "object": "x"})
        return Sent(body if isinstance(body, bytes) else json.dumps(body).encode())


def _refuses(name: str, words: str, status: int = 400, **more: Any) -> Refuse:
    return lambda request, number: refusal(status, words, **more) if name in request else None


def _both_limits(request: dict[str, Any], number: int) -> Sent | None:
    if "max_tokens" in request and "max_completion_tokens" in request:
        return refusal(400, "max_tokens and max_completion_tokens cannot both be set")
    return None


def _no_limit(request: dict[str, Any], number: int) -> Sent | None:
    for name in ("max_completion_tokens", "max_tokens"):
        if name in request:
            return refusal(422, f"Extra inputs are not permitted: body -> {name}")
    return None


def _old_limit(request: dict[str, Any], number: int) -> Sent | None:
    if "max_completion_tokens" in request:
        detail = [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "input": 256}]
        return Sent(json.dumps({"detail": detail}).encode(), 422)
    return None


def _small_limit(request: dict[str, Any], number: int) -> Sent | None:
    if any(request.get(name, 0) > 128 for name in ("max_tokens", "max_completion_tokens")):
        return refusal(400, "max_completion_tokens is too large: 256. This model supports at most 128")
    return None


def _no_system(request: dict[str, Any], number: int) -> Sent | None:
    if any(message["role"] == "system" for message in request["messages"]):
        return refusal(400, "System role not supported by this chat template")
    return None


def _alternating(request: dict[str, Any], number: int) -> Sent | None:
    roles = [message["role"] for message in request["messages"] if message["role"] != "tool"]
    if roles[0] != "user" or any(a == b for a, b in pairwise(roles)):
        return refusal(500, "jinja: Conversation roles must alternate user/assistant/user/assistant")
    return None


def _plain_schemas(request: dict[str, Any], number: int) -> Sent | None:
    text = json.dumps([request.get("tools"), request.get("response_format")])
    for word in ("minimum", "minItems", "additionalProperties", "default"):
        if f'"{word}"' in text:
            return refusal(
                400, f"Unknown name \"{word}\" at 'parameters.properties[0].value': Cannot find field."
            )
    return None


def _wants_thoughts(request: dict[str, Any], number: int) -> Sent | None:
    asked = [m for m in request["messages"] if m["role"] == "assistant"]
    if any(message.get("reasoning_content") != "I look first." for message in asked):
        return refusal(400, "the reasoning_content of earlier turns is required in thinking mode")
    return None


def _wants_signatures(request: dict[str, Any], number: int) -> Sent | None:
    calls = [call for m in request["messages"] for call in m.get("tool_calls", [])]
    if any(call.get("extra_content") != {"signature": "s1"} for call in calls):
        return refusal(400, "a function call is missing its thought_signature")
    return None


def _strict_results(request: dict[str, Any], number: int) -> Sent | None:
    known: set[str] = set()
    for message in request["messages"]:
        known |= {call["id"] for call in message.get("tool_calls", [])}
        if message["role"] == "tool" and message["tool_call_id"] not in known:
            return refusal(400, "messages with role 'tool' must follow a message with 'tool_calls'")
    return None


def _first(status: int, words: str) -> Refuse:
    return lambda request, number: refusal(status, words) if number == 1 else None


def _no_unforced(request: dict[str, Any], number: int) -> Sent | None:
    return refusal(400, "tool_choice 'required' is unknown here") if "tool_choice" in request else None


def _silent_400(*names: str) -> Refuse:
    """A refusal that does not say why."""
    return lambda request, number: refusal(400, "Bad Request") if any(n in request for n in names) else None


def _text_call(form: str) -> Spell:
    return lambda name, arguments: {
        "content": form.replace("NAME", name).replace("ARGS", json.dumps(arguments))
    }


def _streamed(body: dict[str, Any]) -> bytes:
    message, usage = body["choices"][0]["message"], body["usage"]
    deltas = [{"content": message.get("content") or ""}]
    for place, call in enumerate(message.get("tool_calls", [])):
        raw = call["function"]["arguments"]
        deltas.append(
            {"tool_calls": [{**call, "index": place, "function": {**call["function"], "arguments": raw[:4]}}]}
        )
        deltas.append({"tool_calls": [{"index": place, "function": {"arguments": raw[4:]}}]})
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas] + [{"choices": [], "usage": usage}]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"


def _usage_as(**names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda body: body | {"usage": {new: body["usage"][old] for old, new in names.items()}}


HARMONY = (
    "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.NAME"
)


def _calls(encode: Callable[[dict[str, Any]], Any]) -> Spell:
    return lambda name, given: {"tool_calls": [called(name, encode(given))]}


def _old_call(name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"function_call": {"name": name, "arguments": json.dumps(given)}}


def _without_id(name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"function": {"name": name, "arguments": json.dumps(given)}}]}


HERMES = '<tool_call>{"name": "NAME", "arguments": ARGS}</tool_call>'
FINAL = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"
DEEPSEEK = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\nARGS\n```"
USE_NEW = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'"
OVERLOADED = Sent(b'{"error": {"code": 503, "message": "overloaded"}}')
PARTS = [{"type": "thinking", "thinking": "hm"}]

DIALECTS = [
    Dialect("openai"),
    Dialect("both limits refused together", _both_limits),
    Dialect("old limit refused", _refuses("max_tokens", USE_NEW)),
    Dialect("new limit refused", _old_limit),
    Dialect("no limit at all", _no_limit),
    Dialect("a lower limit", _small_limit),
    Dialect("temperature refused", _refuses("temperature", "Unsupported value: 'temperature' must be the default")),
    Dialect("temperature refused by param", _refuses("temperature", "invalid value", param="temperature")),
    Dialect("stream refused", _refuses("stream", "Unrecognized request argument supplied: stream", 422)),
    Dialect("no system role", _no_system),
    Dialect("alternating roles", _alternating),
    Dialect("plain schemas", _plain_schemas),
    Dialect("no forced call", _no_unforced),
    Dialect("strict results", _strict_results),
    Dialect("tools unknown", _refuses("tools", "m does not support tools"), lacks=("tools",)),
    Dialect("tools unknown, 404", _refuses("tools", "No endpoints found that support tool use", 404), lacks=("tools",)),
    Dialect("tools refused without a word", _silent_400("tools"), lacks=("tools",)),
    Dialect("format unknown", _refuses("response_format", "This response_format type is unavailable")),
    Dialect("format refused without a word", _silent_400("response_format")),
    Dialect("only text", _silent_400("response_format", "tools"), lacks=("tools",)),
    Dialect("passing 500", _first(500, "error parsing tool call: unexpected end of JSON input")),
    Dialect("passing 400", _first(400, "tool_use_failed: Failed to call a function. See failed_generation")),
    Dialect("passing 503 in a body", lambda r, n: OVERLOADED if n == 1 else None),
    Dialect("wants thoughts", _wants_thoughts, extras=(("reasoning_content", "I look first."),)),
    Dialect("wants signatures", _wants_signatures, lambda name, given: {
        "tool_calls": [called(name, json.dumps(given), extra_content={"signature": "s1"})]
    }),
    Dialect("thoughts apart", extras=(("reasoning", "Perhaps {\"answer\": {\"number\": 9}}."),)),
    Dialect("thoughts in text", text=lambda said: f'<think>{{"answer": {{"number": 9}}}}</think>\n{said}'),
    Dialect("thoughts in brackets", text=lambda said: f"[THINK]hm {{}}[/THINK]{said}"),
    Dialect("harmony final", text=lambda said: FINAL + said),
    Dialect("fenced text", text=lambda said: f"Here it is:\n```json\n{said}\n```\nDone."),
    Dialect("a draft first", text=lambda said: f'Draft: {{"answer": {{"number": 5}}}}. Better:\n{said}'),
    Dialect("arguments as an object", spell=_calls(dict)),
    Dialect("arguments encoded twice", spell=_calls(lambda given: json.dumps(json.dumps(given)))),
    Dialect("function_call", spell=_old_call),
    Dialect("prefixed names", spell=lambda name, given: native(f"functions.{name}", given)),
    Dialect("api names", spell=lambda name, given: native(f"default_api.{name}", given)),
    Dialect("no ids", spell=_without_id),
    Dialect("Hermes in text", _strict_results, _text_call(HERMES)),
    Dialect("Mistral in text", _strict_results, _text_call('[TOOL_CALLS][{"name": "NAME", "arguments": ARGS}]')),
    Dialect("Llama in text", _strict_results, _text_call('<|python_tag|>{"name": "NAME", "parameters": ARGS}')),
    Dialect("function tag in text", _strict_results, _text_call("<function=NAME>ARGS</function>")),
    Dialect("DeepSeek in text", _strict_results, _text_call(DEEPSEEK)),
    Dialect("harmony in text", _strict_results, _text_call(HARMONY + " <|constrain|>json<|message|>ARGS<|call|>")),
    Dialect("calls among the thoughts", _strict_results, lambda name, given: {
        "content": "", "reasoning_content": f'So: {{"name": "{name}", "arguments": {json.dumps(given)}}}'
    }),
    Dialect("content as parts", text=lambda said: [*PARTS, {"type": "text", "text": said}]),
    Dialect("streams unasked", body=_streamed),
    Dialect("usage of another API", body=_usage_as(prompt_tokens="input_tokens", completion_tokens="output_tokens")),
    Dialect("counts as text", body=lambda body: body | {"usage": {k: str(v) for k, v in body["usage"].items()}}),
    Dialect("message at the top", body=lambda body: {"message": body["choices"][0]["message"], "usage": body["usage"]}),
]  # fmt: skip
