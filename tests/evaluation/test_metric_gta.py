"""GTA's tool use: official counts against the official code's own, and what the corrected form repairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.places import DATA
from trex.errors import InputError
from trex.evaluation.metrics import PooledMetric, measure, metric
from trex.evaluation.metrics.gta import SUBTASKS, ToolUseMetric
from trex.evaluation.metrics.gta.arguments import read_arguments, same_arguments
from trex.evaluation.metrics.gta.final_answers import SentenceCosine, hit, official_hit
from trex.evaluation.metrics.gta.gold_steps import read_tools
from trex.evaluation.metrics.gta.react import NOTHING, AgentStep, lagent_step, read_reply, read_step
from trex.evaluation.metrics.variants import word_f1
from trex.evaluation.statistics.intervals import score_measured

Row = dict[str, Any]

OFFICIAL = DATA / "gta_official.jsonl"
"""Our inputs, and what the code of open-compass/GTA at 37c2b60 (over lagent 0.2.2) made of
them; null: it broke down."""

FIRST, *CASES = (json.loads(line) for line in OFFICIAL.read_text(encoding="utf-8").strip().split("\n"))
REPLIES = [case for case in CASES if "reply" in case]
QUERIES = [case for case in CASES if "dialogs" in case]
STATED = FIRST["tools"]

ANSWER = {"whitelist": [["12", "twelve"]], "blacklist": [["13"]]}
TOOLS = [
    {"name": "OCR", "inputs": [{"name": "image", "type": "image"}]},
    {"name": "Calculator", "inputs": [{"name": "expression", "type": "text"}]},
    {
        "name": "GoogleSearch",
        "inputs": [{"name": "query", "type": "text"}, {"name": "k", "type": "int", "optional": True}],
    },
]


def call(name: str, arguments: Any, **more: Any) -> Row:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"type": "function", "function": function}], **more}


def say(text: str, **more: Any) -> Row:
    return {"role": "assistant", "content": text, **more}


READ, ADD, TELL = (
    call("OCR", {"image": "image/a.jpg"}),
    call("Calculator", {"expression": "5+7"}),
    say("It is 12."),
)


def query(*steps: Row, gold: Any = ANSWER, **more: Any) -> Row:
    return {
        "tools": TOOLS,
        "files": [],
        "dialogs": [{"role": "user", "content": "?"}, *steps],
        "gt_answer": gold,
        **more,
    }


QUERY = query(READ, ADD, TELL)


def score(name: str, items: Sequence[Row], said: Sequence[Any]) -> float:
    scorer = metric(name)
    return float(score_measured(scorer, measure(scorer, items, list(said))).value)


def figures(row: Row, said: Any, upstream: bool = True) -> list[float]:
    """InstAcc, ToolAcc, ArgAcc, SummAcc."""
    return [ToolUseMetric(name, upstream).score_items([row], [said])[0] for name in SUBTASKS]


def reply(tool: str, arguments: str) -> str:
    return f"Thought: now\nAction: {tool}\nAction Input: {arguments}"


# Against the official code


def test_the_table_is_of_use() -> None:
    assert len(REPLIES) + len(QUERIES) >= 200
    assert {type(case["step"]) for case in REPLIES} == {dict, type(None)}
    assert all(any(case["official"][name] for case in QUERIES if case["official"]) for name in SUBTASKS)


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: repr(case["reply"])[:40])
def test_replies_become_the_official_steps(case: Row) -> None:
    assert lagent_step(case["reply"], read_tools("here", STATED)) == case["step"]


OTHER = query(call("q", {}), say("g"), gold={"whitelist": [["zz"]], "blacklist": None})
MISSED = json.dumps([{"role": "tool", "content": ""}] * 2)


@pytest.mark.parametrize("case", QUERIES, ids=range(len(QUERIES)))
def test_queries_score_as_officially(case: Row) -> None:
    """Together with a query that is wrong throughout: the official code can't score one that lacks a kind of step."""
    row = query(*case["dialogs"], gold=case["gt_answer"])
    said = [json.dumps(case["prediction"]), MISSED]
    for name in SUBTASKS:
        scorer = ToolUseMetric(name, upstream=True)
        totals = scorer.counts([row, OTHER], said).sum(axis=0)
        if case["official"] is None:
            assert scorer.score_items([row], said[:1]) == [0.0]
        else:
            assert float(scorer.pooled(totals)) * 100 == pytest.approx(case["official"][name], abs=1e-6)
            assert (totals[7], totals[8]) == (case["official"]["calls"], case["official"]["errors"])


