"""The tables of the experiment store, and their rows. Nothing of the test split is among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...errors import IntegrityError
from ...evaluation.results import Evaluation
from ..finish.finish_record import FinishRecord
from ..report.call_totals import by_experiment, event_of, experiment_of, round_of, totals
from ..report.formatting import clean, shorten
from ..report.spend import MODEL, Spend, spend_of_experiments, spend_of_trial
from ..report.summary import ExperimentSummary
from ..tree.experiment import Experiment

if TYPE_CHECKING:
    from ..llm.protocol import CallRecord

BASELINE = "baseline"
"""The trial id in rows of the base model."""

Row = dict[str, Any]


def _columns(definition: str) -> dict[str, str]:
    """Names and DuckDB types of columns."""
    return dict(re.findall(r"(\w+) ([\w\[\]]+)", definition))


EXPERIMENTS = _columns(
    "id VARCHAR, parent_id VARCHAR, round INTEGER, strategy VARCHAR, direction VARCHAR, status VARCHAR, "
    "reward DOUBLE, visits INTEGER, cumulative_reward DOUBLE, score DOUBLE, ci_low DOUBLE, ci_high DOUBLE, n INTEGER, "
    "hypothesis VARCHAR, verdict VARCHAR, failure VARCHAR, best_trial VARCHAR, dataset VARCHAR, seconds DOUBLE, "
    "plan JSON"
)
TRIALS = _columns(
    "id VARCHAR, experiment_id VARCHAR, index INTEGER, status VARCHAR, score DOUBLE, seconds DOUBLE, "
    "attempts INTEGER, reused BOOLEAN, note VARCHAR, rung INTEGER, step INTEGER, total_steps INTEGER, "
    "train_loss DOUBLE, cause VARCHAR, message VARCHAR, plan JSON"
)
METRICS = _columns(
    "trial_id VARCHAR, split VARCHAR, name VARCHAR, value DOUBLE, n INTEGER, ci_low DOUBLE, ci_high DOUBLE"
)
PREDICTIONS = _columns(
    "evaluation_id VARCHAR, trial_id VARCHAR, item_id VARCHAR, prediction VARCHAR, value DOUBLE"
)
SPEND = _columns(
    "experiment_id VARCHAR, trial_id VARCHAR, kind VARCHAR, seconds DOUBLE, tokens_in BIGINT, tokens_out BIGINT, "
    "cost_usd DOUBLE"
)
CALLS = _columns(
    "number INTEGER, id VARCHAR, experiment_id VARCHAR, round INTEGER, role VARCHAR, purpose VARCHAR, "
    "model VARCHAR, status VARCHAR, tokens_in BIGINT, tokens_out BIGINT, cost_usd DOUBLE, seconds DOUBLE, "
    "tools VARCHAR[], text VARCHAR, problem VARCHAR"
)
LONGEST_TEXT = 2000
"""Characters of a model's answer in the store; the record of calls has the whole."""

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

HISTORY_TABLES = {
    table: {name: kind for name, kind in TABLES[table][0].items() if name not in ("split", "evaluation_id")}
    for table in ("experiments", "trials", "metrics", "predictions", "spend")
}
"""What the Researcher may query; of metrics and predictions only the rows of `search`."""


def experiment_row(experiment: ExperimentSummary) -> Row:
    fields = experiment.model_dump(mode="json", exclude={"trials"})
    score = fields["score"] or {}
    figures = {name: score.get(name) for name in ("ci_low", "ci_high", "n")}
    return _row(EXPERIMENTS, fields | figures | {"score": score.get("value")})


def trial_rows(experiment: ExperimentSummary) -> list[Row]:
    own = [
        {"experiment_id": experiment.id, "score": trial.score.value if trial.score else None}
        for trial in experiment.trials
    ]
    pairs = zip(experiment.trials, own, strict=True)
    return [_row(TRIALS, trial.model_dump(mode="json") | fields) for trial, fields in pairs]


def _row(columns: Mapping[str, str], fields: Row) -> Row:
    return {name: fields[name] for name in columns}


def evaluations(experiments: Iterable[Experiment]) -> Iterator[tuple[str, Evaluation]]:
    """(trial id, evaluation) of every model scored; the base model's trial is called 'baseline'."""
    for experiment in experiments:
        if experiment.baseline is not None:
            yield BASELINE, experiment.baseline
        for trial in experiment.trials:
            if trial.evaluation is not None:
                yield trial.id, trial.evaluation


def metric_rows(experiments: Iterable[Experiment], finish: FinishRecord | None) -> list[Row]:
    """A trial in two experiments may have got further in one of them: its evaluation on more items counts."""
    rows = [row for trial, evaluation in evaluations(experiments) for row in _rows_of(trial, evaluation)]
    if finish is not None and finish.winner_trial is not None and finish.confirm is not None:
        rows += _rows_of(finish.winner_trial, finish.confirm)
    rows.sort(key=lambda row: row["n"])
    return list({(row["trial_id"], row["split"], row["name"]): row for row in rows}.values())


def _rows_of(trial_id: str, evaluation: Evaluation) -> list[Row]:
    refuse_test(evaluation)
    common = {"trial_id": trial_id, "split": evaluation.split, "n": evaluation.score.n}
    score = evaluation.score.model_dump(include={"name", "value", "ci_low", "ci_high"})
    secondary = [{"name": name, "value": value} for name, value in evaluation.secondary.items()]
    return [common | row for row in [*secondary, score]]


def call_rows(calls: Sequence[CallRecord]) -> list[Row]:
    """The record of calls, numbered in its order: a call keeps its number when it is settled."""
    rows = []
    for number, call in enumerate(calls, start=1):
        fields = event_of(call) | {"number": number, "id": call.id, "round": round_of(call)}
        fields["experiment_id"] = experiment_of(call)
        fields["tools"] = [clean(name) for name in fields["tools"]]
        fields["text"] = shorten(clean(str(call.answer.get("text") or "")), LONGEST_TEXT)
        fields["problem"] = clean(str(call.answer["problem"])) if call.answer.get("problem") else None
        rows.append(_row(CALLS, fields))
    return rows


def spend_rows(
    experiments: Sequence[Experiment], spend: Spend | None, calls: Sequence[CallRecord]
) -> list[Row]:
    """Seconds by trial, chat models by experiment, and under no experiment the rest: a kind's rows sum to the run's."""
    rows = [
        {"experiment_id": experiment.id, "trial_id": trial.id, "kind": kind, "seconds": seconds}
        for experiment in experiments
        for trial in experiment.trials
        for kind, seconds in spend_of_trial(trial).by_kind.items()
        if seconds
    ]
    if spend is not None:
        trials = spend_of_experiments(experiments).by_kind
        rows += [
            {"kind": kind, "seconds": round(seconds - trials[kind], 6)}
            for kind, seconds in spend.by_kind.items()
            if kind != MODEL and seconds - trials[kind] > 1e-6
        ]
    for experiment_id, made in by_experiment(calls).items():
        rows.append({"experiment_id": experiment_id, "kind": MODEL, **asdict(totals(made))})
    empty: Row = dict.fromkeys(SPEND) | {"tokens_in": 0, "tokens_out": 0, "cost_usd": 0.0}
    return [_row(SPEND, empty | row) for row in rows]


def refuse_test(evaluation: Evaluation) -> None:
    if evaluation.split == "test":
        raise IntegrityError(f"evaluation {evaluation.id} is of the test split, which the store never holds")
