"""The prompts of whole runs of three rounds, read as a model reads them: short, nothing twice, stable parts first."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.llm_model import talk
from support.llm_runs import begin, planning_model, settings_for
from support.llm_server import LLMServer
from trex.evaluation.task import Task
from trex.ftbench.tasks import molecules, sentiment
from trex.graph.memory.token_count import token_count

MOST_TOKENS = 6000
FEWEST_WORDS = 6
"""Of a sentence: shorter ones may stand twice, as in two rows with the same answer."""


LONG_FIELD = 20
"""Words of the description of a parameter: shorter ones may be shared by tools."""


def start_of_all(texts: list[str]) -> str:
    """The longest common beginning."""
    length = next((n for n, chars in enumerate(zip(*texts, strict=False)) if len(set(chars)) > 1), None)
    return texts[0][:length]


def sentences(text: str) -> list[str]:
    parts = re.split(r"(?<=[.!?])\s+|\n", text)
    return [part.strip() for part in parts if len(part.split()) >= FEWEST_WORDS]


def descriptions(tools: list[dict[str, Any]]) -> Iterator[str]:
    """What the tools of a request say of themselves."""
    for tool in tools:
        yield tool["function"]["description"]
        for field in tool["function"]["parameters"].get("properties", {}).values():
            told = field.get("description", "")
            if len(told.split()) > LONG_FIELD:
                yield told


@pytest.mark.parametrize("load", [sentiment.load, molecules.load])
def test_the_prompts_of_three_rounds(
    load: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    with LLMServer(planning_model) as server:
        run = begin(tmp_path / "run", settings_for(server.url), task=load(smoke=True), rounds=3)
        requests = list(server.requests)
    assert [e.plan.fallback for e in run.tree if e.plan is not None] == ["", "", ""]
    firsts = [request for request in requests if len(request["messages"]) == 2]
    for request in requests:
        assert token_count(talk(request)) < MOST_TOKENS, request["messages"][1]["content"][:200]
    for request in firsts:
        told = "\n".join([talk(request), *descriptions(request.get("tools", []))])
        twice = [sentence for sentence, count in Counter(sentences(told)).items() if count > 1]
        assert twice == []
    plans = [str(r["messages"][1]["content"]) for r in firsts if "## What is left" in talk(r)]
    assert len(plans) == 6, "a direction and a plan in each round"
    for kind in (plans[0::2], plans[2::2], plans):
        shared = start_of_all(kind)
        assert "## The sources that recipes may load" in shared and "## What is left" not in shared
    assert "## What recipes and training can do" in start_of_all(plans[0::2])
    assert "Never tried in this search" not in plans[0] and "dpo" in plans[2].split("## Never tried")[1]
    assert "Round 2 of 3" in plans[2]
    assert all(json.dumps(plan) for plan in plans)
