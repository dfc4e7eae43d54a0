"""A run as a matplotlib figure: the tree, and the best score by round. For notebooks and papers."""

from __future__ import annotations

import math
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ..tree.experiment import Experiment
from ..tree.tree import Tree
from .formatting import number, readable
from .tree_layout import Position, layout, path_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATH, EDGE, MUTED, FAILED = "#0b7a75", "#b3bdc8", "#5b6875", "#c25a12"


def plot_run(tree: Tree, winner: str | None = None) -> Figure:
    """The tree above, the scores by round below; `winner` is an experiment's id, else the tree's best.

    The figure is not registered with pyplot: it needs no closing, and a notebook shows it where it is
    returned. An empty tree gives an empty figure.
    """
    leader = tree.best()
    best = winner if winner is not None else leader.id if leader else None
    experiments = list(tree)
    places = layout(experiments, best)
    rows = 1 + max((place.row for place in places.values()), default=0)
    columns = 1 + max((place.column for place in places.values()), default=0)
    figure = _new_figure(max(7.5, 1.15 * columns), 3.2 + 0.42 * rows)
    above, below = figure.subplots(2, 1, height_ratios=[max(1.0, 0.42 * rows), 2.6])
    _draw_tree(above, tree, places, best)
    _draw_progress(below, experiments, best)
    return figure


def _new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure that shows itself in a notebook, whatever backend is set."""

        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Picture(figsize=(width, height), layout="constrained")


def _draw_tree(axes: Any, tree: Tree, places: dict[str, Position], best: str | None) -> None:
    path = path_to(list(tree), best)
    scores = [e.score.value for e in tree.scored if e.score is not None]
    for experiment in tree:
        place = places[experiment.id]
        if experiment.parent_id is not None:
            parent = places[experiment.parent_id]
            on_path = experiment.id in path
            turn = parent.column + 0.5
            axes.plot(
                [parent.column, turn, turn, place.column],
                [parent.row, parent.row, place.row, place.row],
                color=PATH if on_path else EDGE,
                linewidth=2.5 if on_path else 1,
                linestyle=":" if experiment.status == "failed" else "-",
                zorder=2 if on_path else 1,
            )
    scored = [e for e in tree if e.score is not None]
    axes.scatter(
        [places[e.id].column for e in scored],
        [places[e.id].row for e in scored],
        c=[e.score.value for e in scored if e.score is not None],
        cmap="viridis",
        vmin=min(scores, default=0.0),
        vmax=max(scores, default=1.0),
        s=[150 if e.id == best else 80 for e in scored],
        edgecolors="white",
        zorder=3,
    )
    for experiment in tree:
        _label(axes, experiment, places[experiment.id], experiment.id == best)
    axes.set_xlim(-0.4, max((place.column for place in places.values()), default=0) + 0.9)
    axes.invert_yaxis()
    axes.margins(y=0.12)
    axes.set_axis_off()


def _label(axes: Any, experiment: Experiment, place: Position, is_best: bool) -> None:
    if experiment.score is None:
        mark, colour = ("✗", FAILED) if experiment.status == "failed" else ("…", MUTED)
        axes.text(place.column, place.row, mark, color=colour, ha="center", va="center", zorder=4)
    value = experiment.status if experiment.score is None else number(experiment.score.value)
    name = readable(experiment.tried_plan.direction) if experiment.tried_plan else "baseline"
    axes.annotate(
        f"{'★ ' if is_best else ''}{value}  {name}",
        (place.column, place.row),
        xytext=(0, -14),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        fontweight="bold" if is_best else "normal",
        color=PATH if is_best else MUTED,
        # What comes from a plan is text, never a formula.
        parse_math=False,
    )


def _draw_progress(axes: Any, experiments: list[Experiment], best: str | None) -> None:
    so_far = -math.inf
    rounds: list[int] = []
    line: list[float] = []
    for experiment in experiments:
        score = experiment.score
        if score is not None:
            colour = PATH if experiment.id == best else MUTED
            axes.vlines(experiment.round, score.ci_low, score.ci_high, color=colour, linewidth=1)
            axes.plot(experiment.round, score.value, "o", color=colour, markersize=5)
            so_far = max(so_far, score.value)
        elif experiment.status == "failed":
            place = (experiment.round, 0.04)
            axes.annotate("✗", place, xycoords=("data", "axes fraction"), color=FAILED, ha="center")
        if so_far > -math.inf:
            rounds.append(experiment.round)
            line.append(so_far)
    axes.step(rounds, line, where="post", color=PATH, alpha=0.6, label="best so far")
    axes.set_xlabel("round")
    axes.set_ylabel(next((e.score.name for e in experiments if e.score is not None), "score"))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
