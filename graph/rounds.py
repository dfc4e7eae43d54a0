"""What happens to the trials of one round: who is promoted, what the experiment's outcome is."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluation.failures.analysis import Failures, compare
from ..evaluation.failures.degenerate import degenerate_answers
from ..evaluation.results import Evaluation
from .researcher.protocol import Evidence
from .run.runtime import Runtime
from .tree.experiment import Experiment, TrialRecord, reward_of

ROOT = "e000"


def root_experiment(evaluation: Evaluation) -> Experiment:
    """The baseline as the root of the tree: no plan, no trials, the base model's score."""
    return Experiment(
        id=ROOT,
        parent_id=None,
        round=0,
        strategy="establish_baseline",
        status="done",
        baseline=evaluation,
        score=evaluation.score,
        reward=reward_of(evaluation.score),
        secondary=evaluation.secondary,
        seconds=evaluation.seconds,
    )


def promoted(trials: Sequence[TrialRecord], reduction: int) -> list[TrialRecord]:
    """Successive halving (Jamieson and Talwalkar, 2016): one in `reduction` running trials goes on, rounded up.

    Ordered by score, ties by trial id, so that a repetition promotes the same ones. The rest is pruned.
    """
    running = sorted((t for t in trials if t.status == "running"), key=lambda t: (-(t.value or 0.0), t.id))
    keep = {trial.index for trial in running[: -(-len(running) // reduction)]}
    return [
        trial.model_copy(update={"status": "pruned"})
        if trial.status == "running" and trial.index not in keep
        else trial
        for trial in trials
    ]


def assess(experiment: Experiment, trials: Sequence[TrialRecord]) -> Experiment:
    """The experiment with its outcome: the best of the trials that came furthest, or the reason why none did."""
    trials = [t if t.status != "planned" else t.model_copy(update={"status": "stopped"}) for t in trials]
    outcome = experiment.model_copy(
        update={
            "trials": trials,
            "seconds": sum(t.load_seconds + t.train_seconds + t.eval_seconds for t in trials),
        }
    )
    scored = [t for t in trials if t.evaluation is not None]
    if not scored:
        reasons = [f"trial {t.index + 1}: {t.message}" for t in trials if t.message]
        failure = experiment.failure or "; ".join(reasons) or "no trial was evaluated"
        return outcome.model_copy(update={"failure": failure})
    best = min(scored, key=lambda t: (-t.rung, -(t.value or 0.0), t.id))
    assert best.evaluation is not None
    return outcome.model_copy(
        update={
            "best_trial": best.id,
            "score": best.evaluation.score,
            "reward": reward_of(best.evaluation.score),
            "secondary": best.evaluation.secondary,
        }
    )


def evidence(runtime: Runtime, experiment: Experiment, parent: Experiment | None) -> Evidence:
    """What the Researcher is shown of an outcome: items of `search`, never of `confirm` or `test`."""
    after, before = experiment.evaluation, parent.evaluation if parent else None
    if after is None:
        return Evidence(runtime.task, experiment, parent)
    run = runtime.directory.path
    failures = Failures(after, runtime.task, run) if runtime.settings.diagnosis else None
    return Evidence(
        task=runtime.task,
        experiment=experiment,
        parent=parent,
        failures=failures.cases if failures else [],
        groups=failures.groups if failures else [],
        degenerate=degenerate_answers(runtime.task, failures.answered) if failures else [],
        comparison=compare(before, after, run) if before else None,
    )
