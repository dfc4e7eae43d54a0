"""Numbers and sentences of results, the same for the page, the Markdown and the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ...evaluation.task_check import TaskCheck
from ..llm.usage import Usage
from ..tree.experiment import Experiment
from .integrity import Integrity
from .summary import BestSummary, ExperimentSummary, Interval, RunSummary
from .tree_layout import layout

SIGNIFICANT = 0.05

_UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)

ANSWERS_SHOWN = 8
ENDINGS = {
    "rounds": "all rounds are done",
    "perfect": "every search item is answered rightly, so there is nothing left to gain",
    "budget": "the budget is used up",
    "stopped": "stopped by a person",
    "failed": "every experiment failed, so the test split was not opened",
}


@dataclass(frozen=True)
class BaselineComparison:
    """Winner against base model, in a word and in a sentence."""

    kind: Literal["better", "worse", "noise", "open"]
    word: str
    sentence: str


def number(value: float) -> str:
    """A score: three decimals, fewer for large values."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def signed(value: float) -> str:
    """A difference of scores, with its sign."""
    return ("+" if value >= 0 else "−") + number(abs(value))


def interval(score: Interval | None) -> str:
    """'0.913 [0.880, 0.944]', or a dash."""
    return "–" if score is None else f"{number(score.value)} {bounds(score)}"


def bounds(score: Interval) -> str:
    """'[0.880, 0.944]'."""
    return f"[{number(score.ci_low)}, {number(score.ci_high)}]"


def duration(seconds: float) -> str:
    """'8 s', '3 min 20 s', '2 h 5 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def shorten(text: str, length: int) -> str:
    """Text of at most `length` characters; an ellipsis says that some was cut."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def clean(text: str) -> str:
    """Text from outside, fit to be shown and stored: no control characters, nothing that reorders a line.

    Characters that change the direction of text can make a page say what it does not (Boucher and Anderson,
    Trojan Source, 2021); lone surrogates cannot be written at all.
    """
    return _UNFIT.sub("\ufffd", text)


def dollars(amount: float) -> str:
    """US dollars: '$0.43', with more digits for a few cents and less."""
    return f"${amount:.{2 if amount >= 0.1 or amount == 0 else 3 if amount >= 0.01 else 4}f}"


def model_usage(usage: Usage) -> str:
    """'12 calls, 48,210 tokens in, 5,120 out, $0.43'; cost only if it is not zero."""
    counted = f"{_counted(usage.calls, 'call')}, {usage.tokens_in:,} tokens in, {usage.tokens_out:,} out"
    return counted + (f", {dollars(usage.cost_usd)}" if usage.cost_usd else "")


def readable(name: str) -> str:
    """'adjust_training' → 'adjust training'."""
    return name.replace("_", " ")


def compare_with_baseline(summary: RunSummary) -> BaselineComparison:
    """The winner against the base model on the test split; the paired interval decides if there is one."""
    best = summary.best
    if summary.status == "done" and (best is None or best.test is None or best.baseline_test is None):
        return BaselineComparison("open", "withheld", "The result is withheld: see Integrity.")
    if best is None:
        return BaselineComparison("open", "no result yet", "No experiment has a score yet.")
    if best.trial is None:
        return BaselineComparison("noise", "no winner", "No experiment is better than the base model.")
    if best.test is None or best.baseline_test is None:
        return BaselineComparison("open", "not tested yet", "The test split is scored at the end of the run.")
    if best.test_gain is not None:
        gain = best.test_gain
        above, below = gain.ci_low > 0, gain.ci_high < 0
        measured = f"{signed(gain.value)} {bounds(gain)} on the same {gain.n} test items"
    else:
        above = best.test.ci_low > best.baseline_test.ci_high
        below = best.test.ci_high < best.baseline_test.ci_low
        measured = f"{signed(best.test.value - best.baseline_test.value)} on {best.test.n} test items"
    if above:
        return BaselineComparison(
            "better", "significantly better", f"Significantly better than the base model: {measured}."
        )
    if below:
        return BaselineComparison(
            "worse", "significantly worse", f"Significantly worse than the base model: {measured}."
        )
    return BaselineComparison(
        "noise", "no significant difference", f"No significant difference from the base model: {measured}."
    )


def score_notes(best: BestSummary) -> list[str]:
    """Sentences beside the scores: selection bias, training seeds, the judge, regression checks; those known."""
    sentences = (_selection_bias(best), _seeds(best), _judge(best), _regression_checks(best))
    return [sentence for sentence in sentences if sentence is not None]


def _selection_bias(best: BestSummary) -> str | None:
    found = best.selection_bias
    if found is None:
        return None
    significant = found.p_value <= SIGNIFICANT
    at_least = f" (at least {signed(found.at_least)} with 95 % confidence)" if significant else ""
    selected = (
        f" after correcting for selecting the best of {found.candidates}" if found.candidates > 1 else ""
    )
    return (
        f"Gain over the base model on search: {signed(found.gain)}{at_least}, "
        f"{'' if significant else 'not '}significant{selected} (p = {found.p_value:.2g})."
    )


