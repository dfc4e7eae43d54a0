"""Parts of prompts about sources, experiments and results: of bounded length, with external text quoted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ....tools.excerpt import brief, cell, cut, fitting
from ....tools.parent_changes import ParentConfiguration
from ....tools.untrusted import MOST_QUOTED, quoted
from ....training.curves import in_words
from ....training.data.recipe import DataRecipe, Step
from ....training.plan import TrainingPlan
from ...memory.token_count import token_count
from ...tree.experiment import Diagnosis, Experiment, ExperimentPlan, TrialRecord
from ..protocol import BudgetLeft, Evidence, Note, ResearchNotes, SourceNotes

QUOTE_TOKENS = 100
"""Tokens that the marks around a quotation may add."""

_PART = MOST_QUOTED - 1000
_LINE, _CELL = 400, 160


def quoted_whole(text: str, source: str) -> str:
    """The whole text as quotations, split between lines where it is too long for one."""
    parts: list[list[str]] = [[]]
    size = 0
    for line in text.splitlines():
        line = cut(line, _PART - 100)
        if parts[-1] and size + len(line) + 1 > _PART:
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += len(line) + 1
    return "\n".join(quoted("\n".join(part), source, _PART) for part in parts if part)


def memory_part(text: str, tokens: int) -> str:
    """A memory text within `tokens`, marks included. The last lines are dropped first."""
    lines = text.splitlines()
    while lines:
        shown = quoted_whole("\n".join(lines), "the memory of this search")
        if token_count(shown) <= tokens:
            return shown
        lines.pop()
    return ""


def sources_part(notes: ResearchNotes) -> str:
    """Every source that recipes may load: counts, columns and two rows."""
    counted = {note.source: note.text for note in notes.notes}
    share = max(600, 6000 // max(1, len(notes.sources)))
    described: list[str] = []
    columns = ""
    for source in notes.sources:
        shown = ", ".join(source.columns)
        described += _source(source, counted.get(source.name, ""), share, shown != columns)
        columns = shown
    return quoted(fitting(described), "the task's sources")


def _source(source: SourceNotes, counted: str, most: int, columns: bool) -> list[str]:
    made = ", synthetic" if source.synthetic else ""
    described = f" {brief(source.description, _LINE)}" if source.description else ""
    lines = [
        f"- {source.name} (licence {brief(source.licence, 60)}{made}):{described}",
        f"  {brief(counted, _LINE)}" if counted else f"  {source.rows} rows",
        f"  columns: {brief(', '.join(source.columns), _LINE)}" if columns else "  the same columns",
    ]
    for row in source.examples[:2]:
        cells = {name: cell(value, _CELL) for name, value in row.items()}
        lines.append(f"  row: {brief(json.dumps(cells, ensure_ascii=False, default=str), most)}")
    return lines


def findings_part(notes: ResearchNotes) -> str:
    """Findings and candidate data sets of open-domain research; empty if there are none."""
    lines = [_finding(note) for note in notes.findings]
    lines += [
        f"- candidate data set {brief(c.name, 100)} (licence {brief(c.licence, 60)}, {c.rows_seen} rows seen; "
        f"cannot be loaded): {brief(c.why, _LINE)}"
        for c in notes.candidates
    ]
    return quoted(fitting(lines), "notes of research") if lines else ""


def _finding(note: Note) -> str:
    return f"- {brief(note.text, 600)} [{brief(note.source, 200)}]"


def experiment_part(node: Experiment, *, diagnosis: bool) -> str:
    """The experiment to refine and, if `diagnosis` is on, its diagnosis."""
    score = node.score
    lines = [
        f"{score.name} {score.value:.3f} ± {score.standard_error:.3f} on {score.n} items"
        if score is not None
        else f"no score: {brief(node.failure or 'it did not finish', _LINE)}"
    ]
    if (plan := node.tried_plan) is None:
        lines.append("it is the base model without training")
    else:
        lines.append(f"{plan.strategy}/{plan.direction}: {brief(plan.hypothesis, _LINE)}")
    lines += trial_lines(node.trials)
    lines += [f"repaired by the Executor: {brief(repair, 200)}" for repair in node.repairs[:4]]
    if diagnosis and node.diagnosis is not None:
        lines += _diagnosis(node.diagnosis)
    return quoted(fitting(lines), f"the record of {node.id}")


def _diagnosis(found: Diagnosis) -> list[str]:
    return [
        f"verdict: {found.verdict}: {brief(found.summary, _LINE)}",
        *([f"symptoms: {', '.join(found.symptoms)}"] if found.symptoms else []),
        *(f"cause of failures: {brief(cause, 200)}" for cause in found.causes[:6]),
        *(f"insight: {brief(insight, 300)}" for insight in found.insights[:6]),
    ]


def trial_lines(records: Sequence[TrialRecord]) -> list[str]:
    """One line per trial: its steps, score and settings."""
    lines = []
    for record in records:
        score = _trial_score(record)
        loss = "" if record.train_loss is None else f", training loss {record.train_loss:.3f}"
        figures = in_words(record.figures)
        loss += f", {figures}" if figures else ""
        why = f" ({record.cause or brief(record.message, 100)})" if record.status == "failed" else ""
        note = f"; {brief(record.note, 120)}" if record.note else ""
        lines.append(
            f"trial {record.index + 1} {record.status}{why} at step {record.step} of {record.total_steps}: "
            f"{score}{loss}; {training_json(record.training)}{note}"
        )
    return lines


def _trial_score(record: TrialRecord) -> str:
    if record.evaluation is None:
        return "no score"
    score = record.evaluation.score
    return f"{score.value:.3f} ± {score.standard_error:.3f} on {score.n} items"


def training_json(training: TrainingPlan) -> str:
    """The settings that differ from the defaults, as JSON."""
    return json.dumps(training.model_dump(mode="json", exclude_defaults=True))


def recipe_json(recipe: DataRecipe) -> str:
    """A recipe as JSON in one line, without settings that have their default."""
    whole = recipe.model_dump(mode="json", exclude_defaults=True)
    streams = [
        stream.model_dump(mode="json", exclude={"steps"}, exclude_defaults=True) | _steps(stream.steps)
        for stream in recipe.streams
    ]
    written = {"streams": streams} | {n: v for n, v in whole.items() if n not in ("streams", "steps")}
    return json.dumps(written | _steps(recipe.steps), ensure_ascii=False)


def _steps(steps: Sequence[Step]) -> dict[str, Any]:
    dumped = [
        {"op": step.op} | step.model_dump(mode="json", exclude={"op"}, exclude_defaults=True)
        for step in steps
    ]
    return {"steps": dumped} if dumped else {}


def start_part(start: ParentConfiguration) -> str:
    """The configuration that a plan changes: recipes by name and the settings of one trial. It is never cut."""
    lines = [f"recipe {name}: {recipe_json(recipe)}" for name, recipe in start.recipes.items()]
    if start.training is not None:
        lines.append(f"training: {training_json(start.training)}")
    text = "\n".join(lines)
    if len(text) > MOST_QUOTED:  # a recipe of thousands of steps: written as text, as all of it must be read
        return quoted_whole(text, "the configuration to start from")
    return quoted(text, "the configuration to start from", MOST_QUOTED)


def resources_part(left: BudgetLeft | None, trial_examples: int) -> str:
    """' of 6. Jobs took 310 s of 3600 s. …': what the rounds before used, and what a trial takes."""
    if left is None:
        return "."
    parts = [f" of {left.rounds}"]
    limit = "" if left.seconds_limit is None else f" of {left.seconds_limit:.0f} s"
    parts.append(f"Jobs took {left.job_seconds:.0f} s{limit} so far")
    if left.tokens_limit is not None:
        parts.append(f"Chat models took {left.tokens} of {left.tokens_limit} tokens")
    if left.cost_limit_usd is not None:
        parts.append(f"Chat models took ${left.cost_usd:.2f} of ${left.cost_limit_usd:.2f}")
    if left.seconds_per_example is not None:
        seconds = left.seconds_per_example * trial_examples
        parts.append(
            f"A training example takes {left.seconds_per_example:.3f} s, "
            f"so {trial_examples} of them {seconds:.0f} s"
        )
    if left.seconds_per_item is not None:
        parts.append(f"An evaluated item takes {left.seconds_per_item:.3f} s")
    return ". ".join(parts) + "."


def plan_part(plan: ExperimentPlan) -> str:
    """All recipes and trials of a plan."""
    lines = [f"recipe {name}: {recipe_json(each)}" for name, each in plan.recipes.items()]
    lines += [
        f"trial {n}: {training_json(t.training)} ({t.note})" for n, t in enumerate(plan.trials, start=1)
    ]
    return "\n".join(lines)


def diagnosis_part(evidence: Evidence, computed: Diagnosis) -> str:
    """Groups of failures and insights of the computed diagnosis."""
    lines = [
        *(f"failures: {group.kind}: {brief(group.cause, 200)} ({group.count})" for group in evidence.groups),
        *(f"insight: {brief(insight, 300)}" for insight in computed.insights),
    ]
    text = fitting(lines)
    return quoted(text, f"the computed diagnosis of {evidence.experiment.id}") if text else ""
