"""From the tree to a plan: what a plan may be based on, the experiment it makes, and its revision."""

from __future__ import annotations

from typing import Any

from ..tools.excerpt import brief
from ..training.methods import method_of
from .memory.memory_context import context, without_memory
from .report.call_totals import experiment_of, read_run_calls, totals
from .researcher.protocol import Analysis, BudgetLeft, PlanningRequest
from .rounds import ROOT
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
        resources=resources(runtime, tree),
        hint=hint,
        direction=direction or {},
    )


def resources(runtime: Runtime, tree: Tree) -> BudgetLeft:
    """What the rounds before this one used, from what is stored of them."""
    settings, models = runtime.settings, runtime.settings.llm
    closed = {experiment.id for experiment in tree if experiment.status != "running"}
    calls = read_run_calls(runtime.directory.calls)
    spent = totals(call for call in calls if (experiment_of(call) or ROOT) in closed)
    trained = [t for e in tree for t in e.trials if e.id in closed and t.train_seconds > 0 and not t.reused]
    examples = sum(t.step * method_of(t.training.stage).rows_per_step(t.training.stage) for t in trained)
    base = tree.root.evaluation
    return BudgetLeft(
        rounds=settings.rounds,
        job_seconds=sum(experiment.seconds for experiment in tree if experiment.id in closed),
        seconds_limit=settings.budget_seconds,
        tokens=spent.tokens,
        tokens_limit=models.token_budget if models else None,
        cost_usd=spent.cost_usd,
        cost_limit_usd=models.cost_budget_usd if models else None,
        seconds_per_example=sum(t.train_seconds for t in trained) / examples if examples else None,
        seconds_per_item=base.seconds / base.score.n if base is not None else None,
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
