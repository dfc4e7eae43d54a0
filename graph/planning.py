"""From the tree to a plan: what a plan may be based on, the experiment it makes, and its revision."""

from __future__ import annotations

from typing import Any

from ..tools.excerpt import brief
from .memory.memory_context import context, without_memory
from .researcher.protocol import Analysis, PlanningRequest
from .run.runtime import Runtime
from .state import RunState
from .tree.experiment import Experiment, ExperimentPlan
from .tree.tree import Tree

MOST_REVISIONS = 2
"""Times that a plan which cannot be carried out goes back to the Researcher."""

NO_OTHER_PLAN = "the Researcher has no other plan"


def planning_request(
    runtime: Runtime, tree: Tree, state: RunState, hint: str, direction: dict[str, Any] | None = None
) -> PlanningRequest:
    """Everything that a plan which refines the selected experiment may be based on."""
    settings = runtime.settings
    seen = context(tree, state["selected"], runtime.earlier_insights)
    return PlanningRequest(
        task=runtime.task,
        analysis=Analysis.model_validate(state["analysis"]),
        notes=runtime.notes,
        context=seen if settings.memory else without_memory(seen),
        round=1 + sum(experiment.status != "running" for experiment in tree if experiment.round > 0),
        trials=settings.trials,
        trial_examples=settings.trial_examples,
        seed=settings.seed,
        hint=hint,
        direction=direction or {},
    )


def planned_experiment(request: PlanningRequest, plan: ExperimentPlan) -> Experiment:
    """The experiment of a new plan."""
    return Experiment(
        id=f"e{request.round:03d}",
        parent_id=request.context.node.id,
        round=request.round,
        strategy=plan.strategy,
        status="running",
        plan=plan,
    )


def revised_experiment(experiment: Experiment, plan: ExperimentPlan, problem: str) -> Experiment:
    """The experiment with another plan, after `problem` stood against the one before; nothing is prepared yet."""
    change = f"the Researcher changed the plan ({brief(problem, 400)}): {brief(plan.hypothesis, 600)}"
    return experiment.model_copy(
        update={
            "plan": plan,
            "executed_plan": None,
            "strategy": plan.strategy,
            "datasets": {},
            "failure": None,
            "repairs": [*experiment.repairs, change],
        }
    )
