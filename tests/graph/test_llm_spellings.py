"""Tool calls and answers in the spellings of many model families are read as what they mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from trex.graph.llm.call_spellings import MAX_DEPTH, canonical, too_deep
from trex.graph.llm.output_request import OutputRequest
from trex.graph.llm.parsing import parse_text, parse_tool_calls


class Choice(BaseModel):
    """What to do."""

    number: int = Field(ge=1)
    reasons: list[str] = []


@tool
def look(row: int, where: str = "train", columns: list[str] | None = None) -> str:
    """Look at a row."""
    return str(row)


REQUEST = OutputRequest(Choice, [look])
ARGUMENTS = '{"row": 3, "where": "7"}'


def read(text: str, **extras: Any) -> Any:
    return parse_text(AIMessage(text, additional_kwargs=extras), REQUEST)


CALLS = [
    f'{{"name": "look", "arguments": {ARGUMENTS}}}',
    f'{{"name": "look", "parameters": {ARGUMENTS}}}',
    f'{{"tool": "look", "args": {ARGUMENTS}}}',
    f'{{"tool_name": "look", "tool_input": {ARGUMENTS}}}',
    f'{{"action": "look", "action_input": {ARGUMENTS}}}',
    f'{{"recipient_name": "functions.look", "parameters": {ARGUMENTS}}}',
    f'{{"type": "tool_use", "id": "t1", "name": "look", "input": {ARGUMENTS}}}',
    f'{{"type": "function", "function": {{"name": "look", "arguments": {ARGUMENTS}}}}}',
    f'{{"function": "look", "arguments": {ARGUMENTS}}}',
    f'{{"function_call": {{"name": "look", "arguments": {json.dumps(ARGUMENTS)}}}}}',
    f'{{"tool_calls": [{{"name": "look", "arguments": {json.dumps(json.dumps(ARGUMENTS))}}}]}}',
    f'{{"tool_uses": [{{"recipient_name": "functions.look", "parameters": {ARGUMENTS}}}]}}',
    f'{{"look": {ARGUMENTS}}}',
    '{"tool": "look", "row": 3, "where": "7"}',
    f'I will look.\n[{{"name": "look", "parameters": {ARGUMENTS}}}]',
    f'<tool_call>\n{{"name": "look", "arguments": {ARGUMENTS}}}\n</tool_call>',
    f'<|tool_call|>[{{"name": "look", "arguments": {ARGUMENTS}}}]<|/tool_call|>',
    f"<function=look>{ARGUMENTS}</function>",
    "<tool_call>\n<function=look>\n<parameter=row>\n3\n</parameter>\n<parameter=where>\n7\n</parameter>\n</function>",
    '<invoke name="look"><parameter name="row">3</parameter><parameter name="where">7</parameter></invoke>',
    '<｜DSML｜invoke name="look"><｜DSML｜parameter name="row" string="false">3</｜DSML｜parameter>'
    '<｜DSML｜parameter name="where" string="true">7</｜DSML｜parameter></｜DSML｜invoke>',
    "<tool_call>look\n<arg_key>row</arg_key>\n<arg_value>3</arg_value>\n"
    "<arg_key>where</arg_key>\n<arg_value>7</arg_value>\n</tool_call>",
    "<look><row>3</row><where>7</where></look>",
    f'[TOOL_CALLS][{{"name": "look", "arguments": {ARGUMENTS}}}]',
    f"[TOOL_CALLS]look[ARGS]{ARGUMENTS}",
    f"[TOOL_CALLS]look{ARGUMENTS}",
    f'<|python_tag|>{{"name": "look", "parameters": {ARGUMENTS}}}',
    '<|python_tag|>look.call(row=3, where="7")',
    '[look(row=3, where="7")]',
    '```tool_code\nprint(default_api.look(row=3, where="7"))\n```',
    "```python\nlook(3, '7')\n```",
    f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>look\n```json\n{ARGUMENTS}\n```<｜tool▁call▁end｜>",
    f"<｜tool▁call▁begin｜>look<｜tool▁sep｜>{ARGUMENTS}<｜tool▁call▁end｜>",
    f"<|tool_call_begin|>functions.look:0<|tool_call_argument_begin|>{ARGUMENTS}<|tool_call_end|>",
    "<|channel|>analysis<|message|>I should look.<|end|><|start|>assistant<|channel|>commentary to=functions.look "
    f"<|constrain|>json<|message|>{ARGUMENTS}<|call|>",
    f"Thought: I need a row.\nAction: look\nAction Input: {ARGUMENTS}",
    f'Action: ```json\n[{{"tool_name": "look", "parameters": {ARGUMENTS}}}]\n```',
    f'<think>perhaps {{"answer": {{"number": 9}}}}</think>```json\n{{"name": "look", "arguments": {ARGUMENTS}}}\n```',
    f"look({ARGUMENTS})",
    f'functools[{{"name": "look", "arguments": {ARGUMENTS}}}]',
    f">>>look\n{ARGUMENTS}",
    f"✿FUNCTION✿: look\n✿ARGS✿: {ARGUMENTS}",
    f"tool: look\nargs: {ARGUMENTS}",
    f"<tool_use><name>look</name><arguments>{ARGUMENTS}</arguments></tool_use>",
    "<tool_use><tool_name>look</tool_name><parameters><row>3</row><where>7</where></parameters></tool_use>",
    '<function name="look"><param name="row">3</param><param name="where">7</param></function>',
    '<tool name="look"><arg name="row">3</arg><arg name="where">7</arg></tool>',
    f"<|channel|>commentary to=look code<|message|>{ARGUMENTS}",
    f'{{"name": "look", "arguments": {ARGUMENTS}',
]


@pytest.mark.parametrize("text", CALLS)
def test_a_call_as_text(text: str) -> None:
    turn = read(text)
    assert [(call.name, call.arguments) for call in turn.tools] == [("look", {"row": 3, "where": "7"})], turn


@pytest.mark.parametrize("text", CALLS)
def test_the_answer_in_the_same_spelling(text: str) -> None:
    given = text.replace("look", "answer").replace("row", "number").replace("where", "note")
    given = given.replace("'7'", "[]").replace('number="3"', "number=3")
    if "answer(3" in given:
        given = given.replace("(3,", "(3, reasons=").replace("reasons= []", "reasons=[]")
    turn = read(given)
    assert turn.answer == Choice(number=3), turn


def test_several_calls_and_the_last_answer() -> None:
    both = "".join(f'<tool_call>{{"name": "look", "arguments": {{"row": {n}}}}}</tool_call>' for n in (1, 2))
    assert [call.arguments["row"] for call in read(both).tools] == [1, 2]
    assert len({call.id for call in read(both).tools}) == 2
    assert read(f'{both} Then: {{"answer": {{"number": 4}}}}').answer == Choice(number=4)
    assert [c.arguments["row"] for c in read(f'{{"answer": {{"number": 4}}}} No. {both}').tools] == [1, 2]


DRAFT, FINAL = '{"answer": {"number": 1}}', '{"answer": {"number": 2}}'


@pytest.mark.parametrize(
    "text",
    [
        *(f"<{tag}>{DRAFT}</{tag}>\n{FINAL}" for tag in ("think", "thinking", "thought", "seed:think")),
        *(f"<{tag}>{DRAFT}</{tag}>\n{FINAL}" for tag in ("reasoning", "scratchpad", "Reflection")),
        f"[THINK]{DRAFT}[/THINK]{FINAL}",
        f"<|begin_of_thought|>{DRAFT}<|end_of_thought|><|begin_of_solution|>{FINAL}<|end_of_solution|>",
        f"<|START_THINKING|>{DRAFT}<|END_THINKING|><|START_RESPONSE|>{FINAL}<|END_RESPONSE|>",
        f"◁think▷{DRAFT}◁/think▷{FINAL}",
        f"{DRAFT} hm[/THINK]{FINAL}",
        f"{DRAFT}</think>{FINAL}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{FINAL}",
        f"<|channel|>analysis<|message|>{DRAFT}<|channel|>final<|message|>{FINAL}<|return|>",
        f"Draft: {DRAFT}. Too weak, therefore:\n{FINAL}",
        f"```json\n{DRAFT}\n```\nBetter:\n```json\n{FINAL}\n```",
        f'First {DRAFT}, better {{"number": 2}}',
        f'{FINAL}\nThe row was {{"x": 1}}.',
        f'<think>{DRAFT}</think>{{"final_answer": {{"number": 2}}}}',
        f"<think>{DRAFT} no: {FINAL}",
        f"<think>{FINAL}</think>",
    ],
)
def test_the_last_complete_answer_counts(text: str) -> None:
    assert read(text).answer == Choice(number=2)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_an_answer_among_the_thoughts_alone(name: str) -> None:
    assert read("", **{name: f"I think {DRAFT}, no, {FINAL}"}).answer == Choice(number=2)
    assert read(FINAL, **{name: DRAFT}).answer == Choice(number=2)
    assert "no JSON object" in read("I cannot.", **{name: DRAFT}).problem


def test_a_wrong_final_answer_is_not_replaced_by_its_draft() -> None:
    assert "greater than or equal to 1" in read(f'{DRAFT} so {{"answer": {{"number": 0}}}}').problem
    assert "there is no tool 'rm'" in read(f'{DRAFT} so {{"tool": "rm", "arguments": {{}}}}').problem


@pytest.mark.parametrize(
    "name", ["look", "functions.look", "default_api.look", "look:0", "functions.look:12", "Look", "mcp__look"]
)
@pytest.mark.parametrize("args", [{"row": 3}, {"arguments": {"row": 3}}, {"input": '{"row": 3}'}])
def test_names_and_arguments_of_native_calls(name: str, args: dict[str, Any]) -> None:
    message = AIMessage("", tool_calls=[{"name": name, "args": args, "id": "a", "type": "tool_call"}])
    assert [(c.name, c.arguments) for c in parse_tool_calls(message, REQUEST).tools] == [("look", {"row": 3})]


@pytest.mark.parametrize(
    "args", [{"answer": {"number": 3}}, {"arguments": '{"number": 3}'}, {"number": 3, "reasons": '["a"]'}]
)
def test_a_wrapped_native_answer(args: dict[str, Any]) -> None:
    call = {"name": "functions.answer", "args": args, "id": "a", "type": "tool_call"}
    turn = parse_tool_calls(AIMessage("", tool_calls=[call]), REQUEST)
    assert turn.answer is not None and turn.answer.number == 3


def test_an_unknown_name_stays() -> None:
    assert canonical("functions.rm", ["look"]) == "functions.rm"


def test_depth_is_bounded() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert not too_deep(deep) and too_deep([[deep]])
    nested = '{"answer": {"number": 1, "reasons": [' + '{"steps":[' * 300 + "]}" * 300 + "]}}"
    assert "no JSON object" in read(nested).problem
