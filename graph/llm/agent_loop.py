"""An agent's loop as a graph: think, use tools, think again, until it answers; bounded in turns."""

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

from .protocol import Answer, Chat, ModelError, ToolRequest, Turn

# Looks at an answer that validates; says in one sentence what is still wrong with it, None if it will do.
Check = Callable[[Any], str | None]

LONGEST_RESULT = 12_000
"""Characters of one tool result that go on to the model."""


MOST_CALLS = 8
"""Tool calls of one turn that are carried out."""

_LEFT_OUT = (
    f"error: only the first {MOST_CALLS} calls of a turn are carried out: ask again for what you still need"
)


class Conversation(TypedDict, total=False):
    """The state of the loop."""

    messages: Annotated[list[BaseMessage], operator.add]
    turn: Turn[Any]
    turns: int


@dataclass(frozen=True)
class AgentTask(Generic[Answer]):
    """What an agent is sent to do: with which model and tools, for which answer, in how many turns."""

    chat: Chat
    answer: type[Answer]
    purpose: str
    tools: Sequence[BaseTool] = ()
    check: Check = field(default=lambda answer: None)
    turns: int = 8

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Any object: nodes give errands, no form does; but a server wants a schema of what it shows."""
        return core_schema.any_schema()


def _think(state: Conversation, runtime: Runtime[AgentTask[Any]]) -> Conversation:
    agent_task = runtime.context
    last = state.get("turns", 0) + 1 >= agent_task.turns
    tools = () if last else agent_task.tools  # the last turn must answer
    turn = agent_task.chat.turn(state["messages"], agent_task.answer, tools, purpose=agent_task.purpose)
    if turn.answer is not None and (problem := agent_task.check(turn.answer)):
        turn = Turn(turn.message, problem=problem)
    added: list[BaseMessage] = [turn.message]
    if turn.problem:
        added.append(agent_task.chat.correction(turn))
    return {"messages": added, "turn": turn, "turns": state.get("turns", 0) + 1}


def _use_tools(state: Conversation, runtime: Runtime[AgentTask[Any]]) -> Conversation:
    agent_task = runtime.context
    by_name = {tool.name: tool for tool in agent_task.tools}
    return {
        "messages": [
            agent_task.chat.tool_result(request, use(by_name, request) if place < MOST_CALLS else _LEFT_OUT)
            for place, request in enumerate(state["turn"].tools)
        ]
    }


def use(tools: dict[str, BaseTool], request: ToolRequest) -> str:
    """What a tool returns, as bounded text; its failure is a result too, from which the model can learn."""
    try:
        result = str(tools[request.name].invoke(request.arguments))
    except Exception as error:
        result = f"error: {' '.join(str(error).split())[:1000]}"
    if len(result) > LONGEST_RESULT:
        result = f"{result[:LONGEST_RESULT]}\n[cut: {len(result) - LONGEST_RESULT} more characters]"
    return result


def _next(state: Conversation, runtime: Runtime[AgentTask[Any]]) -> Literal["use_tools", "think", "__end__"]:
    turn = state["turn"]
    if turn.answer is not None or state["turns"] >= runtime.context.turns:
        return "__end__"
    return "use_tools" if turn.tools else "think"


def build_agent(name: str) -> CompiledStateGraph[Conversation, AgentTask[Any], Conversation, Conversation]:
    """The loop, compiled under a name that LangGraph Studio shows."""
    graph = StateGraph(Conversation, context_schema=AgentTask)
    graph.add_node("think", _think)
    graph.add_node("use_tools", _use_tools)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", _next, ["use_tools", "think", END])
    graph.add_edge("use_tools", "think")
    # Kept out of the checkpoint on purpose: calls are recorded, so that a repetition costs nothing.
    return graph.compile(checkpointer=False, name=name)


def run_agent_task(
    agent: CompiledStateGraph[Conversation, AgentTask[Any], Conversation, Conversation],
    agent_task: AgentTask[Answer],
    messages: Sequence[BaseMessage],
) -> Answer:
    """The agent's answer. Raises ModelError if it has none when its turns are used up."""
    with warnings.catch_warnings():
        # Without it a parent's 'sync' would look for a checkpoint here; with it LangGraph warns that there is none.
        warnings.filterwarnings("ignore", message=".*durability.*")
        end = agent.invoke(
            {"messages": list(messages)},
            {"recursion_limit": 3 * agent_task.turns + 5},
            context=agent_task,
            durability="exit",
        )
    answer: Answer | None = end["turn"].answer
    if answer is None:
        why = end["turn"].problem or "it went on asking for tools"
        raise ModelError(f"{agent_task.purpose}: no usable answer in {agent_task.turns} turns: {why}")
    return answer
