"""What a run has used: seconds by kind, counts, and chat models. Spends add up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from ...evaluation.results import Evaluation
from ..finish.finish_record import FinishRecord
from ..llm.usage import Usage
from ..tree.experiment import Experiment, TrialRecord
from ..tree.tree import Tree
from .call_totals import totals

if TYPE_CHECKING:
    from ..llm.protocol import CallRecord

MODEL = "model"
"""The kind of seconds spent waiting for chat models."""


class Spend(BaseModel):
    """What a trial, an experiment or a run has used. Seconds of processes that run at once are added up."""

    model_config = ConfigDict(frozen=True)

    active_seconds: float = Field(default=0.0, description="Wall time, summed over resumes")
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    loading_seconds: float = 0.0
    overhead_seconds: float = Field(default=0.0, description="CPU time of the processes that drive the graph")
    model_seconds: float = Field(default=0.0, description="Waiting for chat models")
    experiments: int = 0
    trials: int = 0
    trials_reused: int = 0
    calls: int = Field(default=0, description="Of chat models, failed ones included")
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = Field(default=0.0, description="US dollars, by the price table")

    def __add__(self, other: Spend) -> Spend:
        return Spend(**{name: getattr(self, name) + getattr(other, name) for name in Spend.model_fields})

    @property
    def by_kind(self) -> dict[str, float]:
        """Seconds by kind, in the order of the report."""
        return {
            "training": self.training_seconds,
            "evaluation": self.evaluation_seconds,
            "loading": self.loading_seconds,
            "overhead": self.overhead_seconds,
            MODEL: self.model_seconds,
        }

    @property
    def usage(self) -> Usage:
        """The part of chat models."""
        return Usage(self.calls, self.tokens_in, self.tokens_out, self.cost_usd, self.model_seconds)


def spend_of_trial(trial: TrialRecord) -> Spend:
    """The seconds of one trial."""
    return Spend(
        training_seconds=trial.train_seconds,
        evaluation_seconds=trial.eval_seconds,
        loading_seconds=trial.load_seconds,
        trials=1,
        trials_reused=int(trial.reused),
    )


def spend_of_experiments(experiments: Iterable[Experiment]) -> Spend:
    """The sum over experiments and their trials."""
    nodes = list(experiments)
    trials = (spend_of_trial(trial) for experiment in nodes for trial in experiment.trials)
    return sum(trials, Spend(experiments=len(nodes)))


def spend_of_calls(calls: Iterable[CallRecord]) -> Spend:
    """The sum over calls of chat models."""
    usage = totals(calls)
    return Spend(
        calls=usage.calls,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        cost_usd=usage.cost_usd,
        model_seconds=usage.seconds,
    )


def spend_of_run(
    tree: Tree, clock: Spend, finish: FinishRecord | None = None, *, calls: Iterable[CallRecord] = ()
) -> Spend:
    """The whole run: clock, trials, the base model's evaluation, those of the end, and calls.

    The clock of a finished run is the one that it ended with.
    """
    if finish is not None and finish.active_seconds is not None:
        clock = Spend(active_seconds=finish.active_seconds, overhead_seconds=finish.overhead_seconds)
    last = [finish.confirm, finish.test, finish.baseline_test] if finish else []
    root = tree.root.evaluation if len(tree) else None
    evaluations: list[Evaluation | None] = [root, *last]
    outside = Spend(evaluation_seconds=sum(each.seconds for each in evaluations if each is not None))
    return clock + outside + spend_of_experiments(tree) + spend_of_calls(calls)
