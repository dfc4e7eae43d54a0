"""The memory context of a node: what the Researcher should know before it plans the next experiment.

For the node v to refine it brings together P(v), the path from the root; S(v), its siblings; its children, so
that nothing is tried twice; and C(T), the key nodes of the whole tree. `condense` writes it as text within a
token budget.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .experiment import Experiment, Strategy
from .tree import KeyNode, Tree

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English text in common tokenizers; the budget is approximate by as much."""

_LONGEST = 200
_FINDINGS = 3


@dataclass(frozen=True)
class MemoryContext:
    """What a plan for refining `node` may draw on. `path` runs from the root to `node`, which is its last."""

    node: Experiment
    path: tuple[Experiment, ...]
    siblings: tuple[Experiment, ...]
    children: tuple[Experiment, ...]
    key_nodes: tuple[KeyNode, ...]
    tree: Tree


@dataclass(frozen=True, slots=True)
class DirectionRecord:
    """How a direction paid across the tree.

    `tries` counts finished experiments, failed ones too. `mean_gain` is the mean posterior gain over the
    parent of those with a score, in units of the score, and `standard_error` that mean's; both are `None` if
    all failed.
    """

    strategy: Strategy
    direction: str
    tries: int
    failures: int
    mean_gain: float | None
    standard_error: float | None


def context(tree: Tree, node_id: str) -> MemoryContext:
    """Gather the memory context of a node. Raises TrexError for an unknown id."""
    return MemoryContext(
        node=tree[node_id],
        path=tree.path(node_id),
        siblings=tree.siblings(node_id),
        children=tree.children(node_id),
        key_nodes=tree.key_nodes(),
        tree=tree,
    )


def directions(tree: Tree) -> dict[tuple[Strategy, str], DirectionRecord]:
    """What each (strategy, direction) brought so far, in order of first use; the root is left out.

    The standard error of a mean gain comes from the spread of the posterior gains plus what is uncertain
    about each (law of total variance); a single try takes the tree's own variance of gains for the spread.
    """
    tried: dict[tuple[Strategy, str], list[Experiment]] = defaultdict(list)
    for experiment in tree:
        if (
            experiment.plan is not None
            and experiment.parent_id is not None
            and experiment.status != "running"
        ):
            tried[experiment.plan.strategy, experiment.plan.direction].append(experiment)
    return {key: _record(tree, key, experiments) for key, experiments in tried.items()}


def _record(tree: Tree, key: tuple[Strategy, str], experiments: Sequence[Experiment]) -> DirectionRecord:
    beliefs = [belief for e in experiments if (belief := tree.posterior(e.id)) is not None]
    gains = [belief.gain for belief in beliefs if belief.gain is not None]
    mean_gain = standard_error = None
    if gains:
        spread = statistics.variance(gains) if len(gains) > 1 else tree.gain_variance
        uncertain = statistics.fmean(belief.gain_sd**2 for belief in beliefs if belief.gain is not None)
        mean_gain = statistics.fmean(gains)
        standard_error = math.sqrt((spread + uncertain) / len(gains))
    failures = sum(experiment.status == "failed" for experiment in experiments)
    return DirectionRecord(*key, len(experiments), failures, mean_gain, standard_error)


@dataclass(frozen=True)
class _Section:
    """Lines under a heading, the most important first; `oldest_first` turns what is kept for reading."""

    title: str
    lines: Iterable[str]
    count: int
    share: float
    oldest_first: bool = False


def condense(context: MemoryContext, token_budget: int) -> str:
    """The context as text of at most `token_budget` tokens, counted as four characters each.

    A section may use its share of what is left and hands on what it does not need. What does not fit is
    dropped from the least important end (far ancestors, old siblings, minor key nodes) and counted in a last
    line. The same context gives the same text; a budget too small for one section gives an empty one.
    """
    tree = context.tree
    node, above, below = context.node, context.path[-2::-1], context.children[::-1]
    portrait, outcomes, beside = _portrait(tree, node), _direction_lines(tree), context.siblings[::-1]
    keys = context.key_nodes
    sections = [
        _Section("To refine", portrait, len(portrait), 0.5),
        _Section("Path from the root", _lines(tree, above), len(above), 0.4, oldest_first=True),
        _Section("Already tried from here", _lines(tree, below), len(below), 0.4),
        _Section("Key experiments of the whole tree", _key_lines(tree, keys), len(keys), 0.5),
        _Section("Siblings", _lines(tree, beside), len(beside), 0.6),
        _Section("What each direction brought", outcomes, len(outcomes), 1.0),
    ]
    left = max(0, token_budget) * CHARACTERS_PER_TOKEN
    written: list[str] = []
    for section in sections:
        text = _write(section, int(left * section.share))
        if text:
            written.append(text)
            left -= len(text) + len(_GAP)
    return _GAP.join(written)


