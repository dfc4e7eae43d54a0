"""An agent's loop as a LangGraph graph: think, use tools, think again, answer. The number of turns is bounded."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal

from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict  # a server asks for schemas, which Python 3.11's own cannot give

from .protocol import Answer, Chat, ModelError, ModelTurn, ToolRequest

# Checks an answer that fits its schema: one sentence about what is wrong with it, None if it is accepted.
Check = Callable[[Any], str | None]

MAX_RESULT_CHARACTERS = 12_000
"""Longest tool result that is passed on to the model."""

MAX_TOOL_CALLS = 8
"""Tool calls of one turn that are run."""

_NOT_RUN = f"error: only the first {MAX_TOOL_CALLS} calls of a turn are run: call again what you still need"


class AgentState(TypedDict, total=False):
    """The state of the loop."""

    messages: Annotated[list[BaseMessage], operator.add]
    turn: ModelTurn[Any]
    turns: int


@dataclass(frozen=True)
class AgentTask(Generic[Answer]):
    """One task of an agent: the model, the tools, the type of the answer, its check, and the number of turns."""

    chat: Chat
    answer: type[Answer]
    purpose: str
    tools: Sequence[BaseTool] = ()
    check: Check = field(default=lambda answer: None)
    turns: int = 8

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Any object: a LangGraph server asks for a schema of the context, and no form fills it in."""
        return core_schema.any_schema()


def _think(state: AgentState, runtime: Runtime[AgentTask[Any]]) -> AgentState:
    agent_task = runtime.context
    last = state.get("turns", 0) + 1 >= agent_task.turns
    tools = () if last else agent_task.tools  # the last turn must answer
    turn = agent_task.chat.turn(state["messages"], agent_task.answer, tools, purpose=agent_task.purpose)
    if turn.answer is not None and (problem := agent_task.check(turn.answer)):
        turn = ModelTurn(turn.message, problem=problem)
    added: list[BaseMessage] = [turn.message]
    if turn.problem:
        added.append(agent_task.chat.correction(turn))
    return {"messages": added, "turn": turn, "turns": state.get("turns", 0) + 1}


def _use_tools(state: AgentState, runtime: Runtime[AgentTask[Any]]) -> AgentState:
    agent_task, requests = runtime.context, state["turn"].tools
    by_name = {tool.name: tool for tool in agent_task.tools}
    results = [run_tool(by_name, request) for request in requests[:MAX_TOOL_CALLS]]
    results += [_NOT_RUN] * (len(requests) - len(results))
    pairs = zip(requests, results, strict=True)
    return {"messages": [agent_task.chat.tool_result(request, result) for request, result in pairs]}


def run_tool(tools: dict[str, BaseTool], request: ToolRequest) -> str:
    """The tool's result as text of bounded length. An error is a result too: the model can react to it."""
    try:
        result = str(tools[request.name].invoke(request.arguments))
    except Exception as error:
        result = f"error: {' '.join(str(error).split())[:1000]}"
    cut = len(result) - MAX_RESULT_CHARACTERS
    return f"{result[:MAX_RESULT_CHARACTERS]}\n[cut: {cut} more characters]" if cut > 0 else result


def _next(state: AgentState, runtime: Runtime[AgentTask[Any]]) -> Literal["use_tools", "think", "__end__"]:
    turn = state["turn"]
    if turn.answer is not None or state["turns"] >= runtime.context.turns:
        return "__end__"
    return "use_tools" if turn.tools else "think"


def build_agent(name: str) -> CompiledStateGraph[AgentState, AgentTask[Any], AgentState, AgentState]:
    """The compiled loop. `name` is shown in LangGraph Studio."""
    graph = StateGraph(AgentState, context_schema=AgentTask)
    graph.add_node("think", _think)
    graph.add_node("use_tools", _use_tools)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", _next, ["use_tools", "think", END])
    graph.add_edge("use_tools", "think")
    # No checkpoint: calls are recorded, so that repeating them costs nothing.
    return graph.compile(checkpointer=False, name=name)


def run_agent_task(
    agent: CompiledStateGraph[AgentState, AgentTask[Any], AgentState, AgentState],
    agent_task: AgentTask[Answer],
    messages: Sequence[BaseMessage],
) -> Answer:
    """The agent's answer. Raises ModelError if there is none when the turns are used up."""
    with warnings.catch_warnings():
        # Without durability="exit" the parent's "sync" would look for a checkpoint; with it LangGraph warns.
        warnings.filterwarnings("ignore", message=".*durability.*")
        end = agent.invoke(
            {"messages": list(messages)},
            {"recursion_limit": 3 * agent_task.turns + 5},
            context=agent_task,
            durability="exit",
        )
    answer: Answer | None = end["turn"].answer
    if answer is None:
        why = end["turn"].problem or "it kept calling tools"
        raise ModelError(f"{agent_task.purpose}: no usable answer in {agent_task.turns} turns: {why}")
    return answer
