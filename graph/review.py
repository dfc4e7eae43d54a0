"""A person's word on a plan: accept it, edit it, or reject it with a hint."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .experiment import ExperimentPlan


class Review(BaseModel):
    """The answer to an interrupt of the node `approve`."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["accept", "edit", "reject"] = "accept"
    plan: dict[str, Any] | None = Field(
        default=None, description="With 'edit': the whole plan as it should be"
    )
    hint: str = Field(default="", max_length=2000, description="With 'reject': what the next plan should do")


def revised(plan: ExperimentPlan, review: Review) -> ExperimentPlan:
    """The plan after the review. Raises ValidationError for an edited plan that is not valid."""
    if review.decision != "edit":
        return plan
    return ExperimentPlan.model_validate(review.plan)
