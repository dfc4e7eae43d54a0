"""Metrics by name. To add one: a module here and a line in `METRICS`, or an entry point `trex.metrics`.

A metric is a class that satisfies `Metric` (see `protocol`). A task names it by its registered name, or, for a class
of the user's own, as 'file.py:Name' or 'package.module:Name'. Options are written as a mapping or in brackets:
{name: numeric, tolerance: 0.01} or numeric(tolerance=0.01).

A registered name may go on with a subtask and with 'upstream': 'tomg:AddComponent', 'csbench/upstream',
'lawbench:3-1/upstream'. They are the options `subtask` and `upstream` of the class. Upstream is the official scorer
to the letter, faults included, for comparison with published figures; without it, a metric is what a search should
optimise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import InputError
from ...registry import Registry
from ..metric_name import metric_text, split_metric
from .measure import Measured, described, mean, measure
from .metric_options import make_with_options
from .protocol import UPSTREAM, Counts, JudgedMetric, LikelihoodMetric, Metric, PooledMetric, SampledMetric
from .user_code import named_object

__all__ = [
    "METRICS",
    "UPSTREAM",
    "Counts",
    "JudgedMetric",
    "LikelihoodMetric",
    "Measured",
    "Metric",
    "PooledMetric",
    "SampledMetric",
    "mean",
    "measure",
    "metric",
]

METRICS = Registry[Callable[..., Metric]](
    "metric",
    "trex.metrics",
    {
        name: f"{__name__}.{place}"
        for name, place in {
            "accuracy": "accuracy:Accuracy",
            "exact_match": "exact_match:ExactMatch",
            "macro_f1": "label_f1:MacroF1",
            "micro_f1": "label_f1:MicroF1",
            "multilabel_f1": "label_f1:MultilabelF1",
            "token_f1": "token_f1:TokenF1",
            "numeric": "numeric:Numeric",
            "contains": "contains:Contains",
            "regex": "pattern:Regex",
            "json_match": "json_match:JsonMatch",
            "rouge": "text_rouge:Rouge",
            "bleu": "translation:Bleu",
            "chrf": "translation:Chrf",
            "perplexity": "perplexity:Perplexity",
            "pass_at_k": "samples:PassAtK",
            "majority": "samples:Majority",
            "python": "python_function:PythonFunction",
            "judge": "judge:RubricJudge",
            "molecules": "molecules:MoleculeSuccess",
            "csbench": "csbench:CsBench",
            "econlogicqa": "ordering:OrderingAccuracy",
            "gta": "gta:ToolUseMetric",
            "hoc": "macro_f1:HallmarksMacroF1",
            "lawbench": "lawbench:LawBench",
            "omebench": "omescore:OmeScore",
            "openfindata": "openfindata:OpenFinData",
            "rouge1": "rouge:Rouge1",
            "sst2": "sst2:Sst2",
            "tomg": "tomg:TomgSuccess",
        }.items()
    },
)

_RENAMED = {"rows": "score_items", "extras": "secondary"}


def metric(text: str) -> Metric:
    """The metric that a task names.

    Raises InputError for an unknown name, an unknown option or one of a wrong type, and a class that is no metric.
    """
    try:
        name, options = split_metric(text)
    except ValueError as error:
        raise InputError(str(error)) from error
    try:
        make, variant = _registered(name) or (_own(name), {})
        found = make_with_options(name, make, variant | options)
        if isinstance(found, Metric) and isinstance(found.name, str):
            return found
        lack = _what_lacks(found)
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the code of a user's class may do anything, also exit
        raise InputError(f"metric {name!r} cannot be made: {described(error)}") from error
    raise InputError(f"metric {name!r} {lack}")


def is_ours(text: str) -> bool:
    """Whether all code of the metric that a task names is in this package."""
    name, options = split_metric(text)
    own = name.removesuffix(UPSTREAM).partition(":")[0] in METRICS.own_names() and "function" not in options
    inner = options.get("metric")
    return own and (inner is None or is_ours(metric_text(inner)))


def _registered(name: str) -> tuple[Callable[..., Metric], dict[str, Any]] | None:
    """The class of a registered metric, and the options that its name implies; None for another name."""
    stem = name.removesuffix(UPSTREAM)
    registered, _, subtask = stem.partition(":")
    if registered not in METRICS.names():
        return None
    variant = ({"subtask": subtask} if subtask else {}) | ({"upstream": True} if stem != name else {})
    return METRICS.load(registered), variant


def _own(name: str) -> Callable[..., Metric]:
    """The class that 'file.py:Name' or 'package.module:Name' names."""
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise InputError(
            f"unknown metric {name!r}; known: {', '.join(sorted(METRICS.names()))}; "
            "a metric of your own is named 'file.py:Name' or 'package.module:Name'"
        )
    found: Callable[..., Metric] = named_object(name)
    return found


def _what_lacks(found: object) -> str:
    """Why an object is no metric; for one written for an earlier version, the new names of its methods."""
    old = {name: new for name, new in _RENAMED.items() if hasattr(found, name) and not hasattr(found, new)}
    if old:
        renamed = ", ".join(f"`{name}` is now `{new}`" for name, new in old.items())
        return f"was written for an earlier version: {renamed}; rename its methods"
    missing = [n for n in ("name", "score_items", "aggregate", "secondary") if not hasattr(found, n)]
    return f"is no metric: it lacks {', '.join(missing)}" if missing else "is no metric: its name is no text"
