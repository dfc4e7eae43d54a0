"""What a model wrote is read as it was meant, and nothing that it wrote breaks the reading."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from support.llm_model import answer_schema, example, tools_of
from trex.evaluation.base_models import EMBEDDED_MODEL, resolve_model
from trex.graph.executor.agent.executor_schemas import PreparationAnswer, training_change
from trex.graph.llm.context_window import ContextWindow, json_bytes, max_request_tokens
from trex.graph.llm.output_modes import EMPTY, MODES, NOT_RUN, first_mode, next_mode
from trex.graph.llm.output_request import OutputRequest
from trex.graph.llm.parsing import MAX_REPAIR_CHARACTERS, parse_text, parse_tool_calls
from trex.graph.llm.protocol import ModelError
from trex.graph.llm.responses import normalise, reported_usage
from trex.graph.researcher.agent.researcher_schemas import AnalysisAnswer, ResearchAnswer


class Part(BaseModel):
    title: str


class Choice(BaseModel):
    """What to do."""

    number: int = Field(ge=1, description="One or more")
    parts: list[Part] = []


class Said(BaseModel):
    """Has a field that is called like the answer itself."""

    answer: str


@tool
def look(row: int, deep: bool = False) -> str:
    """Look at a row."""
    return str(row)


REQUEST = OutputRequest(Choice, [look])


def read(text: str, request: OutputRequest[Any] = REQUEST) -> Any:
    return parse_text(AIMessage(text), request)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('{"answer": {"number": 3}}', 3),
        ('{"step": {"answer": {"number": 3}}}', 3),
        ('Here it is:\n```json\n{"answer": {"number": 3}}\n```\nGood luck!', 3),
        ('I thought of {braces} and {"x": 1} first. {"answer": {"number": 3}}', 3),
        ('<think>{"answer": {"number": 9}}</think>{"answer": {"number": 3}}', 3),
        ('{"answer": {"number": 9}} no, wait</think>{"answer": {"number": 3}}', 3),
        ("{'answer': {'number': 3,},}", 3),
        ('{"answer": {"number": 3', 3),
        ('{"answer": "{\\"number\\": 3}"}', 3),
        ('{"number": 3}', 3),
        ('{"tool": "answer", "arguments": {"number": 3}}', 3),
        ('{"tool": null, "answer": {"number": 3}}', 3),
        ('{"answer": {"number": "3"}}', 3),
    ],
)
def test_an_answer_in_words(text: str, number: int) -> None:
    turn = read(text)
    assert (turn.problem, turn.tools) == (None, ())
    assert turn.answer == Choice(number=number)


@pytest.mark.parametrize(
    "text",
    [
        '{"tool": "look", "arguments": {"row": 2}}',
        '{"step": {"tool": "look", "arguments": {"row": 2}}}',
        '{"tool": "look", "arguments": {"row": 2}',
        '{"name": "look", "arguments": "{\\"row\\": 2}"}',
        'Let me look. {"tool": "look", "arguments": {"row": 2}, "answer": null}',
    ],
)
def test_a_call_in_words(text: str) -> None:
    (call,) = read(text).tools
    assert (call.name, call.arguments) == ("look", {"row": 2})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "you wrote nothing"),
        ("<think>hm</think>", "you wrote nothing"),
        ("I cannot.", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        ('{"answer": {"number": 0}}', "number: Input should be greater than or equal to 1"),
        ('{"answer": {}}', "number: Field required"),
        ('{"tool": "rm", "arguments": {}}', "no tool 'rm'; tools: look"),
        ('{"tool": "look", "arguments": [2]}', "arguments of look are not a JSON object"),
        ("{" * 50_000, "no JSON object"),
        ('{"answer": ' + '{"a": ' * 5000 + "1" + "}" * 5001, "no JSON object"),
    ],
)
def test_what_is_wrong_is_said(text: str, problem: str) -> None:
    turn = read(text)
    assert turn.answer is None and turn.tools == ()
    assert problem in turn.problem


def test_nothing_is_lost_where_an_answer_is_mended() -> None:
    text = '{"answer": {"number": 1, "parts": [{"title": "a"}, {"title": "b"'
    assert [part.title for part in read(text).answer.parts] == ["a", "b"]


def test_a_field_that_is_called_answer() -> None:
    request = OutputRequest(Said)
    assert read('{"answer": {"answer": "yes"}}', request).answer.answer == "yes"
    assert read('{"answer": "yes"}', request).answer.answer == "yes"


def test_no_tool_can_be_called_at_the_end() -> None:
    turn = read('{"tool": "look", "arguments": {}}', OutputRequest(Choice))
    assert "give the answer now" in turn.problem


@given(st.text(max_size=400) | st.text(alphabet='{}[]":,answertol1 \n`', max_size=400))
def test_whatever_it_writes(text: str) -> None:
    turn = read(text)
    assert (turn.answer is not None) + bool(turn.tools) + (turn.problem is not None) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["step", "tool", "answer", "arguments", "name", "number"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_object_it_writes(value: Any) -> None:
    turn = read(json.dumps(value))
    assert (turn.answer is not None) + bool(turn.tools) + (turn.problem is not None) == 1


def test_calls_of_tools() -> None:
    def turn_of(*calls: tuple[str, dict[str, Any]], text: str = "") -> Any:
        made = [
            {"name": name, "args": args, "id": str(place), "type": "tool_call"}
            for place, (name, args) in enumerate(calls)
        ]
        return parse_tool_calls(AIMessage(text, tool_calls=made), REQUEST)

    assert [call.id for call in turn_of(("look", {"row": 1}), ("look", {"row": 2})).tools] == ["0", "1"]
    assert turn_of(("answer", {"number": 2})).answer == Choice(number=2)
    assert turn_of(("look", {"row": 1}), ("answer", {"number": 2})).answer == Choice(number=2)
    assert "there is no tool 'rm'" in turn_of(("look", {"row": 1}), ("rm", {})).problem
    assert "number: Field required" in turn_of(("answer", {})).problem
    assert turn_of(text='{"answer": {"number": 4}}').answer == Choice(number=4)
    assert "call one of look, answer" in turn_of(text="Hello").problem
    assert "wrote nothing" in turn_of().problem


Mode = Literal["tools", "tools_unforced", "json_schema", "text"]
CONVERSATION: list[BaseMessage] = [
    SystemMessage("You are tested."),
    HumanMessage("Go."),
    AIMessage(
        "I look.",
        tool_calls=[
            {"name": "look", "args": {"row": 1}, "id": "a"},
            {"name": "look", "args": {"row": 2}, "id": "b"},
        ],
    ),
    ToolMessage("blue", tool_call_id="a", name="look"),
    HumanMessage("That will not do."),
    AIMessage(""),
    HumanMessage("Once more."),
]


def test_a_conversation_as_calls() -> None:
    sent = MODES["tools"].prepare(CONVERSATION, REQUEST)
    assert [message.type for message in sent.messages] == [
        "system",
        "human",
        "ai",
        "tool",
        "tool",
        "human",
        "ai",
        "human",
    ]
    results = {m.tool_call_id: m.content for m in sent.messages if isinstance(m, ToolMessage)}
    assert results == {"a": "blue", "b": NOT_RUN}
    assert sent.messages[6].content == EMPTY
    assert [form["function"]["name"] for form in sent.tools] == ["look", "answer"]
    assert sent.forced and not MODES["tools_unforced"].prepare(CONVERSATION, REQUEST).forced


@pytest.mark.parametrize("mode", ["json_schema", "text"])
def test_a_conversation_in_words(mode: Mode) -> None:
    sent = MODES[mode].prepare(CONVERSATION, REQUEST)
    # Two messages of a person in a row are one: some chat templates refuse them.
    assert [message.type for message in sent.messages] == ["system", "human", "ai", "human", "ai", "human"]
    assert '{"tool": "look", "arguments": {"row": 2}}' in sent.messages[2].text
    assert sent.messages[3].text == "Result of look:\nblue\n\nThat will not do."
    assert (sent.schema is not None) == (mode == "json_schema")
    assert "Look at a row." in sent.messages[0].text and "One or more" in sent.messages[0].text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "answer", [Choice, AnalysisAnswer, ResearchAnswer, PreparationAnswer, training_change("sft")]
)
def test_what_is_asked_for_can_be_answered(mode: Mode, answer: type[BaseModel]) -> None:
    """The simplest value that fits the schema that is sent is a valid answer, in every mode, for our own types."""
    form = MODES[mode].prepare([HumanMessage("Go.")], OutputRequest(answer, [look]))
    request: dict[str, Any] = {"messages": [{"content": form.messages[0].content}], "tools": form.tools}
    if form.schema:
        request["response_format"] = {"json_schema": {"schema": form.schema}}
    value = example(answer_schema(request))
    assert tools_of(request) == ["look"]
    assert "$ref" not in json.dumps(form.tools or form.schema or form.messages[0].content)
    given = {"step": {"answer": value}} if mode == "json_schema" else {"answer": value}
    turn = OutputRequest(answer, [look])
    said = AIMessage(json.dumps(given))
    called = AIMessage("", tool_calls=[{"name": "answer", "args": value, "id": "1"}])
    told = MODES[mode].parse(called if form.tools else said, turn)
    assert told.problem is None and isinstance(told.answer, answer)


def test_where_it_begins_and_where_it_goes() -> None:
    assert first_mode("auto", None) == first_mode("auto", {"tool_calling": True}) == "tools"
    assert first_mode("auto", {"tool_calling": False, "structured_output": True}) == "json_schema"
    assert first_mode("auto", {"tool_calling": False}) == "text"
    assert first_mode("json_schema", {"tool_calling": True}) == "json_schema"
    assert [next_mode(mode, "auto", False) for mode in MODES] == ["json_schema", "json_schema", "text", None]
    assert next_mode("tools", "tools", True) == "tools_unforced"
    assert next_mode("tools", "tools", False) is None


def test_what_comes_back_is_made_plain() -> None:
    message = AIMessage(
        "hm \ud800",
        tool_calls=[
            {"name": "look", "args": {"row": 1}, "id": "x"},
            {"name": "look", "args": {"row": 2}, "id": "x"},
            {"name": "look", "args": {}, "id": None},
        ],
        invalid_tool_calls=[
            {"name": "look", "args": "{'row': 3,}", "id": "y", "error": "", "type": "invalid_tool_call"},
            {"name": "look", "args": "{'row': 3", "id": "z", "error": "", "type": "invalid_tool_call"},
        ],
        additional_kwargs={"refusal": None, "signature": "s", "tool_calls": [1]},
    )
    plain = normalise(message, 100, "c00007")
    assert [(call["args"], call["id"]) for call in plain.tool_calls] == [
        ({"row": 1}, "x"),
        ({"row": 2}, "c00007_1"),
        ({}, "c00007_2"),
        ({"row": 3}, "y"),
    ]
    assert "arguments that are not JSON" in plain.text
    assert plain.text.encode("utf-8")
    assert plain.additional_kwargs == {"signature": "s"}


def test_a_nested_call_is_refused_in_one_line() -> None:
    args: Any = [1]
    for _ in range(300):
        args = {"steps": [args]}
    plain = normalise(AIMessage("", tool_calls=[{"name": "answer", "args": args, "id": "x"}]), 100_000, "c1")
    turn = MODES["tools"].parse(plain, REQUEST)
    assert plain.tool_calls == [] and "more than 64 levels" in plain.text
    assert turn.problem is not None and turn.answer is None


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ((10, 5, 15), (10, 5)),
        ((10, 5, 40), (10, 30)),  # thoughts are in the sum alone
        ((0, 0, 0), None),
        ((10, 0, 0), (10, 0)),
    ],
)
def test_what_the_server_counts(usage: tuple[int, int, int], tokens: tuple[int, int] | None) -> None:
    names = ("input_tokens", "output_tokens", "total_tokens")
    message = AIMessage("x", usage_metadata=dict(zip(names, usage, strict=True)))  # type: ignore[arg-type]
    assert reported_usage(message) == tokens
    assert reported_usage(AIMessage("x")) is None


@given(st.text(max_size=200))
def test_no_text_has_more_tokens_than_its_bound(text: str) -> None:
    bound = max_request_tokens({"messages": [{"role": "user", "content": text}]}, 1, 0)
    assert bound >= len(text.encode("utf-8", "replace")) + 16


@pytest.mark.real
def test_bound_against_a_real_tokenizer() -> None:
    """Against the embedded model's byte-level tokenizer with its chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(EMBEDDED_MODEL))
    for text in (
        "words and words " * 50,
        "0123456789" * 40,
        "深度学习" * 60,
        "🙂\ud7ff\u200b" * 50,
        "\n\t {}" * 99,
    ):
        messages = [{"role": "system", "content": text}, {"role": "user", "content": text}]
        tokens = len(
            tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
        )
        assert tokens <= max_request_tokens({"messages": messages}, 2, 0)