def test_a_step_row_counts_as_its_part_of_the_query() -> None:
    """Counts of the steps of a query add up to those of the query, in both forms."""
    replies = [reply("OCR", '{"image": "image/a.jpg"}'), reply("GoogleSearch", "5+7"), "Final Answer: twelve"]
    steps = [lagent_step(said, read_tools("", TOOLS)) for said in replies]
    for upstream in (True, False):
        scorer = ToolUseMetric(upstream=upstream)
        parts = scorer.counts([{**QUERY, "query": "0", "step": place} for place in range(3)], replies)
        whole = scorer.counts([QUERY], [json.dumps(steps)])
        assert parts.sum(axis=0).tolist() == whole[0].tolist()
        assert whole[0].tolist() == [2, 1, 1, 1, 3, 2, 1, 2, 1]


# Official rules, worked by hand


def test_official_figures_of_a_query() -> None:
    assert figures(QUERY, json.dumps([READ, ADD, TELL])) == [1, 1, 1, 1]
    said = json.dumps([READ, call("Calculator", {"expression": "7+5"}), say("Thirteen.")])
    assert figures(QUERY, said) == [1, 1, 0.5, 0]
    said = json.dumps([say("12"), call("OCR", {}, error={"type": "ARGS_ERROR"}), READ])
    assert figures(QUERY, said) == [0, 0, 0, 0]


def test_official_errors_cost_the_instruction_alone() -> None:
    said = json.dumps([call("OCR", {"image": "image/a.jpg"}, error={}), ADD, say("12", error=None)])
    assert figures(QUERY, said) == [pytest.approx(1 / 3), 1, 1, 1]
    assert figures(QUERY, said, upstream=False) == [1, 1, 1, 1], "an error without content is none"


def test_officially_no_gold_answer_means_more_hits_than_steps() -> None:
    row = query(READ, say("done"), gold=None)
    said = json.dumps([READ, say("done")])
    assert figures(row, said) == [2, 1, 1, 0]
    assert figures(row, said, upstream=False) == [1, 1, 1, 0]


def test_officially_steps_not_predicted_are_not_counted() -> None:
    assert figures(QUERY, json.dumps([READ])) == [0.5, 1, 1, 0]
    assert figures(QUERY, json.dumps([READ]), upstream=False) == [pytest.approx(1 / 3), 0.5, 0.5, 0]


def test_the_whole_is_the_share_of_right_steps() -> None:
    said = json.dumps([READ, say("no"), TELL])
    assert metric("gta/upstream").score_items([QUERY], [said]) == [pytest.approx(2 / 3)]
    assert metric("gta").score_items([QUERY], [said]) == [pytest.approx(2 / 3)]


def test_the_score_is_pooled() -> None:
    one = query(READ, TELL)
    five = query(READ, ADD, READ, ADD, TELL)
    said = [json.dumps([READ, TELL]), json.dumps([ADD, READ, ADD, ADD, say("13 or 12")])]
    assert isinstance(metric("gta:ToolAcc"), PooledMetric)
    for form in ("", "/upstream"):
        assert score(f"gta:ToolAcc{form}", [one, five], said) == pytest.approx(2 / 5)  # not (1 + 1/4) / 2
        assert score(f"gta:SummAcc{form}", [one, five], said) == pytest.approx(1 / 2)
        assert score(f"gta:InstAcc{form}", [one, five], said) == pytest.approx(1)
        assert score(f"gta{form}", [one, five], said) == pytest.approx(3 / 7)


@pytest.mark.parametrize(
    ("answer", "right"),
    [("TWELVE!", 1), ("12.5", 1), ("112", 0), ("12 or 13", 0), ("12 or 130", 1), ("", 0), ("十二12", 0)],
)
def test_official_answers(answer: str, right: int) -> None:
    assert official_hit(answer, ANSWER) == bool(right)
    assert figures(query(say("x")), json.dumps([say(answer)]))[3] == right


