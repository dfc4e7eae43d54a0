"""The Executor agent: a chat model that reads rows, build results and logs, and proposes small repairs.

Its recipes pass the same builder, gate and preflight as any other, and its training settings pass `TrainingChange`.
Both must keep the plan's hypothesis testable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from langchain_core.tools import BaseTool

from ....errors import PlanError
from ....evaluation.task import Task
from ....files import canonical_json
from ....tools.excerpt import brief
from ....tools.guide import operator_lines, recipe_guide
from ....tools.preview import preview_tool
from ....tools.rows_tool import rows_tool
from ....tools.untrusted import defanged, quoted
from ....training.data.operators import operators
from ....training.data.recipe import DataRecipe
from ....training.jobs.job import JobFailed
from ....training.jobs.trial_folder import TrialFolder
from ....training.methods import method_of
from ....training.methods.protocol import Stage
from ....training.plan import TrainingPlan
from ...llm.agent_loop import AgentTask, run_agent_task
from ...llm.prompt_files import first_messages
from ...llm.protocol import Chat, ModelError
from ...run.directory import RunDirectory
from ...run.settings import Settings
from ...tree.experiment import ExperimentPlan, TrialRecord
from ..preparation import Preparation
from ..protocol import Attempt, Probe
from ..repair_rules import TrainingRepair
from .executor_schemas import PreparationAnswer, TrainingChange, training_change
from .executor_tools import TrainingProbe, build_tool, built_rows, log_end, log_tool, plan_text, report
from .open_questions import open_questions
from .recipe_differences import MOST_CHANGES, MOST_ROWS_LOST, departure, differences

DEFAULT_TURNS = 6

_messages = partial(first_messages, Path(__file__).with_name("prompts"))


def open_repair_agent(chat: Chat, settings: Settings, task: Task, directory: RunDirectory) -> ExecutorAgent:
    """The repair agent of a run, with the tools that read the task's sources."""
    return ExecutorAgent(
        chat=chat,
        requirement=task.requirement,
        tools=(rows_tool(task), preview_tool(task, allow_python=settings.allow_python)),
        datasets=directory.datasets,
        trials=directory.trials,
        turns=settings.llm.executor_turns if settings.llm else DEFAULT_TURNS,
        allow_python=settings.allow_python,
    )


@dataclass(frozen=True)
class ExecutorAgent:
    """See `protocol.RepairAgent`. `datasets` and `trials` are the run's folders, `turns` limits each task."""

    chat: Chat
    requirement: str
    tools: Sequence[BaseTool]
    datasets: Path
    trials: Path
    turns: int = DEFAULT_TURNS
    allow_python: bool = False

    def prepare(
        self, plan: ExperimentPlan, first: Preparation, attempt: Attempt, probe: Probe, experiment: str = ""
    ) -> Preparation:
        """A review of the built rows, or a search for a recipe that can be built; `first` if the model fails.

        The model is asked only if there is something to decide (`open_questions`).
        """
        if not (questions := open_questions(first, self.datasets)):
            return first
        base = first.plan or plan
        review = _Review(base, first, attempt)
        works = first.problem is None
        training = TrainingProbe(first, probe)
        agent_task = AgentTask(
            chat=self.chat,
            answer=PreparationAnswer,
            purpose=f"prepare {experiment}".rstrip(),
            tools=(*self.tools, build_tool(base, attempt), *([training.tool()] if works else [])),
            check=review.problem,
            turns=self.turns,
            record=training,
        )
        messages = _messages(
            "prepare",
            requirement=self.requirement,
            plan=defanged(plan_text(base)),
            report=report(first),
            rows="\n".join(built_rows(self.datasets / card.fingerprint) for card in first.datasets.values())
            if works
            else "",
            works=works,
            questions=questions,
            guide=operator_lines([n for n, kind in operators().items() if kind.cleaning])
            if works
            else recipe_guide(self.allow_python),
            most_changes=MOST_CHANGES,
            most_lost=MOST_ROWS_LOST,
            turns=self.turns,
        )
        try:
            answer = run_agent_task(agent_task, messages)
            ready = review.outcome(answer)
            if answer.notes:
                ready = replace(ready, repairs=(*ready.repairs, f"model: without effect: {answer.notes}"))
        except ModelError as error:
            note = f"the model gave no answer, rules alone prepared the plan: {_plain(error, 200)}"
            ready = replace(first, repairs=(*first.repairs, note))
        return replace(ready, repairs=(*ready.repairs, *training.reports))

    def repair(self, trial: TrialRecord, failure: JobFailed, experiment: str = "") -> TrainingRepair:
        """One change of the repairable training settings; the same plan if the model proposes none."""
        log = TrialFolder(self.trials / trial.id).log_file
        plan, place = trial.training, failure.stage or 0
        stage = plan.stages[place]
        which = f" in stage {place + 1}, {stage.method}" if len(plan.stages) > 1 else ""
        agent_task = AgentTask(
            chat=self.chat,
            answer=training_change(stage.method),
            purpose=f"repair {experiment} trial {trial.index + 1}".replace("  ", " "),
            tools=(log_tool(log),),
            check=lambda change: _misuse(change, plan, place),
            turns=self.turns,
        )
        messages = _messages(
            "repair",
            training=canonical_json(plan.model_dump(mode="json")),
            data=f"{trial.total_steps} steps were planned, {max(trial.step, 0)} were done before.",
            changes=_allowed_changes(stage),
            cause=failure.cause + which,
            failure=quoted(failure.message, "the training job", 1500),
            log=log_end(log),
            repairs="\n".join(f"- {_plain(each, 400)}" for each in trial.repairs) or "nothing",
            turns=self.turns,
        )
        try:
            change = run_agent_task(agent_task, messages)
        except ModelError as error:
            return TrainingRepair(plan, f"no answer of the model about {failure.cause}: {_plain(error, 200)}")
        changed = change.applied(plan, place)
        done = "" if changed != plan else "nothing to try: "
        noted = f" (without effect: {change.notes})" if change.notes else ""
        return TrainingRepair(
            changed, f"model: {done}{_changes(plan, changed)}{_plain(change.why, 400)}{noted}"
        )


