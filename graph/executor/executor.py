"""The Executor: from a plan to evaluated trials, through the tools."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace

from langchain_core.tools import BaseTool

from ...errors import IntegrityError, PlanError
from ...evaluation.results import Evaluation
from ...tools.data_tool import PreparedData
from ...tools.excerpt import brief
from ...tools.training_tool import TrainingOutcome
from ...training.data.build import BuiltDataset
from ...training.data.recipe import DataRecipe
from ...training.jobs.job import JobFailed, JobResult
from ...training.plan import TrainingPlan
from ...training.preflight import Problem
from ..run.budget import Budget
from ..tree.experiment import DatasetCard, ExperimentPlan, TrialRecord
from .preparation import Preparation
from .protocol import RepairAgent, Revise
from .recipe_repair import repair_recipe
from .repair_rules import MAX_REPAIRS, TrainingRepair, repair_training

CURVE_POINTS = 24
MAX_EXCHANGES = 2
"""Times that one plan goes back to the Researcher."""


class Interrupted(Exception):
    """The run was asked to stop: nothing is recorded, so that it can be resumed."""


# Looks at a data set and a training plan before time is spent on them; says what would go wrong.
Preflight = Callable[[BuiltDataset, TrainingPlan], Sequence[Problem]]


class Executor:
    """Carries out what a plan says; the only one who repairs it.

    Rules repair first. A `repair_agent` is asked where they end; what still cannot be carried out goes back to the
    Researcher through `revise`.
    """

    def __init__(
        self,
        prepare_data: BaseTool,
        train: BaseTool,
        evaluate: BaseTool,
        preflight: Preflight,
        budget: Budget,
        rung_items: int,
        repair_agent: RepairAgent | None = None,
        revise: Revise | None = None,
    ) -> None:
        self._prepare_data = prepare_data
        self._train = train
        self._evaluate = evaluate
        self._preflight = preflight
        self._budget = budget
        self._rung_items = rung_items
        self._repair_agent = repair_agent
        self._revise = revise

    def baseline(self) -> Evaluation:
        """The base model on the whole of `search`."""
        evaluation: Evaluation = self._evaluate.invoke({})
        return evaluation

    def prepare(self, plan: ExperimentPlan, experiment: str = "") -> Preparation:
        """Build the data set, pass the gate, check every trial; repair, or have the plan revised.

        `experiment` is its id, for the record of what a model is asked. The same plan gives the same again.
        """
        current, said = plan, list[str]()
        for exchange in range(MAX_EXCHANGES + 1):
            ready = self._attempt(current)
            if self._repair_agent is not None:
                ready = self._repair_agent.prepare(current, ready, self._attempt, experiment)
            said += ready.repairs
            if ready.problem is None or self._revise is None or exchange == MAX_EXCHANGES:
                break
            revised = self._revise(current, ready.problem, experiment)
            if revised is None or revised == current:
                said.append("the Researcher has no other plan")
                break
            why, what = brief(ready.problem, 400), brief(revised.hypothesis, 600)
            said.append(f"the Researcher changed the plan ({why}): {what}")
            current = revised
        carried_out = ready.plan or current
        return replace(ready, repairs=tuple(said), plan=None if carried_out == plan else carried_out)

    def _attempt(self, plan: ExperimentPlan) -> Preparation:
        """The plan prepared by rules alone."""
        trials = [
            TrialRecord(index=index, status="planned", training=trial.training, note=trial.note)
            for index, trial in enumerate(plan.trials)
        ]
        try:
            prepared, recipe, repairs = self._build(plan.recipe)
        except PlanError as error:
            return Preparation(trials, failure=str(error))
        card = _card(prepared)
        carried_out = plan.model_copy(update={"recipe": recipe}) if repairs else None
        if not prepared.contamination.clean:
            found = prepared.contamination
            return Preparation(
                trials,
                card,
                tuple(repairs),
                f"{found.matches} of {found.checked_rows} training rows repeat dev or test items: refused",
                carried_out,
            )
        checked = [self._check(trial, prepared.dataset) for trial in trials]
        return Preparation(checked, card, tuple(repairs), plan=carried_out)

    def run_rung(
        self, trial: TrialRecord, dataset: DatasetCard, rung: int, experiment: str = ""
    ) -> TrialRecord:
        """Train to the rung's end and evaluate.

        Raises Interrupted if the run was asked to stop, OSError if the disk is full.
        """
        for _ in range(MAX_REPAIRS + 1):
            outcome: TrainingOutcome = self._train.invoke(
                {"plan": trial.training, "dataset": dataset.fingerprint, "rung": rung}
            )
            trial = trial.model_copy(update={"id": outcome.trial, "total_steps": outcome.total_steps})
            if outcome.failure is None:
                return self._score(trial, outcome)
            repaired = self._after(trial, outcome.failure, experiment)
            if repaired.status != "running":
                return repaired
            trial = repaired
        return trial.model_copy(
            update={"status": "failed", "message": f"gave up after {MAX_REPAIRS} repairs"}
        )

    def _build(self, recipe: DataRecipe) -> tuple[PreparedData, DataRecipe, list[str]]:
        """The data set, the recipe it was built from in the end, and what was repaired on the way."""
        repairs: list[str] = []
        while True:
            try:
                return self._prepare_data.invoke({"recipe": recipe}), recipe, repairs
            except PlanError as error:
                repair = repair_recipe(recipe) if getattr(error, "cause", None) == "empty" else None
                if repair is None or len(repairs) == MAX_REPAIRS:
                    raise
                repairs.append(repair.report)
                recipe = repair.recipe

    def _check(self, trial: TrialRecord, dataset: BuiltDataset) -> TrialRecord:
        """The trial with its plan repaired until the preflight passes, or failed with the first problem."""
        while problems := self._preflight(dataset, trial.training):
            problem = problems[0]
            repair = repair_training(trial.training, problem.cause)
            if repair is None or len(trial.repairs) == MAX_REPAIRS:
                return trial.model_copy(
                    update={"status": "failed", "cause": problem.cause, "message": problem.message}
                )
            trial = trial.model_copy(
                update={"training": repair.plan, "repairs": [*trial.repairs, repair.report]}
            )
        return trial

    def _after(self, trial: TrialRecord, failure: JobFailed, experiment: str) -> TrialRecord:
        """What a failed job makes of its trial: another plan to try, or its end."""
        if failure.cause == "cancelled":
            raise Interrupted
        if failure.cause == "disk_full":
            # The machine's trouble, not the trial's: nothing is recorded, and a resumed run goes on.
            raise OSError(errno.ENOSPC, failure.message)
        ended = {"cause": failure.cause, "message": failure.message}
        if failure.cause == "timeout" and not self._budget.allows(0):
            return trial.model_copy(update=ended | {"status": "stopped", "message": "the budget ended"})
        repair = self._repair(trial, failure, experiment)
        if repair is None:
            return trial.model_copy(update=ended | {"status": "failed"})
        repairs = [*trial.repairs, repair.report]
        if repair.plan == trial.training:
            return trial.model_copy(update=ended | {"status": "failed", "repairs": repairs})
        return trial.model_copy(update={"training": repair.plan, "repairs": repairs, "status": "running"})

    def _repair(self, trial: TrialRecord, failure: JobFailed, experiment: str) -> TrainingRepair | None:
        """By a rule, else by the repair_agent; both draw on the same few repairs."""
        if len(trial.repairs) >= MAX_REPAIRS:
            return None
        repair = repair_training(trial.training, failure.cause)
        if repair is None and self._repair_agent is not None:
            return self._repair_agent.repair(trial, failure, experiment)
        return repair

    def _score(self, trial: TrialRecord, outcome: TrainingOutcome) -> TrialRecord:
        assert outcome.result is not None
        result = outcome.result
        trial = trial.model_copy(update=_measured(trial, result))
        limit = None if outcome.last_rung else self._rung_items
        try:
            evaluation: Evaluation = self._evaluate.invoke({"adapter": outcome.adapter, "limit": limit})
        except IntegrityError as error:
            return trial.model_copy(update={"status": "failed", "message": f"not eligible: {error}"})
        return trial.model_copy(
            update={
                "status": "done" if outcome.last_rung else "running",
                "evaluation": evaluation,
                "scored": [
                    *trial.scored,
                    (trial.step, evaluation.score.value, evaluation.score.standard_error),
                ],
                "eval_seconds": trial.eval_seconds + evaluation.seconds,
            }
        )


def _measured(trial: TrialRecord, result: JobResult) -> dict[str, object]:
    """What a finished job adds to its trial's record."""
    every = max(1, -(-len(result.curve) // CURVE_POINTS))
    return {
        "rung": result.rung,
        "step": result.step,
        "train_loss": result.train_loss,
        "curve": [*result.curve[:-1:every], *result.curve[-1:]],
        "load_seconds": trial.load_seconds + (0.0 if result.reused else result.load_seconds),
        "train_seconds": trial.train_seconds + (0.0 if result.reused else result.train_seconds),
        "attempts": trial.attempts + result.attempts,
        "reused": result.reused,
    }


def _card(prepared: PreparedData) -> DatasetCard:
    dataset = prepared.dataset
    return DatasetCard(
        fingerprint=dataset.fingerprint,
        rows=dataset.rows,
        summary=dataset.summary,
        steps=dataset.steps,
        contamination=prepared.contamination,
    )
