"""How well search policies choose.

    python benchmarks/search.py [--repetitions 200 --rounds 20 --seed 0 --json]

Every repetition draws a landscape of its own (see `landscape.py`) and runs every policy on it. All policies
share the proposer, the noise and the final choice (the highest posterior value), so only selection differs.
Differences between policies are paired over repetitions.

`mcts`'s defaults were tuned on landscapes whose seeds start with "tuning-"; those here start with "table-",
so none of the landscapes in the table was seen in tuning.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

from landscape import ITEMS, Config, Landscape
from rich.console import Console
from rich.table import Table
from trex.evaluation.results import Score
from trex.graph.tree.experiment import Experiment
from trex.graph.tree.policies import POLICIES
from trex.graph.tree.policies.protocol import SearchPolicy
from trex.graph.tree.tree import Tree


@dataclass(frozen=True)
class Outcome:
    """One policy on one landscape: true quality of the chosen best by round, and overstatement."""

    quality: tuple[float, ...]
    raw_overstatement: float
    posterior_overstatement: float
    failed: int


def search(landscape: Landscape, chooser: SearchPolicy, rounds: int) -> Outcome:
    """Run one policy for that many rounds after the baseline."""
    configs: dict[str, Config] = {"e000": landscape.baseline}
    experiments = [_experiment(landscape, "e000", None, 0, landscape.baseline)]
    quality = []
    tree = Tree(experiments)
    for number in range(1, rounds + 1):
        parent = chooser.select(tree)[0]
        tried = landscape.refine(configs[parent], len(tree.children(parent)))
        alive = [config for config in tried if not landscape.fails(config)]
        node = f"e{number:03d}"
        best = max(alive, key=lambda config: landscape.observe(config).score, default=None)
        configs[node] = tried[0] if best is None else best
        experiments.append(_experiment(landscape, node, parent, number, best))
        tree = Tree(experiments)
        quality.append(landscape.quality(configs[_best(tree).id]))
    return _outcome(landscape, tree, configs, tuple(quality))


def _outcome(
    landscape: Landscape, tree: Tree, configs: dict[str, Config], quality: tuple[float, ...]
) -> Outcome:
    by_score = max(tree.scored, key=lambda e: e.score.value if e.score else 0.0)
    chosen = _best(tree)
    posterior = tree.posterior(chosen.id)
    assert by_score.score is not None and posterior is not None
    return Outcome(
        quality,
        by_score.score.value - landscape.accuracy(configs[by_score.id]),
        posterior.mean - landscape.accuracy(configs[chosen.id]),
        sum(experiment.status == "failed" for experiment in tree),
    )


def _best(tree: Tree) -> Experiment:
    best = tree.best()
    assert best is not None, "the baseline of a landscape always has a score"
    return best


def _experiment(
    landscape: Landscape, node: str, parent: str | None, number: int, config: Config | None
) -> Experiment:
    strategy = "adjust_training" if parent else "establish_baseline"
    if config is None:
        return Experiment(
            id=node, parent_id=parent, round=number, strategy=strategy, status="failed", failure="dead end"
        )
    seen = landscape.observe(config)
    half = 1.96 * seen.standard_error
    score = Score(
        name="accuracy",
        value=seen.score,
        n=seen.items,
        ci_low=seen.score - half,
        ci_high=seen.score + half,
        standard_error=seen.standard_error,
    )
    return Experiment(
        id=node,
        parent_id=parent,
        round=number,
        strategy=strategy,
        status="done",
        score=score,
        reward=seen.score,
    )


def compare(repetitions: int, rounds: int, seed: int) -> dict[str, list[Outcome]]:
    """Every policy on the same landscapes, one outcome a repetition."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in POLICIES.names()}
    for repetition in range(repetitions):
        landscape = Landscape(f"table-{seed}-{repetition}")
        for name in POLICIES.names():
            outcomes[name].append(search(landscape, POLICIES.load(name)(seed + repetition), rounds))
    return outcomes


def checkpoints(rounds: int) -> list[int]:
    """The rounds the table shows."""
    return sorted({number for number in (5, 10, 20) if number < rounds} | {rounds})


def summarise(outcomes: dict[str, list[Outcome]], rounds: int) -> dict[str, dict[str, Any]]:
    """The table's figures, by policy; `mcts_minus` is paired, with its standard error."""
    summary: dict[str, dict[str, Any]] = {}
    for name, found in outcomes.items():
        final = [outcome.quality[-1] for outcome in found]
        low, median, high = statistics.quantiles(final, n=4, method="inclusive")
        pairs = zip(outcomes["mcts"], found, strict=True)
        differences = [ours.quality[-1] - theirs.quality[-1] for ours, theirs in pairs]
        summary[name] = {
            "mean": {n: statistics.fmean(o.quality[n - 1] for o in found) for n in checkpoints(rounds)},
            "median": median,
            "quartiles": [low, high],
            "sd": statistics.stdev(final),
            "regret": 1.0 - statistics.fmean(final),
            "mcts_minus": statistics.fmean(differences),
            "mcts_minus_se": statistics.stdev(differences) / math.sqrt(len(differences)),
            "overstatement_raw": statistics.fmean(o.raw_overstatement for o in found),
            "overstatement_posterior": statistics.fmean(o.posterior_overstatement for o in found),
            "failed": statistics.fmean(o.failed for o in found),
        }
    return summary


def show(summary: dict[str, dict[str, Any]], repetitions: int, rounds: int, seconds: float) -> None:
    """Print the tables."""
    table = Table(title=f"True quality of the chosen best, {repetitions} landscapes, optimum 1")
    means = [f"mean@{n}" for n in checkpoints(rounds)]
    for heading in ("policy", *means, "median", "quartiles", "sd", "regret"):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    for heading in ("mcts minus it", "failed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in summary.items():
        low, high = row["quartiles"]
        cells = [f"{row['mean'][n]:.3f}" for n in checkpoints(rounds)]
        cells += [f"{row['median']:.3f}", f"{low:.3f}-{high:.3f}", f"{row['sd']:.3f}", f"{row['regret']:.3f}"]
        paired = f"{row['mcts_minus']:+.3f} ± {row['mcts_minus_se']:.3f}" if name != "mcts" else ""
        table.add_row(name, *cells, paired, f"{row['failed']:.1f}")
    noise = Table(title=f"How much the winner's value overstates its true accuracy, at {ITEMS} items")
    for heading in ("policy", "highest score", "highest posterior"):
        noise.add_column(heading, justify="left" if heading == "policy" else "right")
    for name, row in summary.items():
        noise.add_row(name, f"{row['overstatement_raw']:+.4f}", f"{row['overstatement_posterior']:+.4f}")
    console = Console(width=120)
    console.print(table)
    console.print(noise)
    console.print(f"± is one standard error, paired over landscapes. {seconds:.1f} s.")


def main() -> int:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description="Compare search policies on a synthetic landscape.")
    parser.add_argument("--repetitions", type=int, default=200, help="landscapes (at least 2)")
    parser.add_argument("--rounds", type=int, default=20, help="experiments after the baseline (at least 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if options.repetitions < 2 or options.rounds < 1:
        parser.error("--repetitions must be at least 2 and --rounds at least 1")
    start = time.perf_counter()
    summary = summarise(compare(options.repetitions, options.rounds, options.seed), options.rounds)
    seconds = time.perf_counter() - start
    if options.json:
        settings = {"repetitions": options.repetitions, "rounds": options.rounds, "seed": options.seed}
        print(json.dumps({**settings, "seconds": round(seconds, 2), "policies": summary}, indent=1))
    else:
        show(summary, options.repetitions, options.rounds, seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
