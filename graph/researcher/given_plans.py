"""Plans that a person wrote: they are the plans of the first rounds; the run's Researcher makes the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...errors import InputError, explain
from ...evaluation.task import Task
from ...files import read_yaml
from ..tree.experiment import Diagnosis, ExperimentPlan
from .protocol import Analysis, Evidence, PlanningRequest, Researcher, ResearchNotes


def read_plans(files: Iterable[str | Path]) -> tuple[ExperimentPlan, ...]:
    """The experiment plans of YAML files, one a file. Raises InputError that names the file and the field."""
    return tuple(_read_plan(Path(file).expanduser()) for file in files)


def _read_plan(path: Path) -> ExperimentPlan:
    try:
        return ExperimentPlan.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from None


class GivenPlans:
    """See `protocol.Researcher`. Round n has the n-th plan, unless a person asked for another by a hint."""

    def __init__(self, researcher: Researcher, plans: Sequence[ExperimentPlan]) -> None:
        self._researcher = researcher
        self._plans = plans

    def analyze(self, task: Task) -> Analysis:
        """As the run's Researcher."""
        return self._researcher.analyze(task)

    def research(self, task: Task, analysis: Analysis) -> ResearchNotes:
        """As the run's Researcher."""
        return self._researcher.research(task, analysis)

    def direction(self, request: PlanningRequest) -> dict[str, Any]:
        """Empty for a plan that is given."""
        return {} if self._given(request) else self._researcher.direction(request)

    def plan(self, request: PlanningRequest) -> ExperimentPlan:
        """The plan that is given for the round, else the Researcher's."""
        return self._given(request) or self._researcher.plan(request)

    def revise(self, plan: ExperimentPlan, problem: str, experiment: str) -> ExperimentPlan | None:
        """As the run's Researcher; a plan that is given is never changed."""
        return None if plan in self._plans else self._researcher.revise(plan, problem, experiment)

    def diagnose(self, evidence: Evidence) -> Diagnosis:
        """As the run's Researcher."""
        return self._researcher.diagnose(evidence)

    def _given(self, request: PlanningRequest) -> ExperimentPlan | None:
        at_hand = request.round <= len(self._plans) and not request.hint
        return self._plans[request.round - 1] if at_hand else None
