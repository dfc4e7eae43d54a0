"""An agent as a LangGraph graph: a model's turns, tools, an answer. The number of turns is bounded.

START → step → model ─┬→ tools ─┐
         ↑  ↑         └→ answer ┼→ END
         └──┴── problem ────────┘

Where someone steps (`kept`), each turn is a checkpoint of the graph that the agent is part of: Studio draws the nodes,
`get_state(subgraphs=True)` reads them, and `step` waits for a person if asked to, who may edit the conversation and the
answer. Elsewhere nothing is kept. Either way calls are recorded, so that repeating them costs nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Generic, Literal, Protocol

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.channels.delta import DeltaChannel
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from pydantic import ValidationError
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict  # a server asks for schemas, which Python 3.11's own cannot give

from ...errors import IntegrityError, TrexError, explain
from ..run.events import also_inside
from .agent_messages import Messages, as_json, from_json, merge_messages
from .agent_review import ask_about_answer, ask_about_turn
from .protocol import Answer, Chat, ModelError, ModelTurn, ToolRequest

# Checks an answer that fits its schema: one sentence about what is wrong with it, None if it is accepted.
Check = Callable[[Any], str | None]

MAX_RESULT_CHARACTERS = 12_000
"""Longest tool result that is passed on to the model."""

MAX_TOOL_CALLS = 8
"""Tool calls of one turn that are run."""

_NOT_RUN = f"error: only the first {MAX_TOOL_CALLS} calls of a turn are run: call again what you still need"


class AgentState(TypedDict, total=False):
    """The state of an agent's task, plain JSON: only what a step adds to the conversation is written."""

    purpose: str
    step: bool
    """Whether a person is asked before each turn and about the answer."""
    messages: Annotated[Messages, DeltaChannel(merge_messages, snapshot_frequency=1000)]
    turns: int
    calls: list[dict[str, Any]]
    """The tool calls of the last turn: id, name, arguments."""
    answer: dict[str, Any] | None
    problem: str | None
    accepted: bool
    tool_record: dict[str, Any]
    """What the tools have to know of their earlier calls."""


class ToolRecord(Protocol):
    """What tools remember from call to call: another process that goes on with the task restores it."""

    def record(self) -> dict[str, Any]:
        """All of it as JSON."""

    def restore(self, record: Mapping[str, Any]) -> None:
        """Add what was recorded."""


