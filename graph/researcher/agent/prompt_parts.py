"""What a prompt shows of sources, experiments and outcomes: bounded, and quoted where strangers' words are in it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ....tools.excerpt import brief, cut, fitting
from ....tools.untrusted import MOST_QUOTED, quoted
from ....training.data.recipe import DataRecipe
from ....training.methods.protocol import MAIN
from ....training.plan import TrainingPlan
from ...memory.token_count import token_count
from ...tree.experiment import Diagnosis, Experiment, ExperimentPlan, TrialRecord
from ..protocol import Evidence, Note, ResearchNotes, SourceNotes

FENCE = 100
"""Tokens that a fence may add to what it holds."""

_PART = MOST_QUOTED - 1000
_LINE, _CELL = 400, 160


def fenced(text: str, source: str) -> str:
    """The whole text between fences, in as many parts as one fence can hold; cut between lines."""
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


def remembered(text: str, tokens: int) -> str:
    """A memory text within `tokens`, fences included, counted as memory counts them: its last lines go first."""
    lines = text.splitlines()
    while lines and token_count(shown := fenced("\n".join(lines), "the memory of this search")) > tokens:
        lines.pop()
    return shown if lines else ""


def sources(notes: ResearchNotes) -> str:
    """Every source that may be loaded: what was counted, its columns, and two rows."""
    counted = {note.source: note.text for note in notes.notes}
    share = max(600, 6000 // max(1, len(notes.sources)))
    lines = [
        line for source in notes.sources for line in _source(source, counted.get(source.name, ""), share)
    ]
    return quoted(fitting(lines), "the task's sources")


def _source(source: SourceNotes, counted: str, most: int) -> list[str]:
    made = ", made by a rule" if source.synthetic else ""
    described = f" {brief(source.description, _LINE)}" if source.description else ""
    lines = [
        f"- {source.name} (licence {brief(source.licence, 60)}{made}):{described}",
        f"  {brief(counted, _LINE)}" if counted else f"  {source.rows} rows",
        f"  columns: {brief(', '.join(source.columns), _LINE)}",
    ]
    for row in source.examples[:2]:
        cells = {name: _cell(value) for name, value in row.items()}
        lines.append(f"  row: {brief(json.dumps(cells, ensure_ascii=False, default=str), most)}")
    return lines


def _cell(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float) else brief(value, _CELL)


def findings(notes: ResearchNotes) -> str:
    """Findings and candidates of open-domain research; empty if there are none."""
    lines = [_finding(note) for note in notes.findings]
    lines += [
        f"- candidate data set {brief(c.name, 100)} (licence {brief(c.licence, 60)}, {c.rows_seen} rows looked at; "
        f"not to be loaded): {brief(c.why, _LINE)}"
        for c in notes.candidates
    ]
    return quoted(fitting(lines), "notes of research") if lines else ""


def _finding(note: Note) -> str:
    return f"- {brief(note.text, 600)} [{brief(note.source, 200)}]"


def portrait(node: Experiment, *, diagnosis: bool) -> str:
    """The experiment to refine and, unless `diagnosis` is off, what its diagnosis found."""
    score = node.score
    lines = [
        f"{score.name} {score.value:.3f} ± {score.standard_error:.3f} on {score.n} items"
        if score is not None
        else f"no score: {brief(node.failure or 'it did not finish', _LINE)}"
    ]
    if node.tried_plan is None:
        lines.append("it is the base model as it came, not trained")
    else:
        lines.append(
            f"{node.tried_plan.strategy}/{node.tried_plan.direction}: {brief(node.tried_plan.hypothesis, _LINE)}"
        )
    lines += trials(node.trials)
    lines += [f"repaired by the Executor: {brief(repair, 200)}" for repair in node.repairs[:4]]
    if diagnosis and node.diagnosis is not None:
        lines += _diagnosis(node.diagnosis)
    return quoted(fitting(lines), f"the record of {node.id}")


def _diagnosis(read: Diagnosis) -> list[str]:
    return [
        f"verdict: {read.verdict}: {brief(read.summary, _LINE)}",
        *([f"symptoms: {', '.join(read.symptoms)}"] if read.symptoms else []),
        *(f"cause of failures: {brief(cause, 200)}" for cause in read.causes[:6]),
        *(f"insight: {brief(insight, 300)}" for insight in read.insights[:6]),
    ]


def trials(records: Sequence[TrialRecord]) -> list[str]:
    """A line a trial: its settings, how far it came, its score."""
    lines = []
    for record in records:
        score = "no score" if record.value is None else f"{record.value:.3f}"
        loss = "" if record.train_loss is None else f", training loss {record.train_loss:.3f}"
        why = f" ({record.cause or brief(record.message, 100)})" if record.status == "failed" else ""
        note = f"; {brief(record.note, 120)}" if record.note else ""
        lines.append(
            f"trial {record.index} {record.status}{why} at step {record.step} of {record.total_steps}: {score}{loss}; "
            f"{settings(record.training)}{note}"
        )
    return lines


def settings(training: TrainingPlan) -> str:
    """The settings that differ from the defaults, as JSON."""
    return json.dumps(training.model_dump(mode="json", exclude_defaults=True))


def recipe(written: DataRecipe) -> str:
    """A recipe as JSON, in one line."""
    return json.dumps(written.model_dump(mode="json", exclude_none=True), ensure_ascii=False)


def start(written: DataRecipe, training: TrainingPlan) -> str:
    """The configuration that a plan changes: a recipe and the settings of one trial on it."""
    return quoted(
        f"recipe {MAIN}: {recipe(written)}\ntraining: {settings(training)}", "the configuration to start from"
    )


def plan(written: ExperimentPlan) -> str:
    """A whole plan's recipes and trials."""
    lines = [f"recipe {name}: {recipe(each)}" for name, each in written.recipes.items()]
    lines += [f"trial {n}: {settings(t.training)} ({t.note})" for n, t in enumerate(written.trials)]
    return "\n".join(lines)


def computed(evidence: Evidence, reading: Diagnosis) -> str:
    """What the built-in reading says beside verdict and summary: groups of failures, insights."""
    lines = [
        *(f"failures: {group.kind}: {brief(group.cause, 200)} ({group.count})" for group in evidence.groups),
        *(f"insight: {brief(insight, 300)}" for insight in reading.insights),
    ]
    text = fitting(lines)
    return quoted(text, f"the computed reading of {evidence.experiment.id}") if text else ""
