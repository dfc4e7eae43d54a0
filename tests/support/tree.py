"""Trees for tests: experiments by hand, and random ones for hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from trex.evaluation.results import Score
from trex.graph.tree.experiment import Experiment, ExperimentPlan, Status, TrialPlan
from trex.graph.tree.tree import Tree
from trex.training.data.recipe import DataRecipe, Stream
from trex.training.plan import TrainingPlan

# A busy machine is no reason to fail: examples have no deadline.
settings.register_profile("unhurried", deadline=None, max_examples=50)
settings.load_profile("unhurried")


def experiment(
    node: str,
    parent: str | None,
    value: float | None = None,
    *,
    status: Status | None = None,
    error: float = 0.03,
    number: int | None = None,
    direction: str = "learning_rate",
    hypothesis: str = "a higher rate learns more",
) -> Experiment:
    """One node: scored if it has a value, failed otherwise, unless `status` says differently."""
    status = status or ("failed" if value is None else "done")
    score = None
    if value is not None:
        low, high = value - 2 * error, value + 2 * error
        score = Score(name="accuracy", value=value, n=150, ci_low=low, ci_high=high, standard_error=error)
    plan = ExperimentPlan(
        strategy="adjust_training",
        direction=direction,
        hypothesis=hypothesis,
        recipes={"main": DataRecipe(streams=(Stream(source="reviews"),))},
        trials=[TrialPlan(training=TrainingPlan())],
    )
    return Experiment(
        id=node,
        parent_id=parent,
        round=int(node[1:]) if number is None else number,
        strategy="establish_baseline" if parent is None else "adjust_training",
        status=status,
        plan=plan if parent else None,
        score=score,
        reward=value if value is not None and status == "done" else 0.0,
        failure="the loss became NaN" if status == "failed" else None,
    )


def tree(rows: Sequence[tuple[str, str | None, float | None]]) -> Tree:
    """A tree from rows of (id, parent, score or None for failed)."""
    return Tree([experiment(node, parent, value) for node, parent, value in rows])


@st.composite
def experiments(draw: st.DrawFn, most: int = 25) -> list[Experiment]:
    """A random tree with a scored root; other nodes are done, failed or running; leaves alone may run."""
    size = draw(st.integers(1, most))
    values = st.floats(0.05, 0.95)
    errors = st.sampled_from([0.0, 0.01, 0.03, 0.1])
    grown = [experiment("e000", None, draw(values), error=draw(errors))]
    for index in range(1, size):
        parents = [e.id for e in grown if e.status != "running"]
        status = draw(st.sampled_from(["done", "done", "done", "failed", "running"]))
        value = draw(values) if status == "done" else None
        grown.append(
            experiment(
                f"e{index:03d}",
                draw(st.sampled_from(parents)),
                value,
                status=status,
                error=draw(errors),
                direction=draw(st.sampled_from(["learning_rate", "lora", "threshold"])),
            )
        )
    return grown
