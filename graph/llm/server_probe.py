"""Asks a chat model one small question in each output mode, to see what its server accepts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from .agent_loop import AgentTask, run_agent_task
from .call_ledger import CallLedger
from .chat import open_chat
from .model_settings import ModelSettings, OutputMode
from .protocol import ModelError
from .server_profile import ServerProfile

_MODES: tuple[OutputMode, ...] = ("tools", "json_schema", "text")


class Colour(BaseModel):
    """The colour that the tool gave."""

    colour: Literal["blue", "red"] = Field(description="The colour")


@tool
def colour() -> str:
    """The colour of today."""
    return "it is blue"


@dataclass(frozen=True)
class ProbeResult:
    """One output mode: whether a tool was called and the answer was right, and what had to be left out."""

    mode: str
    ok: bool
    detail: str


def probe(settings: ModelSettings, transport: httpx.BaseTransport | None = None) -> Iterator[ProbeResult]:
    """A tool call and an answer in each output mode, of about thirty tokens each. Raises InputError.

    `transport` replaces the network in tests.
    """
    for mode in _MODES:
        with tempfile.TemporaryDirectory() as folder:
            chosen = settings.model_copy(update={"output": mode, "attempts": 2})
            ledger = CallLedger(Path(folder) / "calls.jsonl", settings.token_budget, settings.cost_budget_usd)
            chat = open_chat("researcher", chosen, ledger, transport=transport)
            opening = [
                SystemMessage("This is a test of the connection. Be brief."),
                HumanMessage("Call the tool `colour`, then give its result as the answer."),
            ]
            task = AgentTask(chat, Colour, "probe", (colour,), turns=4)
            try:
                answer = run_agent_task(task, opening)
            except ModelError as error:
                yield ProbeResult(mode, False, " ".join(str(error).split())[:300])
            else:
                spent = ledger.spent
                said = "" if answer.colour == "blue" else f"answered {answer.colour}, not blue; "
                took = f"{spent.calls} calls, {spent.tokens_in} + {spent.tokens_out} tokens, {spent.seconds:.1f} s"
                yield ProbeResult(mode, not said, f"{said}{took}{_left_out(chat.profile)}")


def _left_out(profile: ServerProfile) -> str:
    """What a profile leaves out or adds, in words; empty for nothing."""
    found = [f"{name} refused" for name in profile.dropped if name != "limits"]
    if not profile.limits:
        found.append("no limit of the answer accepted")
    elif len(profile.limits) == 1:
        found.append(f"limit sent as {profile.limits[0]}")
    if profile.max_tokens is not None:
        found.append(f"answers of at most {profile.max_tokens} tokens")
    if profile.mode == "tools_unforced":
        found.append("calls cannot be forced")
    if profile.joins_system:
        found.append("no system role")
    if profile.thoughts:
        found.append("thoughts are sent back")
    if profile.plain_schema:
        found.append("plain schemas")
    return "".join(f"; {each}" for each in found)
