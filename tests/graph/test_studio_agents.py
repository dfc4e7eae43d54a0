"""A person steps through the agents of a run on a LangGraph server: reads their turns, edits them, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("langgraph_api", reason="the extra `studio` is not installed")

from support.llm_model import talk
from support.llm_runs import planning_model
from support.llm_server import LLMServer
from support.studio import Server, serving
from trex.graph.llm.call_ledger import read_calls

Part = tuple[str, Any]


@pytest.fixture(scope="module")
def model() -> Iterator[LLMServer]:
    with LLMServer(planning_model) as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: LLMServer) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "k")
        with serving(tmp_path_factory.mktemp("studio")) as started:
            yield started


def stream(server: Server, thread: str, **more: Any) -> list[Part]:
    modes = ["updates", "custom", "messages-tuple"]
    given = {"input": None, "stream_mode": modes, "stream_subgraphs": True} | more
    return [(part.event, part.data) for part in server.client.runs.stream(thread, "trex", **given)]


def turns(parts: list[Part]) -> list[str]:
    """Where the agents' nodes ran, as 'plan: researcher_model', in order."""
    inside = [(event.split("|", 1)[1], data) for event, data in parts if event.startswith("updates|")]
    return [
        f"{where.split(':')[0]}: {node}" for where, data in inside for node in data if node != "__interrupt__"
    ]


def agent(server: Server, thread: str) -> dict[str, Any]:
    """The state of the agent that waits."""
    [task] = server.client.threads.get_state(thread, subgraphs=True)["tasks"]
    state: Any = task["state"]
    return dict(state)


def test_an_agent_is_stepped_through_edited_and_finishes(server: Server, model: LLMServer) -> None:
    thread = server.thread()
    form = {
        "smoke": True,
        "rounds": 1,
        "trials": 2,
        "llm": "openai:test",
        "base_url": model.url,
        "output": "tools",
    }
    parts = stream(server, thread, input=form, interrupt_before=["research"])
    assert turns(parts) == [f"analyze: researcher_{node}" for node in ("step", "model", "answer")]
    assert server.client.threads.get_state(thread, subgraphs=True)["next"] == ["research"]
    stepping = {"configurable": {"step": True}}
    stream(server, thread, config=stepping)
    waits = agent(server, thread)
    assert waits["next"] == ["researcher_step"] and list(waits["values"]["messages"]) == ["m000", "m001"]

    parts += stream(server, thread, command={"resume": "go on"}, config=stepping)
    waits = agent(server, thread)
    result = waits["values"]["messages"]["m003"]
    assert result["type"] == "tool" and "fine-tuning" in result["content"]
    changed = {"messages": {"m003": {"content": f"{result['content']}\nA person says: mind the rank."}}}
    server.client.threads.update_state(thread, changed, checkpoint=waits["checkpoint"])
    parts += stream(server, thread, config=stepping)
    assert "A person says: mind the rank." in talk(model.requests[-1])
    assert agent(server, thread)["next"] == ["researcher_answer"]

    parts += stream(server, thread, command={"resume": {"step": False}})
    assert server.state(thread)["status"] == "done"
    ran = turns(parts)
    for node in ("research", "direction", "plan", "diagnose"):
        assert {f"{node}: researcher_{each}" for each in ("model", "tools", "answer")} <= set(ran)
    calls = read_calls(server.run_of(thread) / "calls.jsonl")
    assert len(calls) == len(model.requests), "no call was paid twice"
    assert sum(event.startswith("custom") and data["event"] == "called" for event, data in parts) == len(
        calls
    )
    said = [data[0]["id"] for event, data in parts if event.startswith("messages")]
    assert len(said) == len(set(said)) == len(calls), "each turn of the model once"
