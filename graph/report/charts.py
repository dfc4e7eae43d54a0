"""The report's charts, as SVG: score, learning curves, tokens, intervals. Styled by the page's classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from ..llm.usage import Usage
from ..tree.experiment import TrialRecord
from .formatting import interval, model_usage, readable
from .summary import BestSummary, ExperimentSummary, Interval, RunSummary

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 16, 38
SERIES = 8
"""How many series colours the style sheet has."""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover [low, high], about `count`: steps of 1, 2 or 5 times a power of ten."""
    span = max(high - low, 1e-9)
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [round(index * step, 10) for index in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """Maps data to pixels."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / ((self.x_high - self.x_low) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return (
            HEIGHT
            - BOTTOM
            - (value - self.y_low) / ((self.y_high - self.y_low) or 1) * (HEIGHT - TOP - BOTTOM)
        )


def progress_svg(summary: RunSummary) -> str:
    """Every score with its interval by round, the best so far as a line, confirm and test aside."""
    scored = [(e, e.score) for e in summary.experiments if e.score is not None]
    if not scored:
        return ""
    aside = _aside(summary.best)
    shown = [score for _, score in scored] + [score for _, score in aside]
    last = max(e.round for e in summary.experiments)
    marks = ticks(min(s.ci_low for s in shown), max(s.ci_high for s in shown))
    # What follows the last round (confirm, test) gets columns of its own.
    gap = max(1.0, last * 0.09)
    frame = _Frame(-0.04 * max(last, 1), last + gap * len(aside) + 0.04 * max(last, 1), marks[0], marks[-1])
    svg = _canvas(f"Score by round, {len(scored)} experiments")
    _grid(svg, frame, marks)
    for value in range(0, last + 1, max(1, math.ceil(last / 12))):
        _text(svg, frame.x(value), HEIGHT - BOTTOM + 18, "tick", str(value))
    _text(svg, frame.x(last / 2), HEIGHT - 4, "axis", "round")
    _best_so_far(svg, frame, scored, last)
    for experiment, score in scored:
        _point(svg, frame, experiment, score, summary.best)
    for experiment in summary.experiments:
        if experiment.status == "failed":
            mark = _text(svg, frame.x(experiment.round), HEIGHT - BOTTOM - 5, "cross", "✗")
            Xml.SubElement(mark, "title").text = f"round {experiment.round}: {experiment.failure or 'failed'}"
    for place, (name, score) in enumerate(aside, start=1):
        _whisker(svg, frame, last + gap * place, score, "whisker aside", f"{name}: {interval(score)}")
        x, y = frame.x(last + gap * place), frame.y(score.value)
        diamond = f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z"
        Xml.SubElement(svg, "path", {"class": "diamond", "d": diamond})
        _text(svg, x, HEIGHT - BOTTOM + 18, "tick strong", name)
    return Xml.tostring(svg, encoding="unicode")


def learning_curves_svg(trials: Sequence[TrialRecord], best: str | None) -> str:
    """Training loss by step, a line for each trial with a curve; series colours follow the trial's index."""
    drawn = [trial for trial in trials if len(trial.curve) > 1]
    if not drawn:
        return ""
    points = [point for trial in drawn for point in trial.curve]
    marks = ticks(min(loss for _, loss in points), max(loss for _, loss in points))
    steps = ticks(0, max(step for step, _ in points), 6)
    frame = _Frame(0, max(step for step, _ in points), marks[0], marks[-1])
    svg = _canvas(f"Training loss of {len(drawn)} trials")
    _grid(svg, frame, marks)
    for value in steps:
        if value <= frame.x_high:
            _text(svg, frame.x(value), HEIGHT - BOTTOM + 18, "tick", f"{value:g}")
    _text(svg, frame.x(frame.x_high / 2), HEIGHT - 4, "axis", "step")
    for trial in sorted(drawn, key=lambda t: t.id == best):
        kind = f"series s{trial.index % SERIES}{' best' if trial.id == best else ''}"
        line = " ".join(f"{frame.x(step):.1f},{frame.y(loss):.1f}" for step, loss in trial.curve)
        path = Xml.SubElement(svg, "polyline", {"class": kind, "points": line})
        Xml.SubElement(path, "title").text = f"trial {trial.index}: {trial.note}"
        step, loss = trial.curve[-1]
        end = {
            "class": f"end s{trial.index % SERIES}",
            "cx": f"{frame.x(step):.1f}",
            "cy": f"{frame.y(loss):.1f}",
        }
        Xml.SubElement(svg, "circle", end | {"r": "4" if trial.id == best else "3"})
    return Xml.tostring(svg, encoding="unicode")


def tokens_svg(by_round: Mapping[int, Usage]) -> str:
    """Tokens of chat models by round: what was read below, what was written on top of it."""
    if not by_round:
        return ""
    last = max(by_round)
    marks = ticks(0, max(1, *(sums.tokens for sums in by_round.values())))
    frame = _Frame(-0.7, last + 0.7, 0, marks[-1])
    width = min(46.0, 0.62 * (frame.x(1) - frame.x(0)))
    svg = _canvas(f"Tokens by round, {sum(sums.calls for sums in by_round.values())} calls")
    _grid(svg, frame, marks)
    for number in range(0, last + 1, max(1, math.ceil(last / 12))):
        _text(svg, frame.x(number), HEIGHT - BOTTOM + 18, "tick", str(number))
    _text(svg, frame.x(last / 2), HEIGHT - 4, "axis", "round")
    for number, sums in by_round.items():
        spent = model_usage(sums)
        for kind, low, high in (("in", 0, sums.tokens_in), ("out", sums.tokens_in, sums.tokens)):
            place = {
                "x": f"{frame.x(number) - width / 2:.1f}",
                "y": f"{frame.y(high):.1f}",
                "width": f"{width:.1f}",
                "height": f"{frame.y(low) - frame.y(high):.1f}",
            }
            bar = Xml.SubElement(svg, "rect", {"class": f"tokens {kind}", **place})
            Xml.SubElement(bar, "title").text = f"round {number}: {spent}"
    return Xml.tostring(svg, encoding="unicode")


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
    height = pitch * len(drawn) + 24
    svg = Xml.Element(
        "svg",
        {"class": "intervals", "viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": "Intervals"},
    )

    def x(value: float) -> float:
        return margin + (value - marks[0]) / ((marks[-1] - marks[0]) or 1) * (width - 2 * margin)

    for mark in marks:
        _line(svg, x(mark), 6, x(mark), height - 20, "grid")
        _text(svg, x(mark), height - 5, "tick", f"{mark:g}")
    for place, (row, score, kind) in enumerate(drawn):
        y = pitch * place + 34
        _text(svg, margin, y - 14, f"name {kind}", row)
        _text(svg, width - margin, y - 14, f"figure {kind}", interval(score))
        _line(svg, x(score.ci_low), y, x(score.ci_high), y, f"bar {kind}")
        dot = {"class": f"dot {kind}", "cx": f"{x(score.value):.1f}", "cy": str(y), "r": "5.5"}
        Xml.SubElement(svg, "circle", dot)
    return Xml.tostring(svg, encoding="unicode")


def _aside(best: BestSummary | None) -> list[tuple[str, Interval]]:
    if best is None:
        return []
    return [(name, score) for name, score in (("confirm", best.confirm), ("test", best.test)) if score]


def _best_so_far(
    svg: Xml.Element, frame: _Frame, scored: Sequence[tuple[ExperimentSummary, Interval]], last: int
) -> None:
    best = -math.inf
    points: list[tuple[int, float]] = []
    for experiment, score in sorted(scored, key=lambda pair: pair[0].round):
        if score.value > best:
            if points:
                points.append((experiment.round, best))
            best = score.value
            points.append((experiment.round, best))
    points.append((last, best))
    line = " ".join(f"{frame.x(round_):.1f},{frame.y(value):.1f}" for round_, value in points)
    Xml.SubElement(svg, "polyline", {"class": "sofar", "points": line})


def _point(
    svg: Xml.Element,
    frame: _Frame,
    experiment: ExperimentSummary,
    score: Interval,
    best: BestSummary | None,
) -> None:
    name = "baseline" if experiment.parent_id is None else readable(experiment.direction)
    hover = f"round {experiment.round}, {name}: {interval(score)}"
    is_best = best is not None and best.experiment == experiment.id
    kind = "best" if is_best else "base" if experiment.parent_id is None else "plain"
    _whisker(svg, frame, experiment.round, score, f"whisker {kind}", hover)
    place = {"cx": f"{frame.x(experiment.round):.1f}", "cy": f"{frame.y(score.value):.1f}"}
    dot = Xml.SubElement(svg, "circle", {"class": f"dot {kind}", "r": "6" if is_best else "4.5", **place})
    Xml.SubElement(dot, "title").text = hover


def _whisker(svg: Xml.Element, frame: _Frame, place: float, score: Interval, kind: str, hover: str) -> None:
    x = frame.x(place)
    line = _line(svg, x, frame.y(score.ci_low), x, frame.y(score.ci_high), kind)
    Xml.SubElement(line, "title").text = hover


def _canvas(label: str) -> Xml.Element:
    return Xml.Element(
        "svg", {"class": "chart", "viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": label}
    )


def _grid(svg: Xml.Element, frame: _Frame, marks: Sequence[float]) -> None:
    for mark in marks:
        _line(svg, LEFT, frame.y(mark), WIDTH - RIGHT, frame.y(mark), "grid")
        shown = f"{mark:g}" if abs(mark) < 10_000 else f"{mark / 1000:g}k"
        _text(svg, LEFT - 8, frame.y(mark) + 4, "tick left", shown)


def _line(svg: Xml.Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> Xml.Element:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return Xml.SubElement(svg, "line", {"class": kind, **ends})


def _text(svg: Xml.Element, x: float, y: float, kind: str, text: str) -> Xml.Element:
    element = Xml.SubElement(svg, "text", {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}"})
    element.text = text
    return element
