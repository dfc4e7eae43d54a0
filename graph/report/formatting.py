"""How results are put into words and numbers: one spelling for the page, the Markdown and the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..tree.experiment import Experiment
from .integrity import Integrity
from .summary import BestSummary, ExperimentSummary, Interval, RunSummary

SIGNIFICANT = 0.05

_UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)

ENDINGS = {
    "rounds": "all rounds are done",
    "budget": "the budget ended",
    "exhausted": "nothing was left to try",
    "stopped": "it was stopped",
    "failed": "it failed",
}


@dataclass(frozen=True)
class BaselineComparison:
    """Whether the winner beats the baseline, in a word and in a sentence."""

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


def model_spend(calls: int, tokens_in: int, tokens_out: int, cost_usd: float) -> str:
    """'12 calls, 48,210 tokens in, 5,120 out, $0.43'; money only where it costs any."""
    counted = f"{calls} call{'' if calls == 1 else 's'}, {tokens_in:,} tokens in, {tokens_out:,} out"
    return counted + (f", {dollars(cost_usd)}" if cost_usd else "")


def readable(name: str) -> str:
    """'adjust_training' → 'adjust training'."""
    return name.replace("_", " ")


def compare_with_baseline(summary: RunSummary) -> BaselineComparison:
    """What the test split says of the winner; the paired interval decides if there is one."""
    best = summary.best
    if best is None:
        return BaselineComparison("open", "no result yet", "No experiment has a score yet.")
    if best.trial is None:
        return BaselineComparison("noise", "no winner", "Nothing that was tried beat the base model.")
    if best.test is None or best.baseline_test is None:
        return BaselineComparison(
            "open", "not tested yet", "The test split is opened once, at the run's end."
        )
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
            "better", "better beyond noise", f"Better than the base model beyond noise: {measured}."
        )
    if below:
        return BaselineComparison("worse", "worse", f"Worse than the base model: {measured}.")
    return BaselineComparison(
        "noise", "within noise", f"Not told apart from the base model by noise: {measured}."
    )


def beside(best: BestSummary) -> list[str]:
    """What stands beside the scores: the luck of the pick, seeds, and what the winner lost."""
    sentences = (picked(best), fresh_seeds(best), guards(best))
    return [sentence for sentence in sentences if sentence is not None]


def picked(best: BestSummary) -> str | None:
    """What the best search score means when it is the best of many, in a sentence; None if nobody asked."""
    found = best.picked
    if found is None:
        return None
    of = f"the best of {found.candidates} configurations" if found.candidates > 1 else "the configuration"
    if found.p_value <= SIGNIFICANT:
        return (
            f"On search, {of} is ahead of the base model by more than the luck of picking it: "
            f"{signed(found.gain)}, at least {signed(found.at_least)} (p = {found.p_value:.2g})."
        )
    return (
        f"On search, {of} is ahead of the base model by no more than the luck of picking it: "
        f"{signed(found.gain)} (p = {found.p_value:.2g})."
    )


def guards(best: BestSummary) -> str | None:
    """What the winner kept and lost beside its task, in a sentence; None if nobody looked."""
    if not best.regression_checks:
        return None
    figures = [
        f"{guard.name} {guard.base:.2f} → {guard.winner:.2f} of {guard.n}" for guard in best.regression_checks
    ]
    lost = [guard.name for guard in best.regression_checks if guard.broken]
    found = f"It lost on {' and '.join(lost)}, beyond noise" if lost else "It lost nothing beyond noise"
    return f"{found} (share of items, base model → winner: {', '.join(figures)})."


def fresh_seeds(best: BestSummary) -> str | None:
    """The winner's plan over seeds, in a sentence; None if it was trained with one seed only."""
    if best.seeds is None:
        return None
    return f"Trained again with fresh seeds, its plan scores {interval(best.seeds)} on confirm (items and seeds)."


def contamination(experiments: Sequence[Experiment]) -> str:
    """What the contamination gate saw over the whole run, in a sentence."""
    datasets = {card.fingerprint: card for e in experiments for card in e.datasets.values()}
    reports = [card.contamination for card in datasets.values() if card.contamination is not None]
    if not datasets:
        return "No data set was built."
    unchecked = len(datasets) - len(reports)
    rows, matches = sum(r.checked_rows for r in reports), sum(r.matches for r in reports)
    against = max((r.against_items for r in reports), default=0)
    refused = sum(not r.clean for r in reports)
    text = f"{rows} rows of {len(reports)} data sets were compared with {against} dev and test items: "
    text += "none repeats one." if not matches else f"{matches} repeat one; {refused} data sets were refused."
    return text + (f" {unchecked} data sets were not checked." if unchecked else "")


def openings(integrity: Integrity) -> str:
    """What was opened, and how often, in a sentence."""
    return (
        f"Dev was opened {integrity.dev_evaluations} times to score a model, the test split "
        f"{integrity.test_openings} times, both {integrity.gate_openings} times by the contamination gate, "
        f"sources {integrity.source_openings} times to build a data set."
    )


def split_hashes(integrity: Integrity) -> list[str]:
    """The splits' hashes when the run began and whether they still hold, a line each."""
    return [
        f"{split.name} {split.digest[:16]}: {'unchanged' if split.holds else 'CHANGED since the run began'}"
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
    below: dict[str | None, list[ExperimentSummary]] = {}
    for experiment in experiments:
        below.setdefault(experiment.parent_id, []).append(experiment)
    # A stack instead of recursion: a chain of a thousand rounds is a legal tree.
    waiting = [(e, "", "") for e in reversed(below.get(None, []))]
    while waiting:
        experiment, lead, indent = waiting.pop()
        yield lead + _tree_line(experiment, best)
        children = below.get(experiment.id, [])
        for place, child in reversed(list(enumerate(children))):
            last = place == len(children) - 1
            waiting.append((child, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  ")))


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
