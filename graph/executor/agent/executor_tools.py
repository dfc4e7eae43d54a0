"""Texts about a preparation for the Executor's model, and its tools `build_recipe`, `train_model` and `read_log`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from langchain_core.tools import BaseTool
from pydantic import Field

from ....errors import PlanError
from ....files import canonical_json, read_jsonl
from ....tools.agent_tool import agent_tool
from ....tools.excerpt import brief, cut, fitting
from ....tools.preview import RecipeArgument
from ....tools.untrusted import defanged, quoted
from ....training.curves import in_words
from ....training.data.build import TRAIN
from ....training.methods.protocol import MAIN, RecipeName
from ...tree.experiment import DatasetCard, ExperimentPlan, TrialRecord, trial_dataset
from ..preparation import Preparation
from ..protocol import Attempt, Probe

ROWS_SHOWN = 4
MOST_PROBES = 2
"""Trials that may be trained before the plan is executed."""
LAST_LINES = 40
_READ = 256 * 1024  # bytes of a log's end
_LINE = 500
_CELL = 600


def report(preparation: Preparation) -> str:
    """Rows after each step, the result of the contamination gate, and the state of each trial."""
    lines = [f"repaired: {repair}" for repair in preparation.repairs]
    several = len(preparation.datasets) > 1
    for name, card in preparation.datasets.items():
        of = f" of the recipe {name}" if several else ""
        lines += [f"rows after each step{of}:", *(f"  {step}" for step in card.steps), card.summary]
        if gate := card.contamination:
            removed = ", removed" if gate.removed else ""
            lines.append(
                f"rows that repeat dev or test items: {gate.matches} of {gate.checked_rows}{removed}"
            )
    if preparation.failure:
        lines.append(f"cannot be executed: {brief(preparation.failure, 1000)}")
    else:
        lines += [
            f"trial {trial.index + 1} ({brief(trial.note, 80)}): "
            + (brief(trial.message, 400) if trial.status == "failed" else "ready")
            for trial in preparation.trials
        ]
    return quoted(fitting(lines), "the build of the recipe")


def built_rows(dataset: Path) -> str:
    """A few evenly spaced rows of a built data set, as conversations, with different answers if there are."""
    lines = []
    for number, row in enumerate(_spread(list(read_jsonl(dataset / TRAIN))), start=1):
        turns = [t for t in (*row["prompt"], *row["completion"]) if number == 1 or t["role"] != "system"]
        lines.append(f"row {number}:")
        lines += [f"  {turn['role']}: {cut(turn['content'], _CELL)}" for turn in turns]
    return quoted(fitting(lines), "rows that were built")


def _spread(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`ROWS_SHOWN` rows: evenly spaced ones, of each answer in turn."""
    by_answer: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_answer.setdefault(row["completion"][-1]["content"], []).append(row)
    if len(by_answer) > len(rows) / 2:  # free text: every answer is a class of its own
        by_answer = {"": list(rows)}
    answers = sorted(by_answer.values(), key=len, reverse=True)[:ROWS_SHOWN]
    shares = [ROWS_SHOWN // len(answers) + (n < ROWS_SHOWN % len(answers)) for n in range(len(answers))]
    return [
        group[number * len(group) // share]
        for group, share in zip(answers, shares, strict=True)
        for number in range(min(share, len(group)))
    ]


def build_tool(plan: ExperimentPlan, attempt: Attempt) -> BaseTool:
    """The tool `build_recipe`: builds and checks a recipe for this plan, without changing the plan."""

    def build_recipe(
        recipe: Annotated[RecipeArgument, Field(description="The complete recipe, as for preview_recipe")],
        name: Annotated[RecipeName, Field(description="The name that the recipe has in the plan")] = MAIN,
    ) -> str:
        if name not in plan.recipes:
            raise PlanError(f"the plan has no recipe {name!r}: it has {', '.join(plan.recipes)}")
        return report(attempt(plan.with_recipe(name, recipe)))

    return agent_tool(
        build_recipe,
        "Build a recipe's data set, compare it with dev and test, and check every trial of the plan "
        "against it. Returns what prevents the plan.",
    )


class TrainingProbe:
    """The tool `train_model` on the trials of one preparation, `MOST_PROBES` of them at most."""

    def __init__(self, preparation: Preparation, probe: Probe) -> None:
        self._preparation = preparation
        self._probe = probe
        self._trained: dict[int, TrialRecord] = {}

    @property
    def reports(self) -> tuple[str, ...]:
        """One sentence for each trial that was trained."""
        return tuple(
            f"model: trained trial {number} to its first rung before the plan was executed: {_result(trial)}"
            for number, trial in self._trained.items()
        )

    def record(self) -> dict[str, Any]:
        """See `agent_loop.ToolRecord`."""
        return {str(number): trial.model_dump(mode="json") for number, trial in self._trained.items()}

    def restore(self, record: Mapping[str, Any]) -> None:
        """See `agent_loop.ToolRecord`."""
        known = {int(number): TrialRecord.model_validate(trial) for number, trial in record.items()}
        self._trained = known | self._trained

    def tool(self) -> BaseTool:
        """The tool. Training is a normal job, and its time counts against the run's budget."""

        def train_model(
            trial: Annotated[int, Field(ge=1, le=8, description="The number of the trial in the plan")],
        ) -> str:
            if trial not in self._trained:
                self._trained[trial] = self._probe(*self._planned(trial))
            return quoted(_result(self._trained[trial]), f"the training of trial {trial}")

        return agent_tool(
            train_model,
            "Train one prepared trial of the plan to its first rung and score it on dev items. Returns steps, losses "
            f"and score. At most {MOST_PROBES} trials; it takes as long as the rung.",
        )

    def _planned(self, number: int) -> tuple[TrialRecord, DatasetCard]:
        trials = self._preparation.trials
        if number > len(trials) or trials[number - 1].status != "planned":
            raise PlanError(f"trial {number} is not ready to be trained")
        if len(self._trained) == MOST_PROBES:
            raise PlanError(f"only {MOST_PROBES} trials may be trained before the plan is executed")
        trial = trials[number - 1]
        dataset = trial_dataset(self._preparation.datasets, trial.training)
        assert dataset is not None  # a trial with a recipe that failed is not planned
        return trial, dataset


def _result(trial: TrialRecord) -> str:
    """'20 of 60 steps, loss 1.20 → 0.40, score 0.620 on 20 items', or why it failed."""
    if trial.status == "failed" or trial.evaluation is None:
        return f"failed: {brief(defanged(trial.message), 400)}"
    score = trial.evaluation.score
    curve = [trial.curve[0], trial.curve[-1]] if trial.curve else []
    losses = " → ".join(f"{loss:.2f}" for _, loss in curve)
    steps = f"{trial.step} of {trial.total_steps} steps"
    figures = in_words(trial.figures)
    losses += f", {figures}" if figures else ""
    return f"{steps}, loss {losses}, {score.name} {score.value:.3f} on {score.n} items"


def log_tool(log: Path) -> BaseTool:
    """The tool `read_log`, on the log of one trial and no other file."""

    def read_log(
        contains: Annotated[
            str | None,
            Field(min_length=1, max_length=100, description="Only lines with this text (any case)"),
        ] = None,
        last: Annotated[int, Field(ge=1, le=200, description="Number of lines from the end")] = LAST_LINES,
    ) -> str:
        return log_end(log, last, contains)

    return agent_tool(read_log, "The last lines of the failed training's log, or those with a text.")


def log_end(log: Path, last: int = LAST_LINES, contains: str | None = None) -> str:
    """The last lines of a log, quoted. Only the end of a long log is read."""
    if not log.is_file():
        return "there is no log"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _READ), os.SEEK_SET)
        lines = file.read(_READ).decode("utf-8", errors="replace").splitlines()
    wanted = [line for line in lines if line.strip() and (contains or "").casefold() in line.casefold()]
    shown = [brief(line, _LINE) for line in wanted[-last:]]
    # The end of a log is the most informative: lines that do not fit are left out at its beginning.
    while sum(map(len, shown)) + len(shown) > 7000:
        shown = shown[1:]
    return quoted("\n".join(shown) or "no such line", "the training's log")


def plan_text(plan: ExperimentPlan) -> str:
    """The plan as text for the Executor's model, with recipes and settings as JSON."""
    trials = [
        f"trial {number}: {brief(trial.note, 120)}: "
        + canonical_json(trial.training.model_dump(mode="json", exclude_defaults=True))
        for number, trial in enumerate(plan.trials, start=1)
    ]
    recipes = [
        f"recipe {name}: {canonical_json(recipe.model_dump(mode='json', exclude_none=True))}"
        for name, recipe in plan.recipes.items()
    ]
    direction = f"direction: {plan.strategy}, {brief(plan.direction, 80)}"
    return "\n".join([direction, f"hypothesis: {cut(plan.hypothesis, 1500)}", *recipes, *trials])
