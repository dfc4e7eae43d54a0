"""The tree as SVG, from left to right.

Colours and line styles come from classes that the page's style sheet defines, so one picture serves light and
dark. The SVG is built as an element tree, which escapes every text: hypotheses are data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as Xml

from .formatting import interval, number, readable, shorten
from .summary import ExperimentSummary
from .tree_layout import Position, layout, path_to

COLUMN, ROW, BEND = 124, 52, 9
PILL_WIDTH, PILL_HEIGHT = 70, 24
MARGIN = 14
LABEL_LENGTH = 19

WORSE, NEUTRAL, BETTER = (0xE0, 0x7A, 0x2F), (0xD5, 0xDA, 0xE1), (0x0B, 0x7A, 0x75)


def shades(experiments: Sequence[ExperimentSummary]) -> dict[str, str]:
    """A colour for each scored experiment: neutral at the baseline, teal above it, orange below."""
    scores = {e.id: e.score.value for e in experiments if e.score is not None}
    if not scores:
        return {}
    baseline = next((scores[e.id] for e in experiments if e.parent_id is None and e.id in scores), 0.0)
    reach = max((abs(value - baseline) for value in scores.values()), default=0.0) or 1.0
    colours = {}
    for node, value in scores.items():
        share = (value - baseline) / reach
        end = BETTER if share > 0 else WORSE
        mixed = [round(near + (far - near) * abs(share)) for near, far in zip(NEUTRAL, end, strict=True)]
        colours[node] = "#" + "".join(f"{part:02x}" for part in mixed)
    return colours


def tree_svg(experiments: Sequence[ExperimentSummary], best: str | None) -> str:
    """The tree with a pill for each experiment: its score, its direction, and a link to its section."""
    places = layout(experiments, best)
    path = path_to(experiments, best)
    colours = shades(experiments)
    columns = max((place.column for place in places.values()), default=0)
    rows = max((place.row for place in places.values()), default=0)
    width = round(columns * COLUMN + PILL_WIDTH + 2 * MARGIN + 44)
    height = round(rows * ROW + PILL_HEIGHT + 2 * MARGIN + 16)
    svg = Xml.Element(
        "svg",
        {
            "class": "tree",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "role": "img",
            "aria-label": f"The tree of {len(experiments)} experiments",
        },
    )
    # Ordinary edges first, so that the winner's path lies on top.
    for on_path in (False, True):
        for experiment in experiments:
            if experiment.parent_id is not None and (experiment.id in path) == on_path:
                _edge(svg, places[experiment.parent_id], places[experiment.id], experiment, on_path)
    for experiment in experiments:
        _node(svg, experiment, places, colours, is_best=experiment.id == best)
    return Xml.tostring(svg, encoding="unicode")


def _centre(place: Position) -> tuple[float, float]:
    return MARGIN + PILL_WIDTH / 2 + 14 + place.column * COLUMN, MARGIN + PILL_HEIGHT / 2 + place.row * ROW


def _edge(svg: Xml.Element, start: Position, end: Position, child: ExperimentSummary, on_path: bool) -> None:
    (x1, y1), (x2, y2) = _centre(start), _centre(end)
    x1, x2 = x1 + PILL_WIDTH / 2, x2 - PILL_WIDTH / 2
    if y1 == y2:
        line = f"M{x1:.1f} {y1:.1f}H{x2:.1f}"
    else:
        turn, bend = x1 + (x2 - x1) / 3, f"{BEND} {BEND}"
        line = f"M{x1:.1f} {y1:.1f}H{turn - BEND:.1f}q{BEND} 0 {bend}"
        line += f"V{y2 - BEND:.1f}q0 {BEND} {bend}H{x2:.1f}"
    Xml.SubElement(svg, "path", {"class": "edge best" if on_path else f"edge {child.status}", "d": line})


def _node(
    svg: Xml.Element,
    experiment: ExperimentSummary,
    places: Mapping[str, Position],
    colours: Mapping[str, str],
    *,
    is_best: bool,
) -> None:
    x, y = _centre(places[experiment.id])
    link = Xml.SubElement(svg, "a", {"href": f"#{experiment.id}", "class": "node"})
    Xml.SubElement(link, "title").text = _hover(experiment)
    colour = colours.get(experiment.id)
    pill = {
        "x": f"{x - PILL_WIDTH / 2:.1f}",
        "y": f"{y - PILL_HEIGHT / 2:.1f}",
        "width": str(PILL_WIDTH),
        "height": str(PILL_HEIGHT),
        "rx": str(PILL_HEIGHT / 2),
        "class": f"pill {experiment.status}{' best' if is_best else ''}",
    }
    if colour is not None:
        pill["style"] = f"fill:{colour}"
    Xml.SubElement(link, "rect", pill)
    text = {"x": f"{x:.1f}", "y": f"{y + 4.5:.1f}", "class": f"value {experiment.status}"}
    if colour is not None:
        text["style"] = f"fill:{_ink(colour)}"
    Xml.SubElement(link, "text", text).text = f"★ {_value(experiment)}" if is_best else _value(experiment)
    name = "baseline" if experiment.parent_id is None else readable(experiment.direction)
    label = {"x": f"{x:.1f}", "y": f"{y + PILL_HEIGHT / 2 + 13:.1f}", "class": "label"}
    Xml.SubElement(link, "text", label).text = (
        name if experiment.parent_id is None else f"{experiment.round} · {shorten(name, LABEL_LENGTH)}"
    )


def _value(experiment: ExperimentSummary) -> str:
    if experiment.status == "failed":
        return "✗"
    return number(experiment.score.value) if experiment.score is not None else "…"


def _hover(experiment: ExperimentSummary) -> str:
    lines = [
        f"round {experiment.round}: {readable(experiment.strategy)} / {readable(experiment.direction)}",
        experiment.failure or interval(experiment.score),
        f"visits: {experiment.visits}; cumulative reward: {experiment.cumulative_reward:.2f}",
        shorten(experiment.hypothesis, 240),
    ]
    return "\n".join(line for line in lines if line)


def _ink(colour: str) -> str:
    """Black or white, whichever reads better on a colour (relative luminance, WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if luminance < 0.18 else "#10202b"
