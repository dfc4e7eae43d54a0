"""The tree as SVG, from left to right."""

from __future__ import annotations

from collections.abc import Sequence

from .formatting import interval, number, readable, shorten
from .pictures import draw
from .summary import ExperimentSummary
from .tree_layout import Position, layout, path_to

COLUMN, ROW, BEND = 124, 52, 9
PILL_WIDTH, PILL_HEIGHT = 70, 24
MARGIN = 14
LABEL_LENGTH = 19
WORSE, NEUTRAL, BETTER = (0xE0, 0x7A, 0x2F), (0xD5, 0xDA, 0xE1), (0x0B, 0x7A, 0x75)


def shades(experiments: Sequence[ExperimentSummary]) -> dict[str, tuple[int, ...]]:
    """A colour for each scored experiment: neutral at the baseline, teal above it, orange below."""
    scores = {e.id: e.score.value for e in experiments if e.score is not None}
    baseline = next((scores[e.id] for e in experiments if e.parent_id is None and e.id in scores), 0.0)
    reach = max((abs(value - baseline) for value in scores.values()), default=0.0) or 1.0
    colours = {}
    for node, value in scores.items():
        share = (value - baseline) / reach
        pairs = zip(NEUTRAL, BETTER if share > 0 else WORSE, strict=True)
        colours[node] = tuple(round(near + (far - near) * abs(share)) for near, far in pairs)
    return colours


def tree_svg(experiments: Sequence[ExperimentSummary], best: str | None) -> str:
    """The tree with a pill for each experiment: its score, its direction, and a link to its section."""
    places = layout(experiments, best)
    path, colours = path_to(experiments, best), shades(experiments)
    columns = max((place.column for place in places.values()), default=0)
    rows = max((place.row for place in places.values()), default=0)
    edges = [
        ("best" if each.id in path else each.status, _edge(places[each.parent_id], places[each.id]))
        for each in sorted(experiments, key=lambda each: each.id in path)  # the winner's path on top
        if each.parent_id is not None
    ]
    return draw(
        "tree",
        width=round(columns * COLUMN + PILL_WIDTH + 2 * MARGIN + 44),
        height=round(rows * ROW + PILL_HEIGHT + 2 * MARGIN + 16),
        edges=edges,
        nodes=[_node(each, places[each.id], colours.get(each.id), each.id == best) for each in experiments],
        pill=(PILL_WIDTH, PILL_HEIGHT),
    )


def _centre(place: Position) -> tuple[float, float]:
    return MARGIN + PILL_WIDTH / 2 + 14 + place.column * COLUMN, MARGIN + PILL_HEIGHT / 2 + place.row * ROW


def _edge(start: Position, end: Position) -> str:
    (x1, y1), (x2, y2) = _centre(start), _centre(end)
    x1, x2 = x1 + PILL_WIDTH / 2, x2 - PILL_WIDTH / 2
    if y1 == y2:
        return f"M{x1:.1f} {y1:.1f}H{x2:.1f}"
    turn, bend = x1 + (x2 - x1) / 3, f"{BEND} {BEND}"
    return f"M{x1:.1f} {y1:.1f}H{turn - BEND:.1f}q{BEND} 0 {bend}V{y2 - BEND:.1f}q0 {BEND} {bend}H{x2:.1f}"


def _node(
    experiment: ExperimentSummary, place: Position, colour: tuple[int, ...] | None, is_best: bool
) -> dict[str, object]:
    x, y = _centre(place)
    value = number(experiment.score.value) if experiment.score is not None else "…"
    value = "✗" if experiment.status == "failed" else value
    name = f"{experiment.round} · {shorten(readable(experiment.direction), LABEL_LENGTH)}"
    return {
        "id": experiment.id,
        "x": x,
        "y": y,
        "status": experiment.status,
        "kind": f"{experiment.status} best" if is_best else experiment.status,
        "fill": "#{:02x}{:02x}{:02x}".format(*colour) if colour else "",
        "ink": _ink(colour) if colour else "",
        "value": f"★ {value}" if is_best else value,
        "label": "baseline" if experiment.parent_id is None else name,
        "hover": _hover(experiment),
    }


def _hover(experiment: ExperimentSummary) -> str:
    lines = [
        f"round {experiment.round}: {readable(experiment.strategy)} / {readable(experiment.direction)}",
        experiment.failure or interval(experiment.score),
        f"visits: {experiment.visits}; cumulative reward: {experiment.cumulative_reward:.2f}",
        shorten(experiment.hypothesis, 240),
    ]
    return "\n".join(line for line in lines if line)


def _ink(colour: Sequence[int]) -> str:
    """Black or white, whichever is easier to read on a colour (relative luminance, WCAG 2.2)."""
    channels = [part / 255 for part in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if luminance < 0.18 else "#10202b"
