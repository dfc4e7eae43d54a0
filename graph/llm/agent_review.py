"""A person steps through an agent's task: looks at each turn before it is made, and edits what stands before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.types import interrupt
from pydantic import BaseModel, Field, ValidationError

from ...errors import explain

_SHOWN = 4000  # characters of a message in a question; the state holds all of it


class StepReview(BaseModel, extra="forbid"):
    """The answer to a step's question; a text, such as 'go on', goes on."""

    messages: dict[str, str] = Field(
        default_factory=dict, description="By a message's id: what it should say"
    )
    answer: dict[str, Any] | None = Field(default=None, description="Another answer, whole")
    step: bool = Field(default=True, description="Off: go on without further questions")


_ANSWERS = {
    "go on": "go on",
    "edit": {"messages": {"the message's id": "what it should say"}},
    "edit the answer": {"answer": "the whole answer, as it should be"},
    "ask no more": {"step": False},
}


def ask_about_turn(state: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], bool]:
    """The messages that a person wants changed before the model's next turn, and whether to ask again."""
    messages = sorted(state["messages"].items())
    said = [place for place, (_, message) in enumerate(messages) if message["type"] == "ai"]
    new = messages[said[-1] :] if said else messages  # what the model has not seen, and what it said last
    question = {
        "question": "Ask the model for its next turn?",
        "turn": state["turns"] + 1,
        "messages": {id: _shown(message) for id, message in new},
    }
    review = _ask(state, question)
    return {id: {"content": content} for id, content in review.messages.items()}, review.step


def ask_about_answer(state: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The answer that a person wants, and whether to ask again."""
    review = _ask(state, {"question": "Take this answer?", "answer": state["answer"]})
    return review.answer or state["answer"], review.step


def _ask(state: Mapping[str, Any], question: Mapping[str, Any]) -> StepReview:
    problem = ""
    while True:
        said = interrupt({**question, "purpose": state["purpose"], "problem": problem, "answers": _ANSWERS})
        try:
            review = StepReview.model_validate(said if isinstance(said, dict) else {})
        except ValidationError as error:
            problem = explain(error)
            continue
        unknown = [id for id in review.messages if id not in state["messages"]]
        if not unknown:
            return review
        problem = f"there is no message {unknown[0]!r}"


def _shown(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message as a question shows it: a long text without its middle."""
    text = str(message["content"])
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN // 2]}\n[…]\n{text[-_SHOWN // 2 :]}"
    return {name: message[name] for name in ("type", "tool_calls") if name in message} | {"content": text}