def test_every_group_needs_a_hit() -> None:
    gold = {"whitelist": [["red", "crimson"], ["two"]], "blacklist": None}
    assert [official_hit(text, gold) for text in ("two crimson", "two", "red")] == [True, False, False]
    assert [hit(text, gold) for text in ("two crimson", "two", "red")] == [True, False, False]


# Gold that is a list of texts

TEXTS = ["the cat sat", "a dog"]


def test_texts_are_compared_by_the_most_similar() -> None:
    likeness = {("x", "the cat sat"): 0.25, ("x", "a dog"): 0.75}
    row = query(READ, say("x"), gold=TEXTS)
    scorer = ToolUseMetric("SummAcc", True, lambda ours, gold: likeness[ours, gold])
    assert scorer.score_items([row], [json.dumps([READ, say("x")])]) == [0.75]
    assert scorer.score_items([row], [json.dumps([READ, READ])]) == [0.0]


def test_without_a_model_the_official_form_names_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    row = query(READ, say("x"), gold=TEXTS, id="q7")
    said = [json.dumps([READ, say("the cat sat")])]
    for name in ("SummAcc", None):
        with pytest.raises(InputError, match=r"row q7: .*sentence-transformers"):
            ToolUseMetric(name, upstream=True).score_items([row], said)
    assert ToolUseMetric("ToolAcc", upstream=True).score_items([row], said) == [1.0]
    assert "ToolAcc" not in ToolUseMetric("ToolAcc", upstream=True).secondary([row], said)
    corrected = ToolUseMetric().secondary([row], said)
    assert "StepAcc/upstream" not in corrected
    assert corrected["SummAcc"] == 1.0
    with pytest.raises(InputError, match="sentence-transformers"):
        SentenceCosine()("a", "b")


def test_shared_words() -> None:
    assert word_f1("The CAT sat.", "the cat sat") == 1
    assert word_f1("the cat", "the cat sat") == pytest.approx(0.8)
    assert word_f1("", "the") == 0
    row = query(READ, say("x"), gold=TEXTS)
    assert ToolUseMetric("SummAcc").score_items([row], [json.dumps([READ, say("the cat")])]) == [
        pytest.approx(0.8)
    ]


# What is corrected


@pytest.mark.parametrize("alias", ["50%", "C++", "-5", "(1)", "$3", "é", "12", "ß", "Oslo"])
def test_aliases_that_begin_or_end_in_a_symbol(alias: str) -> None:
    gold = {"whitelist": [[alias]], "blacklist": None}
    assert official_hit(alias, gold) == (alias in {"é", "12", "ß", "Oslo"})
    assert hit(alias, gold)
    assert hit(f"It is {alias}, I think", gold)
    assert not hit(f"x{alias}", gold)
    assert not hit(f"{alias}x", gold)


def test_a_number_is_no_negative_one() -> None:
    assert not hit("3-5", {"whitelist": [["-5"]], "blacklist": None})
    assert hit("５０％", {"whitelist": [["50%"]], "blacklist": []})
    assert not hit("anything", {"whitelist": [[""]], "blacklist": None})


@given(
    st.text("ab 1é-%.", max_size=8), st.lists(st.text("ab1é", min_size=1, max_size=2), min_size=1, max_size=3)
)
def test_aliases_of_word_characters_hit_as_officially(answer: str, aliases: list[str]) -> None:
    gold = {"whitelist": [aliases], "blacklist": None}
    assert hit(answer, gold) == official_hit(answer, gold)


