"""What a person may say about chat models, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trex.errors import InputError
from trex.graph.llm.model_settings import ModelSettings, parse_model_budget, parse_model_settings
from trex.graph.run.estimate import budget_notes
from trex.graph.run.settings import Settings
from trex.graph.run.setup import choose_settings


def test_without_a_model_there_are_no_settings() -> None:
    assert parse_model_settings(None) is None


@pytest.mark.parametrize(
    "rest",
    [{"executor": "openai:x"}, {"budget": "$1"}, {"more": ["timeout_s=3"]}],
    ids=lambda rest: str(rest),
)
def test_options_of_a_model_need_one(rest: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--llm PROVIDER:MODEL"):
        parse_model_settings(None, **rest)


def test_every_option_arrives() -> None:
    more = ["base_url=http://127.0.0.1:8000/v1", "output=text", "timeout_s=2.5", "attempts=2"]
    settings = parse_model_settings("openai:big", "openai:small", "200k", more)
    assert settings is not None
    assert (settings.researcher, settings.executor, settings.token_budget) == (
        "openai:big",
        "openai:small",
        200_000,
    )
    assert settings.base_url == "http://127.0.0.1:8000/v1"
    assert (settings.output, settings.timeout_s, settings.attempts) == ("text", 2.5, 2)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("5000", {"token_budget": 5000}),
        ("1.5M", {"token_budget": 1_500_000}),
        ("20k tokens", {"token_budget": 20_000}),
        ("$2", {"cost_budget_usd": 2.0}),
        ("0.5 usd", {"cost_budget_usd": 0.5}),
    ],
)
def test_budgets_are_tokens_or_dollars(text: str, limit: dict[str, float]) -> None:
    assert parse_model_budget(text) == limit


@pytest.mark.parametrize("text", ["", "much", "-5", "2€", "k"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="200k or 2M, or US dollars"):
        parse_model_budget(text)


@pytest.mark.parametrize("pair", ["timeout_s", "colour=red", "attempts=many", "attempts=0", "output=poetry"])
def test_other_settings_are_refused_by_name(pair: str) -> None:
    with pytest.raises(InputError, match=pair.partition("=")[0]):
        parse_model_settings("openai:x", more=[pair])


def test_a_model_may_be_named_in_one_word() -> None:
    fields: dict[str, Any] = {
        "task": "sentiment",
        "directory": "/tmp/run",
        "thread_id": "t",
        "slots": 1,
        "threads": 1,
        "grader_threads": 1,
        "memory_limit_mb": 1024,
    }
    named = Settings(**fields, llm="openai:x")
    assert named.llm is not None and named.llm.researcher == "openai:x"
    assert Settings.model_validate_json(named.model_dump_json()) == named
    assert Settings(**fields, llm="").llm is None


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"token_budget": 5000}, "the budget of 5,000 tokens may not pay for one plan"),
        ({"token_budget": 200_000}, None),
        ({"cost_budget_usd": 0.001}, "may not pay for one plan"),
        ({"cost_budget_usd": 2.0}, None),
        ({}, None),
    ],
)
def test_a_budget_too_small_for_a_plan_is_noted(
    budget: dict[str, float], told: str | None, tmp_path: Path
) -> None:
    llm = ModelSettings(researcher="openai:gpt-4.1", **budget)  # type: ignore[arg-type]
    notes = budget_notes(choose_settings("sentiment", tmp_path, llm=llm))
    assert len(notes) == (told is not None) and all(str(told) in note for note in notes)
