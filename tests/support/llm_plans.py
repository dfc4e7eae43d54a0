"""A model for tests that reads its prompt: it calls tools before it answers, and its plans vary the parent's.

It is independent of the server: `next_step` gets the text of the conversation, the fields of the requested answer and
the tools, and returns a tool call or the fields. It parses the prompts in `graph/researcher/agent/prompts`: a prompt
without the text that it needs breaks the tests that use this model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from support.chat import Asked, Call, Reply

RATES = (1.0, 2.0, 0.5, 4.0, 0.25, 8.0, 0.125, 16.0)
LOWEST, HIGHEST = 2e-5, 2e-2
WAYS = ("learning_rate", "rank", "epochs", "schedule", "batch_size")


def model(asked: Asked) -> Reply:
    """For `support.chat.FakeChat`."""
    return next_step(asked.text, asked.answer.model_fields.keys(), asked.tools)


def next_step(text: str, fields: Collection[str], tools: Collection[str]) -> Call | dict[str, Any]:
    """The next step in a conversation with that text: a tool call, or the fields of the answer."""
    wanted = set(fields)
    if "findings" in wanted:
        return _research(text, tools)
    if "rests_on" in wanted:
        return _direction(text, tools)
    if "hypothesis" in wanted:
        return _details(text, tools)
    if "causes" in wanted:
        return _reading(text, tools)
    if "cannot" in wanted:
        return _prepared(text, tools)
    if "warmup_ratio" in wanted:
        return {"why": "Nothing that may be changed here would help."}
    if "give_up" in wanted:
        return {"give_up": True, "why": "A change would test something else."}
    return {"goal": "Short texts carry little evidence, so wording decides.", "constraints": []}


def _research(text: str, tools: Collection[str]) -> Call | dict[str, Any]:
    if "search_literature" in tools and "from notes on fine-tuning practice" not in text:
        return Call("search_literature", {"query": "learning rate of LoRA", "most": 2})
    sources = re.findall(r"^\[([^\[\]\n]*arXiv:[^\[\]\n]*)\]$", text, re.MULTILINE)
    found = [{"text": f"The learning rate decides more than the rank: {s}", "source": s} for s in sources[:2]]
    return {"findings": found, "candidates": []}


def _direction(text: str, tools: Collection[str]) -> Call | dict[str, Any]:
    if "query_history" in tools and "from the store of experiments" not in text:
        return Call("query_history", {"sql": "SELECT * FROM experiments LIMIT 3"})
    tried = [len(re.findall(rf"adjust_training/{way}: \d+ tried", text)) for way in WAYS]
    way = WAYS[min(range(len(WAYS)), key=lambda place: tried[place])]
    return {
        "strategy": "adjust_training",
        "direction": way,
        "why": f"{way} was tried least.",
        "refuted_by": "No trial above the parent's score.",
        "rests_on": [node_of(text)],
        "over_untried": f"{way} is cheap to vary.",
    }


def _details(text: str, tools: Collection[str]) -> Call | dict[str, Any]:
    # After each refusal every trial changes.
    refused = len(re.findall(r"from the check of the plan;", text))
    recipe, training = start_of(text)
    found = re.search(r"exactly (\d+) trials", text)
    assert found is not None
    trials = [_trial(training, text, place, refused) for place in range(int(found[1]))]
    if "check_plan" in tools and refused == 0 and "nothing is wrong" not in text:
        return Call(
            "check_plan", {"recipes": {"main": recipe}, "trainings": [trial["training"] for trial in trials]}
        )
    return {
        "hypothesis": f"Another {way_of(text)} than that of {node_of(text)} lifts the score.",
        "recipes": {"main": recipe},
        "trials": trials,
    }


def _trial(start: dict[str, Any], text: str, place: int, refused: int) -> dict[str, Any]:
    training, weights, way = dict(*start.get("stages", [{}])), dict(start.get("weights", {})), way_of(text)
    rate = training.get("learning_rate", 1e-3)
    rate *= RATES[place] * 1.7**refused
    while not LOWEST <= rate <= HIGHEST:  # a rate outside of the range re-enters at its other end
        rate *= LOWEST / HIGHEST if rate > HIGHEST else HIGHEST / LOWEST
    training["learning_rate"] = round(rate, 8)
    if way == "rank":
        weights["rank"] = (4, 16, 32, 2)[place % 4]
    if way == "schedule":
        training["lr_scheduler_type"] = ("cosine", "constant", "linear")[place % 3]
    if way == "batch_size":
        training["batch_size"] = max(1, training.get("batch_size", 16) // 2)
    if way == "epochs":
        training["epochs"] = training.get("epochs", 1.0) / 2
    if allowed := re.findall(r"set epochs to ([\d.]+\d)", text):
        training["epochs"] = min(float(epochs) for epochs in allowed)
    if long := re.findall(r"more than max_length (\d+)", text):
        training["max_length"] = 2 * max(map(int, long))
    note = f"{way}, learning rate {training['learning_rate']:g}"
    return {"note": note, "training": {"weights": weights, "stages": [training]}}


def _reading(text: str, tools: Collection[str]) -> Call | dict[str, Any]:
    if "failure_cases" in tools and "from failure cases of the search split" not in text:
        return Call("failure_cases", {"most": 3})
    confusions = re.findall(r"right '(.*?)', answered '(.*?)': (\d+)", text)
    way = way_of(text)
    return {
        "causes": [f"{right} taken for {said}" for right, said, _ in confusions[:2]],
        "insights": [f"{way} was moved; what stays wrong is in the answers."],
        "claims": [{"text": f"Moving {way} further pays.", "direction": way, "expects": "gain"}],
    }


def _prepared(text: str, tools: Collection[str]) -> Call | dict[str, Any]:
    found = re.search(r"^recipe main: (\{.*\})$", text, re.MULTILINE)
    assert found is not None, "the prompt holds no recipe"
    recipe = json.loads(found[1])
    if "look_at_rows" in tools and "from rows of the source" not in text:
        return Call("look_at_rows", {"source": recipe["streams"][0]["source"], "sample": 2})
    if "preview_recipe" in tools and "from a preview of the recipe's rows" not in text:
        return Call("preview_recipe", {"recipe": recipe})
    return {"recipes": {}, "why": [], "cannot": None}


def node_of(text: str) -> str:
    """The experiment that a plan refines."""
    found = re.search(r"The experiment to refine: (\w+)", text)
    return found[1] if found else "e000"


def way_of(text: str) -> str:
    """The chosen direction, or that of the diagnosed plan."""
    found = re.search(r"## The direction, decided\n\w+/(\w+):|[Tt]he plan \(\w+/(\w+)\)", text)
    return (found[1] or found[2]) if found else WAYS[0]


def start_of(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recipe and the training settings to start from: quoted, each as one line of JSON."""
    found = re.search(
        r"from the configuration to start from;.*?\]\nrecipe main: (\{.*\})\ntraining: (\{.*\})\n", text
    )
    assert found is not None, "the prompt holds no configuration to start from"
    return json.loads(found[1]), json.loads(found[2])