@dataclass(frozen=True)
class _Review:
    """Checks an answer about a plan and its first preparation, and turns it into a preparation."""

    plan: ExperimentPlan
    first: Preparation
    attempt: Attempt

    def problem(self, answer: PreparationAnswer) -> str | None:
        """What is wrong with the answer, in one sentence; None if it is accepted. Its recipes must be buildable."""
        works = self.first.problem is None
        if answer.recipes and answer.cannot is not None:
            return "give recipes or `cannot`, not both"
        if answer.cannot is not None:
            return None
        if unknown := sorted(answer.recipes.keys() - self.plan.recipes.keys()):
            return f"the plan has no recipe {unknown[0]!r}: it has {', '.join(self.plan.recipes)}"
        changed = self._changed(answer)
        if not changed:
            return None if works else "that recipe cannot be executed: give another one, or `cannot`"
        if not answer.why:
            return "write in `why` what you changed and why it keeps the hypothesis"
        for name, recipe in changed.items():
            if fault := departure(self.plan.recipes[name], recipe, works):
                return fault
        ready = self._with(answer)
        if ready.plan is not None:
            # A rule removed a step: perhaps one of the plan's instead of the model's.
            return f"it leaves no rows without repairs: {_plain(ready.repairs[0], 600)}"
        if ready.problem is not None:
            return f"with this recipe: {_plain(ready.problem, 600)}"
        return self._loss(ready) if works else None

    def outcome(self, answer: PreparationAnswer) -> Preparation:
        """The preparation after an answer that passed `problem`."""
        first = self.first
        if cannot := answer.cannot:
            if first.problem is None:
                doubt = f"model: executed as planned, with a doubt: {_plain(cannot.why, 400)}"
                return replace(first, repairs=(*first.repairs, doubt))
            why, needs = _plain(cannot.why, 400), _plain(cannot.needs, 400)
            return replace(
                first,
                repairs=(*first.repairs, f"model: it cannot be executed: {why}"),
                failure=f"{first.problem}; the Executor: {why} It needs: {needs}",
            )
        changed = self._changed(answer)
        if not changed:
            return first
        ready = self._with(answer)
        why = " ".join(_plain(each, 400) for each in answer.why)
        changes = "; ".join(
            _plain(each, 200)
            for name, recipe in changed.items()
            for each in differences(self.plan.recipes[name], recipe)
        )
        repairs = (*first.repairs, f"model: {changes}: {why}")
        return replace(ready, repairs=repairs, plan=self._changed_plan(answer))

    def _changed(self, answer: PreparationAnswer) -> dict[str, DataRecipe]:
        """The recipes of the answer that differ from the plan's."""
        recipes = self.plan.recipes
        return {name: recipe for name, recipe in answer.recipes.items() if recipe != recipes[name]}

    def _changed_plan(self, answer: PreparationAnswer) -> ExperimentPlan:
        return self.plan.model_copy(update={"recipes": self.plan.recipes | answer.recipes})

    def _with(self, answer: PreparationAnswer) -> Preparation:
        return self.attempt(self._changed_plan(answer))

    def _loss(self, ready: Preparation) -> str | None:
        """The rows or ready trials that a changed recipe loses, if too many."""
        for name, card in self.first.datasets.items():
            before, after = card.rows, ready.datasets[name].rows if name in ready.datasets else 0
            if after < (1 - MOST_ROWS_LOST) * before:
                return f"it leaves {after} of {before} rows: at most {MOST_ROWS_LOST:.0%} may be lost"
        lost = [
            old.index + 1
            for old, new in zip(self.first.trials, ready.trials, strict=True)
            if old.status == "planned" and new.status != "planned"
        ]
        return f"trial {lost[0]} was ready and would fail with it" if lost else None


def _allowed_changes(stage: Stage) -> str:
    """The changes that a repair of the stage may make, such as 'a lower `batch_size`, a higher `max_length`'."""
    words = {"up": "a higher", "down": "a lower"}
    return ", ".join(f"{words[way]} `{name}`" for name, way in method_of(stage).repairable.items())


def _misuse(change: TrainingChange, plan: TrainingPlan, place: int) -> str | None:
    try:
        change.applied(plan, place)
    except PlanError as error:
        return str(error)
    return None


def _plain(text: object, most: int) -> str:
    """One line of at most `most` characters without control tokens of chat templates."""
    return brief(defanged(str(text)), most)


def _changes(plan: TrainingPlan, changed: TrainingPlan) -> str:
    """The changed settings, such as 'batch_size 16 → 4, gradient_accumulation 1 → 4: '; empty if none changed."""
    old, new = plan.effective(), changed.effective()
    changes = [f"{name} {old.get(name)} → {new[name]}" for name in new if old.get(name) != new[name]]
    return f"{', '.join(changes)}: " if changes else ""
