"""report.html: the report as one page that needs no other file.

Texts from plans, data and models are data: the template engine escapes them, the pictures are built as
element trees, and the page's content policy allows neither scripts nor requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import Environment
from markupsafe import Markup

from ...training.curves import in_words
from . import formatting as formatting
from .agent_turns import calls_by_experiment
from .call_totals import by_role, by_round, totals
from .charts import SERIES, intervals_svg, learning_curves_svg, progress_svg, tokens_svg
from .pictures import template_environment
from .report_model import Report
from .spend import Spend
from .summary import BUILT_IN
from .tree_svg import tree_svg

if TYPE_CHECKING:
    pass

KINDS = {"overhead": "TREX overhead", "model": "waiting for chat models"}
TEXT_LENGTH = 1200


def html(report: Report) -> str:
    """The page."""
    summary, winner = report.summary, report.winner
    best = summary.best
    page = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            summary=summary,
            best=best,
            winner=winner,
            verdict=formatting.compare_with_baseline(summary),
            score_notes=formatting.score_notes(best) if best else [],
            endings=formatting.ENDINGS,
            data_remarks=formatting.data_remarks(report.check) if report.check else [],
            flat={experiment.id: experiment for experiment in summary.experiments},
            series=SERIES,
            outcome=formatting.outcome,
            contamination=formatting.contamination(list(report.tree)),
            integrity=report.integrity,
            accesses=formatting.accesses,
            split_hashes=formatting.split_hashes,
            shares=_shares(summary.spend),
            kinds=KINDS,
            cases=report.cases,
            tree_picture=Markup(tree_svg(summary.experiments, best.experiment if best else None)),
            progress=Markup(progress_svg(summary)),
            intervals=Markup(intervals_svg(best)) if best else "",
            curves=Markup(learning_curves_svg(winner.trials, winner.best_trial)) if winner else "",
            **_model_parts(report),
        )
    )
    return formatting.clean(page)


def _environment() -> Environment:
    environment = template_environment()
    environment.filters |= {
        "number": formatting.number,
        "signed": formatting.signed,
        "interval": formatting.interval,
        "duration": formatting.duration,
        "readable": formatting.readable,
        "dollars": formatting.dollars,
        "in_words": in_words,
        "model_usage": formatting.model_usage,
        "shorten": lambda text: formatting.shorten(text, TEXT_LENGTH),
    }
    return environment


def _model_parts(report: Report) -> dict[str, object]:
    """What the page shows of chat models; without one, nothing."""

    def linked(experiments: Sequence[str]) -> Markup:
        link = Markup('<a href="#{0}">{0}</a>')
        return Markup(", ").join(link.format(e) if e in report.tree else e for e in experiments)

    return {
        "built_in": BUILT_IN,
        "total": totals(report.calls),
        "by_role": by_role(report.calls),
        "tokens_picture": Markup(tokens_svg(by_round(report.calls))),
        "model_calls": calls_by_experiment(report.calls),
        "linked": linked,
    }


def _shares(spend: Spend) -> list[tuple[str, float, float]]:
    """(kind, seconds, percent of the sum) of what was spent, without what was not."""
    total = sum(spend.by_kind.values())
    return [
        (kind, seconds, 100 * seconds / total)
        for kind, seconds in spend.by_kind.items()
        if seconds > 0 and total > 0
    ]