def _regression_checks(best: BestSummary) -> str | None:
    if not best.regression_checks:
        return None
    figures = [
        f"{check.name} {check.base:.2f} → {check.winner:.2f} (n = {check.n})"
        for check in best.regression_checks
    ]
    broken = [check.name for check in best.regression_checks if check.broken]
    found = f"significant loss on {' and '.join(broken)}" if broken else "no significant loss"
    return f"Regression checks: {found}. Base model → winner, share of items: {', '.join(figures)}."


def _judge(best: BestSummary) -> str | None:
    found = best.judged
    if not found:
        return None
    parts = []
    if "judge_error" in found:
        parts.append(
            f"equal values for {found['judge_agreement']:.0%} of the items judged twice; its noise alone is a "
            f"standard error of {found['judge_error']:.3f}"
        )
    if "order_conflicts" in found:
        parts.append(f"{found['order_conflicts']:.0f} items on which its two orders disagree")
    named = (
        f" ({', '.join(best.unjudged[:3])}{', …' if len(best.unjudged) > 3 else ''})" if best.unjudged else ""
    )
    parts.append(f"{found['unjudged']:.0f} items without a verdict{named}")
    return f"The judge {'on test' if best.test else 'on dev'}: {'; '.join(parts)}."


def _seeds(best: BestSummary) -> str | None:
    if best.seeds is None:
        return None
    return f"The winner's plan over several training seeds, on confirm: {interval(best.seeds)} (items and seeds)."


def contamination(experiments: Sequence[Experiment]) -> str:
    """What the contamination gate found over the whole run, in a sentence."""
    datasets = {card.fingerprint: card for e in experiments for card in e.datasets.values()}
    reports = [card.contamination for card in datasets.values() if card.contamination is not None]
    if not datasets:
        return "No data set was built."
    unchecked = len(datasets) - len(reports)
    rows, matches = sum(r.checked_rows for r in reports), sum(r.matches for r in reports)
    removed = sum(r.removed for r in reports)
    against = max((r.against_items for r in reports), default=0)
    refused = sum(not r.clean for r in reports)
    text = f"{rows} rows of {len(reports)} data sets compared with {against} dev and test items: "
    text += f"{matches} matches" if matches else "no match"
    text += f", {removed} rows removed" if removed else ""
    text += f", {refused} data sets refused." if refused else "."
    return text + (f" {unchecked} data sets were not checked." if unchecked else "")


def accesses(integrity: Integrity) -> str:
    """How often the splits and sources were opened: 'dev: 11 evaluations; test: 1 evaluation; …'."""
    return "; ".join(
        f"{what}: {_counted(count, unit)}"
        for what, count, unit in (
            ("dev", integrity.dev_evaluations, "evaluation"),
            ("test", integrity.test_openings, "evaluation"),
            ("contamination gate", integrity.gate_openings, "check"),
            ("sources", integrity.source_openings, "data set build"),
        )
    )


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}{'' if count == 1 else 's'}"


def split_hashes(integrity: Integrity) -> list[str]:
    """The splits' hashes at the start of the run, and whether the files are unchanged, a line each."""
    return [
        f"{split.name} {split.digest[:16]}: {'unchanged' if split.holds else 'CHANGED since the start of the run'}"
        for split in integrity.splits
    ]


def outcome(experiment: Experiment) -> str:
    """What came of an experiment, in a sentence or two."""
    if experiment.failure:
        return f"Failed: {experiment.failure}"
    diagnosis = experiment.diagnosis
    if diagnosis is None:
        return "" if experiment.status == "done" else "Still running."
    return diagnosis.summary


def tree_lines(experiments: Sequence[ExperimentSummary], best: str | None) -> Iterator[str]:
    """The tree as text, one line an experiment: '├─ 3 adjust training / layers  0.913 [0.88, 0.94]  ★'."""
    known = {experiment.id: experiment for experiment in experiments}
    for node, position in layout(experiments).items():
        yield position.guide + _tree_line(known[node], best)


def _tree_line(experiment: ExperimentSummary, best: str | None) -> str:
    if experiment.parent_id is None:
        name = "baseline"
    else:
        name = f"{experiment.round} {readable(experiment.strategy)} / {readable(experiment.direction)}"
    if experiment.status == "failed":
        return f"{name}  ✗ failed"
    if experiment.status == "running":
        return f"{name}  … running"
    return f"{name}  {interval(experiment.score)}{'  ★' if experiment.id == best else ''}"


def data_remarks(check: TaskCheck) -> list[str]:
    """What the check of a task's data found, a line each: rows left out, answers, shared questions, notes."""
    lines = [
        f"{entry.name}: {dropped.rows} of {entry.read} rows left out, {dropped.reason} ({'; '.join(dropped.examples)})"
        for entry in check.files
        for dropped in entry.dropped
    ]
    for entry in check.files:
        if entry.answers:
            counts = ", ".join(f"{text} {rows}" for text, rows in list(entry.answers.items())[:ANSWERS_SHOWN])
            more = len(entry.answers) - ANSWERS_SHOWN
            lines.append(f"answers of {entry.name}: {counts}{f' and {more} more' if more > 0 else ''}")
    lines += [f"{count} questions of {pair} are the same" for pair, count in check.shared.items()]
    gains = ", ".join(f"{name} {gain:.3f}" for name, gain in check.smallest_gain.items())
    return [*lines, *check.variants, *check.notes, f"smallest gain that can be seen: {gains}"]
