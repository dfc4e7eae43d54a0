"""An agent's turns as steps of a graph: drawn, streamed, stopped at, read, edited, and gone on with elsewhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from pydantic import BaseModel
from rich.console import Console
from support.chat import Call, FakeChat
from support.llm_model import Reply, answer_with, call_with, talk
from support.llm_runs import open_runtime, planning_model, settings_for
from support.llm_server import LLMServer
from trex.ftbench.tasks.sentiment import load
from trex.graph.api import prepare_run
from trex.graph.cli.approval_prompt import ask_about_step
from trex.graph.llm.agent_loop import AgentTask, build_agent, run_agent_task, with_agent
from trex.graph.llm.call_ledger import CallLedger, read_calls
from trex.graph.llm.chat import open_chat
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.run.checkpoint_store import saver
from trex.graph.run.events import emit
from trex.graph.run.runtime import RuntimeRegistry
from typing_extensions import TypedDict

CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Sum(BaseModel):
    """A number."""

    value: int


class State(TypedDict, total=False):
    tree: dict[str, Any]
    step: bool
    found: int


class Counter:
    """A tool that remembers what it was called with: see `ToolRecord`."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def record(self) -> dict[str, Any]:
        return {"numbers": [*self.numbers]}

    def restore(self, record: Mapping[str, Any]) -> None:
        if not self.numbers:
            self.numbers.extend(record.get("numbers", ()))

    def tool(self, around: Any) -> BaseTool:
        adds = around(self.numbers.append)

        @tool
        def count(number: int) -> str:
            """Count."""
            adds(number)
            return f"counted {sum(self.numbers)}"

        return count


def even(answer: Sum) -> str | None:
    return None if answer.value % 2 == 0 else f"{answer.value} is odd"


def parent(chat: Any, checkpointer: Any, *, kept: bool = True, count: Any = lambda tool: tool) -> Any:
    """A graph with one node, in which the Researcher counts; as another process would build it."""

    def add(state: State) -> State:
        counter = Counter()
        task = AgentTask(chat, Sum, "add", [counter.tool(count)], even, turns=20, record=counter)
        answer = run_agent_task(task, [HumanMessage("add")])
        return {"found": answer.value + 1000 * len(counter.numbers)}

    graph = StateGraph(State)
    graph.add_node("adding", with_agent(build_agent("researcher", kept=kept), add))
    graph.add_edge(START, "adding")
    graph.add_edge("adding", END)
    return graph.compile(checkpointer=checkpointer)


def counts_twice() -> FakeChat:
    return FakeChat([Call("count", {"number": 1}), Call("count", {"number": 2}), Sum(value=4)])


def inner(graph: Any) -> Any:
    """The state of the agent that waits."""
    [task] = graph.get_state(CONFIG, subgraphs=True).tasks
    return task.state


def asked(graph: Any) -> dict[str, Any]:
    [task] = graph.get_state(CONFIG).tasks
    return dict(task.interrupts[0].value)


def test_turns_are_streamed_and_drawn_under_the_agents_name() -> None:
    graph = parent(counts_twice(), InMemorySaver())
    parts = list(graph.stream({"tree": {}}, CONFIG, stream_mode="updates", subgraphs=True))
    inside = [node for space, part in parts if space and space[0].startswith("adding:") for node in part]
    turn = ["researcher_step", "researcher_model"]
    assert inside == [*turn, "researcher_tools", *turn, "researcher_tools", *turn, "researcher_answer"]
    assert parts[-1] == ((), {"adding": {"found": 2004}})
    drawn = {node for node in graph.get_graph(xray=True).nodes if node.startswith("adding:")}
    assert drawn > {f"adding:researcher_{node}" for node in ("step", "model", "tools", "answer")}


def test_events_of_an_agent_reach_the_stream_of_the_run() -> None:
    def answers(_: object) -> Sum:
        emit("called", purpose="add")
        return Sum(value=2)

    graph = parent(FakeChat(answers), InMemorySaver())
    [event] = graph.stream({"tree": {}}, CONFIG, stream_mode="custom")  # also without `subgraphs`
    assert event == {"event": "called", "purpose": "add"}


