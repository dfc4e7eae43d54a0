"""The graph on a LangGraph server: its form, its steps, its events, and what is left when a run or the server ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("langgraph_api", reason="the extra `studio` is not installed")

from support.studio import Server, nodes, serving, until
from trex import load_run
from trex.graph.run.setup import served_settings

FORM = {"smoke": True, "rounds": 1, "trials": 2}
FIELDS = {
    "task": "sentiment", "rounds": 2, "trials": 3, "smoke": False, "approve": False, "budget": "", "llm": "",
    "base_url": "", "output": "auto", "llm_budget": "", "memory": True, "diagnosis": True, "hint": "", "step": False,
}  # fmt: skip
NODES = [
    "analyze", "baseline", "research", "select", "direction", "plan", "prepare", "run_rung", "run_rung", "promote",
    "run_rung", "promote", "diagnose", "record", "finish",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("studio")) as started:
        yield started


@pytest.fixture(scope="module")
def finished(server: Server) -> str:
    """A thread whose run was stepped once and then streamed to its end."""
    thread = server.thread()
    first = list(server.stream(thread, FORM, interrupt_after=["analyze"]))
    assert nodes(first) == ["analyze"]
    assert server.client.threads.get_state(thread)["next"] == ["baseline"]
    assert server.workers() == [], "a run that waits for its next step keeps no process"
    rest = list(server.stream(thread, None))
    assert nodes(first) + nodes(rest) == NODES
    events = [data["event"] for kind, data in rest if kind == "custom"]
    assert {"experiment", "planned", "prepared", "training", "evaluated", "finished"} <= set(events)
    return thread


def test_the_form_explains_itself(server: Server) -> None:
    [assistant] = server.client.assistants.search()
    schema = server.client.assistants.get_schemas(assistant["assistant_id"])["input_schema"]
    assert schema is not None
    fields = schema["properties"]
    assert list(fields) == [*FIELDS]
    assert all(field["description"] and field["title"] for field in fields.values())
    defaults = {name: field["default"] for name, field in fields.items()}
    assert defaults == FIELDS


def test_the_graph_can_be_drawn(server: Server) -> None:
    [assistant] = server.client.assistants.search()
    drawn = server.client.assistants.get_graph(assistant["assistant_id"])
    assert {node["id"] for node in drawn["nodes"]} == {"__start__", "__end__", "approve", *NODES}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"task": "nothing"}, "no task named 'nothing'"),
        ({"rounds": -1}, "rounds: Input should be greater"),
        ({"round": 1}, "no field 'round'; the fields are task, rounds, trials"),
        ({"base_url": "http://127.0.0.1:9"}, "give `llm` as provider:model"),
        ({"llm": "openai:x", "output": "json"}, "output: Input should be 'auto', 'tools'"),
        ({"budget": "soon"}, "'soon' is not a duration"),
    ],
)
def test_bad_input_is_explained_to_the_client(server: Server, form: dict[str, Any], message: str) -> None:
    [*_, (kind, error)] = server.stream(server.thread(), form)
    assert kind == "error"
    assert message in error["message"]


def test_a_run_leaves_its_tree_and_no_process(server: Server, finished: str) -> None:
    state = server.state(finished)
    assert state["status"] == "done"
    assert {node: fields["status"] for node, fields in state["tree"].items()} == {
        "e000": "done",
        "e001": "done",
    }
    assert server.workers() == []


def test_its_directory_can_be_looked_at(server: Server, finished: str) -> None:
    run = load_run(server.run_of(finished))
    assert run.summary.status == "done"
    assert [experiment.id for experiment in run.tree] == ["e000", "e001"]
    assert len(run.trials) == FORM["trials"]


def test_resume_says_that_the_server_owns_the_checkpoint(server: Server, finished: str) -> None:
    trex = Path(sys.executable).with_name("trex")
    ended = subprocess.run(
        [trex, "resume", server.run_of(finished)], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert f"LangGraph server, which owns its checkpoint: go on with thread {finished}" in ended.stderr


def test_a_thread_whose_run_is_done_takes_no_second_one(server: Server, finished: str) -> None:
    [*_, (kind, error)] = server.stream(finished, FORM)
    assert kind == "error"
    assert "start another in a new thread" in error["message"]


def test_a_cancelled_run_stops_its_processes_and_goes_on(server: Server) -> None:
    thread, form = server.thread(), FORM | {"approve": True}
    run = server.client.runs.create(thread, "trex", input=form)
    # The process that checks the data works before there is a run directory.
    until(lambda: bool(server.workers()) and any(server.folder.glob(f"runs/*-{thread[-12:]}/run.json")))
    server.client.runs.cancel(thread, run["run_id"], wait=True)
    until(lambda: server.workers() == [])
    assert server.client.runs.get(thread, run["run_id"])["status"] == "interrupted"
    assert load_run(server.run_of(thread)).summary.status == "interrupted"
    [*_, (kind, error)] = server.stream(thread, form | {"trials": 3})
    assert kind == "error"
    assert "began with another trials" in error["message"]
    assert nodes(list(server.stream(thread, form))) == NODES[: NODES.index("prepare")]
    # It now asks about the plan, and goes back for another one if the answer is no.
    answer = {"resume": {"decision": "reject", "hint": "less data"}}
    assert nodes(list(server.stream(thread, None, command=answer))) == ["approve", "direction", "plan"]
    [task] = server.client.threads.get_state(thread)["tasks"]
    assert set(task["interrupts"][0]["value"]["plan"]) >= {"hypothesis", "recipes", "trials"}


def test_ctrl_c_leaves_no_process(server: Server) -> None:
    server.client.runs.create(server.thread(), "trex", input=FORM)
    until(lambda: len(server.workers()) > 1)
    family = [psutil.Process(server.process.pid), *server.workers()]
    os.killpg(server.process.pid, signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def test_threads_of_one_moment_have_directories_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    threads = [f"01a20bc3-2f6f-77b0-9794-{end}" for end in ("98f627841f9c", "e81252bb6ebf")]
    made = [served_settings({"smoke": True}, {"configurable": {"thread_id": thread}}) for thread in threads]
    assert [settings.thread_id for settings in made] == threads
    assert made[0].directory != made[1].directory
