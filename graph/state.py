"""The graph's state: small, JSON-safe, and flat in the number of rounds.

The tree lives in a delta channel: a checkpoint holds what a step wrote, not the whole tree. (LangGraph calls
`DeltaChannel` beta.) Snapshots are rare on purpose: each rewrites the tree whole. Visits and rewards of a node's
ancestors are derived from the tree (`tree.py`), so that a round writes its own node and no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from langgraph.channels.delta import DeltaChannel
from pydantic import Field
from typing_extensions import TypedDict  # Python 3.11's own carries no defaults to a form

from .llm.model_settings import OutputMode
from .run.settings import DEFAULT_ROUNDS, DEFAULT_TRIALS
from .tree.tree import fold_tree

SNAPSHOT_EVERY = 400  # writes; a round makes four


def merge_trials(
    trials: list[dict[str, Any]], update: Sequence[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """Trials of the current round, by their index in the plan; None empties the list for the next round."""
    if update is None:
        return []
    by_index = {trial["index"]: trial for trial in trials} | {trial["index"]: trial for trial in update}
    return [by_index[index] for index in sorted(by_index)]


class RunInput(TypedDict, total=False):
    """What to improve, who plans, and how much to try."""  # LangGraph Studio shows it as a form

    task: Annotated[str, Field(default="sentiment", description="A task's name, or a path of a task file")]
    # A server ends a graph after some 10 000 supersteps; a round has ten if a person approves plans.
    rounds: Annotated[int, Field(default=DEFAULT_ROUNDS, ge=0, le=900, description="Number of experiments")]
    trials: Annotated[int, Field(default=DEFAULT_TRIALS, ge=1, le=8, description="Trials of one experiment")]
    smoke: Annotated[bool, Field(default=False, description="Tiny model, little data: a quick check")]
    approve: Annotated[bool, Field(default=False, description="Ask before each plan is executed")]
    budget: Annotated[str, Field(default="", description="Time limit such as 90s, 10m or 1.5h; empty: none")]
    llm: Annotated[str, Field(default="", description="Chat model provider:model; empty: built-in policy")]
    base_url: Annotated[str, Field(default="", description="Of an OpenAI-compatible server; empty: its own")]
    output: Annotated[OutputMode, Field(default="auto", description="How the chat model gives answers")]
    llm_budget: Annotated[str, Field(default="", description="Tokens as 200k, or US dollars as $2")]
    memory: Annotated[bool, Field(default=True, description="Off: plan without the tree")]
    diagnosis: Annotated[bool, Field(default=True, description="Off: skip failure analysis")]
    hint: Annotated[str, Field(default="", description="What the first plan should do, in your own words")]
    step: Annotated[bool, Field(default=False, description="Ask before each turn of an agent")]


class RunState(RunInput, total=False):
    """What a checkpoint holds. Data sets, logs, predictions and weights lie in the run directory."""

    settings: dict[str, Any]
    status: Literal["running", "done", "failed"]
    analysis: dict[str, Any]
    reserve_seconds: float
    tree: Annotated[dict[str, Any], DeltaChannel(fold_tree, snapshot_frequency=SNAPSHOT_EVERY)]
    current: str
    selected: str
    refine_next: str
    """A person's choice of what to refine: `select` honours it once."""
    direction: dict[str, Any]
    """The direction of the next plan; empty once it is planned."""
    hints_given: int
    """Hints in hints.jsonl up to which the current plan was shown, and, below, those that are used up."""
    hints_used: int
    rejections: int
    ending: str
    """Why there is no further round; empty while there is one."""
    rung: int
    problem: str
    """Why the current plan cannot be carried out: the Researcher revises it. Empty if it can."""
    revisions: int
    running: Annotated[list[dict[str, Any]], merge_trials]
    finish: dict[str, Any]


class RungTask(TypedDict):
    """What `Send` hands to one `run_rung`: the run's settings, one trial, and the rung to reach."""

    settings: dict[str, Any]
    reserve_seconds: float
    dataset: dict[str, Any]
    trial: dict[str, Any]
    rung: int
    experiment: str
    step: bool
