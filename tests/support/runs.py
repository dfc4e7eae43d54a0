"""Synthetic runs for tests: a task, a tree of experiments with noise and failures, and how it ended."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from pathlib import Path

from trex.evaluation.results import ContaminationReport, Evaluation, FailureCase, Score
from trex.evaluation.task import Prompt, Source, Split, Task
from trex.files import fingerprint, write_jsonl
from trex.graph.finish.finish_record import FinishRecord
from trex.graph.report.spend import Spend, spend_of_experiments
from trex.graph.run.directory import RunInfo
from trex.graph.run.settings import Settings
from trex.graph.tree.experiment import (
    DatasetCard,
    Diagnosis,
    Experiment,
    ExperimentPlan,
    Strategy,
    TrialPlan,
    TrialRecord,
)
from trex.training.data.operators.sample import Sample
from trex.training.data.operators.threshold import Threshold
from trex.training.data.recipe import DataRecipe, Stream

from support.plans import training_plan

DIRECTIONS: list[tuple[Strategy, str, str]] = [
    (
        "refine_data",
        "threshold",
        "Stricter rating thresholds remove ambiguous snippets, so labels get cleaner.",
    ),
    ("refine_data", "domains", "Adding Amazon reviews widens the vocabulary of praise and complaint."),
    ("refine_data", "balance", "Equal numbers of both classes remove the bias towards 'positive'."),
    (
        "adjust_training",
        "learning_rate",
        "The loss still falls at the last step: a higher rate gets further.",
    ),
    ("adjust_training", "layers", "LoRA on all layers can change the features, not only how they are read."),
    ("construct_synthetic_data", "negation", "Rule-made negations repair the errors on 'not bad at all'."),
]


@dataclass
class SyntheticRun:
    """What a finished run leaves behind, as objects."""

    info: RunInfo
    experiments: list[Experiment]
    finish: FinishRecord
    spend: Spend
    cases: list[FailureCase] = field(default_factory=list)

    @property
    def task(self) -> Task:
        return self.info.task


def make_score(value: float, n: int = 300) -> Score:
    """A score with a normal-approximation interval: close enough to a bootstrap for pictures."""
    error = math.sqrt(max(value * (1 - value), 1e-4) / n)
    return Score(
        name="accuracy",
        value=round(value, 4),
        n=n,
        ci_low=round(max(0.0, value - 1.96 * error), 4),
        ci_high=round(min(1.0, value + 1.96 * error), 4),
        standard_error=round(error, 5),
    )


def make_evaluation(value: float, split: Split = "search", n: int = 300, salt: str = "") -> Evaluation:
    identity = fingerprint([value, split, n, salt])
    return Evaluation(
        id=identity,
        split=split,
        scoring="choices",
        score=make_score(value, n),
        secondary={"macro_f1": round(value - 0.01, 4)},
        predictions=f"predictions/{identity}.jsonl",
        seconds=12.0,
    )


def make_task(folder: Path) -> Task:
    """The sentiment task, with paths under `folder` (the files are not needed here)."""
    return Task(
        name="sentiment",
        requirement="Classify a movie-review snippet as positive or negative.",
        sources=[
            Source(
                name="movies", path=str(folder / "movies.jsonl"), description="Movie reviews", licence="MIT"
            ),
            Source(
                name="amazon", path=str(folder / "amazon.jsonl"), description="Product reviews", licence="MIT"
            ),
        ],
        dev=folder / "dev.jsonl",
        test=folder / "test.jsonl",
        prompt=Prompt(
            user="Is this movie review positive or negative?\n\n{text}\n\nAnswer with one word.",
            answer="{label}",
        ),
        choices=["negative", "positive"],
        licence="MIT",
        citation="Hutto and Gilbert, VADER, ICWSM 2014",
    )


def make_info(folder: Path, rounds: int, trials: int, seed: int) -> RunInfo:
    return RunInfo(
        settings=Settings(
            task="sentiment",
            directory=str(folder),
            thread_id="run",
            rounds=rounds,
            trials=trials,
            budget_seconds=900.0,
            seed=seed,
            slots=2,
            threads=1,
            grader_threads=1,
            memory_limit_mb=4096,
        ),
        task=make_task(folder),
        created="2026-10-02T09:30:00+0000",
        python="3.11.9",
        versions={"torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2"},
    )


def _baseline() -> Experiment:
    evaluation = make_evaluation(0.6533)
    return Experiment(
        id="e0000",
        parent_id=None,
        round=0,
        strategy="establish_baseline",
        status="done",
        baseline=evaluation,
        score=evaluation.score,
        reward=evaluation.score.value,
        secondary=evaluation.secondary,
        seconds=21.0,
    )


def _trials(rng: random.Random, round_: int, level: float, count: int) -> list[TrialRecord]:
    records = []
    for index in range(count):
        plan = training_plan(learning_rate=round(4e-4 * 2**index, 6), rank=4 * 2 ** (index % 3))
        value = min(0.98, max(0.02, level - 0.03 * rng.random() - 0.015 * index))
        curve = [
            (s, round(0.75 * math.exp(-s / (14 + 6 * index)) + 0.18 + rng.gauss(0, 0.012), 4))
            for s in range(4, 41, 4)
        ]
        pruned = index >= max(1, count // 2)
        curve = curve[:4] if pruned else curve
        records.append(
            TrialRecord(
                id=fingerprint([round_, index, plan.model_dump(mode="json")]),
                index=index,
                status="pruned" if pruned else "done",
                training=plan,
                note=f"learning rate {round(4e-4 * 2**index, 6):g}, rank {4 * 2 ** (index % 3)}",
                rung=0 if pruned else 1,
                step=curve[-1][0],
                total_steps=40,
                train_loss=curve[-1][1],
                curve=curve,
                evaluation=make_evaluation(
                    round(value, 4), n=150 if pruned else 300, salt=f"{round_}.{index}"
                ),
                load_seconds=round(2 + rng.random(), 2),
                train_seconds=round(curve[-1][0] * 1.6, 2),
                eval_seconds=10.0 if pruned else 30.0,
                attempts=1,
                reused=rng.random() < 0.08,
            )
        )
    return records


def _experiment(rng: random.Random, round_: int, parent: Experiment, trials: int) -> Experiment:
    strategy, direction, hypothesis = rng.choice(DIRECTIONS)
    parent_value = parent.score.value if parent.score else 0.5
    level = parent_value + rng.gauss(0.35, 0.2) * (0.95 - parent_value)
    recipe = DataRecipe(
        streams=(Stream(source="movies", steps=(Threshold(column="rating", below=-1, above=1),)),),
        rows=600,
        steps=(Sample(n=600),),
    )
    records = _trials(rng, round_, min(0.95, level), trials)
    best = max((r for r in records if r.status == "done"), key=lambda r: r.evaluation.score.value)  # type: ignore[union-attr]
    evaluation = best.evaluation
    assert evaluation is not None
    gain = evaluation.score.value - parent_value
    return Experiment(
        id=f"e{round_:04d}",
        parent_id=parent.id,
        round=round_,
        strategy=strategy,
        status="done",
        plan=ExperimentPlan(
            strategy=strategy,
            direction=direction,
            hypothesis=hypothesis,
            recipes={"main": recipe},
            trials=[TrialPlan(training=r.training, note=r.note) for r in records],
        ),
        datasets={
            "main": DatasetCard(
                fingerprint=fingerprint(["dataset", round_]),
                rows=600,
                summary="movies, |rating| above 1",
                steps=["movies: 7604 rows", "threshold: 4210", "sample: 600"],
                contamination=ContaminationReport(
                    checked_rows=600, against_items=1500, matches=0, clean=True
                ),
            )
        },
        trials=records,
        best_trial=best.id,
        score=evaluation.score,
        reward=evaluation.score.value,
        secondary=evaluation.secondary,
        diagnosis=Diagnosis(
            verdict="supported" if gain > 0.03 else "refuted" if gain < -0.03 else "inconclusive",
            summary=f"Accuracy went from {parent_value:.3f} to {evaluation.score.value:.3f}.",
            causes=["negation", "irony", "very short snippets"],
            fixed=rng.randrange(10, 60),
            regressed=rng.randrange(2, 20),
            gain=round(gain, 4),
            p_value=round(rng.random() * 0.2, 4),
            insights=["Errors concentrate in snippets with a contrast ('but', 'although')."],
        ),
        seconds=round(sum(r.train_seconds + r.eval_seconds for r in records) / 2 + 4, 1),
    )


def _failed(rng: random.Random, round_: int, parent: Experiment, trials: int) -> Experiment:
    whole = _experiment(rng, round_, parent, trials)
    return whole.model_copy(
        update={
            "status": "failed",
            "trials": [
                record.model_copy(
                    update={
                        "status": "failed",
                        "evaluation": None,
                        "cause": "nan_loss",
                        "message": "the loss became NaN at step 12",
                        "repairs": ["nan_loss: learning rate halved"],
                    }
                )
                for record in whole.trials
            ],
            "best_trial": None,
            "score": None,
            "reward": 0.0,
            "failure": "every trial failed: the loss became NaN at step 12, after two repairs",
            "repairs": ["nan_loss: learning rate halved", "nan_loss: learning rate halved"],
            "diagnosis": Diagnosis(verdict="failed", summary="No trial ended with a score."),
        }
    )


def make_experiments(
    rounds: int, trials: int = 4, seed: int = 0, failed_share: float = 0.12
) -> list[Experiment]:
    """A baseline and `rounds` experiments: children refine good parents, some fail, scores are noisy."""
    rng = random.Random(seed)
    experiments = [_baseline()]
    for round_ in range(1, rounds + 1):
        usable = [e for e in experiments if e.status == "done"]
        weights = [
            math.exp(8 * e.reward - 0.25 * sum(c.parent_id == e.id for c in experiments)) for e in usable
        ]
        parent = rng.choices(usable, weights)[0]
        # The first round always works, so that every synthetic run has a winner.
        make = _failed if round_ > 1 and rng.random() < failed_share else _experiment
        experiments.append(make(rng, round_, parent, trials))
    return experiments


def make_run(folder: Path, rounds: int = 12, trials: int = 4, seed: int = 0) -> SyntheticRun:
    """A finished run whose winner is the experiment with the best dev score."""
    experiments = make_experiments(rounds, trials, seed)
    winner = max(experiments[1:], key=lambda e: e.reward)
    record = next(t for t in winner.trials if t.id == winner.best_trial)
    assert record.evaluation is not None
    value = record.evaluation.score.value
    test, base = round(value - 0.012, 4), 0.648
    finish = FinishRecord(
        reason="rounds",
        winner_trial=record.id,
        winner_experiment=winner.id,
        dev=record.evaluation,
        confirm=make_evaluation(round(value - 0.015, 4), "confirm", 400),
        test=make_evaluation(test, "test", 1000),
        baseline_test=make_evaluation(base, "test", 1000),
        test_gain=make_score(test - base, 1000).model_copy(
            update={"ci_low": test - base - 0.031, "ci_high": test - base + 0.03}
        ),
        best_path="best",
    )
    spend = spend_of_experiments(experiments) + Spend(
        active_seconds=812.4, evaluation_seconds=64.0, loading_seconds=20.0, overhead_seconds=6.2
    )
    cases = [
        FailureCase(
            id=f"m{i:05d}",
            prompt=f"Is this movie review positive or negative?\n\n{text}\n\nAnswer with one word.",
            reference=reference,
            prediction="negative" if reference == "positive" else "positive",
        )
        for i, (text, reference) in enumerate(
            [
                ("Not bad at all, although it takes its time.", "positive"),
                (
                    "A film of ideas that never finds a story to put them in, handsome as it looks.",
                    "negative",
                ),
                ("You could do worse on a rainy afternoon.", "positive"),
                ("It wants to be a comedy.", "negative"),
            ]
        )
    ]
    return SyntheticRun(make_info(folder, rounds, trials, seed), experiments, finish, spend, cases)


def write_predictions(run: SyntheticRun, folder: Path, items: int = 20) -> None:
    """predictions/<evaluation id>.jsonl of every evaluated trial, as the grader leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    for experiment in run.experiments:
        for evaluation in [experiment.baseline, *(trial.evaluation for trial in experiment.trials)]:
            if evaluation is not None:
                write_jsonl(
                    folder / f"{evaluation.id}.jsonl",
                    [
                        {
                            "id": f"m{i:05d}",
                            "prediction": "positive",
                            "value": float(i % 10 < 9),
                            "truncated": False,
                        }
                        for i in range(items)
                    ],
                )
