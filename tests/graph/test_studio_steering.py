"""A person steers a run on a LangGraph server: edits and rejects plans, forks it, looks into its state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph_api", reason="the extra `studio` is not installed")

from support.studio import Server, nodes, serving
from trex import Run, load_run
from trex.graph.steering.approval import EDITED

FORM = {"smoke": True, "rounds": 2, "trials": 2, "approve": True, "hint": "more epochs"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("studio")) as started:
        yield started


def question(server: Server, thread: str) -> dict[str, Any]:
    """What the person is asked now."""
    [task] = server.client.threads.get_state(thread)["tasks"]
    value: Any = task["interrupts"][0]["value"]
    return dict(value)


def answer(server: Server, thread: str, said: object) -> list[str]:
    """Answer, and the nodes that ran then."""
    return nodes(list(server.stream(thread, None, command={"resume": said})))


@pytest.fixture(scope="module")
def steered(server: Server) -> str:
    """A thread whose first plan was edited and carried out, whose second waits for a person's word."""
    thread = server.thread()
    assert nodes(list(server.stream(thread, FORM)))[-1] == "plan"
    asked = question(server, thread)
    assert asked["question"] == "Carry out this plan for e001, which refines e000?"
    assert "'more epochs'" in asked["plan"]["hypothesis"] and asked["problem"] == ""
    plan = asked["plan"] | {"hypothesis": "Mine."}
    assert answer(server, thread, {"decision": "edit", "plan": plan | {"trials": []}}) == []
    assert "trials" in question(server, thread)["problem"], "a plan that is not valid is asked about again"
    ran = answer(server, thread, {"decision": "edit", "plan": plan})
    assert ran[0] == "approve" and ran[-3:] == ["select", "direction", "plan"]
    return thread


def test_an_edited_plan_is_carried_out_and_marked(server: Server, steered: str) -> None:
    first = server.state(steered)["tree"]["e001"]
    assert first["plan"]["hypothesis"] == "Mine." and first["status"] == "done"
    assert first["repairs"] == [EDITED]


def test_the_state_can_be_read(server: Server, steered: str) -> None:
    state = server.state(steered)
    assert list(state["tree"]) == ["e000", "e001", "e002"]
    assert len(json.dumps(state)) < 40_000
    assert max(map(len, texts(state))) < 1000, "no blobs"


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


def test_agents_are_drawn_inside_their_nodes(server: Server) -> None:
    [assistant] = server.client.assistants.search()
    drawn = server.client.assistants.get_graph(assistant["assistant_id"], xray=True)
    inside = {str(node["id"]) for node in drawn["nodes"] if ":" in str(node["id"])}
    researcher = {"analyze", "research", "direction", "plan", "diagnose"}
    assert {f"{node}:researcher_model" for node in researcher} <= inside
    assert {"prepare:executor_tools", "run_rung:executor_answer"} <= inside
    found = server.client.assistants.get_subgraphs(assistant["assistant_id"])
    assert set(found) == researcher | {"prepare", "run_rung"}


def test_a_thread_is_forked_edited_and_finished(server: Server, steered: str) -> None:
    assert answer(server, steered, "reject: fewer rows") == ["approve", "direction", "plan"]
    assert "fewer rows" in question(server, steered)["plan"]["hypothesis"]
    chosen = server.state(steered)["selected"]
    other = {"e000": "e001", "e001": "e000"}[chosen]
    fork = take_back(server, steered, {"refine_next": other})
    assert server.workers() == [], "changing a state takes no runtime"
    forked = list(server.stream(steered, None, checkpoint=fork))
    assert nodes(forked) == ["select", "direction", "plan"]
    assert [data["id"] for kind, data in forked if kind == "custom" and data["event"] == "selected"] == [
        other
    ]
    assert question(server, steered)["question"].endswith(f"for e002, which refines {other}?")
    ended = list(server.stream(steered, None, command={"resume": "accept"}))
    assert nodes(ended)[-2:] == ["record", "finish"]
    events = {data["event"] for kind, data in ended if kind == "custom"}
    assert {"prepared", "training", "evaluated", "promoted", "experiment", "finished"} <= events
    state = server.state(steered)
    assert state["status"] == "done" and state["tree"]["e002"]["parent_id"] == other
    assert load_run(server.run_of(steered)).summary.status == "done"
    refuses_to_go_back(server, steered)
    forks_to_a_run_of_its_own(server.run_of(steered), server.folder)


def take_back(server: Server, thread: str, values: dict[str, Any]) -> Any:
    """The thread at its last choice of what to refine, with other values."""
    history = server.client.threads.get_history(thread, limit=50)
    before = next(state for state in history if state["next"] == ["select"])
    return server.client.threads.update_state(thread, values, checkpoint=before["checkpoint"])["checkpoint"]


def refuses_to_go_back(server: Server, thread: str) -> None:
    """Once the test split is open, an earlier step is no way to another winner."""
    fork = take_back(server, thread, {"refine_next": "e000"})
    [*_, (kind, error)] = server.stream(thread, None, checkpoint=fork)
    assert kind == "error" and "its test split was opened" in error["message"]
    assert "trex fork" in error["message"]


def forks_to_a_run_of_its_own(directory: Path, folder: Path) -> None:
    """A served run is forked like any other; the fork's checkpoint is its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(folder / "home"))
        done: Run = load_run(directory).fork("e001", out=folder / "fork", rounds=1)
    assert [experiment.id for experiment in done.tree] == ["e000", "e001", "e002", "e003"]
    assert done.tree["e003"].parent_id == "e001" and done.settings.checkpoint == "sqlite"
    assert done.best is not None and done.best.test_seen