def test_a_person_edits_a_tool_result_and_the_answer() -> None:
    chat = counts_twice()
    graph = parent(chat, InMemorySaver())
    graph.invoke({"tree": {}, "step": True}, CONFIG)
    assert asked(graph)["turn"] == 1 and chat.asked == []
    graph.invoke(Command(resume="go on"), CONFIG)
    assert inner(graph).next == ("researcher_step",)
    assert asked(graph)["messages"]["m002"]["content"] == "counted 1"
    graph.invoke(Command(resume={"messages": {"m9": "?"}}), CONFIG)
    assert "no message 'm9'" in asked(graph)["problem"] and len(chat.asked) == 1
    graph.invoke(Command(resume={"messages": {"m002": "counted seven"}}), CONFIG)
    assert [str(m.content) for m in chat.asked[1].messages] == ["add", "calls count", "counted seven"]
    graph.invoke(Command(resume="go on"), CONFIG)
    assert asked(graph)["answer"] == {"value": 4}
    graph.invoke(Command(resume={"answer": {"value": 5}}), CONFIG)
    assert inner(graph).values["problem"] == "5 is odd", "a person's answer is checked like the model's"
    assert inner(graph).next == ("researcher_step",)


def test_a_message_is_edited_in_the_state_of_the_agent() -> None:
    chat = counts_twice()
    graph = parent(chat, InMemorySaver())
    graph.invoke({"tree": {}, "step": True}, CONFIG)
    graph.invoke(Command(resume="go on"), CONFIG)
    graph.update_state(inner(graph).config, {"messages": {"m002": {"content": "counted nine"}}})
    assert inner(graph).values["messages"]["m002"]["content"] == "counted nine"
    graph.invoke(None, CONFIG)
    assert chat.asked[1].last == "counted nine"


def test_asking_ends_when_a_person_says_so() -> None:
    graph = parent(counts_twice(), InMemorySaver())
    graph.invoke({"tree": {}, "step": True}, CONFIG)
    assert graph.invoke(Command(resume={"step": False}), CONFIG) == {
        "tree": {},
        "step": False,
        "found": 2004,
    }


def test_the_configuration_can_ask_too() -> None:
    graph = parent(counts_twice(), InMemorySaver())
    graph.invoke({"tree": {}}, {"configurable": {**CONFIG["configurable"], "step": True}})
    assert asked(graph)["purpose"] == "add"


def test_another_process_goes_on_within_the_task(tmp_path: Path) -> None:
    def opened(chat: FakeChat) -> Any:
        connection = sqlite3.connect(tmp_path / "c.sqlite", check_same_thread=False)
        return parent(chat, saver(connection))

    def dies(_: object) -> Any:
        raise Killed

    with pytest.raises(Killed):
        opened(FakeChat([Call("count", {"number": 1}), dies])).invoke({"tree": {}}, CONFIG, durability="sync")
    chat = FakeChat([Call("count", {"number": 2}), Sum(value=4)])
    assert opened(chat).invoke(None, CONFIG)["found"] == 2004, "what the tools remembered is restored"
    assert [str(m.content) for m in chat.asked[1].messages] == [
        *("add", "calls count", "counted 1", "calls count", "counted 3")
    ]


def written(saved: InMemorySaver) -> int:
    """Bytes of everything that was kept."""
    blobs = sum(len(data) for _, data in saved.blobs.values())
    writes = sum(len(value[2][1]) for each in saved.writes.values() for value in each.values())
    checkpoints = sum(
        len(entry[0][1]) for by_ns in saved.storage.values() for ns in by_ns.values() for entry in ns.values()
    )
    return blobs + writes + checkpoints


def test_what_is_kept_grows_with_the_turns_alone() -> None:
    def kept(turns: int, *, kept: bool = True) -> int:
        saved = InMemorySaver()
        calls = [Call("count", {"number": 1000 + n}) for n in range(turns)]
        parent(FakeChat([*calls, Sum(value=2)]), saved, kept=kept).invoke({"tree": {}}, CONFIG)
        return written(saved)

    few, more, many = kept(2), kept(8), kept(14)
    assert many - more < 1.1 * (more - few), "a turn costs the same, however many there were before"
    assert abs(kept(2, kept=False) - kept(8, kept=False)) < 50 < few / 2


class Killed(BaseException):
    """The process ends here."""


class Moments:
    """Ends the process at one of the moments at which something is written, sent or run."""

    def __init__(self, deadly: int) -> None:
        self.deadly, self.passed = deadly, 0

    def around(self, function: Any) -> Any:
        def passing(*given: Any, **more: Any) -> Any:
            self.passed += 1
            if self.passed == self.deadly:
                raise Killed
            return function(*given, **more)

        return passing