@pytest.mark.parametrize(
    ("ours", "gold", "same"),
    [
        ({"a": "3", "b": 1}, {"b": 1.0, "a": 3}, True),
        ({"a": "3"}, {"a": 4}, False),
        ({"a": " 3 + 4 "}, {"a": "3+4"}, True),
        ({"a": "1 2"}, {"a": "12"}, False),
        ({"a": "New York"}, {"a": "NewYork"}, False),
        ({"a": "Oslo"}, {"a": "oslo"}, False),
        ({"a": "(1, 2)"}, {"a": "(1,2)"}, True),
        ({"a": [1, "2"]}, {"a": [1.0, 2]}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": "true"}, {"a": True}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": "/data/gta/image/x.jpg"}, {"a": "image/x.jpg"}, True),
        ({"a": "other_image/x.jpg"}, {"a": "image/x.jpg"}, False),
        ({"a": "x.jpg"}, {"a": "image/x.jpg"}, False),
        ({"a": 1, "k": None}, {"a": 1}, True),
        ({"a": 1, "k": 2}, {"a": 1}, False),
        ({}, {}, True),
    ],
)
def test_same_arguments(ours: Row, gold: Row, same: bool) -> None:
    assert same_arguments(ours, gold) == same
    assert same_arguments(gold, ours) == same


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ('{"a": "x\ny"} and so on', {"a": "x\ny"}),
        ('{"a": [1, 2,],}', {"a": [1, 2]}),
        ("  ", {}),
        ("3+4", None),
        ('{"a": 1', None),
        ("{__import__('os')}", None),
        ("{1, 2}", None),
    ],
)
def test_read_arguments(text: str, found: Row | None) -> None:
    assert read_arguments(text) == found


KNOWN = read_tools("", TOOLS)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        (reply("OCR", '{"image": "a"}'), AgentStep("OCR", {"image": "a"})),
        ('**Action**: `ocr`\n**Action Input:** {"image": "a"}', AgentStep("OCR", {"image": "a"})),
        ('Action: OCR Action Input: {"image": "a"}', AgentStep("OCR", {"image": "a"})),
        (
            "Action：Calculator\nAction Input：{'expression': '1'}",
            AgentStep("Calculator", {"expression": "1"}),
        ),
        (
            reply("OCR", '{"image": "a"}') + "\nResponse: 12\nThought: done\nFinal Answer: 12",
            AgentStep("OCR", {"image": "a"}),
        ),
        (
            f"<think>Final Answer: 5</think>{reply('OCR', json.dumps({'image': 'a'}))}",
            AgentStep("OCR", {"image": "a"}),
        ),
        ("So the final answer: 12", AgentStep(answer="12")),
        ("Final Answer: 12\nThought: well\nAction: OCR\nAction Input: {}", AgentStep(answer="12")),
        (reply("OCR", "{}"), AgentStep("OCR", {}, error=True)),
        (reply("OCR", '{"image": "a", "z": 1}'), AgentStep("OCR", {"image": "a", "z": 1}, error=True)),
        (reply("Zed", "{}"), AgentStep("Zed", {}, error=True)),
        (reply("OCR", "a.jpg"), AgentStep("OCR", error=True)),
        ("12", NOTHING),
        ("", NOTHING),
    ],
)
def test_replies_read_tolerantly(text: str, step: AgentStep) -> None:
    assert read_reply(text, KNOWN) == step


def test_a_call_in_error_hits_nothing_unless_we_can_read_it() -> None:
    spoiled = call("Calculator", "{'expression': '5 + 7'}", error={"type": "ARGS_ERROR"})
    failed = call("OCR", {"image": "image/a.jpg"}, error={"type": "API_ERROR"})
    assert read_step(spoiled, KNOWN) == AgentStep("Calculator", {"expression": "5 + 7"})
    said = json.dumps([failed, spoiled, TELL])
    assert figures(QUERY, said) == [pytest.approx(1 / 3), 1, 0.5, 1]
    assert figures(QUERY, said, upstream=False) == [pytest.approx(2 / 3), 0.5, 0.5, 1]


def test_a_gold_call_is_never_in_error() -> None:
    """Even where it names a tool or arguments that the row's tools don't have."""
    odd = query(call("Draw", {"w": 1}), call("OCR", {"path": "a"}), TELL)
    assert figures(odd, json.dumps(odd["dialogs"][1:]), upstream=False) == [1, 1, 1, 1]
    said = json.dumps([call("Draw", {"w": 2}), call("OCR", {"image": "a", "z": 1}), TELL])
    assert figures(odd, said, upstream=False) == [pytest.approx(2 / 3), 0.5, 0, 1]


