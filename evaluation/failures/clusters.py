"""Clusters of similar texts: TF-IDF vectors, merged by average linkage.

The weight of a word grows with its count in the text and falls with the number of texts that contain it (Salton and
Buckley 1988, Information Processing and Management 24:513). Clusters come from average linkage on cosine distances
(Sokal and Michener 1958). There is no number of clusters to choose and no randomness: the same texts give the same
clusters.
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
"""Least average cosine similarity of the texts of a cluster."""

FEWEST = 4
"""Least number of members of a cluster."""

MOST_TEXTS = 300
"""Only so many first texts are clustered: the time grows with their square."""

LABEL_TERMS = 3
"""Most terms that describe a cluster."""

_LONGEST = 400
"""Words of a text that are read."""


@dataclass(frozen=True)
class Cluster:
    """Texts that share words. `members` are indices of texts, `terms` the words with the largest mean weight."""

    terms: tuple[str, ...]
    members: tuple[int, ...]


def clusters(texts: Sequence[str], fewest: int = FEWEST) -> tuple[Cluster, ...]:
    """Clusters of at least `fewest` similar texts, the largest first.

    A text is in at most one cluster. Each term of a cluster occurs in at least half of its texts.
    """
    return _clusters(tuple(texts[:MOST_TEXTS]), fewest)


@lru_cache(maxsize=16)  # a diagnosis and its tools cluster the same texts
def _clusters(texts: tuple[str, ...], fewest: int) -> tuple[Cluster, ...]:
    vocabulary, weights = _tf_idf(texts)
    used = np.flatnonzero(weights.any(axis=1))
    if len(used) < max(2, fewest):
        return ()
    kept = []
    for members in _linked(weights[used]):
        terms = _terms(vocabulary, weights[used[members]]) if len(members) >= fewest else ()
        if terms:
            kept.append(Cluster(terms, tuple(used[members].tolist())))
    return tuple(sorted(kept, key=lambda cluster: (-len(cluster.members), cluster.members)))


def _tf_idf(texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
    """The vocabulary, and a unit vector for each text: (1 + ln count) × ln(texts / texts with the word).

    Words that only one text contains, or all (a template's), are left out.
    """
    counts = [Counter(words(text)[:_LONGEST]) for text in texts]
    texts_with = Counter(word for count in counts for word in count)
    vocabulary = sorted(word for word, number in texts_with.items() if 1 < number < len(texts))
    column = {word: index for index, word in enumerate(vocabulary)}
    weights = np.zeros((len(texts), len(vocabulary)))
    for row, count in enumerate(counts):
        for word, times in count.items():
            if word in column:
                weights[row, column[word]] = times
    occurs = weights > 0
    weights[occurs] = 1 + np.log(weights[occurs])
    weights *= np.log(len(texts) / np.array([texts_with[word] for word in vocabulary], dtype=float))
    length = np.linalg.norm(weights, axis=1, keepdims=True)
    return vocabulary, np.divide(weights, length, out=weights, where=length > 0)


def _linked(vectors: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """The members of each cluster of average linkage."""
    from scipy.cluster.hierarchy import (  # takes a third of a second to import, and few commands need it
        fcluster,
        linkage,
    )
    from scipy.spatial.distance import squareform

    # Rounded: the last bits of a sum depend on the machine and must not break ties.
    distance = np.round(1 - np.clip(vectors @ vectors.T, 0, 1), 9)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average")
    label = fcluster(tree, t=1 - CLOSE, criterion="distance")
    return [np.flatnonzero(label == each) for each in np.unique(label)]


def _terms(vocabulary: Sequence[str], members: NDArray[np.float64]) -> tuple[str, ...]:
    """The words with the largest mean weight among those in at least half of the members."""
    weight = np.round(members.mean(axis=0), 9)
    common: list[int] = np.flatnonzero((members > 0).mean(axis=0) >= 0.5).tolist()
    ranked = sorted(common, key=lambda index: (-weight[index], vocabulary[index]))
    return tuple(vocabulary[index] for index in ranked[:LABEL_TERMS])
