"""What a server accepts: learnt from its refusals, kept for the run, applied to every request.

A refusal is read for the field, role or feature that it names. What is tried next always asks for less than before, so
that a server which refuses everything is asked a bounded number of times.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from pydantic import TypeAdapter

from .output_modes import ModelInput, next_mode
from .retries import CallFault, numbers_in

LIMITS = ("max_completion_tokens", "max_tokens")
"""Fields that bound the answer. Servers want both, one of them, or none."""

MIN_ANSWER_TOKENS = 64
"""The limit of an answer is not lowered further than this."""

_NEEDED = frozenset({"model", "messages", "tools", "tool_choice", "response_format", "extra_body", *LIMITS})
_HINT = re.compile(r"""['"]?(?:param|loc)['"]?\s*[:=]\s*(\[[^\]]*\]|['"][^'"]*['"])""")
_SYSTEM = re.compile(
    r"(system|developer)\W{0,3}(role|message|prompt|instruction)|roles?\b.{0,60}\b(system|developer)|must alternate",
    re.IGNORECASE,
)
_THOUGHTS = re.compile(
    r"\b(reasoning_content|reasoning_details|reasoning|thinking|thought)(?!_?effort)", re.IGNORECASE
)
_DEMANDED = re.compile(r"must|missing|requir|expect|pass|preserv|includ|provide", re.IGNORECASE)
_SCHEMA = re.compile(
    r"exclusiveM|additionalProp|(min|max)(Items|Length|Properties)\b|multipleOf|uniqueItems|\$ref|\$defs|(any|one|all)Of\b"
    r"|[\"'`](minimum|maximum|const|pattern|default|format|title|nullable|enum|items)[\"'`]|unknown name|keyword"
    r"|(invalid|unsupported).{0,30}schema",
    re.IGNORECASE,
)
_TOO_MUCH = re.compile(
    r"at most|less than|<=|≤|maximum|too (large|high|big|many)|exceed|range|between|up to|upper",
    re.IGNORECASE,
)
_OTHER_LIMIT = re.compile(r"max[_ ]?(new|output)[_ ]?tokens", re.IGNORECASE)
_BASIC = ("type", "properties", "required", "items", "enum", "description", "anyOf")


@dataclass(frozen=True)
class ServerProfile:
    """How a server is asked. `mode` is the output mode; `limits` are the fields that bound the answer."""

    mode: str
    limits: tuple[str, ...] = LIMITS
    max_tokens: int | None = None
    """The longest answer that the server allows, if that is less than the setting."""
    dropped: tuple[str, ...] = ()
    """Optional fields that it refuses."""
    joins_system: bool = False
    """The system message is put into the first user message."""
    thoughts: str = ""
    """The field in which earlier thoughts must be sent back; empty if they need not be."""
    plain_schema: bool = False
    """Schemas are sent without bounds, defaults and the like."""

    def record(self) -> dict[str, Any]:
        """The fields that differ from those of a new profile."""
        new = asdict(ServerProfile(self.mode))
        return {name: value for name, value in asdict(self).items() if value != new[name] or name == "mode"}

    @classmethod
    def read(cls, record: dict[str, Any]) -> ServerProfile:
        """The profile of a record; unknown fields are ignored."""
        known = {each.name for each in fields(cls)}
        return _PROFILE.validate_python({name: record[name] for name in record if name in known})

    def shape(self, model_input: ModelInput) -> ModelInput:
        """The input as this server accepts it."""
        changed = model_input
        if self.joins_system:
            changed = replace(changed, messages=_joined(changed.messages))
        if self.plain_schema:
            changed = replace(changed, tools=_plain(changed.tools), schema=_plain(changed.schema))
        if "response_format" in self.dropped:
            changed = replace(changed, schema=None)
        return changed


_PROFILE = TypeAdapter(ServerProfile)


