"""The tables of the experiment store, and the rows that a tree becomes. Nothing of the test split does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import IntegrityError
from ...evaluation.results import Evaluation
from ..report.call_totals import by_experiment, experiment_of, round_of, totals
from ..report.formatting import clean, shorten
from ..report.summary import FinishRecord
from ..tree.experiment import Experiment, TrialRecord
from ..tree.tree import NodeStatistics

if TYPE_CHECKING:
    from ..llm.protocol import CallRecord

BASELINE = "baseline"
"""What stands for a trial's id in the rows of the base model."""
MODEL = "model"
"""The kind of what chat models took."""

Row = dict[str, Any]

EXPERIMENTS = {
    "id": "VARCHAR",
    "parent_id": "VARCHAR",
    "round": "INTEGER",
    "strategy": "VARCHAR",
    "direction": "VARCHAR",
    "status": "VARCHAR",
    "reward": "DOUBLE",
    "visits": "INTEGER",
    "cumulative_reward": "DOUBLE",
    "score": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "n": "INTEGER",
    "hypothesis": "VARCHAR",
    "verdict": "VARCHAR",
    "failure": "VARCHAR",
    "best_trial": "VARCHAR",
    "dataset": "VARCHAR",
    "seconds": "DOUBLE",
    "plan": "JSON",
}
TRIALS = {
    "id": "VARCHAR",
    "experiment_id": "VARCHAR",
    "index": "INTEGER",
    "status": "VARCHAR",
    "score": "DOUBLE",
    "seconds": "DOUBLE",
    "attempts": "INTEGER",
    "reused": "BOOLEAN",
    "note": "VARCHAR",
    "rung": "INTEGER",
    "step": "INTEGER",
    "total_steps": "INTEGER",
    "train_loss": "DOUBLE",
    "cause": "VARCHAR",
    "message": "VARCHAR",
    "plan": "JSON",
}
METRICS = {
    "trial_id": "VARCHAR",
    "split": "VARCHAR",
    "name": "VARCHAR",
    "value": "DOUBLE",
    "n": "INTEGER",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
}
PREDICTIONS = {
    "evaluation_id": "VARCHAR",
    "trial_id": "VARCHAR",
    "item_id": "VARCHAR",
    "prediction": "VARCHAR",
    "value": "DOUBLE",
}
SPEND = {
    "experiment_id": "VARCHAR",
    "trial_id": "VARCHAR",
    "kind": "VARCHAR",
    "seconds": "DOUBLE",
    "tokens_in": "BIGINT",
    "tokens_out": "BIGINT",
    "cost_usd": "DOUBLE",
}
CALLS = {
    "number": "INTEGER",
    "id": "VARCHAR",
    "experiment_id": "VARCHAR",
    "round": "INTEGER",
    "role": "VARCHAR",
    "purpose": "VARCHAR",
    "model": "VARCHAR",
    "status": "VARCHAR",
    "tokens_in": "BIGINT",
    "tokens_out": "BIGINT",
    "cost_usd": "DOUBLE",
    "seconds": "DOUBLE",
    "tools": "VARCHAR[]",
    "text": "VARCHAR",
    "problem": "VARCHAR",
}
LONGEST_TEXT = 2000
"""Characters of a model's words in the store; all of them are in the record of calls."""

# An experiment may hold the same trial twice after a repair, and a trial that never started has no id, so a
# trial's key is its place in its experiment.
TABLES = {
    "experiments": (EXPERIMENTS, "PRIMARY KEY (id)"),
    "trials": (TRIALS, 'PRIMARY KEY (experiment_id, "index")'),
    "metrics": (METRICS, "PRIMARY KEY (trial_id, split, name), CHECK (split IN ('search', 'confirm'))"),
    "predictions": (PREDICTIONS, ""),
    "spend": (SPEND, ""),
    "calls": (CALLS, "PRIMARY KEY (number)"),
}


