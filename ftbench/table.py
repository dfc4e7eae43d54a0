"""The paper's table from finished runs: base, ours with its interval, reference, G, rounds and spend."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, variance
from typing import TYPE_CHECKING

from ..errors import InputError
from ..evaluation.results import Score
from ..evaluation.statistics.gain_ratio import gain_ratio
from ..evaluation.statistics.intervals import Z_95
from ..graph.api import load_run
from ..graph.report.summary import Interval, RunSummary
from ..graph.run.settings import Settings
from .suite import TEN, benchmark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("task", "metric", "runs", "base", "ours", "reference", "G", "gain", "rounds", "minutes", "search")
_CSV = (
    *("task", "metric", "search", "seeds", "smoke", "base", "ours", "ours_low", "ours_high"),
    *("gain", "gain_low", "gain_high", "reference", "G", "rounds", "minutes"),
)
_NONE = "–"
_OURS, _BASE, _REFERENCE = "#0b7a75", "#5b6875", "#c25a12"


@dataclass(frozen=True)
class TableRow:
    """Runs of one task, searched in one way: means over their seeds, with a 95 % interval over items and seeds."""

    task: str
    metric: str
    search: str
    """The policy, the model that thinks if there is one, and what was switched off."""
    seeds: tuple[int, ...]
    base: float
    ours: float
    interval: tuple[float, float]
    base_interval: tuple[float, float]
    gain: tuple[float, float, float] | None
    """Gain over the base on the same test items with its interval, of a single run."""
    reference: float | None
    rounds: float
    minutes: float
    smoke: bool

    @property
    def ratio(self) -> Score | None:
        """G = (S - S_base) / (S_ref - S_base) with its interval; None without a reference above the base."""
        if self.reference is None or self.smoke:
            return None
        return gain_ratio(
            _score(self.ours, self.interval), _score(self.base, self.base_interval), self.reference
        )

    def cells(self) -> list[str]:
        """The row as text, in the order of `COLUMNS`."""
        ratio = self.ratio
        ours = f"{self.ours:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"
        gain = f"{self.ours - self.base:+.3f}"
        if self.gain:
            gain = f"{self.gain[0]:+.3f} [{self.gain[1]:+.3f}, {self.gain[2]:+.3f}]"
        return [
            f"{self.task} (smoke)" if self.smoke else self.task,
            self.metric,
            str(len(self.seeds)),
            f"{self.base:.3f}",
            ours,
            _NONE if self.reference is None else f"{self.reference:.3f}",
            _NONE if ratio is None else f"{ratio.value:.2f} [{ratio.ci_low:.2f}, {ratio.ci_high:.2f}]",
            gain,
            f"{self.rounds:g}",
            f"{self.minutes:.1f}",
            self.search,
        ]


def table(directories: Iterable[Path]) -> list[TableRow]:
    """A row for each task and way of searching among finished runs, in the order of the benchmark.

    A directory may hold a run, or runs in its folders. Raises InputError if there is no finished run.
    """
    groups: dict[tuple[str, str, bool], list[RunSummary]] = defaultdict(list)
    for directory in directories:
        for path in _runs(directory):
            run = load_run(path)
            summary = run.summary
            if summary.status == "done" and summary.best is not None and summary.best.test is not None:
                groups[summary.task, _search(run.settings), run.settings.smoke].append(summary)
    if not groups:
        raise InputError(
            "no finished run found: start runs with `trex bench run`, continue one with `trex resume`"
        )
    rows = [_row(runs, search, smoke) for (_, search, smoke), runs in groups.items()]
    return sorted(
        rows, key=lambda row: (TEN.index(row.task) if row.task in TEN else -1, row.task, row.search)
    )


def markdown(rows: Sequence[TableRow]) -> str:
    """The table in Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def as_csv(rows: Sequence[TableRow]) -> str:
    """The table as comma-separated values, with intervals in columns of their own and nothing rounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV)
    for row in rows:
        gain, gain_low, gain_high = row.gain or (row.ours - row.base, None, None)
        seeds = " ".join(map(str, row.seeds))
        scores = [
            row.base,
            row.ours,
            *row.interval,
            gain,
            gain_low,
            gain_high,
            row.reference,
            row.ratio and row.ratio.value,
        ]
        writer.writerow(
            [row.task, row.metric, row.search, seeds, row.smoke, *scores, row.rounds, row.minutes]
        )
    return text.getvalue()


def picture(rows: Sequence[TableRow]) -> Figure:
    """Base, ours with its interval and reference side by side: one line a task, scores along the axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 1.4 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        axes.plot([row.base, row.ours], [place, place], color="#c9d2da", linewidth=2, zorder=1)
        axes.plot(row.interval, [place, place], color=_OURS, linewidth=5, alpha=0.3, zorder=2)
        axes.plot(row.base, place, "o", color="white", markeredgecolor=_BASE, markersize=8, zorder=3)
        axes.plot(row.ours, place, "o", color=_OURS, markersize=8, zorder=4)
        if row.reference is not None and not row.smoke:
            axes.plot(row.reference, place, "|", color=_REFERENCE, markersize=16, markeredgewidth=2, zorder=3)
    labels = [f"{row.cells()[0]}\n{row.metric}, {row.search}" for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), labels, fontsize=9)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("score on the sealed test split")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#eef1f4")
    axes.set_axisbelow(True)
    legend = [("o", "white", _BASE, "base model"), ("o", _OURS, _OURS, "TREX, 95 % interval")]
    if any(row.reference is not None and not row.smoke for row in rows):
        legend.append(("|", _REFERENCE, _REFERENCE, "reference model (published)"))
    for marker, face, edge, label in legend:
        axes.plot([], [], marker, color=face, markeredgecolor=edge, markersize=8, label=label)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def _runs(directory: Path) -> list[Path]:
    if (directory / "run.json").is_file():
        return [directory]
    found = sorted(file.parent for file in directory.glob("*/run.json"))
    if not found:
        raise InputError(f"{directory} holds no run")
    return found


