"""The Executor: prepares a plan, trains its trials and evaluates them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ...errors import IntegrityError, Interrupted, PlanError
from ...evaluation.metrics.judging import JudgeSpent, TooManyUnjudged
from ...evaluation.results import Evaluation
from ...training.causes import Cause, Problem
from ...training.curves import binned
from ...training.data.build import BuiltDataset
from ...training.data.recipe import DataRecipe
from ...training.jobs.job import JobFailed, JobResult, StartWeights
from ...training.plan import TrainingPlan
from ...training.training_context import TrainingOutcome
from ..run.budget import Budget
from ..tree.experiment import DatasetCard, ExperimentPlan, TrialRecord
from .data_builder import PreparedData
from .parent_weights import ParentWeights, with_start
from .preparation import Preparation
from .protocol import RepairAgent
from .recipe_repair import repair_recipe
from .repair_rules import MAX_REPAIRS, TrainingRepair, repair_training

CURVE_POINTS = 24
FIGURE_POINTS = 6


# Checks a data set and a training plan of one stage before training; returns the problems that it would have.
Preflight = Callable[[BuiltDataset, TrainingPlan], Sequence[Problem]]

# Builds a recipe's data set and checks it against dev and test. Raises PlanError.
PrepareData = Callable[[DataRecipe], PreparedData]

# Trains a plan on the data sets of its stages, by their fingerprints, to the end of a rung; from these weights, if any.
Train = Callable[[TrainingPlan, Sequence[str], int, StartWeights | None], TrainingOutcome]

# Scores weights (None: the base model) on the first so many items of `search` (None: all).
Evaluate = Callable[[Path | None, int | None], Evaluation]


@dataclass(frozen=True)
class BuiltRecipe:
    """A recipe as built, its data set and its repairs; or why no data set can be used."""

    recipe: DataRecipe
    repairs: tuple[str, ...] = ()
    prepared: PreparedData | None = None
    failure: str | None = None
    cause: Cause | None = None


@dataclass
class Executor:
    """Executes plans and repairs them: first by rules, then with the `repair_agent` if there is one."""

    prepare_data: PrepareData
    train: Train
    evaluate: Evaluate
    preflight: Preflight
    budget: Budget
    rung_items: int
    repair_agent: RepairAgent | None = None

    def baseline(self) -> Evaluation:
        """The base model on the whole of `search`."""
        return self.evaluate(None, None)

    def prepare(
        self, plan: ExperimentPlan, experiment: str = "", parent: ParentWeights | None = None
    ) -> Preparation:
        """Build the data sets, check them against dev and test, check every trial, and repair what can be repaired.

        `experiment` is its id, for the record of model calls; trials with `start: parent` continue from `parent`. The
        same plan gives the same preparation.
        """
        ready = self._attempt(plan, parent)
        if self.repair_agent is not None:
            attempt = partial(self._attempt, parent=parent)
            ready = self.repair_agent.prepare(plan, ready, attempt, self._probe, experiment)
        return replace(ready, plan=None) if ready.plan == plan else ready

    def _attempt(self, plan: ExperimentPlan, parent: ParentWeights | None = None) -> Preparation:
        """The plan prepared by rules alone."""
        trials = [
            TrialRecord(index=index, status="planned", training=trial.training, note=trial.note)
            for index, trial in enumerate(plan.trials)
        ]
        built = {name: self._build(recipe) for name, recipe in plan.recipes.items()}
        several = len(built) > 1
        repairs = [
            f"recipe {name!r}: {repair}" if several else repair
            for name, recipe in built.items()
            for repair in recipe.repairs
        ]
        changed = plan.model_copy(update={"recipes": {name: each.recipe for name, each in built.items()}})
        cards = {name: _card(each.prepared) for name, each in built.items() if each.prepared is not None}
        failures = {name: each.failure for name, each in built.items() if each.failure is not None}
        failure = None
        if len(failures) == len(built):
            failure = "; ".join(f"recipe {n!r}: {why}" if several else why for n, why in failures.items())
        else:
            trials = [self._checked(trial, built, parent) for trial in trials]
        return Preparation(trials, cards, tuple(repairs), failure, changed if changed != plan else None)

    def _probe(self, trial: TrialRecord, dataset: DatasetCard) -> TrialRecord:
        """See `protocol.Probe`. Raises PlanError once the budget has ended, Interrupted as `run_rung` does."""
        if not self.budget.allows(0):
            raise PlanError("the budget has ended: no more training")
        outcome = self.train(trial.training, dataset.stage_fingerprints, 0, trial.start)
        trial = trial.model_copy(update={"id": outcome.trial, "total_steps": outcome.total_steps})
        failure = outcome.failure
        if failure is None:
            return self._score(trial, outcome)
        if failure.cause == "cancelled":
            raise Interrupted
        return _failed(trial, failure.cause, failure.message)

    def run_rung(
        self, trial: TrialRecord, dataset: DatasetCard, rung: int, experiment: str = ""
    ) -> TrialRecord:
        """Train to the rung's end and evaluate.

        Raises Interrupted if the run was asked to stop, OSError if the disk is full.
        """
        for _ in range(MAX_REPAIRS + 1):
            outcome = self.train(trial.training, dataset.stage_fingerprints, rung, trial.start)
            trial = trial.model_copy(update={"id": outcome.trial, "total_steps": outcome.total_steps})
            if outcome.failure is None:
                return self._score(trial, outcome)
            repaired = self._after(trial, outcome.failure, experiment)
            if repaired.status != "running":
                return repaired
            trial = repaired
        return _failed(trial, trial.cause, f"gave up after {MAX_REPAIRS} repairs")

    def _build(self, planned: DataRecipe) -> BuiltRecipe:
        """The recipe's data set, repaired until it has rows; it must pass the contamination gate."""
        repairs: list[str] = []
        recipe = planned
        while True:
            try:
                prepared = self.prepare_data(recipe)
                break
            except PlanError as error:
                cause: Cause | None = getattr(error, "cause", None)
                repair = repair_recipe(recipe) if cause == "empty" else None
                if repair is None or len(repairs) == MAX_REPAIRS:
                    return BuiltRecipe(planned, failure=str(error), cause=cause)
                repairs.append(repair.report)
                recipe = repair.recipe
        return BuiltRecipe(recipe, tuple(repairs), prepared, failure=prepared.contamination.refusal)

    def _checked(
        self, trial: TrialRecord, built: Mapping[str, BuiltRecipe], parent: ParentWeights | None
    ) -> TrialRecord:
        """The trial with its plan repaired until the preflight passes; failed if that, its start or a recipe fails."""
        try:
            trial = with_start(trial, parent)
        except PlanError as error:
            return _failed(trial, "start_weights", str(error))
        for place, recipe in enumerate(stage.recipe for stage in trial.training.stages):
            made = built[recipe]
            if made.failure is not None:
                return _failed(trial, made.cause, f"its recipe failed: {made.failure}")
            assert made.prepared is not None
            while problems := self.preflight(made.prepared.dataset, _only(trial.training, place)):
                problem = problems[0]
                repair = repair_training(trial.training, problem.cause, place)
                if repair is None or len(trial.repairs) == MAX_REPAIRS:
                    return _failed(trial, problem.cause, problem.message)
                trial = trial.repaired(repair.plan, repair.report)
        return trial

    def _after(self, trial: TrialRecord, failure: JobFailed, experiment: str) -> TrialRecord:
        """The trial after a failed job: running with a repaired plan, failed or stopped."""
        if failure.cause == "cancelled":
            raise Interrupted
        if failure.cause == "disk_full":
            # A fault of the machine, not of the trial: nothing is recorded, and a resumed run continues.
            raise OSError(errno.ENOSPC, failure.message)
        if failure.cause == "timeout" and not self.budget.allows(0):
            return _failed(trial, failure.cause, "the budget ended", "stopped")
        repair = self._repair(trial, failure, experiment)
        if repair is None:
            return _failed(trial, failure.cause, failure.message)
        repaired = trial.repaired(repair.plan, repair.report)
        if repair.plan == trial.training:
            return _failed(repaired, failure.cause, failure.message)
        return repaired.model_copy(update={"status": "running"})

    def _repair(self, trial: TrialRecord, failure: JobFailed, experiment: str) -> TrainingRepair | None:
        """By a rule, else by the repair agent. `MAX_REPAIRS` limits both together."""
        if len(trial.repairs) >= MAX_REPAIRS:
            return None
        repair = repair_training(trial.training, failure.cause, failure.stage)
        if repair is None and self.repair_agent is not None:
            return self.repair_agent.repair(trial, failure, experiment)
        return repair

    def _score(self, trial: TrialRecord, outcome: TrainingOutcome) -> TrialRecord:
        assert outcome.result is not None
        result = outcome.result
        trial = trial.model_copy(update=_measured(trial, result))
        limit = None if outcome.last_rung else self.rung_items
        try:
            evaluation = self.evaluate(outcome.adapter, limit)
        except (IntegrityError, TooManyUnjudged) as error:
            return _failed(trial, trial.cause, f"not eligible: {error}")
        except JudgeSpent as error:
            return _failed(trial, trial.cause, str(error), "stopped")
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


def _only(plan: TrainingPlan, place: int) -> TrainingPlan:
    """The plan with one of its stages alone."""
    return plan.model_copy(update={"stages": (plan.stages[place],)})


def _failed(
    trial: TrialRecord, cause: Cause | None, message: str, status: Literal["failed", "stopped"] = "failed"
) -> TrialRecord:
    return trial.model_copy(update={"status": status, "cause": cause, "message": message})


def _measured(trial: TrialRecord, result: JobResult) -> dict[str, object]:
    """The fields of a trial's record that a finished job sets."""
    return {
        "rung": result.rung,
        "step": result.step,
        "train_loss": result.train_loss,
        "curve": binned(result.curve, CURVE_POINTS),
        "figures": {name: binned(points, FIGURE_POINTS) for name, points in result.series.items()},
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
