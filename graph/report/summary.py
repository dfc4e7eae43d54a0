"""The summary of a run: experiments and trials as flat models.

One flattening for the terminal, `trex show --json`, the report and the rows of the experiment store.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...evaluation.metrics.judging import JUDGE_FIGURES
from ...evaluation.results import Evaluation, RegressionCheck, Score
from ..finish.finish_record import Ending, FinishRecord, SelectionBias
from ..run.rerun_command import command
from ..run.settings import Settings
from ..tree.experiment import SCHEMA_VERSION, Experiment, Strategy, TrialRecord
from ..tree.experiment import Status as ExperimentStatus
from ..tree.tree import NodeStatistics, Tree
from .spend import Spend
from .verification import Verified

BUILT_IN = "built-in policy"

RunStatus = Literal["running", "done", "failed", "interrupted"]


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
    """One trial, flat."""

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
    figures: dict[str, list[tuple[int, float]]] = Field(
        description="What the methods logged besides the loss, in bins: (step, mean)"
    )
    cause: str | None
    message: str
    repairs: list[str]
    plan: dict[str, Any] = Field(description="Training plan")


class ExperimentSummary(BaseModel):
    """One experiment, flat."""

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
    plan: dict[str, Any] | None = Field(description="Experiment plan")
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
    selection_bias: SelectionBias | None
    seeds: Interval | None = Field(description="The winner's plan on `confirm`, over several training seeds")
    regression_checks: list[RegressionCheck]
    judged: dict[str, float] = Field(
        default_factory=dict, description="Of a judged metric: its noise and its gaps, on test or else on dev"
    )
    unjudged: tuple[str, ...] = Field(default=(), description="Items to which the judge gave no verdict")
    test_seen: bool
    scoring: str
    path: str | None


class RunSummary(BaseModel):
    """The whole run, as `trex show DIR --json` prints it."""

    schema_version: int = SCHEMA_VERSION
    status: RunStatus
    reason: Ending | None = Field(description="Why the run ended")
    message: str
    task: str
    metric: str
    requirement: str
    base_model: str
    policy: str
    llm: str = Field(default=BUILT_IN, description="The built-in policy, or the chat models")
    plans: int = Field(default=0, description="Plans made")
    plans_by_model: int = Field(default=0, description="Of these by the chat model, not in its place")
    memory: bool = True
    diagnosis: bool = True
    seed: int
    rounds: int = Field(description="Rounds asked for; those made are in `experiments`")
    trials: int = Field(description="Trials of one experiment")
    budget_seconds: float | None
    experiments: list[ExperimentSummary]
    best: BestSummary | None
    spend: Spend
    created: str
    python: str
    versions: dict[str, str]
    confinement: str
    faults: list[str] = Field(description="What does not agree with the grader's records: it is withheld")
    command: str = Field(description="What starts the same search again")
    directory: str


def summarise(run: Verified, spend: Spend, *, alive: bool = False, failure: str | None = None) -> RunSummary:
    """The summary of a run; `alive`: a process holds it now; `failure`: why the last process ended.

    Before its end a run has no winner: `best` is then the tree's best experiment, without confirm and test.
    """
    info, tree, finish = run.info, run.tree, run.finish
    settings, task = info.settings, info.task
    plans = [experiment.plan for experiment in tree if experiment.plan is not None]
    return RunSummary(
        status=_status(finish, alive, failure),
        reason=finish.reason if finish else None,
        message=_message(tree, finish, failure),
        task=task.name,
        metric=task.metric_label,
        requirement=task.requirement,
        base_model=task.base_model,
        policy=settings.policy,
        llm=model_names(settings),
        plans=len(plans),
        plans_by_model=sum(not plan.fallback for plan in plans) if settings.llm else 0,
        memory=settings.memory,
        diagnosis=settings.diagnosis,
        seed=settings.seed,
        rounds=settings.rounds,
        trials=settings.trials,
        budget_seconds=settings.budget_seconds,
        experiments=[summarise_experiment(experiment, tree.statistics[experiment.id]) for experiment in tree],
        best=_winner(finish) if finish is not None else _leader(tree),
        spend=spend,
        created=info.created,
        python=info.python,
        versions=info.versions,
        confinement=info.confinement,
        faults=run.faults,
        command=command(settings),
        directory=settings.directory,
    )


def _status(finish: FinishRecord | None, alive: bool, failure: str | None) -> RunStatus:
    if finish is not None:
        return "failed" if finish.reason == "failed" else "done"
    if alive:
        return "running"
    return "failed" if failure else "interrupted"


def _message(tree: Tree, finish: FinishRecord | None, failure: str | None) -> str:
    """Why the run failed, if it did."""
    if finish is None:
        return failure or ""
    failures = Counter(e.failure for e in tree if e.failure) if finish.reason == "failed" else Counter()
    return "; ".join(f"{n} experiments: {text}" if n > 1 else text for text, n in failures.most_common(3))


def model_names(settings: Settings) -> str:
    """'built-in policy', or the chat models of Researcher and Executor."""
    if (models := settings.llm) is None:
        return BUILT_IN
    executor = models.executor if models.executor not in (None, models.researcher) else None
    return f"{models.researcher}, Executor {executor}" if executor else models.researcher


def summarise_trial(trial: TrialRecord) -> TrialSummary:
    """One trial, flat."""
    return TrialSummary(
        score=Interval.of(trial.evaluation.score) if trial.evaluation else None,
        seconds=round(trial.load_seconds + trial.train_seconds + trial.eval_seconds, 2),
        plan=trial.training.model_dump(mode="json"),
        **trial.model_dump(include=set(TrialSummary.model_fields) - {"score", "seconds", "plan"}),
    )


def summarise_experiment(experiment: Experiment, statistics: NodeStatistics) -> ExperimentSummary:
    """One experiment, flat, with the sums over its subtree."""
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
        plan=plan.model_dump(mode="json") if plan else None,
        trials=[summarise_trial(trial) for trial in experiment.trials],
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
        selection_bias=finish.selection_bias,
        seeds=Interval.of(finish.seeds),
        regression_checks=finish.regression_checks,
        **_judged(finish.test or finish.dev),
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
        selection_bias=None,
        seeds=None,
        regression_checks=[],
        **_judged(evaluation),
        test_seen=False,
        scoring=evaluation.scoring,
        path=None,
    )


def _judged(evaluation: Evaluation) -> dict[str, Any]:
    """The judge's fields of a summary; none under another metric."""
    figures = {name: value for name, value in evaluation.secondary.items() if name in JUDGE_FIGURES}
    return {"judged": figures, "unjudged": evaluation.unjudged} if "unjudged" in figures else {}


def _interval(evaluation: Evaluation) -> Interval:
    score = evaluation.score
    return Interval(value=score.value, ci_low=score.ci_low, ci_high=score.ci_high, n=score.n)