def experiment_row(experiment: Experiment, statistics: NodeStatistics) -> Row:
    plan, score = experiment.tried_plan, experiment.score
    return {
        "direction": plan.direction if plan else "baseline",
        "hypothesis": plan.hypothesis if plan else "",
        "visits": statistics.visits,
        "cumulative_reward": statistics.reward,
        "score": score.value if score else None,
        "ci_low": score.ci_low if score else None,
        "ci_high": score.ci_high if score else None,
        "n": score.n if score else None,
        "verdict": experiment.diagnosis.verdict if experiment.diagnosis else None,
        "dataset": experiment.dataset.fingerprint if experiment.dataset else None,
        "plan": plan.model_dump(mode="json") if plan else None,
        **experiment.model_dump(
            include={
                "id",
                "parent_id",
                "round",
                "strategy",
                "status",
                "reward",
                "failure",
                "best_trial",
                "seconds",
            }
        ),
    }


def trial_row(experiment: Experiment, trial: TrialRecord) -> Row:
    row = {name: getattr(trial, name) for name in TRIALS if name in TrialRecord.model_fields}
    return row | {
        "experiment_id": experiment.id,
        "score": trial.value,
        "seconds": sum(trial_seconds(trial).values()),
        "plan": trial.training.model_dump(mode="json"),
    }


def trial_seconds(trial: TrialRecord) -> dict[str, float]:
    return {
        "training": trial.train_seconds,
        "evaluation": trial.eval_seconds,
        "loading": trial.load_seconds,
    }


def evaluations(experiments: Iterable[Experiment]) -> Iterator[tuple[str, Evaluation]]:
    """(trial id, evaluation) of every model scored; the base model's trial is called 'baseline'."""
    for experiment in experiments:
        if experiment.baseline is not None:
            yield BASELINE, experiment.baseline
        for trial in experiment.trials:
            if trial.evaluation is not None:
                yield trial.id, trial.evaluation


def metric_rows(experiments: Iterable[Experiment], finish: FinishRecord | None) -> list[Row]:
    rows = [row for trial, evaluation in evaluations(experiments) for row in _rows_of(trial, evaluation)]
    if finish is not None and finish.winner_trial is not None and finish.confirm is not None:
        rows += _rows_of(finish.winner_trial, finish.confirm)
    return rows


def _rows_of(trial_id: str, evaluation: Evaluation) -> list[Row]:
    refuse_test(evaluation)
    common = {"trial_id": trial_id, "split": evaluation.split, "n": evaluation.score.n}
    score = evaluation.score.model_dump(include={"name", "value", "ci_low", "ci_high"})
    secondary = [{"name": name, "value": value} for name, value in evaluation.secondary.items()]
    return [common | row for row in [*secondary, score]]


def call_rows(calls: Sequence[CallRecord]) -> list[Row]:
    """The record of calls, numbered in its order: a call keeps its number when it is settled."""
    return [
        {
            "number": number,
            "id": call.id,
            "experiment_id": experiment_of(call),
            "round": round_of(call),
            "role": call.role,
            "purpose": call.purpose,
            "model": call.model,
            "status": call.status,
            "tokens_in": call.tokens_in,
            "tokens_out": call.tokens_out,
            "cost_usd": call.cost_usd,
            "seconds": call.seconds,
            "tools": [clean(str(tool["name"])) for tool in call.answer.get("tools") or []],
            "text": shorten(clean(str(call.answer.get("text") or "")), LONGEST_TEXT),
            "problem": clean(str(call.answer["problem"])) if call.answer.get("problem") else None,
        }
        for number, call in enumerate(calls, start=1)
    ]


def model_spend_rows(calls: Sequence[CallRecord]) -> list[Row]:
    """What chat models took for each experiment, and under none for what precedes or follows them."""
    rows: list[Row] = []
    for experiment, made in by_experiment(calls).items():
        sums = totals(made)
        rows.append(
            {
                "experiment_id": experiment,
                "kind": MODEL,
                "seconds": sums.seconds,
                "tokens_in": sums.tokens_in,
                "tokens_out": sums.tokens_out,
                "cost_usd": sums.cost_usd,
            }
        )
    return rows


def refuse_test(evaluation: Evaluation) -> None:
    if evaluation.split == "test":
        raise IntegrityError(f"evaluation {evaluation.id} is of the test split, which the store never holds")
