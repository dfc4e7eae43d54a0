"""OpenAI's chat completions API as servers really speak it: requests shaped by a profile, bodies of any make read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import openai
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCall, invalid_tool_call
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI

from .call_spellings import too_deep
from .parsing import THOUGHT_FIELDS, repair_json
from .server_profile import LIMITS, ServerProfile

_OWN = ("role", "content", "tool_calls", "function_call", "refusal", "audio", "annotations", "parsed")
_CALL_FIELDS = ("id", "type", "index", "function", "name", "arguments", "parameters", "input")
_READ, _WRITTEN = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")


class ErrorBody(Exception):
    """An error that came with status 200."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status_code = status


class OpenAIWire(ChatOpenAI):
    """`ChatOpenAI` that sends what a `ServerProfile` allows and keeps the fields it does not know."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        profile: ServerProfile | None = None,
        limit: int | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        if profile is not None:
            payload = _shaped(payload, messages, profile, limit)
        self._ensure_sync_client_available()
        try:
            response = self.root_client.chat.completions.with_raw_response.create(**payload)
        except openai.APIStatusError as error:
            error.sent_fields = tuple(payload)  # type: ignore[attr-defined]
            raise
        return ChatResult(generations=[ChatGeneration(message=read_body(response.text))])


def _shaped(
    payload: dict[str, Any], messages: list[BaseMessage], profile: ServerProfile, limit: int | None
) -> dict[str, Any]:
    sent = {name: value for name, value in payload.items() if name not in (*profile.dropped, *LIMITS)}
    sent |= dict.fromkeys(profile.limits, profile.max_tokens or limit)
    if profile.thoughts:
        for message, fields in zip(messages, sent["messages"], strict=True):
            extras = message.additional_kwargs
            thoughts = {name: value for name, value in extras.items() if name not in ("calls", "refusal")}
            if isinstance(message, AIMessage):
                text = next((each for each in thoughts.values() if isinstance(each, str)), "")
                fields |= {profile.thoughts: text or "-"} if profile.thoughts in THOUGHT_FIELDS else {}
                fields |= thoughts
                for call, own in zip(fields.get("tool_calls", ()), message.tool_calls, strict=False):
                    more = extras.get("calls", {}).get(own["id"], {})
                    call |= {**more, "function": call["function"] | more.get("function", {})}
    return sent


def read_body(text: str) -> AIMessage:
    """The message of a response: whole or streamed, of this API or of its relatives.

    Raises ErrorBody for an error with status 200, and ValueError for what is no response.
    """
    body = _streamed(text) if text.lstrip().startswith(("data:", "event:", ":")) else json.loads(text)
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")
    if (error := body.get("error")) and not body.get("choices"):
        code = str(error.get("code")) if isinstance(error, dict) else ""
        status = int(code) if re.fullmatch(r"[45]\d\d", code) else 502
        raise ErrorBody(json.dumps(error, ensure_ascii=False)[:2000], status)
    known = ("choices", "message", "usage")
    if not any(name in body for name in known):
        raise ValueError(f"the body has none of the fields {', '.join(known)}")
    choices = body.get("choices") or [{"message": body.get("message")}]
    choice = choices[0] if isinstance(choices[0], dict) else {}
    fields = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
    message = _message(fields if isinstance(fields, dict) else {"content": fields})
    message.response_metadata = {"finish_reason": choice.get("finish_reason")}
    message.usage_metadata = _usage(body.get("usage"))
    return message


def _message(fields: dict[str, Any]) -> AIMessage:
    text, thoughts = _content(fields.get("content"))
    extras = {name: value for name, value in fields.items() if name not in _OWN and value}
    if thoughts:
        extras.setdefault("reasoning_content", thoughts)
    if fields.get("refusal"):
        extras["refusal"] = fields["refusal"]
    message = AIMessage(text, additional_kwargs=extras)
    made = [each for each in fields.get("tool_calls") or [] if isinstance(each, dict)]
    if isinstance(fields.get("function_call"), dict):
        made.append({"function": fields["function_call"]})
    for call in made:
        function = call["function"] if isinstance(call.get("function"), dict) else call
        name, id = str(function.get("name") or ""), call.get("id")
        arguments = function.get("arguments", function.get("parameters", function.get("input")))
        read = _arguments(arguments)
        if read is None or too_deep(read):
            message.invalid_tool_calls.append(invalid_tool_call(name=name, args=str(arguments), id=id))
        else:
            message.tool_calls.append(ToolCall(name=name, args=read, id=id, type="tool_call"))
        if id and (more := _unknown_fields(call)):
            message.additional_kwargs.setdefault("calls", {})[id] = more
    return message


def _unknown_fields(call: dict[str, Any]) -> dict[str, Any]:
    """Fields of a call beside OpenAI's, such as a signature of thoughts, as they must be sent back."""
    more = {name: value for name, value in call.items() if name not in _CALL_FIELDS and value is not None}
    function = call.get("function")
    if isinstance(function, dict) and (inner := set(function) - set(_CALL_FIELDS)):
        more["function"] = {name: function[name] for name in inner}
    return more