def without_named(profile: ServerProfile, fault: CallFault, max_tokens: int) -> ServerProfile | None:
    """The profile without the field, role or keyword that a refusal names; None if it names none.

    `max_tokens` is the limit of an answer in the settings.
    """
    text = fault.words
    if not fault.refused:
        return None
    if not profile.thoughts and (thought := _THOUGHTS.search(text)) and _DEMANDED.search(text):
        return replace(profile, thoughts=thought[1].lower())
    if (limits := _limits(profile, text, max_tokens)) is not None:
        return limits
    if not profile.joins_system and _SYSTEM.search(text):
        return replace(profile, joins_system=True)
    optional = [name for name in fault.fields if name not in _NEEDED and name not in profile.dropped]
    if named := _fields_in(text, optional):
        return replace(profile, dropped=(*profile.dropped, *named))
    if not profile.plain_schema and profile.mode != "text" and _SCHEMA.search(text):
        return replace(profile, plain_schema=True)
    return None


def with_shorter_answer(profile: ServerProfile, fault: CallFault, max_tokens: int) -> ServerProfile:
    """The profile with half the limit of an answer, if the answer is part of what is too long."""
    if not fault.names_limit:
        return profile
    return replace(profile, max_tokens=max(MIN_ANSWER_TOKENS, (profile.max_tokens or max_tokens) // 2))


def asked_otherwise(profile: ServerProfile, fault: CallFault, output: str) -> ServerProfile | None:
    """The profile with the next output mode; None if there is none. `output` is the user's setting."""
    if fault.context_exceeded or not (fault.format_refused or fault.unexplained):
        return None
    if after := next_mode(profile.mode, output, fault.tool_choice_refused):
        return replace(profile, mode=after)
    if profile.mode == "json_schema" and "response_format" not in profile.dropped:
        return replace(profile, dropped=(*profile.dropped, "response_format"))
    return None


def _limits(profile: ServerProfile, text: str, max_tokens: int) -> ServerProfile | None:
    """A lower limit if that is what the text says; else the limit without the named field, or the other one."""
    named = _fields_in(text, LIMITS) or ([LIMITS[1]] if _OTHER_LIMIT.search(text) else [])
    if not named or not profile.limits:
        return None
    asked = profile.max_tokens or max_tokens
    lower = [each for each in numbers_in(text) if MIN_ANSWER_TOKENS <= each < asked]
    if lower and _TOO_MUCH.search(text):
        return replace(profile, max_tokens=max(lower))
    if len(profile.limits) == 2:
        return replace(profile, limits=(LIMITS[1],) if named == [LIMITS[0]] else (LIMITS[0],))
    # One was refused: the other one, if it was not refused before; the first to be tried alone is LIMITS[0].
    other = LIMITS[1] if profile.limits == (LIMITS[0],) and "limits" not in profile.dropped else None
    return replace(profile, limits=(other,) if other else (), dropped=(*profile.dropped, "limits"))


def _fields_in(text: str, names: Collection[str]) -> list[str]:
    """The names that a text mentions, in any spelling; if it points at one ('param', 'loc'), that one."""
    pointed = " ".join(_HINT.findall(text))
    return [name for name in names if _mentions(pointed, name)] or [n for n in names if _mentions(text, n)]


def _mentions(text: str, name: str) -> bool:
    spelling = r"[_\s-]?".join(name.split("_"))
    return re.search(rf"(?<![a-zA-Z_]){spelling}(?![a-zA-Z_])", text, re.IGNORECASE) is not None


def _joined(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """System messages inside the first user message, and neighbouring user messages as one."""
    sent: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            message = HumanMessage(message.text)
        if sent and isinstance(message, HumanMessage) and isinstance(sent[-1], HumanMessage):
            message = HumanMessage(f"{sent.pop().text}\n\n{message.text}")
        sent.append(message)
    return sent


def _plain(schema: Any) -> Any:
    """Tools or a schema with the basic keywords alone."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "function" in schema:
        function = schema["function"]
        return {**schema, "function": {**function, "parameters": _plain(function.get("parameters", {}))}}
    plain = {name: schema[name] for name in _BASIC if name in schema and name != "properties"}
    for name in ("items", "anyOf"):
        if name in plain:
            plain[name] = _plain(plain[name])
    if "const" in schema:
        plain["enum"] = [schema["const"]]
    if "properties" in schema:
        plain["properties"] = {name: _plain(each) for name, each in schema["properties"].items()}
    return plain
