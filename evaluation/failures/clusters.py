"""Texts that are alike: TF-IDF vectors, joined bottom-up while the groups stay close on average.

Words weigh by how often a text says them and how few texts do (Salton and Buckley 1988, Information Processing
and Management 24:513). Groups come from average linkage on cosine distances (Sokal and Michener 1958): no
number of clusters to choose and nothing drawn by chance, so that the same texts give the same clusters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..words import words

CLOSE = 0.15
"""Texts of one cluster have at least this cosine similarity on average."""

FEWEST = 4
"""Members of a cluster; fewer are an accident."""

MOST_TEXTS = 300
"""The first texts that are looked at: the time grows with their square."""

LABEL_TERMS = 3

_LONGEST = 400
"""Words of a text that count."""


@dataclass(frozen=True)
class Cluster:
    """Texts that share words. `members` are places in the list of texts, `terms` what they share most."""

    terms: tuple[str, ...]
    members: tuple[int, ...]


def clusters(texts: Sequence[str], fewest: int = FEWEST) -> tuple[Cluster, ...]:
    """Groups of at least `fewest` texts alike, the largest first; texts that are like no others are left out.

    Each text is in one cluster at most. A cluster's terms stand in at least half of its texts.
    """
    return _clusters(tuple(texts[:MOST_TEXTS]), fewest)


@lru_cache(maxsize=16)  # a diagnosis and its tools ask for the same ones
def _clusters(texts: tuple[str, ...], fewest: int) -> tuple[Cluster, ...]:
    vocabulary, weights = _tf_idf(texts)
    told = np.flatnonzero(weights.any(axis=1))
    if len(told) < max(2, fewest):
        return ()
    found = []
    for members in _joined(weights[told]):
        if len(members) >= fewest:
            terms = _terms(vocabulary, weights[told[members]])
            if terms:
                found.append(Cluster(terms, tuple(int(place) for place in told[members])))
    return tuple(sorted(found, key=lambda cluster: (-len(cluster.members), cluster.members)))


def _tf_idf(texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
    """The vocabulary and one unit vector a text: (1 + ln count) × ln(texts / texts with the word).

    A word that one text alone has likens it to no other; one that all have (a template's) weighs nothing.
    """
    counts = [Counter(words(text)[:_LONGEST]) for text in texts]
    having = Counter(word for count in counts for word in count)
    vocabulary = sorted(word for word, number in having.items() if 1 < number < len(texts))
    column = {word: index for index, word in enumerate(vocabulary)}
    weights = np.zeros((len(texts), len(vocabulary)))
    for row, count in enumerate(counts):
        for word, times in count.items():
            if word in column:
                weights[row, column[word]] = times
    said = weights > 0
    weights[said] = 1 + np.log(weights[said])
    weights *= np.log(len(texts) / np.array([having[word] for word in vocabulary], dtype=float))
    length = np.linalg.norm(weights, axis=1, keepdims=True)
    return vocabulary, np.divide(weights, length, out=weights, where=length > 0)


def _joined(vectors: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    from scipy.cluster.hierarchy import fcluster, linkage  # a third of a second that most commands don't need
    from scipy.spatial.distance import squareform

    # Rounded: a sum's last bits depend on the machine, and must not decide between equals.
    distance = np.round(1 - np.clip(vectors @ vectors.T, 0, 1), 9)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average")
    label = fcluster(tree, t=1 - CLOSE, criterion="distance")
    return [np.flatnonzero(label == each) for each in np.unique(label)]


def _terms(vocabulary: Sequence[str], members: NDArray[np.float64]) -> tuple[str, ...]:
    """The words with the largest mean weight among those that at least half of the members have."""
    weight = np.round(members.mean(axis=0), 9)
    common: list[int] = np.flatnonzero((members > 0).mean(axis=0) >= 0.5).tolist()
    ranked = sorted(common, key=lambda index: (-weight[index], vocabulary[index]))
    return tuple(vocabulary[index] for index in ranked[:LABEL_TERMS])