def _content(content: Any) -> tuple[str, str]:
    """The text and the thoughts of a content: text, or parts with a type."""
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return ("" if content is None else str(content)), ""
    text: list[str] = []
    thoughts: list[str] = []
    for part in content:
        part = part if isinstance(part, dict) else {"text": part}
        kind = str(part.get("type", "text"))
        value = next((part[key] for key in ("text", "thinking", "reasoning", "content") if part.get(key)), "")
        inner = "".join(_content(value)) if not isinstance(value, str) else value
        (thoughts if "think" in kind or "reason" in kind else text).append(inner)
    return "".join(text), "".join(thoughts)


def _arguments(given: Any) -> dict[str, Any] | None:
    """Arguments given as an object, as JSON, or as JSON inside JSON; None if they are none of it."""
    for _ in range(3):
        if given in (None, "", []):
            return {}
        if isinstance(given, dict):
            return given
        if not isinstance(given, str):
            return None
        try:
            given = json.loads(given, strict=False)
        except (ValueError, RecursionError):
            return repair_json(given)
    return None


def _usage(usage: Any) -> UsageMetadata | None:
    """The counts of a response; None if there are none, or if they are no numbers."""
    if not isinstance(usage, Mapping):
        return None
    try:
        read, written = (
            next((int(usage[name]) for name in names if usage.get(name) is not None), 0)
            for names in (_READ, _WRITTEN)
        )
        total = int(usage.get("total_tokens") or read + written)
    except (TypeError, ValueError, OverflowError):
        return None
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=total)


def _streamed(text: str) -> dict[str, Any]:
    """Server-sent events as one body, for servers that stream without being asked."""
    whole: dict[str, Any] = {"content": "", "tool_calls": {}}
    body: dict[str, Any] = {"choices": [{"message": whole}]}
    for line in text.splitlines():
        if not line.startswith("data:") or line[5:].strip() in ("", "[DONE]"):
            continue
        chunk = json.loads(line[5:])
        body |= {name: chunk[name] for name in ("usage", "error") if chunk.get(name)}
        for choice in (chunk.get("choices") or [])[:1]:
            body["choices"][0]["finish_reason"] = choice.get("finish_reason")
            delta = choice.get("delta") or choice.get("message") or {}
            for name in ("content", *THOUGHT_FIELDS):
                if delta.get(name):
                    whole[name] = whole.get(name, "") + _content(delta[name])[0]
            for call in delta.get("tool_calls") or []:
                made = whole["tool_calls"].setdefault(call.get("index", 0), {"name": "", "arguments": ""})
                function = call.get("function") or {}
                made["id"] = made.get("id") or call.get("id")
                made["name"] += function.get("name") or ""
                made["arguments"] += function.get("arguments") or ""
    whole["tool_calls"] = list(whole["tool_calls"].values())
    return body
