"""Synthetic records of chat-model calls, for tests of reports and stores."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from trex.graph.llm.protocol import CallRecord, Role
from trex.graph.tree.experiment import Experiment

PRICE_IN, PRICE_OUT = 1.25e-6, 1e-5
"""US dollars a token."""


def make_call(
    number: int,
    purpose: str,
    *,
    text: str = "",
    tools: Sequence[dict[str, Any]] = (),
    messages: Sequence[dict[str, str]] = (),
    problem: str | None = None,
    status: str = "answered",
    tokens: tuple[int, int] = (1200, 180),
    role: Role = "researcher",
) -> CallRecord:
    """One call; its cost follows from its tokens."""
    return CallRecord(
        id=f"c{number:05d}",
        role=role,
        purpose=purpose,
        model="openai:gpt-5-mini",
        status=status,  # type: ignore[arg-type]
        tokens_in=tokens[0],
        tokens_out=tokens[1],
        cost_usd=tokens[0] * PRICE_IN + tokens[1] * PRICE_OUT,
        seconds=0.5 + tokens[1] / 100,
        messages=list(messages),
        answer={"text": text, "tools": list(tools), "problem": problem},
    )


def make_calls(experiments: Sequence[Experiment], seed: int = 0) -> list[CallRecord]:
    """Calls for research, then for each experiment a plan with one correction, a preparation and a diagnosis."""
    rng, calls = random.Random(seed), []

    def call(purpose: str, **more: Any) -> None:
        tokens = (rng.randrange(800, 9000), rng.randrange(60, 1200))
        calls.append(make_call(len(calls) + 1, purpose, tokens=tokens, **more))

    call(
        "research",
        text="Snippets are short and ironic; I look for data with contrast before I trust ratings.",
        tools=[
            {"name": "search_papers", "arguments": {"query": "sentiment contrast negation fine-tuning"}},
            {"name": "dataset_card", "arguments": {"name": "stanfordnlp/sst2"}},
        ],
        messages=[
            {"role": "system", "text": "You are the Researcher."},
            {"role": "user", "text": "Research."},
        ],
    )
    call(
        "research",
        text="Ratings near zero are ambiguous; thresholding them is worth a trial.",
        messages=[
            {"role": "tool", "text": "1. Learning with noisy labels (2013)\n2. Contrast sets (2020)"},
            {"role": "tool", "text": "licence: cc-zero\nrows: 67349\ncolumns: sentence, label"},
        ],
    )
    for experiment in experiments:
        if experiment.plan is None:
            continue
        name = experiment.id
        call(
            f"plan {name}",
            text=f"{experiment.plan.hypothesis} I check what the tree says of it before I write the recipe.",
            tools=[{"name": "history", "arguments": {"sql": "SELECT direction, score FROM experiments"}}],
            messages=[{"role": "user", "text": "Choose a direction and plan it."}],
        )
        call(
            f"plan {name}",
            text="Three trials that differ in one thing each.",
            messages=[
                {"role": "tool", "text": "direction      score\nthreshold      0.84\nbalance        0.81"}
            ],
            problem="trials 1 and 2 do not differ: change one of them" if rng.random() < 0.4 else None,
        )
        call(
            f"prepare {name}",
            role="executor",
            text="The rows look as the plan expects: short snippets with a label.",
            tools=[{"name": "look_at_rows", "arguments": {"source": "movies", "count": 5}}],
        )
        call(f"diagnose {name}", text="What is left are contrasts with 'although' and very short snippets.")
    if len(calls) > 6:
        calls.append(
            make_call(
                len(calls) + 1,
                f"diagnose {experiments[-1].id}",
                status="failed",
                problem="the server answered 503 five times",
                tokens=(0, 0),
            )
        )
    return calls
