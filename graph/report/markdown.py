"""report.md: the report for terminals, pull requests and plain-text readers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...training.curves import in_words
from ..tree.experiment import Experiment, TrialRecord
from ..tree.strategy_changes import strategy_lines
from . import formatting as formatting
from .agent_turns import RoundCalls, calls_by_experiment
from .call_totals import totals
from .formatting import duration, interval, readable
from .report_model import Report
from .summary import Interval

CASE_LENGTH = 400
CALLS_SHOWN, CALL_LENGTH = 12, 300
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&$])")
_BARE_LINK = re.compile(r"(?<=\w)(?=://)|(?<=\bmailto)(?=:)|(?<=\bwww)(?=\.)|(?<=\w)(?=@\w)", re.IGNORECASE)


def markdown(report: Report) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    parts = [_headline(report), _data(report), _tree(report), _experiments(report), _cases(report)]
    parts += [_integrity(report), _account(report)]
    return formatting.clean("\n".join(line for part in parts for line in part).rstrip() + "\n")


def escape(text: str) -> str:
    """Text that stays text: one line, no markup, no HTML, no address that a reader would turn into a link."""
    return _BARE_LINK.sub(r"\\", _SPECIAL.sub(r"\\\1", " ".join(text.split())))


def _headline(report: Report) -> Iterator[str]:
    summary, best = report.summary, report.summary.best
    yield f"# {escape(summary.task)}"
    yield ""
    yield escape(summary.requirement)
    yield ""
    yield f"**{formatting.compare_with_baseline(summary).sentence}**"
    yield ""
    if best is not None:
        yield f"| {escape(summary.metric)} | base model | best |"
        yield "|---|---|---|"
        if best.test is not None:
            yield f"| test (sealed) | {interval(best.baseline_test)} | {interval(best.test)} |"
        if best.confirm is not None:
            yield f"| confirm | | {interval(best.confirm)} |"
        yield f"| search | {interval(Interval.of(report.tree.root.score))} | {interval(best.dev_interval)} |"
        yield ""
        yield "The search score is biased upwards, because it selected the winner; confirm and test are not."
        yield ""
        for sentence in formatting.score_notes(best):
            yield sentence
            yield ""
        if best.test_seen:
            yield "**A run that this one was forked from opened the test split: the test score is not independent.**"
            yield ""
    ending = f", {formatting.ENDINGS[summary.reason]}" if summary.reason else ""
    yield f"Status: {summary.status}{ending}. {escape(summary.message)}".rstrip()
    yield ""


def _data(report: Report) -> Iterator[str]:
    if report.check is None:
        return
    yield "## Data"
    yield ""
    yield "| file | rows | kept | repeated questions | tokens of a prompt: median, 95 %, longest | prompts cut |"
    yield "|---|---|---|---|---|---|"
    for entry in report.check.files:
        tokens = ", ".join(str(entry.prompt_tokens[name]) for name in ("p50", "p95", "max"))
        counts = f"{entry.read} | {entry.kept} | {entry.repeated}"
        yield f"| {escape(entry.name)} | {counts} | {tokens} | {entry.cut_prompts} of {entry.measured} |"
    yield ""
    for line in formatting.data_remarks(report.check):
        yield f"- {escape(line)}"
    yield ""


def _tree(report: Report) -> Iterator[str]:
    best = report.summary.best
    yield "## Tree"
    yield ""
    # Indented, not fenced: no text can close an indented block.
    for line in formatting.tree_lines(report.summary.experiments, best.experiment if best else None):
        yield f"    {' '.join(line.splitlines())}"
    yield ""
    if lines := strategy_lines(report.tree):
        yield f"{'; '.join(lines)}."
        yield ""


def _experiments(report: Report) -> Iterator[str]:
    calls = calls_by_experiment(report.calls)
    yield from _research(report, calls.get(None))
    yield "## Experiments"
    yield ""
    for experiment in report.tree:
        yield from _experiment(experiment)
        if experiment.id in calls:
            yield from _calls(calls[experiment.id])


def _research(report: Report, calls: RoundCalls | None) -> Iterator[str]:
    findings = [f"{finding.text} ({finding.source})" for finding in report.findings]
    if report.notes or findings or report.candidates or calls:
        yield "## Research"
        yield ""
        yield from (f"- {escape(formatting.shorten(note, 600))}" for note in [*report.notes, *findings])
        for candidate in report.candidates:
            seen = f"{candidate.rows_seen} rows inspected" if candidate.rows_seen else "rows not inspected"
            about = f"{candidate.name}, licence {candidate.licence}, {seen}. {candidate.why}"
            yield f"- Data set found: {escape(formatting.shorten(about, 600))}"
        yield ""
    if calls:
        yield from _calls(calls)
    if report.insights:
        yield "## Insights"
        yield ""
        for insight in report.insights:
            named = [("for", insight.evidence_for), ("against", insight.evidence_against)]
            evidence = "".join(f"; {side}: {', '.join(ids)}" for side, ids in named if ids)
            origin = f"; from {insight.origin}" if insight.origin else ""
            about = (
                f"{formatting.shorten(insight.text, 600)} ({readable(insight.direction)}{evidence}{origin})"
            )
            yield f"- {insight.status}: {escape(about)}"
        yield ""
    if report.hints:
        yield "## Hints from people"
        yield ""
        yield from (f"- {escape(formatting.shorten(hint, 600))}" for hint in report.hints)
        yield ""


def _calls(calls: RoundCalls) -> Iterator[str]:
    """The last calls of a round in a line or two each; the page and the record of calls have more."""
    sums = calls.totals
    spent = formatting.model_usage(sums)
    yield f"Model calls: {escape(spent)}, {duration(sums.seconds)}"
    yield ""
    shown = calls.views[-CALLS_SHOWN:]
    left_out = calls.left_out + len(calls.views) - len(shown)
    if left_out:
        yield f"- ({left_out} earlier calls are in `calls.jsonl`)"
    for view in shown:
        text = view.text if view.call.status == "answered" else f"no answer. {view.text}"
        yield f"- {view.call.role}, {escape(view.call.purpose)}: {_short(text)}"
        for tool in view.tools:
            yield f"  - {escape(tool.name)} {_short(tool.arguments)} → {_short(tool.result) or 'nothing'}"
        if view.problem:
            yield f"  - problem: {_short(view.problem)}"
    yield ""


def _short(text: str) -> str:
    return escape(formatting.shorten(text, CALL_LENGTH))


def _experiment(experiment: Experiment) -> Iterator[str]:
    plan = experiment.tried_plan
    if plan is None:
        yield f"### {experiment.round} baseline: {interval(Interval.of(experiment.score))}"
        yield ""
        return
    name = f"{readable(experiment.strategy)} / {escape(readable(plan.direction))}"
    score = "failed" if experiment.status == "failed" else interval(Interval.of(experiment.score))
    yield f"### {experiment.round} {name}: {score}"
    yield ""
    yield f"- Refines: {escape(experiment.parent_id or '–')}"
    if plan.fallback:
        yield f"- Planned by the built-in policy; the chat model gave no plan: {escape(plan.fallback)}"
    yield f"- Hypothesis: {escape(plan.hypothesis)}"
    verdict = f"({experiment.diagnosis.verdict}) " if experiment.diagnosis else ""
    yield f"- Outcome: {verdict}{escape(formatting.outcome(experiment))}"
    if experiment.diagnosis:
        yield from (f"- Insight: {escape(insight)}" for insight in experiment.diagnosis.insights)
        if experiment.diagnosis.fallback:
            yield f"- Diagnosed without the chat model: {escape(experiment.diagnosis.fallback)}"
    for name, card in experiment.datasets.items():
        label = "Data" if len(experiment.datasets) == 1 else f"Data `{name}`"
        yield f"- {label}: {card.rows} rows, {escape(card.summary)} (`{escape(card.fingerprint)}`)"
        if card.steps:
            yield f"  Rows after each step: {escape('; '.join(card.steps))}"
    yield from (f"- Repair: {escape(repair)}" for repair in experiment.repairs)
    yield ""
    yield "| trial | what | score | steps | loss | time | status |"
    yield "|---|---|---|---|---|---|---|"
    yield from (_trial(trial, experiment.best_trial) for trial in experiment.trials)
    yield ""


def _trial(trial: TrialRecord, best: str | None) -> str:
    score = interval(Interval.of(trial.evaluation.score)) if trial.evaluation else "–"
    loss = "–" if trial.train_loss is None else f"{trial.train_loss:.3f}"
    spent = duration(trial.load_seconds + trial.train_seconds + trial.eval_seconds)
    notes = [trial.status, "reused" if trial.reused else "", trial.message, *trial.repairs]
    notes.append(in_words(trial.figures))
    status = escape("; ".join(note for note in notes if note))
    star = " ★" if trial.id and trial.id == best else ""
    cells = [
        f"{trial.index + 1}{star}",
        escape(trial.note),
        score,
        f"{trial.step}/{trial.total_steps}",
        loss,
        spent,
        status,
    ]
    return f"| {' | '.join(cells)} |"


def _cases(report: Report) -> Iterator[str]:
    if not report.cases:
        return
    yield "## Failure cases of the best trial"
    yield ""
    yield "From the search part of dev."
    yield ""
    for case in report.cases:
        yield f"- {escape(formatting.shorten(case.prompt, CASE_LENGTH))}"
        yield f"  - expected: {escape(formatting.shorten(case.reference, CASE_LENGTH))}"
        yield f"  - answered: {escape(formatting.shorten(case.prediction, CASE_LENGTH))}"
    yield ""


def _integrity(report: Report) -> Iterator[str]:
    integrity = report.integrity
    yield "## Integrity"
    yield ""
    yield f"- Contamination: {formatting.contamination(list(report.tree))}"
    yield f"- Confinement of training: {escape(report.summary.confinement)}"
    if integrity is not None:
        yield f"- Accesses: {formatting.accesses(integrity)}"
        yield from (f"- Split {line}" for line in formatting.split_hashes(integrity))
        if integrity.winner is not None:
            sealed = integrity.winner
            yield f"- Winner: adapter `{sealed.winner_hash[:16]}`, base model `{sealed.baseline_hash[:16]}`, "
            yield f"  grader `{sealed.grader_hash}`, sealed under `{sealed.key}`"
        yield from (f"- **Changed outside of TREX: {escape(fault)}**" for fault in integrity.faults)
    yield ""


def _account(report: Report) -> Iterator[str]:
    summary, spend = report.summary, report.summary.spend
    limit = "no limit" if summary.budget_seconds is None else f"of {duration(summary.budget_seconds)}"
    yield "## Time and cost"
    yield ""
    counts = f"{spend.experiments} experiments, {spend.trials} trials"
    yield f"- Time: {duration(spend.active_seconds)} ({limit}), {counts}"
    parts = ", ".join(f"{kind} {duration(seconds)}" for kind, seconds in spend.by_kind.items() if seconds)
    yield f"- Process time: {parts or 'nothing yet'}"
    if report.calls:
        sums = totals(report.calls)
        took = formatting.model_usage(sums)
        planned = f"{summary.plans_by_model} of {summary.plans} plans by the model"
        yield f"- Chat models ({escape(summary.llm)}): {planned}, {escape(took)}, {duration(sums.seconds)} of waiting"
    yield f"- Base model: {escape(summary.base_model)}"
    versions = ", ".join(f"{name} {version}" for name, version in summary.versions.items())
    yield f"- Software: Python {summary.python}, {escape(versions)}"
    yield ""
    yield "Train the winner again from `best/`:"
    yield ""
    yield f"    {report.replay_command}"
    yield ""
    yield "Run the same search again:"
    yield ""
    yield f"    {summary.command}"
