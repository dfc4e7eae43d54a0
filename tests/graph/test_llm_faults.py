"""Chats over real HTTP: three output modes, and whatever may go wrong with each; the spend is right to the token."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
from support.llm_model import Reply, answer_by_schema, call_with, loop_of_tools, mode_of, talk
from support.llm_server import LLMServer
from support.llm_wire import Fault, ServerUsage, Wire, error
from trex.graph.llm.agent_loop import AgentTask, run_agent_task
from trex.graph.llm.call_ledger import CallLedger, read_calls
from trex.graph.llm.chat import LLMChat, open_chat
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.llm.protocol import CallRecord, ModelError

MODES = ["tools", "json_schema", "text"]
OPENING: list[BaseMessage] = [SystemMessage("You are tested."), HumanMessage("Plan.")]
MAX_TOKENS = 256


class Choice(BaseModel):
    """What to do next."""

    number: int = Field(ge=1, description="One or more")
    reasons: list[str] = Field(min_length=1, description="Why")


@tool
def look(row: int = 0) -> str:
    """Look at a row."""
    return f"row {row} is blue"


class Desk:
    """A server, a ledger and a chat; the waits between tries are noted, not waited for."""

    def __init__(self, server: LLMServer, folder: Path, **settings: Any) -> None:
        self.server = server
        self.waits: list[float] = []
        self.path = folder / "calls.jsonl"
        given = {"max_tokens": MAX_TOKENS, "timeout_s": 0.25, "context_tokens": 16_000, **settings}
        self.settings = ModelSettings(researcher="openai:test", base_url=server.url, **given)
        self.budgets = (self.settings.token_budget, self.settings.cost_budget_usd)
        self.ledger = CallLedger(self.path, *self.budgets)
        self.chat: LLMChat = open_chat("researcher", self.settings, self.ledger, sleep=self.waits.append)

    def run(self, tools: Sequence[BaseTool] = (look,), turns: int = 6) -> Choice:
        return run_agent_task(AgentTask(self.chat, Choice, "plan e001", tools, turns=turns), OPENING)

    @property
    def records(self) -> list[CallRecord]:
        return read_calls(self.path)

    @property
    def statuses(self) -> list[str]:
        return [record.status for record in self.records]


def looks_first(request: dict[str, Any]) -> Reply:
    return answer_by_schema(request) if "is blue" in talk(request) else call_with(request, "look", {"row": 7})


def exact(desk: Desk, answered: Sequence[ServerUsage]) -> None:
    """What was answered is booked as the server counted it, in the record and in the sum."""
    records = desk.records
    known = [ServerUsage(r.tokens_in, r.tokens_out) for r in records if r.status == "answered"]
    assert known == list(answered)
    assert desk.ledger.spent.tokens_in == sum(r.tokens_in for r in records)
    assert desk.ledger.spent.tokens_out == sum(r.tokens_out for r in records)
    assert desk.ledger.spent.calls == len(records) == len(desk.server.requests)
    unknown = [record for record in records if record.status == "unknown"]
    assert all(record.tokens_out == MAX_TOKENS and record.tokens_in > 0 for record in unknown)
    assert all(record.tokens_in == record.tokens_out == 0 for record in records if record.status == "failed")


@pytest.mark.parametrize("mode", MODES)
def test_a_tool_then_the_answer(mode: str, tmp_path: Path) -> None:
    with LLMServer(looks_first) as server:
        desk = Desk(server, tmp_path, output=mode)
        assert desk.run() == Choice(number=1, reasons=["an example of a text"])
        assert [mode_of(request) for request in server.requests] == [mode, mode]
        exact(desk, server.used)
        first, second = desk.records
        assert first.answer["tools"] == [{"name": "look", "arguments": {"row": 7}}]
        assert [m["role"] for m in first.messages] == ["system", "user"]
        assert [m["text"] for m in second.messages if m["role"] == "tool"] == ["row 7 is blue"]
        assert '"number": 1' in second.answer["text"]


def test_the_first_turn_must_call_something(tmp_path: Path) -> None:
    with LLMServer() as server:
        Desk(server, tmp_path, output="tools").run()
        (request,) = server.requests
        assert request["tool_choice"] == "required"
        assert request["max_tokens"] == request["max_completion_tokens"] == MAX_TOKENS
        assert not request.get("stream")


TABLE: list[tuple[str, list[Fault], list[str], list[float]]] = [
    ("seconds", [Fault("rate_limit", wait="2.5")], ["failed", "answered"], [2.5]),
    ("several", [Fault("rate_limit", wait="1")] * 3, ["failed"] * 3 + ["answered"], [1, 1, 1]),
    ("500", [Fault("error")], ["failed", "answered"], []),
    ("503 with a wait", [Fault("error", wait="3", status=503)], ["failed", "answered"], [3]),
    ("time-out", [Fault("timeout")], ["unknown", "answered"], []),
    ("dropped", [Fault("dropped")], ["unknown", "answered"], []),
    ("truncated", [Fault("truncated")], ["unknown", "answered"], []),
    ("no JSON", [Fault("no_json")], ["unknown", "answered"], []),
    ("slow", [Fault("slow", seconds=0.05)], ["answered"], []),
    ("too long", [Fault("too_long")], ["failed", "answered"], []),
    ("wrong schema", [Fault("wrong_schema")], ["answered", "answered"], []),
    ("unknown tool", [Fault("unknown_tool")], ["answered", "answered"], []),
    ("empty", [Fault("empty")], ["answered", "answered"], []),
    ("words", [Fault("words")], ["answered", "answered"], []),
    ("200 000 tokens", [Fault("huge")], ["answered", "answered"], []),
    (
        "one after another",
        [
            Fault("error"),
            Fault("dropped"),
            Fault("empty"),
            Fault("unknown_tool"),
            Fault("rate_limit", wait="0"),
        ],
        ["failed", "unknown", "answered", "answered", "failed", "answered"],
        [],
    ),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("faults", "statuses", "waits"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_the_errand_is_done_in_spite_of(
    mode: str, faults: list[Fault], statuses: list[str], waits: list[float], tmp_path: Path
) -> None:
    with LLMServer(faults=faults) as server:
        desk = Desk(server, tmp_path, output=mode)
        assert desk.run().number == 1
        assert desk.statuses == statuses
        assert waits == [] or desk.waits == waits
        exact(desk, server.wire.delivered)


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_does_not_count(mode: str, tmp_path: Path) -> None:
    with LLMServer(faults=[Fault("no_usage")]) as server:
        desk = Desk(server, tmp_path, output=mode)
        desk.run()
        (record,) = desk.records
        assert (record.status, record.tokens_out) == ("answered", MAX_TOKENS)
        assert record.tokens_in > server.used[0].tokens_in
        assert "whole reservation" in record.answer["note"]


def test_a_server_that_counts_more_than_was_allowed(tmp_path: Path) -> None:
    with LLMServer(faults=[Fault("overcounted")]) as server:
        desk = Desk(server, tmp_path)
        desk.run()
        (record,) = desk.records
        size = len(json.dumps(server.requests[0]["messages"]) + json.dumps(server.requests[0]["tools"]))
        assert record.tokens_out == MAX_TOKENS
        assert size < record.tokens_in < size + 2000 < server.used[0].tokens_in
        assert "more than the bytes allow" in record.answer["note"]


@pytest.mark.parametrize("mode", MODES)
def test_200_000_tokens_leave_little(mode: str, tmp_path: Path) -> None:
    with LLMServer(faults=[Fault("huge")]) as server:
        desk = Desk(server, tmp_path, output=mode)
        desk.run()
        first = desk.records[0]
        assert server.used[0].tokens_out == first.tokens_out == 200_000
        assert "has more than" in first.answer["problem"]
        assert desk.path.stat().st_size < 40_000
        assert len(str(server.requests[1])) < 20_000


def test_a_body_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with LLMServer(faults=[Fault("huge")]) as server:
        desk = Desk(server, tmp_path, max_tokens=64)
        chat = desk.chat
        client = chat._model.client.http_client  # type: ignore[attr-defined]
        (hook,) = client.event_hooks["response"]
        object.__setattr__(hook.__self__, "size", 5000)
        assert desk.run().number == 1
        assert desk.statuses == ["unknown", "answered"]
        assert "connection broke" in desk.records[0].answer["problem"]


@pytest.mark.parametrize("mode", MODES)
def test_an_endless_loop_of_tools_ends(mode: str, tmp_path: Path) -> None:
    with LLMServer(loop_of_tools) as server:
        desk = Desk(server, tmp_path, output=mode)
        with pytest.raises(ModelError, match="no usable answer in 4 turns"):
            desk.run(turns=4)
        assert desk.statuses == ["answered"] * 4
        exact(desk, server.used)


@pytest.mark.parametrize(
    ("fault", "calls", "why"),
    [
        (Fault("refused"), 1, "401.*check the key"),
        (Fault("quota"), 1, "quota"),
        (Fault("rate_limit", wait="86400"), 1, "429"),
        (Fault("error", status=404), 1, "404"),
        (Fault("error", status=503), 5, "503"),
        (Fault("timeout"), 5, "no answer in time"),
        (Fault("too_long"), 2, "maximum context"),
    ],
    ids=["401", "quota", "a day", "404", "503", "time-out", "too long"],
)
def test_what_does_not_pass_ends_the_errand(fault: Fault, calls: int, why: str, tmp_path: Path) -> None:
    with LLMServer(faults=[fault] * 6) as server:
        desk = Desk(server, tmp_path, timeout_s=0.1)
        with pytest.raises(ModelError, match=why):
            desk.run()
        assert len(server.requests) == len(desk.records) == calls
        assert desk.ledger.spent.calls == calls


def test_a_server_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    with LLMServer() as server:
        desk = Desk(server, tmp_path)
    with pytest.raises(ModelError, match="cannot be reached"):
        desk.run()
    assert desk.statuses == ["failed"] * 5
    assert desk.ledger.spent.tokens == 0


Downgrade = tuple[list[Any], list[str], str]


@pytest.mark.parametrize(
    ("lasting", "asked", "ends"),
    [
        (["no_tools"], ["tools", "json_schema"], "json_schema"),
        (["no_tools", "no_format"], ["tools", "json_schema", "text"], "text"),
        (["no_choice"], ["tools", "tools"], "tools_unforced"),
    ],
)
def test_a_server_that_knows_less_is_asked_in_another_way(
    lasting: list[Any], asked: list[str], ends: str, tmp_path: Path
) -> None:
    with LLMServer(lasting=lasting) as server:
        desk = Desk(server, tmp_path)
        desk.run()
        assert [mode_of(request) for request in server.requests] == asked
        assert desk.chat.mode == ends
        assert desk.ledger.spent.tokens == sum(used.tokens_in + used.tokens_out for used in server.used)
        assert '"event":"mode"' in desk.path.read_text() and "not support" in desk.path.read_text()
        # The next process begins where this one ended.
        again = open_chat("researcher", desk.settings, CallLedger(desk.path))
        assert again.mode == ends


def test_a_mode_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    with LLMServer(lasting=["no_tools"]) as server:
        with pytest.raises(ModelError, match="choose another output mode"):
            Desk(server, tmp_path, output="tools").run()
        assert len(server.requests) == 1


def test_a_server_that_ignores_tools_is_held_to_a_schema(tmp_path: Path) -> None:
    def deaf(request: dict[str, Any]) -> Reply:
        return Reply("Well.") if request.get("tools") else answer_by_schema(request)

    with LLMServer(deaf) as server:
        desk = Desk(server, tmp_path)
        assert desk.run().number == 1
        assert [mode_of(request) for request in server.requests] == ["tools", "tools", "json_schema"]


@pytest.mark.parametrize("mode", MODES)
def test_a_cut_off_answer_is_no_answer(mode: str, tmp_path: Path) -> None:
    def verbose(request: dict[str, Any]) -> Reply:
        if "cut off" in talk(request):
            return answer_by_schema(request)
        return call_with(request, "answer", {"number": 3, "reasons": ["because"] * 1000})

    with LLMServer(verbose) as server:
        desk = Desk(server, tmp_path, output=mode)
        assert desk.run().number == 1
        exact(desk, server.used)
        assert "cut off after 256 tokens" in desk.records[0].answer["problem"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("closed", [True, False])
def test_a_nested_answer_costs_one_call(mode: str, closed: bool, tmp_path: Path) -> None:
    nested = '{"number": 1, "reasons": [' + '{"steps":[' * 300 + ("]}" * 300 + "]}") * closed

    def deep(request: dict[str, Any]) -> Reply:
        if len(server.requests) > 1:
            return answer_by_schema(request)
        return Reply(tools=[("answer", nested)]) if mode == "tools" else Reply(f'{{"answer": {nested}}}')

    with LLMServer(deep) as server:
        desk = Desk(server, tmp_path, output=mode, max_tokens=2000)
        assert desk.run().number == 1
        assert desk.statuses == ["answered", "answered"]
        assert "\n" not in desk.records[0].answer["problem"]
        known = desk.ledger.spent.tokens
        assert known == sum(used.tokens_in + used.tokens_out for used in server.used)


@pytest.mark.parametrize("mode", MODES)
def test_old_results_make_room(mode: str, tmp_path: Path) -> None:
    @tool
    def read(page: int = 0) -> str:
        """Read a page."""
        return f"page {page}: " + "lorem ipsum " * 500

    pages = iter(range(100))

    def reader(request: dict[str, Any]) -> Reply:
        number = next(pages)
        return call_with(request, "read", {"page": number}) if number < 5 else answer_by_schema(request)

    with LLMServer(reader) as server:
        desk = Desk(server, tmp_path, output=mode, context_tokens=5000)
        assert desk.run((read,), turns=8).number == 1
        last = talk(server.requests[-1])
        assert "removed to make room" in last and "page 0" in last
        assert last.count("lorem") < 1500
        assert last.index("removed") < last.rindex("lorem")  # the newest is whole
        exact(desk, server.used)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (413, "Payload Too Large"),
        (400, "Bad Request"),
        (400, "Die Eingabe ist zu lang: 9000 Token, hier passen 4096"),
        (400, "输入超出上限"),
        (422, "inputs must have less than 4096 tokens"),
        (400, "Requested 9500 positions but the KV cache of this model holds 4096 tokens"),
        (400, "ContextWindowExceededError: reduce your prompt"),
        (500, "the request exceeds the available context size: n_ctx 4096, n_tokens 9000"),
        (400, "prompt and max_tokens together are more than the limit of 4096 tokens"),
    ],
)
def test_too_long_in_any_words(status: int, words: str, tmp_path: Path) -> None:
    @tool
    def read(page: int = 0) -> str:
        """Read a page."""
        return f"page {page}: " + "lorem ipsum " * 400

    pages = iter(range(100))

    def reader(request: dict[str, Any]) -> Reply:
        number = next(pages)
        return call_with(request, "read", {"page": number}) if number < 3 else answer_by_schema(request)

    class Narrow(Wire):
        def answer(self, request: dict[str, Any]) -> Any:
            if len(str(request["messages"])) > 12_000:
                self.requests.append(request)
                return error(status, words)
            return super().answer(request)

    with LLMServer() as server:
        server.wire = Narrow(reader)
        desk = Desk(server, tmp_path, context_tokens=32_000, timeout_s=5.0)
        assert desk.run((read,), turns=5).number == 1
        assert desk.chat.mode == "tools"
        assert 1 <= desk.statuses.count("failed") <= 3 and "removed to make room" in talk(server.requests[-1])
        again = desk.statuses.count("failed")
        desk.chat.turn([*OPENING, HumanMessage("y " * 200)], Choice, purpose="plan e002")
        assert desk.statuses.count("failed") == again


def test_a_question_that_never_fits_is_not_asked(tmp_path: Path) -> None:
    with LLMServer() as server:
        desk = Desk(server, tmp_path, context_tokens=2048)
        long: list[BaseMessage] = [HumanMessage("lorem ipsum " * 2000)]
        with pytest.raises(ModelError, match="raise context_tokens"):
            desk.chat.turn(long, Choice, purpose="plan e001")
        assert server.requests == [] and desk.records == []


def test_a_streamed_call_through_the_same_client(tmp_path: Path) -> None:
    with LLMServer(lambda request: Reply("one two three four", [("look", {"row": 3})])) as server:
        model = ChatOpenAI(model="test", base_url=server.url, api_key="x", stream_usage=True)
        parts = list(model.bind_tools([look]).stream("go"))
        whole: Any = parts[0]
        for part in parts[1:]:
            whole += part
        assert len(parts) > 5
        assert whole.text == "one two three four"
        assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("look", {"row": 3})]
        assert whole.usage_metadata["output_tokens"] == server.used[0].tokens_out
        assert server.requests[0]["stream"] is True


Model = Callable[[dict[str, Any]], Reply]


@pytest.mark.parametrize("mode", MODES)
def test_kill_and_resume_pays_nothing_twice(mode: str, tmp_path: Path) -> None:
    with LLMServer(looks_first, faults=[Fault("error"), Fault("empty")]) as server:
        first = Desk(server, tmp_path, output=mode)
        answer = first.run()
        made, spent = len(server.requests), first.ledger.spent
        second = Desk(server, tmp_path, output=mode)
        assert second.ledger.spent == spent
        assert second.run() == answer
        assert len(server.requests) == made
        assert second.ledger.spent == spent
