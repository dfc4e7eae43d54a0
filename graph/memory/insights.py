"""Insights: claims of diagnoses about a direction, and the evidence of later experiments.

A claim comes from one experiment; only later experiments are evidence, because the one that suggested it can't test it
as well. The evidence is an experiment's posterior gain (`Tree.direction_posterior`), so that a difference within noise
is no evidence.

- It shows a **gain** if the gain is positive with a probability of at least 0.9.
- It shows **no gain** if, with the same probability, the gain is smaller than the error of one score: a
  negligible gain, or a loss.
- It shows neither if it shows both (a small, sure gain) or none. Failed experiments show nothing.

A child of the baseline is measured against the first plan (`Tree.reference`).

This is the decision rule with a region of practical equivalence (Kruschke 2018, Advances in Methods and
Practices in Psychological Science 1:270). The same rule, applied to the mean gain of all later experiments of
the direction, decides an insight's status: `confirmed` if the mean shows what the insight expects, `dropped` if
it shows the opposite, and in either case one experiment at least shows it by itself; else `open`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, Field

from ...evaluation.words import resemblance, word_set
from ..tree.direction_stats import mean_of_gains
from ..tree.experiment import Claim, Experiment
from ..tree.posterior import Posterior
from ..tree.tree import NOTABLE_CHANCE, Tree

Expectation = Literal["gain", "no_gain"]
InsightStatus = Literal["open", "confirmed", "dropped"]

MOST = 24
"""Insights that a tree keeps."""

ALIKE = 0.6
"""Two claims of one direction and one expectation are one if so much of their words is shared (Jaccard)."""

CLAIMS_OF_ONE = 6
"""Claims of one diagnosis that are used."""

CLAIMS_COMPARED = 150
"""The latest different claims of a tree; older ones that were not repeated are ignored."""

TRIES_FOR_INSIGHT = 3
"""A direction without claims gets an insight of its own after so many scored experiments."""

_RANK: dict[InsightStatus, int] = {"confirmed": 0, "open": 1, "dropped": 2}


class Insight(BaseModel, frozen=True):
    """A claim that may hold beyond one experiment, with evidence for and against it."""

    text: str = Field(max_length=500)
    direction: str
    expects: Expectation = Field(description="Of further experiments in the direction")
    status: InsightStatus = "open"
    evidence_for: tuple[str, ...] = Field(default=(), description="Later experiments that show it, by id")
    evidence_against: tuple[str, ...] = ()
    origin: str = Field(default="", description="The experiments that claimed it, or run, task and day")

    def repeats(self, other: Insight) -> bool:
        """Whether both make the same claim about the same direction."""
        mine, theirs = (_folded(self.direction), self.expects), (_folded(other.direction), other.expects)
        return mine == theirs and resemblance(word_set(self.text), word_set(other.text)) >= ALIKE


def distil(tree: Tree, most: int = MOST) -> tuple[Insight, ...]:
    """The insights of a tree: confirmed ones first, then open, then dropped; the latest first among equals.

    Comes from the claims of diagnoses, near-duplicates merged, and from directions tried `TRIES_FOR_INSIGHT`
    times without claims. The same experiments give the same insights.
    """
    records, claimed = _Records(tree), _merged(tree)
    claimed += records.unclaimed({_folded(each.claim.direction) for each in claimed})

    def order(pair: tuple[int, Insight]) -> tuple[int, int, int, str]:
        place, insight = pair
        evidence = len(insight.evidence_for) + len(insight.evidence_against)
        return _RANK[insight.status], -evidence, -place, insight.text

    ranked = sorted(((each.place, records.judged(each)) for each in claimed), key=order)
    return tuple(insight for _, insight in ranked[: max(0, most)])


@dataclass
class _Claimed:
    """A claim, the position of the experiment that first made it, and all experiments that made it."""

    claim: Claim
    place: int
    by: list[str] = field(default_factory=list)


def _merged(tree: Tree) -> list[_Claimed]:
    """Claims in the order in which they were first made; a near-duplicate joins the one it repeats."""
    same: dict[tuple[str, str, frozenset[str]], _Claimed] = {}
    for place, experiment in enumerate(tree):
        for claim in _claims(experiment):
            key = (_folded(claim.direction), claim.expects, word_set(claim.text))
            known = same.setdefault(key, _Claimed(claim, place))
            if experiment.id not in known.by:
                known.by.append(experiment.id)
    kept: dict[tuple[str, str], list[tuple[frozenset[str], _Claimed]]] = defaultdict(list)
    for (direction, expects, text), claimed in list(same.items())[-CLAIMS_COMPARED:]:
        group = kept[direction, expects]
        twin = next((old for known, old in group if resemblance(known, text) >= ALIKE), None)
        if twin is None:
            group.append((text, claimed))
        else:
            twin.by += [each for each in claimed.by if each not in twin.by]
    return [claimed for group in kept.values() for _, claimed in group]


def _claims(experiment: Experiment) -> Sequence[Claim]:
    if experiment.diagnosis is None or experiment.status == "running":
        return ()
    return experiment.diagnosis.claims[:CLAIMS_OF_ONE]


def _folded(direction: str) -> str:
    """One spelling: 'Learning rate' and 'learning_rate' are one direction."""
    return "_".join(direction.casefold().replace("-", " ").replace("_", " ").split())


@dataclass(frozen=True)
class _Outcome:
    place: int
    id: str
    posterior: Posterior
    shows: Expectation | None


class _Records:
    """The scored experiments of a tree by direction, in order, and what each shows."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._found: dict[str, list[_Outcome]] = defaultdict(list)
        self._judged: dict[tuple[str, int], _Later] = {}
        for place, experiment in enumerate(tree):
            posterior = tree.direction_posterior(experiment.id)
            if experiment.tried_plan is not None and posterior is not None and posterior.gain is not None:
                shows = _shown(posterior.gain, posterior.gain_sd, tree.noise)
                direction = _folded(experiment.tried_plan.direction)
                self._found[direction].append(_Outcome(place, experiment.id, posterior, shows))

    def judged(self, claimed: _Claimed) -> Insight:
        """The insight of a claim, judged by later experiments."""
        later = self._after(_folded(claimed.claim.direction), claimed.place)
        expects = claimed.claim.expects
        opposite: Expectation = "no_gain" if expects == "gain" else "gain"
        status: InsightStatus = "open"
        if later.mean_shows == expects and later.showing[expects]:
            status = "confirmed"
        elif later.mean_shows == opposite and later.showing[opposite]:
            status = "dropped"
        return Insight(
            text=" ".join(claimed.claim.text.split()),
            direction=claimed.claim.direction,
            expects=expects,
            status=status,
            evidence_for=later.showing[expects],
            evidence_against=later.showing[opposite],
            origin=_origin(claimed.by),
        )

    def unclaimed(self, directions: Iterable[str]) -> list[_Claimed]:
        """Claims about directions without any, from the first experiment that shows something."""
        made = []
        for direction in sorted(self._found.keys() - set(directions)):
            found = self._found[direction]
            telling = next((each for each in found if each.shows is not None), None)
            if len(found) < TRIES_FOR_INSIGHT or telling is None or telling.shows is None:
                continue
            word = "brings a gain" if telling.shows == "gain" else "brings no gain"
            claim = Claim(
                text=f"{direction} {word} ({telling.posterior.gain:+.3f} at first)"[-500:],
                direction=direction,
                expects=telling.shows,
            )
            made.append(_Claimed(claim, telling.place, [telling.id]))
        return made

    def _after(self, direction: str, place: int) -> _Later:
        key = direction, place
        if key not in self._judged:
            later = [each for each in self._found.get(direction, ()) if each.place > place]
            mean = mean_of_gains([each.posterior for each in later], self._tree.gain_variance)
            self._judged[key] = _Later(
                None if mean is None else _shown(*mean, self._tree.noise),
                {
                    "gain": tuple(each.id for each in later if each.shows == "gain"),
                    "no_gain": tuple(each.id for each in later if each.shows == "no_gain"),
                },
            )
        return self._judged[key]


@dataclass(frozen=True)
class _Later:
    """What the experiments after a place show: their mean, and each by itself."""

    mean_shows: Expectation | None
    showing: dict[Expectation, tuple[str, ...]]


def _shown(gain: float, error: float, worth_having: float) -> Expectation | None:
    """What a gain known to within a standard error shows, by the rule in the module docstring."""
    is_gain = _exceeds(gain, error, 0.0) >= NOTABLE_CHANCE
    is_none = _exceeds(gain, error, worth_having) <= 1 - NOTABLE_CHANCE
    if is_gain == is_none:
        return None
    return "gain" if is_gain else "no_gain"


def _exceeds(gain: float, error: float, bound: float) -> float:
    """The probability that a normal gain is larger than a bound."""
    if error == 0.0:
        return float(gain > bound)
    return 0.5 * math.erfc((bound - gain) / (error * math.sqrt(2.0)))


def _origin(by: Sequence[str]) -> str:
    shown = ", ".join(by[:3])
    return shown if len(by) <= 3 else f"{shown} and {len(by) - 3} more"
