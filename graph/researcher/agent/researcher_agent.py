"""The Researcher with a chat model. Scores, verdicts and checks of its plans are computed, not generated.

Each step is an `AgentTask`: a prompt, tools, a typed answer and a bound on turns. If the model gives no usable answer
or its budget is spent, the built-in policy does the step, and the result says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel

from ....evaluation.task import Task
from ....tools.excerpt import brief
from ....tools.guide import possibilities, recipe_guide, training_guide
from ....tools.parent_changes import ParentConfiguration
from ....tools.plan_check import Recipes, Tried, plan_problems
from ....tools.provenance import Provenance
from ....tools.untrusted import defanged, quoted
from ....training.methods import METHODS
from ....training.methods.protocol import MAIN
from ....training.plan import TrainingPlan
from ...llm.agent_loop import AgentTask, run_agent_task
from ...llm.model_settings import ModelSettings
from ...llm.prompt_files import first_messages
from ...llm.protocol import Chat, ModelError, ModelRefused
from ...memory.memory_context import condense
from ...report.report_model import CHECK
from ...tree.experiment import Diagnosis, Experiment, ExperimentPlan
from ...tree.strategy_changes import untried
from ..builtin.diagnosis import verdict_only
from ..builtin.directions import DIRECTIONS
from ..builtin.policy import BuiltinResearcher, open_builtin
from ..builtin.source_notes import look_at_sources
from ..context import ResearcherContext
from ..protocol import Analysis, Candidate, Evidence, Note, PlanningRequest, ResearchNotes
from . import prompt_parts as parts
from .researcher_schemas import (
    AnalysisAnswer,
    CandidateAnswer,
    DiagnosisAnswer,
    DirectionAnswer,
    FindingAnswer,
    PlanAnswer,
    ResearchAnswer,
    RevisionAnswer,
    plan_answer,
)
from .researcher_tools import ResearcherTools, is_opened_source, open_outside_tools
from .task_briefing import task_briefing

Reply = TypeVar("Reply", bound=BaseModel)

_messages = partial(first_messages, Path(__file__).with_name("prompts"))

MAX_CLAIMS = 6
"""Claims of one diagnosis, including the computed ones."""

_REASON, _PROBLEMS = 240, 3000  # characters
_QUOTE_MARK = re.compile(r"\[(?:end of )?data [0-9a-f]{12}[^\]]*\]")


@dataclass
class ResearcherAgent:
    """See `protocol.Researcher`. Without `memory` or `diagnosis` neither prompts nor tools contain them."""

    chat: Chat
    builtin: BuiltinResearcher
    tools: ResearcherTools
    settings: ModelSettings
    trial_examples: int = 1024
    memory: bool = True
    diagnosis: bool = True

    def analyze(self, task: Task) -> Analysis:
        """The fields of the task, and what the model adds to goal and constraints. It cannot remove any.

        Raises ModelRefused if the first call of the run is refused: all others would be, too.
        """
        given = self.builtin.analyze(task)
        asked = task.prompt.user or f"conversations of the columns {', '.join(task.prompt.messages)}"
        prompt = "\n".join(filter(None, [task.prompt.system, asked]))
        messages = _messages("analyze", task=task, analysis=given, prompt=prompt)
        try:
            answer = self._send(messages, AnalysisAnswer, "analyze", turns=3)
        except ModelRefused:
            raise
        except ModelError:
            return given
        constraints = [*dict.fromkeys([*given.constraints, *answer.constraints])]
        return given.model_copy(update={"goal": f"{given.goal} {answer.goal}", "constraints": constraints})

    def research(self, task: Task, analysis: Analysis) -> ResearchNotes:
        """Notes on every source, and findings and candidate data sets of open-domain research.

        A finding whose source was not opened in this session is marked as unverified. A candidate that no tool
        returned is dropped; its licence and rows are those that tools returned. Raises InputError as the built-in
        policy does.
        """
        notes = self.builtin.research(task, analysis)
        provenance, turns = Provenance(), self.settings.reading_turns
        messages = _messages("research", analysis=analysis, sources=parts.sources_part(notes), turns=turns)
        tools = self.tools.for_research(provenance)
        try:
            task_of_agent = AgentTask(
                self.chat, ResearchAnswer, "research", tools, turns=turns, record=provenance
            )
            answer = run_agent_task(task_of_agent, messages)
        except ModelError as error:
            missing = Note(text=f"no open-domain research: {_reason(error)}", source="the chat model")
            return notes.model_copy(update={"notes": [*notes.notes, missing]})
        named = {found.name.strip(): found for found in reversed(answer.candidates)}
        candidates = [_candidate(found, provenance) for found in reversed(named.values())]
        return notes.model_copy(
            update={
                "findings": [_note(finding, task, provenance) for finding in answer.findings],
                "candidates": [each for each in candidates if each is not None],
            }
        )

    def direction(self, request: PlanningRequest) -> dict[str, Any]:
        """The direction of the next plan, or under `failed` why the model gave none."""
        node, start = request.context.node, self._start(request)
        values = self._prompt_values(request, start)

        def check(direction: DirectionAnswer) -> str | None:
            if direction.strategy == "adjust_training" and values["untried"] and not direction.over_untried:
                return "adjust_training varies settings: write in `over_untried` why that is better than the untried"
            return None

        possible = possibilities(self.tools.allow_python)
        messages = _messages("direction", **values, known=sorted(DIRECTIONS), possibilities=possible)
        tools = self.tools.for_plan(node, None, start, memory=self.memory, diagnosis=self.diagnosis)
        turns = max(1, self.settings.planning_turns // 3)
        try:
            answer = self._send(messages, DirectionAnswer, _purpose(request), tools, check, turns=turns)
        except ModelError as error:
            return {"failed": _reason(error)}
        return answer.model_dump(mode="json")

    def plan(self, request: PlanningRequest) -> ExperimentPlan:
        """A complete, checked plan in a direction; without a usable answer the built-in policy's plan."""
        try:
            return self._model_plan(request, request.direction or self.direction(request))
        except ModelError as error:
            return self.builtin.plan(request).model_copy(update={"fallback": _reason(error)})

    def _model_plan(self, request: PlanningRequest, chosen: Mapping[str, Any]) -> ExperimentPlan:
        if "failed" in chosen:
            raise ModelError(chosen["failed"])
        direction = DirectionAnswer.model_validate(chosen)
        node, task, start = request.context.node, request.task, self._start(request)
        check = partial(
            plan_problems,
            task=task,
            allow_python=self.tools.allow_python,
            examples=request.trial_examples,
            trials=request.trials,
            tried=_tried(request.context.tree if self.memory else [node], node),
        )

        def problems(recipes: Recipes, trainings: Sequence[TrainingPlan]) -> list[str]:
            found = check(recipes, trainings)
            changed = [name for name, recipe in recipes.items() if recipe not in start.recipes.values()]
            if direction.strategy == "adjust_training" and node.tried_plan is not None and changed:
                fault = f"the direction is adjust_training, but the recipe {changed[0]!r} is not the parent's"
                found.append(f'{fault}: write "parent"')
            return found

        def check_plan(answer: PlanAnswer) -> str | None:
            return _correction(problems(answer.recipes, [trial.training for trial in answer.trials]))

        whole = self.settings.planning_turns
        turns = max(1, whole - max(1, whole // 3))
        values = self._prompt_values(request, start)
        answer = self._send(
            _messages(
                "plan", **values, **self._guides_for(direction, node, start), direction=direction, turns=turns
            ),
            plan_answer(request.trials, start),
            _purpose(request),
            self.tools.for_plan(node, problems, start, memory=self.memory, diagnosis=self.diagnosis),
            check_plan,
            turns=turns,
        )
        known = {experiment.id for experiment in request.context.tree} if self.memory else None
        return answer.plan(direction, known)

    def _start(self, request: PlanningRequest) -> ParentConfiguration:
        """The best trial of the experiment to refine; where it has none, the configuration of the built-in policy."""
        node, plan = request.context.node, request.context.node.tried_plan
        best = node.best_record
        if plan is not None and best is not None and len(best.training.stages) > 1:
            used = {stage.recipe: plan.recipes[stage.recipe] for stage in best.training.stages}
            return ParentConfiguration(used, best.training)
        found = self.builtin.situation(request)
        return ParentConfiguration({MAIN: found.recipe}, found.fitted(found.training, found.rows))

    def _prompt_values(self, request: PlanningRequest, start: ParentConfiguration) -> dict[str, Any]:
        """The values of the prompts of a plan."""
        tokens = self.settings.memory_tokens
        text = condense(request.context, tokens - parts.QUOTE_TOKENS, describe=False) if self.memory else ""
        sources = [source.name for source in request.task.sources]
        grown = len(request.context.tree) > 1
        return {
            "task": request.task,
            "analysis": request.analysis,
            "round": request.round,
            "hint": request.hint,
            "sources": parts.sources_part(request.notes),
            "findings": parts.findings_part(request.notes),
            "node": request.context.node.id,
            "record": parts.experiment_part(request.context.node, diagnosis=self.diagnosis),
            "start": parts.start_part(start),
            "briefing": self._briefing(request),
            "left": parts.resources_part(request.resources, request.trial_examples),
            "untried": untried(request.context.tree, sources) if self.memory and grown else {},
            "memory": parts.memory_part(text, tokens),
            "trials": request.trials,
            "trial_examples": request.trial_examples,
            "columns": sorted(request.task.prompt.fields),
        }

    def _briefing(self, request: PlanningRequest) -> str:
        base, run = request.context.tree.root.evaluation, self.tools.run
        return task_briefing(request.task, run / CHECK, run, base, answers=self.diagnosis)

    def diagnose(self, evidence: Evidence) -> Diagnosis:
        """The computed diagnosis; the model adds causes, insights and claims after looking at failure cases.

        Verdict, numbers and symptoms stay as computed. Without a score, or with diagnosis off, the model is not
        called.
        """
        if not self.diagnosis:
            return verdict_only(evidence)
        computed = self.builtin.diagnose(evidence)
        experiment, plan = evidence.experiment, evidence.experiment.tried_plan
        if experiment.score is None or plan is None:
            return computed
        turns = self.settings.planning_turns
        trials = quoted("\n".join(parts.trial_lines(experiment.trials)), f"the trials of {experiment.id}")
        messages = _messages(
            "diagnose", task=evidence.task, experiment=experiment, plan=plan, hypothesis=_hypothesis(plan),
            diagnosis=computed, trials=trials,
            details=parts.diagnosis_part(evidence, computed), failed=len(evidence.failures), turns=turns,
        )  # fmt: skip
        tools = self.tools.for_diagnosis(evidence)
        try:
            answer = self._send(messages, DiagnosisAnswer, f"diagnose {experiment.id}", tools, turns=turns)
        except ModelError as error:
            return computed.model_copy(update={"fallback": _reason(error)})
        claims = [*(claim.claim() for claim in answer.claims), *computed.claims]
        return computed.model_copy(
            update={
                "causes": [*answer.causes, *computed.causes],
                "insights": [*answer.insights, *computed.insights],
                "claims": claims[:MAX_CLAIMS],
            }
        )

    def revise(self, plan: ExperimentPlan, report: str, experiment: str = "") -> ExperimentPlan | None:
        """The plan, changed so that it can be executed; None if it is given up. `report` is the Executor's.

        `experiment` is the id for the record of calls.
        """
        task = self.tools.task

        problems = partial(
            plan_problems, task=task, examples=self.trial_examples, allow_python=self.tools.allow_python
        )

        def check_revision(revision: RevisionAnswer) -> str | None:
            if revision.give_up:
                return None
            changed = revision.applied(plan)
            if changed == plan:
                return "nothing was changed: change the recipes or the trials, or give up"
            return _correction(problems(changed.recipes, [trial.training for trial in changed.trials]))

        messages = _messages(
            "revise", task=task, plan=plan, hypothesis=_hypothesis(plan), plan_text=parts.plan_part(plan),
            trial_examples=self.trial_examples, **self._guides(),
            report=quoted(report, "the Executor's report"), sources=self._sources,
        )  # fmt: skip
        tools, turns = self.tools.for_revision(problems), self.settings.planning_turns
        purpose = f"revise {experiment}".rstrip()
        try:
            answer = self._send(messages, RevisionAnswer, purpose, tools, check_revision, turns=turns)
        except ModelError:
            return None
        hypothesis = f"{plan.hypothesis} Changed: {answer.why}"
        return None if answer.give_up else answer.applied(plan).model_copy(update={"hypothesis": hypothesis})

    def _guides(self) -> dict[str, str]:
        return {"recipe_guide": recipe_guide(self.tools.allow_python), "training_guide": training_guide()}

    def _guides_for(
        self, direction: DirectionAnswer, node: Experiment, start: ParentConfiguration
    ) -> dict[str, str]:
        """What a plan in that direction can need: other training keeps the recipe, other data seldom new methods."""
        guides = self._guides()
        if direction.strategy == "adjust_training" and node.tried_plan is not None:
            return guides | {"recipe_guide": ""}
        text = f"{direction.direction} {direction.why}".casefold()
        used = {stage.method for stage in start.training.stages} if start.training else set()
        return guides | {
            "training_guide": training_guide({*used, *(n for n in METHODS.names() if n in text)})
        }

    @cached_property
    def _sources(self) -> str:
        return parts.sources_part(look_at_sources(self.tools.task))

    def _send(
        self,
        messages: Sequence[BaseMessage],
        answer: type[Reply],
        purpose: str,
        tools: Sequence[BaseTool] = (),
        check: Callable[[Any], str | None] = lambda answer: None,
        *,
        turns: int,
    ) -> Reply:
        return run_agent_task(AgentTask(self.chat, answer, purpose, tools, check, turns), messages)


def open_researcher(context: ResearcherContext) -> ResearcherAgent:
    """The Researcher of a run. With `reuse` its history tool also reads the runs in the same folder."""
    settings, task, directory = context.settings, context.task, context.directory
    assert settings.llm is not None and context.chat is not None, "checked when the run was set up"
    stores = directory.path.parent.glob(f"*/{directory.experiments.name}") if settings.reuse else ()
    neighbours = sorted(path.parent for path in stores)
    tools = ResearcherTools(
        task=task,
        run=directory.path,
        store=directory.experiments,
        others=tuple(path for path in neighbours if path != directory.path),
        outside=open_outside_tools if settings.llm.outside else lambda provenance: (),
        allow_python=settings.allow_python,
    )
    switches = settings.trial_examples, settings.memory, settings.diagnosis
    return ResearcherAgent(context.chat, open_builtin(context), tools, settings.llm, *switches)


def _purpose(request: PlanningRequest) -> str:
    return f"plan e{request.round:03d}"


def _reason(error: ModelError) -> str:
    """Why there was no answer, for a hypothesis or a note; without quotation marks, which a cut would leave open."""
    return brief(defanged(_QUOTE_MARK.sub("", str(error))), _REASON)


def _hypothesis(plan: ExperimentPlan) -> str:
    """The hypothesis, quoted: it may contain an error message with text of rows or of a server."""
    return quoted(plan.hypothesis, "the plan's hypothesis", _PROBLEMS)


def _note(finding: FindingAnswer, task: Task, provenance: Provenance) -> Note:
    opened = is_opened_source(finding.source, task, provenance)
    return Note(text=finding.text, source=finding.source if opened else f"unverified: {finding.source}")


def _candidate(found: CandidateAnswer, provenance: Provenance) -> Candidate | None:
    """The data set with licence and rows from the tools; None if no tool returned it."""
    name = found.name.strip()
    seen, licence = provenance.rows_seen.get(name, 0), provenance.licences.get(name)
    if licence is None and not seen:
        return None
    return Candidate(name=name, licence=licence or "unknown", rows_seen=seen, why=found.why)


def _tried(experiments: Iterable[Experiment], node: Experiment) -> list[Tried]:
    """All configurations of these experiments, as planned and as repaired, that are the same in a child of `node`."""
    return [
        Tried(experiment.id, plan.recipe_of(each), each)
        for experiment in experiments
        for plan in filter(None, (experiment.plan, experiment.executed_plan))
        for each in experiment.trainings(plan)
        if each.start == "base" or experiment.parent_id == node.id
    ]


def _correction(problems: Sequence[str]) -> str | None:
    """The problems for the model, quoted: they may contain text of rows. None without a problem."""
    return quoted("\n".join(problems), "the check of the plan", _PROBLEMS) if problems else None
