"""A runtime whose trials take no time, to measure what TREX itself costs: the graph, checkpoints, planning, memory,
diagnosis and the experiment store are the real ones; training, evaluation and data building are arithmetic.

Scores are drawn by the configuration's hash, around .7 with a spread of .05; one trial in twenty fails.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from trex.evaluation.grader.messages import Freeze
from trex.evaluation.results import ContaminationReport, Evaluation, RegressionCheck, Score
from trex.evaluation.splits import confirm_items, search_items
from trex.evaluation.task import Item, Task
from trex.files import write_atomic
from trex.graph.executor.executor import Executor
from trex.graph.executor.parent_weights import ParentWeights
from trex.graph.executor.preparation import Preparation
from trex.graph.researcher.builtin.policy import BuiltinResearcher
from trex.graph.run.budget import Budget, Clock
from trex.graph.run.directory import RunDirectory
from trex.graph.run.runtime import Runtime
from trex.graph.run.settings import Settings
from trex.graph.store.projection import Projector
from trex.graph.tree.experiment import DatasetCard, ExperimentPlan, TrialRecord
from trex.graph.tree.policies import POLICIES
from trex.graph.tree.tree import TreeReader
from trex.training.data.build import RECIPE
from trex.training.data.recipe_file import recipe_to_yaml
from trex.training.jobs.job import Job
from trex.training.jobs.job_store import JobStore
from trex.training.plan import rung_steps
from trex.training.runners.job_runner import JobRunner
from trex.training.runners.protocol import JobState


def _score(value: float, n: int) -> Score:
    """A share with Wald's interval: a bootstrap would be the grader's work, not the loop's."""
    error = (value * (1 - value) / n) ** 0.5 or 0.05
    return Score(
        name="accuracy",
        value=value,
        n=n,
        ci_low=value - 2 * error,
        ci_high=value + 2 * error,
        standard_error=error,
    )


class InstantGrader:
    """Scores an adapter by its name. Evaluations with the same answers share a file of predictions."""

    def __init__(self, task: Task, run: Path) -> None:
        self._run = run
        self._written: set[str] = set()
        run.joinpath("predictions").mkdir(exist_ok=True)
        self._items = {"search": search_items(task), "confirm": confirm_items(task)}

    def start(self) -> None: ...

    def evaluate(
        self, adapter: Path | None, split: str, limit: int | None = None, scoring: str = "auto"
    ) -> Evaluation:
        name = "base" if adapter is None else adapter.parents[2].name
        items = self._items[split][:limit]
        n, drawn = len(items), zlib.crc32(name.encode())
        right, shift = round((0.65 + 0.1 * (drawn % 1000) / 1000) * n), drawn % n
        return Evaluation(
            id=f"{name}-{split}-{n}",
            split=split,  # type: ignore[arg-type]
            scoring="choices",
            score=_score(right / n, n),
            predictions=self._predictions(split, items, right, shift),
        )

    def _predictions(self, split: str, items: Sequence[Item], right: int, shift: int) -> str:
        """The right answers are spread evenly over the items."""
        n = len(items)
        name = f"predictions/{split}-{n}-{right}-{shift}.jsonl"
        if name not in self._written:
            self._written.add(name)
            values = ((place + shift) * right % n < right for place in range(n))
            rows = (
                json.dumps({"id": item["id"], "prediction": "positive", "value": float(value)})
                for item, value in zip(items, values, strict=True)
            )
            self._run.joinpath(name).write_text("\n".join(rows) + "\n")
        return name

    def check_contamination(self, dataset: Path) -> ContaminationReport:
        return ContaminationReport(checked_rows=1, against_items=1, matches=0, clean=True)

    def seal(self, winner: Path | None) -> Freeze:
        if winner is not None:
            winner.mkdir(parents=True, exist_ok=True)
        return Freeze(
            winner=None, winner_hash="", baseline_hash="", test_hash="", grader_hash="", key="instant"
        )

    def score_test(self) -> tuple[Evaluation, Evaluation]:
        return self.evaluate(None, "confirm"), self.evaluate(None, "confirm")

    def check_regressions(self, winner: Path) -> list[RegressionCheck]:
        return []

    def close(self) -> None: ...


class InstantExecutor(Executor):
    """Carries out any plan at once."""

    def __init__(self, grader: InstantGrader, settings: Settings, trials: Path) -> None:
        self._grader = grader
        self._settings = settings
        self._trials = trials

    def baseline(self) -> Evaluation:
        return self._grader.evaluate(None, "search")

    def prepare(
        self, plan: ExperimentPlan, experiment: str = "", parent: ParentWeights | None = None
    ) -> Preparation:
        card = DatasetCard(fingerprint="instant", rows=self._settings.trial_examples)
        recipe = self._settings.path / "datasets" / card.fingerprint / RECIPE
        if not recipe.exists():
            write_atomic(recipe, recipe_to_yaml(next(iter(plan.recipes.values()))))
        trials = [
            TrialRecord(index=index, status="planned", training=trial.training, note=trial.note)
            for index, trial in enumerate(plan.trials)
        ]
        return Preparation(trials, dict.fromkeys(plan.recipes, card))

    def run_rung(
        self, trial: TrialRecord, dataset: DatasetCard, rung: int, experiment: str = ""
    ) -> TrialRecord:
        steps = trial.training.total_steps(dataset.rows)
        ends = rung_steps(steps, self._settings.rungs)
        rung = min(rung, len(ends) - 1)
        name = trial.id or hashlib.sha256(trial.training.model_dump_json().encode()).hexdigest()[:16]
        trial = trial.model_copy(update={"id": name, "total_steps": steps})
        if zlib.crc32(f"{name} fails".encode()) % 20 == 0:
            return trial.model_copy(
                update={"status": "failed", "cause": "nan_loss", "message": "nan at step 3"}
            )
        last = ends[rung] == steps
        limit = None if last else self._settings.rung_items
        adapter = self._trials / name / "rungs" / str(rung) / "adapter"
        evaluation = self._grader.evaluate(adapter, "search", limit)
        curve = [(step, 1.0 / step) for step in range(1, 25)]
        return trial.model_copy(
            update={
                "status": "done" if last else "running",
                "rung": rung,
                "step": ends[rung],
                "train_loss": 0.1,
                "curve": curve,
                "evaluation": evaluation,
            }
        )


class InstantLauncher:
    """Has nothing to run."""

    def start(self) -> None: ...

    def submit(self, job: Job) -> None: ...

    def poll(self, job: Job) -> JobState:
        return "ended"

    def logs(self, job: Job) -> str:
        return ""

    def cancel(self, job: Job) -> None: ...

    def close(self) -> None: ...


def open_instant_runtime(settings: Settings) -> Runtime:
    """As `trex.graph.run.runtime.open_runtime`, with trials that take no time."""
    directory = RunDirectory.open(settings.path)
    task = directory.task()
    grader = InstantGrader(task, directory.path)
    return Runtime(
        settings=settings,
        task=task,
        directory=directory,
        researcher=BuiltinResearcher(settings.seed),
        executor=InstantExecutor(grader, settings, directory.trials),
        grader=grader,
        runner=JobRunner(InstantLauncher(), JobStore()),
        policy=POLICIES.load(settings.policy)(settings.seed),
        budget=Budget(settings.budget_seconds, Clock(directory.clock)),
        projector=Projector(directory.experiments, directory.path),
        reader=TreeReader(),
        retrain=lambda plan, dataset, seed, start: None,
    )