def _search(settings: Settings) -> str:
    words: list[str] = [settings.policy]
    if settings.llm is not None:
        words.append(settings.llm.researcher)
        words += [settings.llm.executor] if settings.llm.executor else []
    words += [] if settings.memory else ["no memory"]
    words += [] if settings.diagnosis else ["no diagnosis"]
    return ", ".join(words)


def _row(runs: Sequence[RunSummary], search: str, smoke: bool) -> TableRow:
    first = runs[0]
    gain = first.best.test_gain if first.best and len(runs) == 1 else None
    return TableRow(
        task=first.task,
        metric=first.metric,
        search=search,
        seeds=tuple(run.seed for run in runs),
        base=fmean(_baseline(run).value for run in runs),
        ours=fmean(_test(run).value for run in runs),
        interval=_interval([_test(run) for run in runs]),
        base_interval=_interval([_baseline(run) for run in runs]),
        gain=(gain.value, gain.ci_low, gain.ci_high) if gain else None,
        reference=benchmark(first.task).published.reference if first.task in TEN else None,
        rounds=fmean(len(run.experiments) - 1 for run in runs),
        minutes=fmean(run.spend.active_seconds for run in runs) / 60,
        smoke=smoke,
    )


def _interval(scores: Sequence[Interval]) -> tuple[float, float]:
    """A run's own interval; of several, one that covers the choice of items and of seeds.

    Runs of a task share their test items, so that more seeds make the seeds' part smaller and not the items':
    variance = variance over seeds / seeds + mean squared standard error over items.
    """
    if len(scores) == 1:
        return scores[0].ci_low, scores[0].ci_high
    items = fmean(((score.ci_high - score.ci_low) / (2 * Z_95)) ** 2 for score in scores)
    half = Z_95 * sqrt(variance(score.value for score in scores) / len(scores) + items)
    centre = fmean(score.value for score in scores)
    return centre - half, centre + half


def _score(value: float, interval: tuple[float, float]) -> Score:
    low, high = interval
    return Score(
        name="", value=value, n=1, ci_low=low, ci_high=high, standard_error=(high - low) / (2 * Z_95)
    )


def _test(run: RunSummary) -> Interval:
    assert run.best is not None and run.best.test is not None
    return run.best.test


def _baseline(run: RunSummary) -> Interval:
    assert run.best is not None and run.best.baseline_test is not None
    return run.best.baseline_test
