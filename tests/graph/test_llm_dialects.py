"""Every dialect in every output mode, over sockets: the answer is the model's, and the spend is the server's count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from support.llm_dialects import ANSWER, DIALECTS, Dialect, DialectWire
from support.llm_server import LLMServer
from trex.graph.llm.agent_loop import AgentTask, run_agent_task
from trex.graph.llm.call_ledger import CallLedger
from trex.graph.llm.chat import LLMChat, open_chat
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.run.doctor import check_model

OPENING = [SystemMessage("You plan."), HumanMessage("Plan.")]


class Choice(BaseModel):
    """What to do next."""

    number: int = Field(ge=1, description="One or more")
    reasons: list[str] = Field(default_factory=list, min_length=1)


@tool
def look(row: int = 0) -> str:
    """Look at a row."""
    return f"row {row} is blue"


def chat_with(server: LLMServer, path: Path, output: str) -> tuple[LLMChat, CallLedger]:
    settings = ModelSettings(
        researcher="openai:m",
        base_url=server.url,
        output=output,
        max_tokens=256,
        temperature=0.5,  # type: ignore[arg-type]
    )
    ledger = CallLedger(path / "calls.jsonl")
    return open_chat("researcher", settings, ledger, sleep=lambda seconds: None), ledger


def plan(chat: LLMChat, purpose: str) -> Choice:
    return run_agent_task(AgentTask(chat, Choice, purpose, (look,), turns=4), OPENING)


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    """One server for all dialects: opening a client for a new address takes a tenth of a second."""
    with LLMServer() as serving:
        yield serving


@pytest.mark.parametrize(
    ("name", "works", "said"),
    [
        ("openai", [True, True, True], ""),
        ("no limit at all", [True, True, True], "no limit of the answer accepted"),
        ("no system role", [True, True, True], "no system role"),
        ("no forced call", [True, True, True], "calls cannot be forced"),
        ("tools unknown", [False, True, True], "choose another output mode"),
        ("temperature refused", [True, True, True], "temperature refused"),
    ],
)
def test_doctor_says_what_a_server_accepts(
    name: str, works: list[bool], said: str, server: LLMServer
) -> None:
    dialect = next(each for each in DIALECTS if each.name == name)
    wire = server.wire = DialectWire(dialect, ("colour", {}), {"colour": "blue"})
    checks = check_model(ModelSettings(researcher="openai:m", base_url=server.url, temperature=0.5))
    assert [check.ok for check in checks] == [*works, True]
    assert said in checks[0].detail
    assert len(wire.used) == 2 * sum(works) and all(
        "2 calls" in c.detail for c in checks[:3] if c.ok and not said
    )


@pytest.mark.parametrize("mode", ["tools", "json_schema", "text"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_plan_by_the_model(dialect: Dialect, mode: str, server: LLMServer, tmp_path: Path) -> None:
    wire = server.wire = DialectWire(dialect)
    chat, ledger = chat_with(server, tmp_path, "auto" if mode in dialect.lacks else mode)
    assert plan(chat, "plan e001").model_dump() == ANSWER
    assert len(wire.used) == 2, "a look and the answer, nothing else was paid"
    # What was refused is remembered: the next task meets no refusal.
    before = len(wire.requests)
    assert plan(chat, "plan e002").model_dump() == ANSWER
    assert len(wire.requests) == before + 2
    assert ledger.spent.tokens_in == sum(used.tokens_in for used in wire.used)
    assert ledger.spent.tokens_out == sum(used.tokens_out for used in wire.used)
