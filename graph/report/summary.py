"""What a run amounts to, as data: the models behind `trex show --json`, the report and the data frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...evaluation.results import Evaluation, RegressionCheck, Score
from ...evaluation.task import Task
from ...landlock import NOT_CONFINED
from ..run.rerun_command import command
from ..run.settings import Settings
from ..tree.experiment import SCHEMA_VERSION, Experiment, Strategy, TrialRecord
from ..tree.experiment import Status as ExperimentStatus
from ..tree.tree import NodeStatistics, Tree
from .call_totals import totals

if TYPE_CHECKING:
    from ..llm.protocol import CallRecord

BUILT_IN = "built-in policy"

RunStatus = Literal["running", "done", "failed", "interrupted"]
Ending = Literal["rounds", "budget", "exhausted", "stopped", "failed"]


class RunInfo(BaseModel):
    """Who a run is: its frozen settings, its task, and where and when it began."""

    model_config = ConfigDict(frozen=True)

    settings: Settings
    task: Task
    created: str = Field(description="ISO 8601")
    python: str
    versions: dict[str, str]
    confinement: str = Field(
        default=NOT_CONFINED, description="What kept all workers from files they don't need"
    )


class SelectionBias(BaseModel):
    """The best of many on `search` against the base model, corrected for having been picked there."""

    model_config = ConfigDict(frozen=True)

    gain: float
    at_least: float = Field(description="End of a one-sided 95 % interval for its true gain")
    p_value: float = Field(description="For 'no configuration is better than the base model'")
    candidates: int = Field(description="Configurations that were evaluated on all of `search`")


class FinishRecord(BaseModel):
    """How a run ended, what it chose, and what the sealed test split said."""

    model_config = ConfigDict(frozen=True)

    status: Literal["done", "failed"] = "done"
    reason: Ending = Field(default="rounds", description="'exhausted': nothing was left to try")
    message: str = ""
    winner_trial: str | None = Field(default=None, description="None: nothing beat the base model")
    winner_experiment: str | None = None
    dev: Evaluation | None = Field(default=None, description="The winner on `search`")
    confirm: Evaluation | None = None
    test: Evaluation | None = None
    baseline_test: Evaluation | None = None
    test_gain: Score | None = Field(
        default=None, description="Winner minus baseline on the same test items, with a paired interval"
    )
    picked: SelectionBias | None = None
    seeds: Score | None = Field(
        default=None, description="The winner's plan on `confirm`, trained again with fresh seeds as well"
    )
    regression_checks: list[RegressionCheck] = Field(
        default_factory=list, description="What the winner may have lost"
    )
    test_seen: bool = Field(default=False, description="This test split was opened before this run ended")
    best_path: str | None = Field(
        default=None, description="The winner's folder, relative to the run directory"
    )


class Spend(BaseModel):
    """What a run has used. Training, evaluation and loading sum over processes that may run at once."""

    model_config = ConfigDict(frozen=True)

    active_seconds: float = Field(default=0.0, description="Wall time, summed over resumes")
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    loading_seconds: float = 0.0
    data_seconds: float = 0.0
    overhead_seconds: float = Field(default=0.0, description="Deciding, recording, writing: TREX itself")
    model_seconds: float = Field(default=0.0, description="Waiting for chat models")
    experiments: int = 0
    trials: int = 0
    trials_reused: int = 0
    calls: int = Field(default=0, description="Of chat models, those that failed included")
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = Field(default=0.0, description="US dollars, by the price table")

    @property
    def by_kind(self) -> dict[str, float]:
        """Seconds by what they were spent on, in the order of the report."""
        return {
            "training": self.training_seconds,
            "evaluation": self.evaluation_seconds,
            "loading": self.loading_seconds,
            "data": self.data_seconds,
            "own": self.overhead_seconds,
            "model": self.model_seconds,
        }


def tally(
    experiments: Iterable[Experiment],
    active_seconds: float,
    *,
    evaluation_seconds: float = 0.0,
    loading_seconds: float = 0.0,
    data_seconds: float = 0.0,
    overhead_seconds: float = 0.0,
    calls: Iterable[CallRecord] = (),
) -> Spend:
    """Add up what trials and calls of chat models took; the seconds given are those that no trial carries."""
    nodes, model = list(experiments), totals(calls)
    trials = [trial for experiment in nodes for trial in experiment.trials]
    return Spend(
        active_seconds=active_seconds,
        training_seconds=sum(trial.train_seconds for trial in trials),
        evaluation_seconds=evaluation_seconds + sum(trial.eval_seconds for trial in trials),
        loading_seconds=loading_seconds + sum(trial.load_seconds for trial in trials),
        data_seconds=data_seconds,
        overhead_seconds=overhead_seconds,
        model_seconds=model.seconds,
        experiments=len(nodes),
        trials=len(trials),
        trials_reused=sum(trial.reused for trial in trials),
        calls=model.calls,
        tokens_in=model.tokens_in,
        tokens_out=model.tokens_out,
        cost_usd=model.cost_usd,
    )


class Interval(BaseModel):
    """A score with its 95 % interval and its number of items."""

    model_config = ConfigDict(frozen=True)

    value: float
    ci_low: float
    ci_high: float
    n: int

    @classmethod
    def of(cls, score: Score | None) -> Interval | None:
        """The interval of a score, None for none."""
        if score is None:
            return None
        return cls(value=score.value, ci_low=score.ci_low, ci_high=score.ci_high, n=score.n)


class TrialSummary(BaseModel):
    """One trial in a line."""

    id: str
    index: int
    status: str
    score: Interval | None
    note: str
    attempts: int
    reused: bool
    seconds: float
    rung: int
    step: int
    total_steps: int
    train_loss: float | None
    cause: str | None
    message: str
    repairs: list[str]


class ExperimentSummary(BaseModel):
    """One experiment, flat: what was tried on top of what, and what came of it."""

    id: str
    parent_id: str | None
    round: int
    strategy: Strategy
    direction: str
    status: ExperimentStatus
    score: Interval | None
    reward: float
    visits: int
    cumulative_reward: float
    hypothesis: str
    verdict: str | None
    failure: str | None
    insights: list[str]
    repairs: list[str]
    best_trial: str | None
    dataset: str | None = Field(description="Fingerprint of the data set")
    rows: int | None = Field(description="Rows of the data set")
    seconds: float
    trials: list[TrialSummary]


class BestSummary(BaseModel):
    """The best model. `dev` is its score on `search`, which chose it and therefore flatters it."""

    trial: str | None = Field(description="None: nothing beat the base model, whose scores these are")
    experiment: str
    dev: float
    dev_interval: Interval
    confirm: Interval | None
    test: Interval | None
    baseline_test: Interval | None
    test_gain: Interval | None
    picked: SelectionBias | None
    seeds: Interval | None = Field(description="Over items of `confirm` and fresh seeds of the winner's plan")
    regression_checks: list[RegressionCheck]
    test_seen: bool
    scoring: str
    path: str | None


class RunSummary(BaseModel):
    """What `trex show DIR --json` prints."""

    schema_version: int = SCHEMA_VERSION
    status: RunStatus
    reason: str | None = Field(description="Why the run ended")
    message: str
    task: str
    metric: str
    requirement: str
    base_model: str
    policy: str
    llm: str = Field(default=BUILT_IN, description="Who thinks: the built-in policy, or the chat models")
    memory: bool = True
    diagnosis: bool = True
    seed: int
    rounds: int = Field(description="Rounds asked for; those made are in `experiments`")
    trials: int = Field(description="Trials of one experiment")
    budget_seconds: float | None
    experiments: list[ExperimentSummary]
    best: BestSummary | None
    spend: dict[str, Any]
    created: str
    python: str
    versions: dict[str, str]
    confinement: str
    command: str = Field(description="What starts the same search again")
    directory: str


def summarise(
    info: RunInfo,
    tree: Tree,
    finish: FinishRecord | None,
    spend: Spend,
    *,
    alive: bool = False,
    failure: str | None = None,
) -> RunSummary:
    """What the run amounts to; `alive`: a process holds it now; `failure`: why the last one gave up.

    Before its end a run has no winner: `best` is then the tree's best experiment, without confirm and test.
    """
    settings, task = info.settings, info.task
    return RunSummary(
        status=_status(finish, alive, failure),
        reason=finish.reason if finish else None,
        message=finish.message if finish else failure or "",
        task=task.name,
        metric=task.metric,
        requirement=task.requirement,
        base_model=task.base_model,
        policy=settings.policy,
        llm=thinker(settings),
        memory=settings.memory,
        diagnosis=settings.diagnosis,
        seed=settings.seed,
        rounds=settings.rounds,
        trials=settings.trials,
        budget_seconds=settings.budget_seconds,
        experiments=[_experiment(experiment, tree.statistics[experiment.id]) for experiment in tree],
        best=_winner(finish) if finish is not None else _leader(tree),
        spend=spend.model_dump(mode="json"),
        created=info.created,
        python=info.python,
        versions=info.versions,
        confinement=info.confinement,
        command=command(settings),
        directory=settings.directory,
    )


def _status(finish: FinishRecord | None, alive: bool, failure: str | None) -> RunStatus:
    if finish is not None:
        return finish.status
    if alive:
        return "running"
    return "failed" if failure else "interrupted"


def thinker(settings: Settings) -> str:
    """Who researches, plans and repairs: 'built-in policy', or the models by name."""
    if (models := settings.llm) is None:
        return BUILT_IN
    executor = models.executor if models.executor not in (None, models.researcher) else None
    return f"{models.researcher}, Executor {executor}" if executor else models.researcher


def _trial(trial: TrialRecord) -> TrialSummary:
    return TrialSummary(
        score=Interval.of(trial.evaluation.score) if trial.evaluation else None,
        seconds=round(trial.load_seconds + trial.train_seconds + trial.eval_seconds, 2),
        **trial.model_dump(include=set(TrialSummary.model_fields) - {"score", "seconds"}),
    )


def _experiment(experiment: Experiment, statistics: NodeStatistics) -> ExperimentSummary:
    plan, diagnosis, dataset = experiment.tried_plan, experiment.diagnosis, experiment.dataset
    return ExperimentSummary(
        id=experiment.id,
        parent_id=experiment.parent_id,
        round=experiment.round,
        strategy=experiment.strategy,
        direction=plan.direction if plan else "baseline",
        status=experiment.status,
        score=Interval.of(experiment.score),
        reward=experiment.reward,
        visits=statistics.visits,
        cumulative_reward=statistics.reward,
        hypothesis=plan.hypothesis if plan else "",
        verdict=diagnosis.verdict if diagnosis else None,
        failure=experiment.failure,
        insights=diagnosis.insights if diagnosis else [],
        repairs=experiment.repairs,
        best_trial=experiment.best_trial,
        dataset=dataset.fingerprint if dataset else None,
        rows=dataset.rows if dataset else None,
        seconds=experiment.seconds,
        trials=[_trial(trial) for trial in experiment.trials],
    )


def _winner(finish: FinishRecord) -> BestSummary | None:
    if finish.winner_experiment is None or finish.dev is None:
        return None
    return BestSummary(
        trial=finish.winner_trial,
        experiment=finish.winner_experiment,
        dev=finish.dev.score.value,
        dev_interval=_interval(finish.dev),
        confirm=_interval(finish.confirm) if finish.confirm else None,
        test=_interval(finish.test) if finish.test else None,
        baseline_test=_interval(finish.baseline_test) if finish.baseline_test else None,
        test_gain=Interval.of(finish.test_gain),
        picked=finish.picked,
        seeds=Interval.of(finish.seeds),
        regression_checks=finish.regression_checks,
        test_seen=finish.test_seen,
        scoring=finish.dev.scoring,
        path=finish.best_path,
    )


def _leader(tree: Tree) -> BestSummary | None:
    """The best experiment so far; None while only the baseline has a score."""
    leader = tree.best()
    evaluation = leader.evaluation if leader else None
    if leader is None or leader.best_trial is None or evaluation is None:
        return None
    return BestSummary(
        trial=leader.best_trial,
        experiment=leader.id,
        dev=evaluation.score.value,
        dev_interval=_interval(evaluation),
        confirm=None,
        test=None,
        baseline_test=None,
        test_gain=None,
        picked=None,
        seeds=None,
        regression_checks=[],
        test_seen=False,
        scoring=evaluation.scoring,
        path=None,
    )


def _interval(evaluation: Evaluation) -> Interval:
    score = evaluation.score
    return Interval(value=score.value, ci_low=score.ci_low, ci_high=score.ci_high, n=score.n)
