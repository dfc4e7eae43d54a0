"""The report's charts, as SVG: score, learning curves, tokens, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..llm.usage import Usage
from ..tree.experiment import TrialRecord
from .formatting import interval, model_usage, readable
from .pictures import draw
from .summary import BestSummary, ExperimentSummary, Interval, RunSummary

SERIES = 8
"""How many series colours the style sheet has."""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover [low, high], about `count`: steps of 1, 2 or 5 times a power of ten."""
    from matplotlib.ticker import MaxNLocator

    return [float(tick) for tick in MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high)]


@dataclass(frozen=True)
class Frame:
    """Maps data to pixels of a chart. The vertical axis covers `marks`, where the grid is drawn."""

    x_low: float
    x_high: float
    marks: Sequence[float]
    width: ClassVar = 760
    height: ClassVar = 300
    left: ClassVar = 52
    right: ClassVar = 18
    base: ClassVar = 262
    """The lower end of the vertical axis; its upper end is at 16."""

    def x(self, value: float) -> float:
        room = self.width - self.left - self.right
        return self.left + (value - self.x_low) / ((self.x_high - self.x_low) or 1) * room

    def y(self, value: float) -> float:
        low, high = self.marks[0], self.marks[-1]
        return self.base - (value - low) / ((high - low) or 1) * (self.base - 16)

    def line(self, points: Iterable[tuple[float, float]]) -> str:
        """The points of a polyline."""
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)


def progress_svg(summary: RunSummary) -> str:
    """Every score with its interval by round, the best so far as a line, confirm and test aside."""
    scored = [(e, e.score) for e in summary.experiments if e.score is not None]
    if not scored:
        return ""
    best, last = summary.best, max(e.round for e in summary.experiments)
    # What follows the last round (confirm, test) gets columns of its own.
    after = [(name, score) for name, score in _confirmed(best) if score is not None]
    gap, margin = max(1.0, last * 0.09), 0.04 * max(last, 1)
    aside = [
        (last + gap * place, name, score, f"{name}: {interval(score)}")
        for place, (name, score) in enumerate(after, start=1)
    ]
    shown = [score for _, score in [*scored, *after]]
    marks = ticks(min(score.ci_low for score in shown), max(score.ci_high for score in shown))
    failed = [e for e in summary.experiments if e.status == "failed"]
    return draw(
        "progress",
        frame=Frame(-margin, last + gap * len(aside) + margin, marks),
        ticks=_rounds(last),
        points=[_point(experiment, score, best) for experiment, score in scored],
        so_far=_best_so_far([(e.round, score.value) for e, score in scored], last),
        failed=[(e.round, f"round {e.round}: {e.failure or 'failed'}") for e in failed],
        aside=aside,
    )


def learning_curves_svg(trials: Sequence[TrialRecord], best: str | None) -> str:
    """Training loss by step, a line for each trial with a curve; series colours follow the trial's index."""
    drawn = [trial for trial in trials if len(trial.curve) > 1]
    if not drawn:
        return ""
    losses = [loss for trial in drawn for _, loss in trial.curve]
    last = max(step for trial in drawn for step, _ in trial.curve)
    series = [(trial, f"s{trial.index % SERIES}", trial.id == best) for trial in drawn]
    steps = [step for step in ticks(0, last, 6) if step <= last]
    frame = Frame(0, last, ticks(min(losses), max(losses)))
    return draw("curves", frame=frame, ticks=steps, series=sorted(series, key=lambda entry: entry[2]))


def tokens_svg(by_round: Mapping[int, Usage]) -> str:
    """Tokens of chat models by round: what was read below, what was written on top of it."""
    if not by_round:
        return ""
    last = max(by_round)
    frame = Frame(-0.7, last + 0.7, ticks(0, max(1, *(sums.tokens for sums in by_round.values()))))
    bars = [
        (number, kind, low, high, f"round {number}: {model_usage(sums)}")
        for number, sums in by_round.items()
        for kind, low, high in (("in", 0, sums.tokens_in), ("out", sums.tokens_in, sums.tokens))
    ]
    return draw(
        "tokens",
        frame=frame,
        ticks=_rounds(last),
        calls=sum(sums.calls for sums in by_round.values()),
        width=min(46.0, 0.62 * (frame.x(1) - frame.x(0))),
        bars=bars,
    )


def intervals_svg(best: BestSummary) -> str:
    """Baseline and winner on one axis, with their intervals: what was chosen on, and what it is worth."""
    name = "best" if best.trial is not None else "base model"
    rows = [
        ("base model on test", best.baseline_test, "base"),
        (f"{name} on test", best.test, "test"),
        (f"{name} on confirm", best.confirm, "aside"),
        (f"{name} on search", best.dev_interval, "aside"),
    ]
    drawn = [(name, score, kind) for name, score, kind in rows if score is not None]
    marks = ticks(min(s.ci_low for _, s, _ in drawn), max(s.ci_high for _, s, _ in drawn))
    width, pitch, margin = 460, 44, 12

    def x(value: float) -> float:
        return margin + (value - marks[0]) / ((marks[-1] - marks[0]) or 1) * (width - 2 * margin)

    return draw(
        "intervals",
        width=width,
        height=pitch * len(drawn) + 24,
        marks=[(x(mark), f"{mark:g}") for mark in marks],
        rows=[
            (pitch * place + 34, kind, row, interval(s), x(s.ci_low), x(s.value), x(s.ci_high))
            for place, (row, s, kind) in enumerate(drawn)
        ],
    )


def _confirmed(best: BestSummary | None) -> list[tuple[str, Interval | None]]:
    return [("confirm", best.confirm), ("test", best.test)] if best else []


def _rounds(last: int) -> range:
    """The rounds that are named on an axis, about twelve."""
    return range(0, last + 1, max(1, math.ceil(last / 12)))


def _best_so_far(scores: Sequence[tuple[int, float]], last: int) -> list[tuple[int, float]]:
    """The corners of the line: it rises in the round of a better score."""
    points: list[tuple[int, float]] = []
    for round_, value in sorted(scores, key=lambda score: score[0]):
        if not points or value > points[-1][1]:
            points += [*((round_, before) for _, before in points[-1:]), (round_, value)]
    return [*points, (last, points[-1][1])]


def _point(
    experiment: ExperimentSummary, score: Interval, best: BestSummary | None
) -> tuple[int, Interval, str, str]:
    """Round, score, kind and the text that appears over it."""
    is_base = experiment.parent_id is None
    name = "baseline" if is_base else readable(experiment.direction)
    is_best = best is not None and best.experiment == experiment.id
    kind = "best" if is_best else "base" if is_base else "plain"
    return experiment.round, score, kind, f"round {experiment.round}, {name}: {interval(score)}"