def test_the_window_learns() -> None:
    window = ContextWindow(2000, 1000)
    results: list[BaseMessage] = [ToolMessage("x" * 1500, tool_call_id=str(n)) for n in range(3)]

    def length(messages: Any) -> int:
        return json_bytes([message.content for message in messages])

    assert sum("removed" in m.text for m in window.fit(results, length)) == 2
    window.calibrate(1000, 180)  # 0.18 tokens a byte, not 0.4
    assert window.fit(results, length) == results
    window.calibrate(1000, 1000)
    with pytest.raises(ModelError, match="raise context_tokens"):
        window.fit([HumanMessage("x" * 9000)], length)
    window.shrink(
        1000, [9000, 4500]
    )  # 1150 estimated tokens were too many, by the server's count twice too many
    assert window.room == int(1000 * 0.45)
    (cut,) = window.fit([HumanMessage("a" * 400 + "x" * 600 + "b" * 400)], length)
    assert cut.text.startswith("aaa") and cut.text.endswith("bbb") and "removed" in cut.text
    assert all(message.text == "x" * 1500 for message in results)


def test_long_texts_are_not_mended_for_long() -> None:
    assert "no JSON" in read('{"answer": {"number": ' + "[" * (2 * MAX_REPAIR_CHARACTERS)).problem
