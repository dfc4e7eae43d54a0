"""The memory context of a node: what the Researcher sees before it plans the next experiment.

For the node v to refine it brings together P(v), the path from the root; S(v), its siblings; its children, so
that nothing is tried twice; C(T), the key nodes of the whole tree; and insights, of this tree and of earlier runs on
similar tasks. `condense` writes it as text within a token budget.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...tools.excerpt import brief
from ..tree.direction_stats import DirectionRecord, directions
from ..tree.experiment import Experiment
from ..tree.tree import KeyNode, Tree
from .insights import Insight, distil
from .token_count import token_count

CHARACTERS_PER_TOKEN = 4
"""No text within a budget has more characters than this for each of its tokens."""

_LONGEST = 200  # characters of a text in a line
_FINDINGS = 3
_IDS = 4


@dataclass(frozen=True)
class MemoryContext:
    """What a plan for refining `node` may use. `path` runs from the root to `node`, which is its last."""

    node: Experiment
    path: tuple[Experiment, ...]
    siblings: tuple[Experiment, ...]
    children: tuple[Experiment, ...]
    tree: Tree
    earlier: tuple[Insight, ...] = ()
    """Insights of earlier runs on similar tasks, with their origin."""
    whole: bool = True
    """Whether key nodes and insights of the whole tree may be used too."""

    @cached_property
    def key_nodes(self) -> tuple[KeyNode, ...]:
        """C(T)."""
        return self.tree.key_nodes() if self.whole else ()

    @cached_property
    def insights(self) -> tuple[Insight, ...]:
        """Of this tree, with their evidence."""
        return distil(self.tree) if self.whole else ()

    @cached_property
    def earlier_insights(self) -> tuple[Insight, ...]:
        """Of earlier runs, without those that an insight of this tree repeats."""
        return tuple(old for old in self.earlier if not any(old.repeats(own) for own in self.insights))


def context(tree: Tree, node_id: str, earlier_insights: Sequence[Insight] = ()) -> MemoryContext:
    """Gather the memory context of a node; `earlier_insights` are those of earlier runs."""
    return MemoryContext(
        node=tree[node_id],
        path=tree.path(node_id),
        siblings=tree.siblings(node_id),
        children=tree.children(node_id),
        tree=tree,
        earlier=tuple(earlier_insights),
    )


def without_memory(context: MemoryContext) -> MemoryContext:
    """The context of a plan that may know only the node it refines, for ablations.

    No path, no siblings, no children, no key nodes, no insights. The tree is the baseline, which a score is
    measured against, and the node as its child: the smallest one that the built-in policy can read.
    """
    root, node = context.tree.root, context.node
    if node.id != root.id:
        node = node.model_copy(update={"parent_id": root.id})
    return MemoryContext(
        node=node,
        path=(node,),
        siblings=(),
        children=(),
        tree=Tree([root] if node.id == root.id else [root, node]),
        whole=False,
    )


@dataclass(frozen=True)
class _Section:
    """Lines under a heading, the most important first; `oldest_first` turns what is kept for reading."""

    title: str
    lines: Iterable[str]
    count: int
    share: float
    oldest_first: bool = False


def condense(context: MemoryContext, token_budget: int, *, describe: bool = True) -> str:
    """The context as text of at most `token_budget` tokens, as `token_count` counts them.

    Each experiment is told once: later sections only name those that an earlier one tells. Without `describe` the node
    to refine counts as told.

    A section may use its share of what is left and hands on what it does not need. What does not fit is
    dropped from the least important end (far ancestors, old siblings, minor key nodes) and counted in a last
    line. The same context gives the same text; a budget too small for one section gives an empty one.
    """
    left, gap = float(max(0, token_budget)), token_count(_GAP)
    written: list[str] = []
    for section in _sections(context, describe):
        text = _write(section, left * section.share - gap)
        if text:
            written.append(text)
            left -= token_count(text) + gap
    return _GAP.join(written)


_GAP = "\n\n"


def _sections(context: MemoryContext, describe: bool) -> list[_Section]:
    tree = context.tree
    node, above, below = context.node, context.path[-2::-1], context.children[::-1]
    description = _description(tree, node) if describe else []
    outcomes = _direction_lines(tree)
    told = {experiment.id for experiment in (node, *above, *below)}
    keys, own, earlier = context.key_nodes, context.insights, context.earlier_insights
    beside = [e for e in context.siblings[::-1] if e.id not in told | {key.id for key in keys}]
    return [
        _Section("To refine", description, len(description), 0.5),
        _Section("Path from the root", _lines(tree, above), len(above), 0.4, oldest_first=True),
        _Section("Already tried from here", _lines(tree, below), len(below), 0.4),
        _Section("Key experiments of the whole tree", _key_lines(tree, keys, told), len(keys), 0.5),
        _Section("Insights of this run", map(_insight_line, own), len(own), 0.4),
        _Section("Insights of earlier runs", map(_earlier_insight_line, earlier), len(earlier), 0.3),
        _Section("Siblings", _lines(tree, beside), len(beside), 0.6),
        _Section("What each direction brought", outcomes, len(outcomes), 1.0),
    ]


def _write(section: _Section, room: float) -> str:
    heading = f"## {section.title}"
    used = token_count(heading + _left_out(section.count))
    kept: list[str] = []
    for line in section.lines:
        used += token_count(line) + _LINE_END
        if used > room:
            break
        kept.append(line)
    if not kept:
        return ""
    dropped = section.count - len(kept)
    if section.oldest_first:
        kept.reverse()
    return "\n".join([heading, *kept]) + (_left_out(dropped) if dropped else "")


_LINE_END = token_count("\n")


def _left_out(count: int) -> str:
    return f"\n({count} more left out)"


def _description(tree: Tree, experiment: Experiment) -> list[str]:
    """The node itself: its line, then what its diagnosis found."""
    seen, depth = tree.statistics[experiment.id], tree.depth(experiment.id)
    lines = [_line(tree, experiment)]
    lines.append(f"visits {seen.visits}, mean reward {seen.mean_reward:.3f}, depth {depth}")
    if experiment.diagnosis is not None:
        lines += [f"cause: {_brief(cause)}" for cause in experiment.diagnosis.causes[:_FINDINGS]]
        lines += [f"insight: {_brief(insight)}" for insight in experiment.diagnosis.insights[:_FINDINGS]]
    return lines


def _lines(tree: Tree, experiments: Sequence[Experiment]) -> Iterator[str]:
    """Lazily: of a thousand experiments only those that fit the budget are written."""
    return (_line(tree, experiment) for experiment in experiments)


def _key_lines(tree: Tree, key_nodes: Sequence[KeyNode], told: Collection[str]) -> Iterator[str]:
    for key in key_nodes:
        line = f"- {key.id}" if key.id in told else _line(tree, tree[key.id])
        yield f"{line} [{key.kind}: {_brief(key.reason)}]"


def _line(tree: Tree, experiment: Experiment) -> str:
    """One experiment: id, what was done, what came of it, and why it was tried."""
    done: str = experiment.strategy
    parts = []
    if experiment.tried_plan is not None:
        done = f"{experiment.tried_plan.strategy}/{experiment.tried_plan.direction}"
        parts.append(f"hypothesis: {_brief(experiment.tried_plan.hypothesis)}")
    if experiment.diagnosis is not None:
        parts.append(_verdict(experiment))
    return "; ".join([f"- {experiment.id} {_brief(done)}: {_outcome(tree, experiment)}", *parts])


def _verdict(experiment: Experiment) -> str:
    """'refuted: raw gain -0.020, p = 0.012', against the parent on the same items."""
    found = experiment.diagnosis
    assert found is not None
    if found.verdict == "failed":
        return found.verdict
    if found.p_value is None:
        return f"{found.verdict}: {_brief(found.summary)}"
    return f"{found.verdict}: raw gain {found.gain:+.3f}, p = {found.p_value:.3g}"


def _outcome(tree: Tree, experiment: Experiment) -> str:
    if experiment.status == "running":
        return "running"
    if experiment.status == "failed" or experiment.score is None:
        return f"failed, {_brief(experiment.failure or 'no reason was kept')}"
    score, posterior = experiment.score, tree.posterior(experiment.id)
    text = f"{score.name} {score.value:.3f} ± {score.standard_error:.3f}"
    if posterior is not None and posterior.gain is not None:
        text += f", shrunk gain {posterior.gain:+.3f} (better with probability {posterior.chance:.2f})"
    return text


def _insight_line(insight: Insight) -> str:
    """'- confirmed: … [learning_rate: expects gain; for e004, e007; against e009; from e002]'."""
    expects = insight.expects.replace("_", " ")
    parts = [f"{_brief(insight.direction)}: expects {expects}"]
    for word, ids in (("for", insight.evidence_for), ("against", insight.evidence_against)):
        if ids:
            more = f" and {len(ids) - _IDS} more" if len(ids) > _IDS else ""
            parts.append(f"{word} {', '.join(map(_brief, ids[-_IDS:]))}{more}")
    if insight.origin:
        parts.append(f"from {_brief(insight.origin)}")
    return f"- {insight.status}: {_brief(insight.text)} [{'; '.join(parts)}]"


def _earlier_insight_line(insight: Insight) -> str:
    """'- confirmed there: … [learning_rate: expects gain; run r on task t, 2026-01-31]'."""
    expects = insight.expects.replace("_", " ")
    return (
        f"- {insight.status} there: {_brief(insight.text)} "
        f"[{_brief(insight.direction)}: expects {expects}; {_brief(insight.origin)}]"
    )


def _direction_lines(tree: Tree) -> list[str]:
    """Directions by mean gain, the best first, those that always failed last."""

    def order(record: DirectionRecord) -> tuple[bool, float, str, str]:
        return record.mean_gain is None, -(record.mean_gain or 0.0), record.strategy, record.direction

    return [_direction_line(record) for record in sorted(directions(tree).values(), key=order)]


def _direction_line(record: DirectionRecord) -> str:
    text = f"- {record.strategy}/{_brief(record.direction)}: {record.tries} tried, {record.failures} failed"
    if record.mean_gain is None or record.standard_error is None:
        return text
    return f"{text}, mean gain {record.mean_gain:+.3f} ± {record.standard_error:.3f}"


def _brief(text: str) -> str:
    return brief(text, _LONGEST)
