"""The Researcher with a chat model: it reads, decides and explains; what it says is checked by arithmetic.

Each step is an agent_task: a prompt, tools, a typed answer, a bound on turns. Where the model cannot be made to answer,
or its budget is spent, the built-in policy takes the step, and what it returns says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel

from ....evaluation.task import Task
from ....tools.excerpt import brief
from ....tools.plan_check import Recipes, Tried, plan_problems
from ....tools.provenance import Provenance
from ....tools.untrusted import defanged, quoted
from ....training.plan import TrainingPlan
from ...llm.agent_loop import AgentTask, build_agent, run_agent_task
from ...llm.model_settings import ModelSettings
from ...llm.protocol import Chat, ModelError
from ...memory.memory_context import condense
from ...tree.experiment import Diagnosis, Experiment, ExperimentPlan
from ..builtin.diagnosis import verdict_only
from ..builtin.directions import DIRECTIONS
from ..builtin.policy import BuiltinResearcher, open_builtin
from ..builtin.situation import History, Situation
from ..builtin.source_notes import look_at_sources
from ..context import ResearcherContext
from ..protocol import Analysis, Candidate, Evidence, Note, PlanningRequest, ResearchNotes
from . import prompt_parts as briefing
from .prompt_files import opening
from .researcher_schemas import (
    Details,
    Direction,
    Finding,
    Findings,
    FoundDataset,
    Reading,
    Requirement,
    Revision,
)
from .researcher_tools import ResearcherTools, is_known, nothing_outside, open_outside

Reply = TypeVar("Reply", bound=BaseModel)

RESEARCHER = build_agent("researcher")

MOST_CLAIMS = 6
"""Claims of one diagnosis, the computed ones included."""

_REASON, _PROBLEMS = 240, 3000
_FENCE = re.compile(r"\[(?:end of )?data [0-9a-f]{12}[^\]]*\]")


class ResearcherAgent:
    """See `protocol.Researcher`. `memory` and `diagnosis` off leave the prompts, and the tools, without them."""

    def __init__(
        self,
        chat: Chat,
        builtin: BuiltinResearcher,
        tools: ResearcherTools,
        settings: ModelSettings,
        *,
        trial_examples: int = 1024,
        memory: bool = True,
        diagnosis: bool = True,
        agent: CompiledStateGraph[Any, Any, Any, Any] = RESEARCHER,
    ) -> None:
        self._chat = chat
        self._builtin = builtin
        self._tools = tools
        self._settings = settings
        self._examples = trial_examples
        self._memory = memory
        self._diagnosis = diagnosis
        self._agent = agent
        self._history = History()

    def analyze(self, task: Task) -> Analysis:
        """The task's own fields, and what the model adds to goal and constraints: it takes nothing away."""
        given = self._builtin.analyze(task)
        prompt = "\n".join(filter(None, [task.prompt.system, task.prompt.user]))
        messages = opening("analyze", task=task, analysis=given, prompt=prompt)
        try:
            answer = self._send(messages, Requirement, "analyze", turns=3)
        except ModelError:
            return given
        more = [line for line in answer.constraints if line not in given.constraints]
        return given.model_copy(
            update={"goal": f"{given.goal} {answer.goal}", "constraints": [*given.constraints, *more]}
        )

    def research(self, task: Task, analysis: Analysis) -> ResearchNotes:
        """The notes on every source, and what a bounded look around brought: findings, candidates.

        A finding whose source was not opened in this session is marked unverified; a candidate that no tool
        returned is dropped, and its licence and rows are those that tools saw. Raises InputError as the
        built-in policy does.
        """
        notes = self._builtin.research(task, analysis)
        provenance, turns = Provenance(), self._settings.reading_turns
        messages = opening("research", analysis=analysis, sources=briefing.sources(notes), turns=turns)
        try:
            answer = self._send(messages, Findings, "research", self._tools.reading(provenance), turns=turns)
        except ModelError as error:
            missing = Note(text=f"no open-domain research: {_reason(error)}", source="the chat model")
            return notes.model_copy(update={"notes": [*notes.notes, missing]})
        candidates = {
            found.name.strip(): _candidate(found, provenance) for found in reversed(answer.candidates)
        }
        return notes.model_copy(
            update={
                "findings": [_checked(finding, task, provenance) for finding in answer.findings],
                "candidates": [each for each in reversed(candidates.values()) if each is not None],
            }
        )

    def plan(self, request: PlanningRequest) -> ExperimentPlan:
        """First the direction, then the plan in full, checked before it is taken; else the built-in policy's."""
        try:
            return self._planned(request)
        except ModelError as error:
            plan = self._builtin.plan(request)
            said = f"The chat model gave no plan ({_reason(error)}), so this is the built-in policy's."
            return plan.model_copy(update={"hypothesis": f"{said} {plan.hypothesis}"})

    def _planned(self, request: PlanningRequest) -> ExperimentPlan:
        purpose, node, task = f"plan e{request.round:03d}", request.context.node, request.task
        known = {experiment.id for experiment in request.context.tree}
        whole = self._settings.planning_turns
        turns = max(1, whole // 3)

        def holds(direction: Direction) -> str | None:
            unknown = [name for name in direction.rests_on if name not in known] if self._memory else []
            return f"there is no experiment {brief(unknown[0], 40)}" if unknown else None

        def problems(recipes: Recipes, trainings: Sequence[TrainingPlan]) -> list[str]:
            return plan_problems(
                recipes,
                trainings,
                task,
                examples=request.trial_examples,
                trials=request.trials,
                tried=_tried(request.context.tree if self._memory else [node]),
            )

        def will_do(details: Details) -> str | None:
            return _told(problems(details.recipes, [trial.training for trial in details.trials]))

        values = self._situation(request)
        direction = self._send(
            opening("direction", **values, known=sorted(DIRECTIONS)),
            Direction,
            purpose,
            self._tools.planning(node, None, memory=self._memory, diagnosis=self._diagnosis),
            holds,
            turns=turns,
        )
        turns = max(1, whole - turns)
        details = self._send(
            opening("plan", **values, direction=direction, turns=turns),
            Details,
            purpose,
            self._tools.planning(node, problems, memory=self._memory, diagnosis=self._diagnosis),
            will_do,
            turns=turns,
        )
        return details.plan(direction)

    def _situation(self, request: PlanningRequest) -> dict[str, Any]:
        """What the prompts of a plan are filled in with."""
        start = Situation.of(request, self._history)
        tokens = self._settings.memory_tokens
        text = condense(request.context, tokens - briefing.FENCE) if self._memory else ""
        return {
            "task": request.task,
            "analysis": request.analysis,
            "round": request.round,
            "hint": request.hint,
            "sources": briefing.sources(request.notes),
            "findings": briefing.findings(request.notes),
            "node": request.context.node.id,
            "portrait": briefing.portrait(request.context.node, diagnosis=self._diagnosis),
            "start": briefing.start(start.recipe, start.fitted(start.training, start.rows)),
            "memory": briefing.remembered(text, tokens),
            "trials": request.trials,
            "trial_examples": request.trial_examples,
            "columns": sorted(request.task.prompt.fields),
        }

    def diagnose(self, evidence: Evidence) -> Diagnosis:
        """The computed reading, to which the model adds causes, insights and claims after looking at failures.

        Verdict, figures and symptoms stay as computed. Without a score there is nothing to look at; with
        diagnosis off the verdict is all there is. Neither asks the model.
        """
        if not self._diagnosis:
            return verdict_only(evidence)
        reading = self._builtin.diagnose(evidence)
        experiment, plan = evidence.experiment, evidence.experiment.tried_plan
        if experiment.score is None or plan is None:
            return reading
        turns = self._settings.planning_turns
        trials = quoted("\n".join(briefing.trials(experiment.trials)), f"the trials of {experiment.id}")
        messages = opening(
            "diagnose", task=evidence.task, experiment=experiment, plan=plan, hypothesis=_hypothesis(plan),
            reading=reading, trials=trials,
            computed=briefing.computed(evidence, reading), failed=len(evidence.failures), turns=turns,
        )  # fmt: skip
        tools = self._tools.diagnosing(evidence)
        try:
            answer = self._send(messages, Reading, f"diagnose {experiment.id}", tools, turns=turns)
        except ModelError as error:
            return reading.model_copy(
                update={"summary": f"{reading.summary} (read without the chat model: {_reason(error)})"}
            )
        claims = [*(claim.claim() for claim in answer.claims), *reading.claims]
        return reading.model_copy(
            update={
                "causes": [*answer.causes, *reading.causes],
                "insights": [*answer.insights, *reading.insights],
                "claims": claims[:MOST_CLAIMS],
            }
        )

    def revise(self, plan: ExperimentPlan, report: str, experiment: str = "") -> ExperimentPlan | None:
        """The plan, changed so that it can be carried out; None to let it fail. `report` is the Executor's.

        `experiment` is the plan's, for the record of calls.
        """
        task = self._tools.task

        def problems(recipes: Recipes, trainings: Sequence[TrainingPlan]) -> list[str]:
            return plan_problems(recipes, trainings, task, examples=self._examples)

        def will_do(revision: Revision) -> str | None:
            if revision.give_up:
                return None
            changed = revision.applied(plan)
            if changed == plan:
                return "nothing was changed: change the recipes or the trials, or give up"
            return _told(problems(changed.recipes, [trial.training for trial in changed.trials]))

        messages = opening(
            "revise", task=task, plan=plan, hypothesis=_hypothesis(plan), written=briefing.plan(plan),
            trial_examples=self._examples,
            report=quoted(report, "the Executor's report"), sources=self._sources,
        )  # fmt: skip
        tools = self._tools.revising(problems)
        try:
            answer = self._send(
                messages,
                Revision,
                f"revise {experiment}".rstrip(),
                tools,
                will_do,
                turns=self._settings.planning_turns,
            )
        except ModelError:
            return None
        if answer.give_up:
            return None
        return answer.applied(plan).model_copy(
            update={"hypothesis": f"{plan.hypothesis} Changed: {answer.why}"}
        )

    @cached_property
    def _sources(self) -> str:
        return briefing.sources(look_at_sources(self._tools.task))

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
        agent_task = AgentTask(self._chat, answer, purpose, tools, check, turns)
        return run_agent_task(self._agent, agent_task, messages)


def open_researcher(context: ResearcherContext) -> ResearcherAgent:
    """The Researcher of a run. With `reuse`, runs beside its directory can be asked for their history."""
    settings, task, directory = context.settings, context.task, context.directory
    assert settings.llm is not None and context.chat is not None, "checked when the run was set up"
    stores = directory.path.parent.glob(f"*/{directory.experiments.name}") if settings.reuse else ()
    beside = sorted(path.parent for path in stores)
    tools = ResearcherTools(
        task=task,
        run=directory.path,
        store=directory.experiments,
        others=tuple(path for path in beside if path != directory.path),
        outside=open_outside if settings.llm.outside else nothing_outside,
    )
    return ResearcherAgent(
        context.chat,
        open_builtin(context),
        tools,
        settings.llm,
        trial_examples=settings.trial_examples,
        memory=settings.memory,
        diagnosis=settings.diagnosis,
    )


def _reason(error: ModelError) -> str:
    """Why there was no answer, for a hypothesis or a note: without fences, which a cut would leave open."""
    return brief(defanged(_FENCE.sub("", str(error))), _REASON)


def _hypothesis(plan: ExperimentPlan) -> str:
    """Quoted: a fallback's says why there was no answer, in words that may be a row's or a server's."""
    return quoted(plan.hypothesis, "the plan's hypothesis", _PROBLEMS)


def _checked(finding: Finding, task: Task, provenance: Provenance) -> Note:
    known = is_known(finding.source, task, provenance)
    return Note(text=finding.text, source=finding.source if known else f"unverified: {finding.source}")


def _candidate(found: FoundDataset, provenance: Provenance) -> Candidate | None:
    """What tools saw of it; None if no tool returned it."""
    name = found.name.strip()
    seen, licence = provenance.rows_seen.get(name, 0), provenance.licences.get(name)
    if licence is None and not seen:
        return None
    return Candidate(name=name, licence=licence or "unknown", rows_seen=seen, why=found.why)


def _tried(experiments: Iterable[Experiment]) -> list[Tried]:
    """Every configuration of these experiments, as planned and as repaired."""
    found = []
    for experiment in experiments:
        for plan in filter(None, (experiment.plan, experiment.executed_plan)):
            found += [Tried(experiment.id, plan.recipe_of(each), each) for each in experiment.trainings(plan)]
    return found


def _told(problems: Sequence[str]) -> str | None:
    """As a correction; what it names of rows and columns is a stranger's."""
    return quoted("\n".join(problems), "the check of the plan", _PROBLEMS) if problems else None