class NoRecord:
    """See `ToolRecord`: tools that remember nothing."""

    def record(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Nothing."""


@dataclass(frozen=True)
class AgentTask(Generic[Answer]):
    """One task of an agent: the model, the tools, the type of the answer, its check, and the number of turns."""

    chat: Chat
    answer: type[Answer]
    purpose: str
    tools: Sequence[BaseTool] = ()
    check: Check = field(default=lambda answer: None)
    turns: int = 8
    record: ToolRecord = field(default_factory=NoRecord)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Any object: a LangGraph server asks for a schema of the context, and no form fills it in."""
        return core_schema.any_schema()


AgentGraph = CompiledStateGraph[AgentState, AgentTask[Any], AgentState, AgentState]
_Runtime = Runtime[AgentTask[Any]]


def _step(state: AgentState) -> AgentState:
    """Wait for a person if asked to, who may edit the conversation."""
    if not state["step"]:
        return {}
    edits, step = ask_about_turn(state)
    return {"messages": edits, "step": step}


def _model(state: AgentState, runtime: _Runtime) -> AgentState:
    """One turn of the model."""
    task, messages = runtime.context, from_json(state["messages"])
    last = state["turns"] + 1 >= task.turns
    tools = () if last else task.tools  # the last turn must answer
    turn = task.chat.turn(messages, task.answer, tools, purpose=task.purpose)
    added: list[BaseMessage] = [turn.message]
    if turn.problem:
        added.append(task.chat.correction(turn))
    return {
        "messages": as_json(added, len(messages)),
        "turns": state["turns"] + 1,
        "calls": [{"id": each.id, "name": each.name, "arguments": each.arguments} for each in turn.tools],
        "answer": None if turn.answer is None else turn.answer.model_dump(mode="json"),
        "problem": turn.problem,
    }


def _tools(state: AgentState, runtime: _Runtime) -> AgentState:
    """Run the tools that the model has called."""
    task, requests = runtime.context, [ToolRequest(**call) for call in state["calls"]]
    task.record.restore(state["tool_record"])
    by_name = {tool.name: tool for tool in task.tools}
    results = [run_tool(by_name, request) for request in requests[:MAX_TOOL_CALLS]]
    results += [_NOT_RUN] * (len(requests) - len(results))
    said = [task.chat.tool_result(*pair) for pair in zip(requests, results, strict=True)]
    return {
        "messages": as_json(said, len(state["messages"])),
        "calls": [],
        "tool_record": task.record.record(),
    }


def _answer(state: AgentState, runtime: _Runtime) -> AgentState:
    """Check the answer, which a person may have edited; a wrong one goes back to the model."""
    given, step = ask_about_answer(state) if state["step"] else (state["answer"], False)
    task, problem = runtime.context, None
    task.record.restore(state["tool_record"])
    try:
        problem = task.check(task.answer.model_validate(given))
    except ValidationError as error:
        problem = f"the answer does not fit its schema: {explain(error)[:1000]}"
    except IntegrityError:
        raise
    except (TrexError, ValueError) as error:
        # Else one answer would end the run, and again when it is resumed.
        problem = f"the answer cannot be checked: {' '.join(str(error).split())[:1000]}"
    if problem is None:
        return {"answer": given, "accepted": True, "problem": None, "step": step}
    correction = task.chat.correction(ModelTurn(AIMessage(""), problem=problem))
    added = as_json([correction], len(state["messages"]))
    return {"messages": added, "answer": None, "problem": problem, "step": step}


def run_tool(tools: dict[str, BaseTool], request: ToolRequest) -> str:
    """The tool's result as text of bounded length. An error is a result too: the model can react to it."""
    try:
        result = str(tools[request.name].invoke(request.arguments))
    except Exception as error:
        result = f"error: {' '.join(str(error).split())[:1000]}"
    cut = len(result) - MAX_RESULT_CHARACTERS
    return f"{result[:MAX_RESULT_CHARACTERS]}\n[cut: {cut} more characters]" if cut > 0 else result


@cache
def build_agent(name: str, *, kept: bool = False) -> AgentGraph:
    """The agent's graph; its nodes carry its name. `kept`: with the checkpoints of the graph that it runs in."""
    graph = StateGraph(AgentState, context_schema=AgentTask)
    step, model, tools, answer = (f"{name}_{node}" for node in ("step", "model", "tools", "answer"))

    def after_model(state: AgentState, runtime: _Runtime) -> str:
        if state["answer"] is not None:
            return answer
        if state["turns"] >= runtime.context.turns:
            return END
        return tools if state["calls"] else step

    def after_answer(state: AgentState, runtime: _Runtime) -> str:
        return END if state.get("accepted") or state["turns"] >= runtime.context.turns else step

    graph.add_node(step, _step)
    graph.add_node(model, _model)
    graph.add_node(tools, _tools)
    graph.add_node(answer, _answer)
    graph.add_edge(START, step)
    graph.add_edge(step, model)
    graph.add_conditional_edges(model, after_model, [tools, answer, step, END])
    graph.add_edge(tools, step)
    graph.add_conditional_edges(answer, after_answer, [step, END])
    return graph.compile(checkpointer=None if kept else False, name=name)


@dataclass
class _Stepping:
    """How the agents' tasks of one node are run."""

    graph: AgentGraph
    asks: bool = False
    """Whether a person is asked before each turn; off once they have answered that they need not be."""


_stepping: ContextVar[_Stepping | None] = ContextVar("stepping", default=None)


def with_agent(agent: AgentGraph, node: Callable[[Any], Any]) -> Any:
    """The node of a graph in which `agent` does the tasks; LangGraph finds the agent's graph in this function.

    A person is asked before each turn if the state's `step` or the configuration's says so.
    """

    def run(state: Any, config: RunnableConfig) -> Any:
        asks = bool(state.get("step") or config.get("configurable", {}).get("step"))
        stepping = _Stepping(agent, asks)
        token = _stepping.set(stepping)
        try:
            with also_inside(get_stream_writer()):
                update = node(state)
        finally:
            _stepping.reset(token)
        ended = state.get("step") and not stepping.asks and "tree" in state
        return update | {"step": False} if ended else update

    return run


def run_agent_task(agent_task: AgentTask[Answer], messages: Sequence[BaseMessage]) -> Answer:
    """The agent's answer. Raises ModelError if there is none when the turns are used up."""
    stepping = _stepping.get() or _Stepping(build_agent(agent_task.chat.role))
    kept = stepping.graph.checkpointer is not False
    begin: AgentState = {
        "purpose": agent_task.purpose,
        "step": kept and stepping.asks,
        "messages": as_json(messages),
        "turns": 0,
        "tool_record": {},
    }
    durability: Literal["exit"] | None = None if kept else "exit"
    with warnings.catch_warnings():
        # Without durability="exit" the parent's "sync" would look for a checkpoint; with it LangGraph warns.
        warnings.filterwarnings("ignore", message=".*durability.*")
        end = stepping.graph.invoke(
            begin,
            {"recursion_limit": 4 * agent_task.turns + 6},
            context=agent_task,
            durability=durability,
        )
    stepping.asks = end["step"]
    agent_task.record.restore(end["tool_record"])
    if not end.get("accepted"):
        why = end.get("problem") or "it kept calling tools"
        raise ModelError(f"{agent_task.purpose}: no usable answer in {agent_task.turns} turns: {why}")
    return agent_task.answer.model_validate(end["answer"])
