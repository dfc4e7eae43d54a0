"""The agents' loop: bounded in turns, in calls a turn, in what a tool returns."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool, tool
from pydantic import BaseModel
from support.chat import Call, FakeChat
from trex.errors import IntegrityError, PlanError
from trex.graph.llm.agent_loop import (
    MAX_RESULT_CHARACTERS,
    MAX_TOOL_CALLS,
    AgentTask,
    run_agent_task,
)
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.llm.protocol import ModelError
from trex.graph.llm.retries import classify_error


class Sum(BaseModel):
    """A number."""

    value: int


def counting() -> tuple[BaseTool, list[int]]:
    called: list[int] = []

    @tool
    def count(number: int) -> str:
        """Count."""
        called.append(number)
        if number < 0:
            raise ValueError("no negative\nnumbers")
        return "x" * number

    return count, called


def test_of_many_calls_in_a_turn_only_the_first_are_carried_out() -> None:
    count, called = counting()
    chat = FakeChat([[Call("count", {"number": n}) for n in range(3 * MAX_TOOL_CALLS)], Sum(value=1)])
    answer = run_agent_task(AgentTask(chat, Sum, "add", [count]), [HumanMessage("add")])
    assert answer == Sum(value=1)
    assert called == list(range(MAX_TOOL_CALLS))
    results = [str(message.content) for message in chat.asked[1].messages[-3 * MAX_TOOL_CALLS :]]
    assert results[MAX_TOOL_CALLS - 1] == "x" * (MAX_TOOL_CALLS - 1)
    assert all("only the first" in result for result in results[MAX_TOOL_CALLS:])


def test_a_long_result_is_cut_and_a_failure_is_a_result() -> None:
    count, _ = counting()
    calls = [Call("count", {"number": 2 * MAX_RESULT_CHARACTERS}), Call("count", {"number": -1})]
    chat = FakeChat([calls, Sum(value=2)])
    run_agent_task(AgentTask(chat, Sum, "add", [count]), [HumanMessage("add")])
    long, failed = (str(message.content) for message in chat.asked[1].messages[-2:])
    assert len(long) < MAX_RESULT_CHARACTERS + 100 and f"cut: {MAX_RESULT_CHARACTERS} more" in long
    assert failed == "error: no negative numbers"


def test_a_loop_of_tools_ends_and_the_last_turn_has_none() -> None:
    count, called = counting()
    chat = FakeChat(lambda asked: Call("count", {"number": 1}) if asked.tools else Sum(value=len(called)))
    answer = run_agent_task(AgentTask(chat, Sum, "add", [count], turns=4), [HumanMessage("add")])
    assert answer == Sum(value=3) and len(chat.asked) == 4


def test_an_answer_that_fails_its_check_is_corrected_or_refused() -> None:
    def even(answer: Sum) -> str | None:
        return None if answer.value % 2 == 0 else f"{answer.value} is odd"

    chat = FakeChat([Sum(value=1), Sum(value=2)])
    assert run_agent_task(AgentTask(chat, Sum, "add", check=even), [HumanMessage("add")]) == Sum(value=2)
    assert "1 is odd" in chat.asked[1].last
    with pytest.raises(ModelError, match=r"add: no usable answer in 2 turns: 3 is odd"):
        run_agent_task(
            AgentTask(FakeChat([Sum(value=1), Sum(value=3)]), Sum, "add", check=even, turns=2),
            [HumanMessage("add")],
        )


@pytest.mark.parametrize(
    "fault", [PlanError("no rows"), IntegrityError("a source changed"), ValueError("no\nnumber")]
)
def test_a_check_that_fails_is_a_problem_for_the_model(fault: Exception) -> None:
    def check(answer: Sum) -> str | None:
        if answer.value == 1:
            raise fault
        return None

    chat = FakeChat([Sum(value=1), Sum(value=2)])
    if isinstance(fault, IntegrityError):  # it ends the run
        with pytest.raises(IntegrityError):
            run_agent_task(AgentTask(chat, Sum, "add", check=check), [HumanMessage("add")])
        return
    assert run_agent_task(AgentTask(chat, Sum, "add", check=check), [HumanMessage("add")]) == Sum(value=2)
    assert f"cannot be checked: {' '.join(str(fault).split())}" in str(chat.asked[1].messages[-1].content)


def test_a_client_that_cannot_ask_in_a_form_is_not_paid_and_not_tried_again() -> None:
    fault = classify_error(NotImplementedError("bind_tools"), str)
    assert fault.format_refused and not fault.billed and not fault.retryable and not fault.context_exceeded


def test_research_may_be_kept_inside() -> None:
    assert ModelSettings(researcher="openai:x").outside