_GAP = "\n\n"


def _write(section: _Section, room: int) -> str:
    heading = f"## {section.title}"
    used = len(heading) + len(_left_out(section.count))
    kept: list[str] = []
    for line in section.lines:
        used += len(line) + 1
        if used > room:
            break
        kept.append(line)
    if not kept:
        return ""
    dropped = section.count - len(kept)
    if section.oldest_first:
        kept.reverse()
    return "\n".join([heading, *kept]) + (_left_out(dropped) if dropped else "")


def _left_out(count: int) -> str:
    return f"\n({count} more left out)"


def _portrait(tree: Tree, experiment: Experiment) -> list[str]:
    """The node itself: its line, then what its diagnosis found."""
    lines = [_line(tree, experiment)]
    seen = tree.statistics[experiment.id]
    lines.append(
        f"visits {seen.visits}, mean reward {seen.mean_reward:.3f}, depth {tree.depth(experiment.id)}"
    )
    if experiment.diagnosis is not None:
        lines += [f"cause: {_brief(cause)}" for cause in experiment.diagnosis.causes[:_FINDINGS]]
        lines += [f"insight: {_brief(insight)}" for insight in experiment.diagnosis.insights[:_FINDINGS]]
    return lines


def _lines(tree: Tree, experiments: Sequence[Experiment]) -> Iterator[str]:
    """Lazily: of a thousand experiments only those that fit the budget are written."""
    return (_line(tree, experiment) for experiment in experiments)


def _key_lines(tree: Tree, key_nodes: Sequence[KeyNode]) -> Iterator[str]:
    return (f"{_line(tree, tree[key.id])} [{key.kind}: {_brief(key.reason)}]" for key in key_nodes)


def _line(tree: Tree, experiment: Experiment) -> str:
    """One experiment: id, what was done, what came of it, and why it was tried."""
    done: str = experiment.strategy
    parts = []
    if experiment.plan is not None:
        done = f"{experiment.plan.strategy}/{experiment.plan.direction}"
        parts.append(f"hypothesis: {_brief(experiment.plan.hypothesis)}")
    if experiment.diagnosis is not None:
        parts.append(f"{experiment.diagnosis.verdict}: {_brief(experiment.diagnosis.summary)}")
    return "; ".join([f"- {experiment.id} {_brief(done)}: {_outcome(tree, experiment)}", *parts])


def _outcome(tree: Tree, experiment: Experiment) -> str:
    if experiment.status == "running":
        return "running"
    if experiment.status == "failed" or experiment.score is None:
        return f"failed, {_brief(experiment.failure or 'no reason was kept')}"
    score, belief = experiment.score, tree.posterior(experiment.id)
    text = f"{score.name} {score.value:.3f} ± {score.standard_error:.3f}"
    if belief is not None and belief.gain is not None:
        text += f", gain {belief.gain:+.3f} (better with probability {belief.chance:.2f})"
    return text


def _direction_lines(tree: Tree) -> list[str]:
    """Directions by mean gain, the best first, those that always failed last."""
    records = sorted(
        directions(tree).values(),
        key=lambda r: (r.mean_gain is None, -(r.mean_gain or 0.0), r.strategy, r.direction),
    )
    return [_direction_line(record) for record in records]


def _direction_line(record: DirectionRecord) -> str:
    text = f"- {record.strategy}/{_brief(record.direction)}: {record.tries} tried, {record.failures} failed"
    if record.mean_gain is None or record.standard_error is None:
        return text
    return f"{text}, mean gain {record.mean_gain:+.3f} ± {record.standard_error:.3f}"


def _brief(text: str) -> str:
    """On one line, at most `_LONGEST` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"