def sums(request: dict[str, Any]) -> Reply:
    """A model that counts three times, then gives the sum."""
    said = talk(request).count("counted")
    return (
        call_with(request, "count", {"number": said + 1}) if said < 3 else answer_with(request, {"value": 6})
    )


def process(folder: Path, url: str, moments: Moments) -> int:
    """The graph from its last checkpoint to its end, with all that another process would open."""
    ledger = CallLedger(folder / "calls.jsonl")
    chat = open_chat("researcher", ModelSettings(researcher="openai:test", base_url=url), ledger)
    connection = sqlite3.connect(folder / "c.sqlite", check_same_thread=False)
    saved = saver(connection)
    for owner, name in ((saved, "put"), (saved, "put_writes"), (ledger, "reserve"), (ledger, "settle")):
        setattr(owner, name, moments.around(getattr(owner, name)))
    chat._invoke = moments.around(chat._invoke)  # type: ignore[method-assign]
    graph = parent(chat, saved, count=moments.around)
    try:
        known = graph.get_state(CONFIG).values
        end = graph.invoke(None if known else {"tree": {}}, CONFIG, durability="sync")
    finally:
        connection.close()
    return int(end["found"])


def test_a_kill_at_any_moment_of_a_task_costs_no_answered_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    moments = Moments(-1)
    (tmp_path / "0").mkdir()
    with LLMServer(sums) as server:
        assert process(tmp_path / "0", server.url, moments) == 3006
        calls, total = len(server.requests), moments.passed
        assert calls == 4 and total > 40
        for deadly in range(1, total + 1, total // 20):
            folder = tmp_path / str(deadly)
            folder.mkdir()
            with pytest.raises(Killed):
                process(folder, server.url, Moments(deadly))
            assert process(folder, server.url, Moments(-1)) == 3006, f"killed at moment {deadly}"
            record = read_calls(folder / "calls.jsonl")
            answered = [call for call in record if call.status == "answered"]
            assert len(answered) == calls, f"killed at moment {deadly}: no answered call is paid again"
            assert len(record) <= calls + 1, "only the call that was open may be made again"


def test_a_run_asks_until_a_person_has_seen_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    seen: list[tuple[str, int]] = []

    def step(question: dict[str, Any]) -> dict[str, Any] | str:
        seen.append((question["purpose"], question.get("turn", 0)))
        if seen[-1] == ("research", 2):
            [(id, said)] = [(id, m) for id, m in question["messages"].items() if m["type"] == "tool"]
            return {"messages": {id: f"{said['content']}\nA person was here."}}
        return {"step": False} if seen[-1] == ("plan e001", 2) else "go on"

    with LLMServer(planning_model) as server:
        given: dict[str, Any] = {"rounds": 1, "trials": 2, "trial_examples": 96, "rungs": (0.5, 1.0)}
        llm = settings_for(server.url)
        prepared = prepare_run(load(smoke=True), out=tmp_path / "run", smoke=True, llm=llm, **given)
        done = prepared.go(runtimes=RuntimeRegistry(open_runtime), step=step)
        requests = [talk(request) for request in server.requests]
    assert done.summary.status == "done"
    # Turn 0 is the answer; the questions end while the direction is chosen.
    asked = [("analyze", 1), ("analyze", 0), ("research", 1), ("research", 2), ("research", 0)]
    assert seen == [*asked, ("plan e001", 1), ("plan e001", 2)]
    assert sum("A person was here." in text for text in requests) == 1
    assert len(requests) == len(read_calls(done.directory / "calls.jsonl"))


def test_a_person_answers_in_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = {"question": "?", "purpose": "plan", "problem": "", "messages": {"m001": {"content": "rows"}}}
    answer = {"question": "?", "purpose": "plan", "problem": "", "answer": {"value": 1}}
    cases = [
        (turn, "g", None, "go on"),
        (turn, "n", None, {"step": False}),
        (turn, "e", "m001: other rows\n", {"messages": {"m001": "other rows"}}),
        (turn, "e", None, "go on"),
        (answer, "e", "value: 2\n", {"answer": {"value": 2}}),
    ]
    for question, key, edited, expected in cases:
        monkeypatch.setattr("click.prompt", lambda *a, key=key, **k: key)
        monkeypatch.setattr("click.edit", lambda *a, edited=edited, **k: edited)
        assert ask_about_step(Console(file=StringIO()), question) == expected