def test_extras_have_the_official_form_beside_ours() -> None:
    items = [{**QUERY, "step": place, "id": place} for place in range(3)]
    said = [
        reply("OCR", "{'image': 'image/a.jpg'}"),
        reply("Calculator", '{"expression": "5 + 7"}'),
        "I cannot say.",
    ]
    found = metric("gta:ArgAcc").secondary(items, said)
    assert found["ArgAcc/upstream"] == 0
    assert "ArgAcc" not in found
    assert found["InstAcc"] == pytest.approx(2 / 3)
    assert found["in_format"] == pytest.approx(2 / 3)
    assert (found["tool_calls"], found["tool_call_errors"]) == (2, 0)
    assert metric("gta:ArgAcc").name == "ArgAcc"
    assert metric("gta/upstream").name == "StepAcc/upstream"
    official = metric("gta:ArgAcc/upstream").secondary(items, said)
    assert (official["tool_calls"], official["tool_call_errors"]) == (3, 2)


# Rows


def test_other_forms_of_the_same_prediction() -> None:
    steps = [READ, ADD, TELL]
    loaded = {**QUERY, "dialogs": json.dumps(QUERY["dialogs"]), "gt_answer": json.dumps(ANSWER)}
    moved = call("OCR", {"image": "/data/image/a.jpg"})
    entry = {"prediction": [moved, ADD, TELL], "gold": [moved, ADD, TELL]}
    for upstream in (True, False):
        for row, said in ((QUERY, steps), (loaded, json.dumps(steps)), (QUERY, json.dumps(entry))):
            assert figures(row, said, upstream) == [1, 1, 1, 1]
    assert figures(QUERY, json.dumps(entry["prediction"]))[2] == 0.5
    assert figures(QUERY, json.dumps(entry["prediction"]), upstream=False)[2] == 1


def test_a_query_may_be_predicted_in_replies() -> None:
    said = json.dumps([reply("OCR", '{"image": "image/a.jpg"}'), "?", "Final Answer: 12"])
    assert figures(QUERY, said, upstream=False) == [pytest.approx(2 / 3), 0.5, 0.5, 1]
    assert figures(QUERY, said) == [0, 0, 0, 0], "the official code breaks down over it"


@pytest.mark.parametrize("said", ["", "nothing", "7", "{", "null"])
def test_an_unreadable_prediction_has_no_steps(said: str) -> None:
    assert figures(QUERY, said, upstream=False) == figures(QUERY, said) == [0, 0, 0, 0]
    counts = ToolUseMetric().counts([QUERY], [said])
    assert counts.shape == (1, 9)
    assert counts[0, 4:7].tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"gt_answer": None, "id": "q1"}, "row q1 has no column 'dialogs'"),
        ({"dialogs": []}, "row 0 has no column 'gt_answer'"),
        ({"dialogs": [], "gt_answer": None, "step": 0}, "row 0 has no column 'tools'"),
        ({**QUERY, "step": 3}, "row 0: `step` must be one of its 3"),
        ({**QUERY, "step": -1}, "row 0: `step` must be one of its 3"),
        ({**QUERY, "dialogs": "["}, "row 0: `dialogs` is not JSON"),
        ({**QUERY, "tools": ["OCR"]}, "row 0: `tools` must be"),
        ({**QUERY, "gt_answer": "12"}, "row 0: `gt_answer` must be"),
    ],
)
def test_bad_rows_are_named(row: Row, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ToolUseMetric().score_items([row], [json.dumps([READ, ADD, TELL])])


def test_unknown_figures_are_refused() -> None:
    with pytest.raises(InputError, match="unknown subtask 'AnsAcc'"):
        metric("gta:AnsAcc")


WORDS = st.sampled_from(
    [
        "Action:",
        "Action Input:",
        "Final Answer:",
        "OCR",
        "\n",
        " ",
        '{"image": "a"}',
        "{",
        "12",
        "：",
        "é",
        "null",
        "[1]",
    ]
)


@given(st.lists(WORDS, max_size=10).map("".join))
def test_no_reply_breaks_the_scorer(text: str) -> None:
    items = [{**QUERY, "step": place} for place in range(3)]
    for scorer in (ToolUseMetric(), ToolUseMetric(upstream=True)):
        measured = measure(scorer, items, [text] * 3)
        assert measured.counts is not None
        assert all(value in (0, 1) for value in measured.values)
        assert np.all(measured.counts[:, :4] <= measured.counts[:, [4, 5, 5, 6]]) or scorer.name != "StepAcc"
