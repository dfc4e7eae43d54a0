"""Approval of a plan by a person: accept it, edit it, or reject it with a hint."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from ..tree.experiment import Experiment, ExperimentPlan

EDITED = "plan edited by a person"
"""The repair note of an edited plan."""

ANSWERS: dict[str, dict[str, Any]] = {
    "accept": {"decision": "accept"},
    "edit": {"decision": "edit", "plan": "the whole plan, as it should be"},
    "reject": {"decision": "reject", "hint": "what the next plan should do"},
}


class Review(BaseModel, extra="forbid"):
    """The answer to an interrupt of the node `approve`; texts such as 'reject: a hint' are read too."""

    decision: Literal["accept", "edit", "reject"] = "accept"
    plan: dict[str, Any] | None = Field(default=None, description="With 'edit': the whole edited plan")
    hint: str = Field(default="", max_length=2000, description="With 'reject': what the next plan should do")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        decision, _, hint = given.partition(":")
        return {"decision": decision.strip().lower(), "hint": hint.strip()}


def question(
    experiment: Experiment, plan: ExperimentPlan, problem: str, revised_for: str = ""
) -> dict[str, Any]:
    """The question to a person: the plan, the problem of their last answer, and how to answer.

    `revised_for` says why the plan before it could not be carried out.
    """
    why = f" It replaces a plan that could not be carried out: {revised_for}" if revised_for else ""
    return {
        "question": f"Carry out this plan for {experiment.id}, which refines {experiment.parent_id}?{why}",
        "problem": problem,
        "plan": plan.model_dump(mode="json"),
        "answers": ANSWERS,
    }


def edited_plan(plan: ExperimentPlan, review: Review) -> ExperimentPlan:
    """The plan after the review. Raises ValidationError for an edited plan that is not valid."""
    if review.decision != "edit":
        return plan
    return ExperimentPlan.model_validate(review.plan)
