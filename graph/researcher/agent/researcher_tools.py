"""The Researcher's tools at each step, and the check of the sources that it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from langchain_core.tools import BaseTool

from ....evaluation.failures.analysis import Failures
from ....evaluation.splits import search_items
from ....evaluation.task import Task
from ....tools.failures_tool import failure_tool
from ....tools.history_tool import history_tool
from ....tools.literature import literature_tool, load_notes
from ....tools.parent_changes import ParentConfiguration
from ....tools.plan_check import PlanCheck, plan_check_tool
from ....tools.preview import preview_tool
from ....tools.provenance import Provenance
from ....tools.rows_tool import rows_tool
from ...store.tables import HISTORY_TABLES
from ...tree.experiment import Experiment
from ..protocol import Evidence

_ADDRESS = re.compile(r"https?://[^\s<>()\[\]\"',;]+|\b(?:doi|arxiv):\s?\S+", re.IGNORECASE)

# Makes the tools that use the network; they record in `Provenance` what they open.
OutsideTools = Callable[[Provenance], Sequence[BaseTool]]


def open_outside_tools(provenance: Provenance) -> Sequence[BaseTool]:
    """Web, papers and hub. Raises InputError if the extra `llm` is not installed."""
    from ....tools.hub import open_hub
    from ....tools.research_tools import research_tools
    from ....tools.web.http_client import open_http

    http = open_http()
    return research_tools(http, open_hub(http), provenance)


@dataclass(frozen=True)
class ResearcherTools:
    """Makes the tools of each step. `run` is the run's directory, `store` its experiments, `others` earlier runs'."""

    task: Task
    run: Path
    store: Path
    others: tuple[Path, ...] = ()
    outside: OutsideTools = field(default=open_outside_tools)
    allow_python: bool = False

    def for_research(self, provenance: Provenance) -> list[BaseTool]:
        """Tools for open-domain research."""
        return [literature_tool(), rows_tool(self.task), *self.outside(provenance)]

    def for_plan(
        self,
        node: Experiment,
        check: PlanCheck | None,
        start: ParentConfiguration,
        *,
        memory: bool,
        diagnosis: bool,
    ) -> list[BaseTool]:
        """Tools for a plan that refines `node`; with `check` also those that preview recipes and check the plan.

        Recipes and trainings may be written as changes of `start`. Without `memory` there is no history; without
        `diagnosis` no failure cases and no predictions in the history.
        """
        tools = [literature_tool(), rows_tool(self.task)]
        if memory:
            items = [str(item["id"]) for item in search_items(self.task)] if diagnosis else []
            tools.append(history_tool(self.store, HISTORY_TABLES, self.others, items))
        if diagnosis and node.evaluation is not None:
            tools.append(self._failures(node))
        if check is not None:
            tools += [preview_tool(self.task, start, self.allow_python), plan_check_tool(check, start)]
        return tools

    def for_revision(self, check: PlanCheck) -> list[BaseTool]:
        """Tools for a plan that could not be executed."""
        return [
            rows_tool(self.task),
            preview_tool(self.task, allow_python=self.allow_python),
            plan_check_tool(check),
        ]

    def for_diagnosis(self, evidence: Evidence) -> list[BaseTool]:
        """Tools for the diagnosis of an experiment."""
        return [failure_tool(lambda: evidence.failures, lambda: evidence.groups), literature_tool()]

    def _failures(self, node: Experiment) -> BaseTool:
        evaluation = node.evaluation
        assert evaluation is not None
        failures = cache(partial(Failures, evaluation, self.task, self.run))
        return failure_tool(lambda: failures().cases, lambda: failures().groups)


def is_opened_source(source: str, task: Task, provenance: Provenance) -> bool:
    """Whether the source of a finding was opened in this session.

    Every address in it must be a page or paper that was opened, a note's or a data set's. Without an address it
    must name a source of the task, a note on practice, or a data set whose card, licence or rows a tool returned.
    """
    opened = {_address(url) for url in (*provenance.pages, *provenance.papers)}
    practice = {_address(found) for note in load_notes() for found in _ADDRESS.findall(note.source)}
    seen = provenance.verdicts.keys() | provenance.rows_seen.keys()
    hub = {f"huggingface.co/datasets/{name}".casefold() for name in seen}
    if addresses := _ADDRESS.findall(source):
        return all(_address(found) in opened | practice | hub for found in addresses)
    folded = _words(source)
    names = {s.name for s in task.sources} | seen
    notes = {text for note in load_notes() for text in (note.name, note.title, note.source)}
    return folded in {_words(name) for name in names | notes}


def _words(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .'\"`")


def _address(found: str) -> str:
    """The address in normal form; that of a paper without its version."""
    plain = re.sub(r"\s", "", found.casefold()).split("#")[0].rstrip("/.")
    plain = re.sub(r"^https?://(?:www\.|export\.|dx\.)?", "", plain)
    plain = re.sub(r"^arxiv:", "arxiv.org/abs/", plain)
    plain = re.sub(r"^doi:", "doi.org/", plain)
    plain = re.sub(r"^arxiv\.org/pdf/(.*?)(?:\.pdf)?$", r"arxiv.org/abs/\1", plain)
    return re.sub(r"^(arxiv\.org/abs/.*?)v\d+$", r"\1", plain)
