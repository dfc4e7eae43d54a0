"""Hallmarks of cancer: which of ten a document is about, scored by macro-F1.

Corpus: Baker et al., "Automatic semantic classification of scientific literature according to the hallmarks of
cancer", Bioinformatics 2016. It has no official metric. Document macro-F1 is that of Chen et al. (BIDS,
`run_eval.py` of https://github.com/BIDS-Xu-Lab/Biomedical-NLP-Benchmarks at e607a81) and of Me-LLaMA (class `HoC`
in `src/tasks/vital_measure.py` of https://github.com/BIDS-Xu-Lab/Me-LLaMA at 08c893f): scikit-learn's
`f1_score(average="macro")` over ten columns of zeros and ones, where a label that is neither in the gold nor in
the answers has F1 0.

`hoc/upstream` is Me-LLaMA's form, because it alone says how labels are read from text (BIDS's script begins with
columns): a label is present where its name is a substring of the answer, in lower case exactly as written. BIDS
rounds to four decimals; here nothing is rounded.

`hoc` is corrected. The prompt of BIDS asks for JSON that gives each label 1 or 0, and by the substring rule such an
answer has all ten. So:

- A name that is given a value ('"cellular energetics": 0', `inducing angiogenesis = yes`) is present by that value,
  the last one given, in JSON or in what was meant to be JSON. Without a value a name that occurs is present.
- Case, hyphens, underscores, line breaks and the spelling 'signalling' don't matter.
- What precedes the end of a `</think>` block is not the answer.

Gold labels are read alike, from upstream's column `labels`, where ';' joins them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from ...errors import InputError
from ..task import Item
from .columns import column, column_text, row_name, shown
from .measure import mean
from .metric_example import MetricExample
from .protocol import UPSTREAM, Counts
from .variants import final

LABELS = (
    "activating invasion and metastasis",
    "avoiding immune destruction",
    "cellular energetics",
    "enabling replicative immortality",
    "evading growth suppressors",
    "genomic instability and mutation",
    "inducing angiogenesis",
    "resisting cell death",
    "sustaining proliferative signaling",
    "tumor promoting inflammation",
)

_ABSENT = frozenset(
    (
        "",
        "0",
        "0.0",
        "false",
        "no",
        "not",
        "none",
        "null",
        "n/a",
        "absent",
        "unrelated",
        "irrelevant",
        "negative",
    )
)
_VALUE = re.compile(r"['\"*`)]*\s*(?:[:=][\s'\"*`(\[]*(?P<value>[^\s,;}\])\"'*`]*)|(?P<bare>0)(?!\w))")


class HallmarksMacroF1:
    """Macro-F1 over the ten labels, from counts of true positives, false positives and false negatives.

    A row's value is the F1 of its own labels, 1 where gold and answer both have none. `secondary`: the F1 of each
    label, micro-F1, the mean of the rows' values, the share of rows whose labels are all right ('exact'), and for
    the corrected form the official score.
    """

    aggregate = staticmethod(mean)  # of values; the score is pooled from counts

    examples = (
        MetricExample(
            answer="Cellular energetics, resisting cell death",
            columns={"labels": "cellular energetics"},
            value=2 / 3,
        ),
    )

    def __init__(self, upstream: bool = False) -> None:
        self._upstream = upstream
        self._read: Callable[[str], frozenset[str]] = upstream_labels if upstream else labels

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return f"macro_f1{UPSTREAM}" if self._upstream else "macro_f1"

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """Per item the F1 of its labels. Raises InputError for rows without `labels`, or with unknown ones."""
        hits, extra, missed = np.moveaxis(self._tallies(items, predictions), 1, 0).sum(axis=2)
        sums = 2 * hits + extra + missed
        return [float(value) for value in np.where(sums > 0, 2 * hits / np.maximum(sums, 1), 1.0)]

    def counts(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Per item thirty numbers: true positives, false positives and false negatives of the ten labels."""
        return self._tallies(items, predictions).reshape(len(items), 3 * len(LABELS))

    def pooled(self, totals: Counts) -> Counts:
        """Macro-F1 of summed counts."""
        return np.asarray(_f1(_split(totals)).mean(axis=-1))

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        counts = self.counts(items, predictions)
        totals = _split(counts.sum(axis=0))
        values = self.score_items(items, predictions)
        figures = {label: float(score) for label, score in zip(LABELS, _f1(totals), strict=True)}
        figures["micro_f1"] = float(_f1(totals.sum(axis=-1, keepdims=True))[0])
        figures["document_f1"] = self.aggregate(values)
        figures["exact"] = sum(value == 1 for value in values) / len(values)
        if not self._upstream:
            official = HallmarksMacroF1(upstream=True)
            official_totals = official.counts(items, predictions).sum(axis=0)
            figures[f"{self.name}{UPSTREAM}"] = float(official.pooled(official_totals))
        return figures

    def _tallies(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Zeros and ones of shape (items, 3, 10): hit, extra, missed."""
        tallies = np.zeros((len(items), 3, len(LABELS)))
        for row, item, answer in zip(tallies, items, predictions, strict=True):
            gold, found = gold_labels(item), self._read(answer)
            for place, label in enumerate(LABELS):
                row[:, place] = (
                    label in gold & found,
                    label in found - gold,
                    label in gold - found,
                )
        return tallies


def gold_labels(item: Item) -> frozenset[str]:
    """The labels of a row. Raises InputError for a row without them, or with one that is no hallmark."""
    given = column_text(item, "labels", "hoc") if column(item, "labels", "hoc") else ""
    named = {_plain(part).strip() for part in given.split(";")} - {""}
    unknown = sorted(named.difference(LABELS))
    if unknown:
        raise InputError(
            f"{row_name(item)}: {shown(unknown[0])} is no hallmark; those are {', '.join(LABELS)}"
        )
    return frozenset(named)


def upstream_labels(answer: str) -> frozenset[str]:
    """The labels whose names occur in an answer."""
    return frozenset(label for label in LABELS if label in answer)


def labels(answer: str) -> frozenset[str]:
    """The labels an answer gives, by the corrected rules."""
    text = _plain(final(answer))
    return frozenset(label for label in LABELS if _given(label, text))


def _given(label: str, text: str) -> bool:
    """Whether a text gives a label: by the last value stated for it, else by naming it."""
    places = [match.end() for match in re.finditer(rf"(?<!\w){label}(?!\w)", text)]
    stated = [value for place in places if (value := _stated(text, place)) is not None]
    return stated[-1] if stated else bool(places)


def _stated(text: str, place: int) -> bool | None:
    """Whether the value that follows says present; None where no value follows."""
    found = _VALUE.match(text, place)
    if found is None:
        return None
    return found["bare"] is None and found["value"].rstrip(".") not in _ABSENT


def _plain(text: str) -> str:
    """The form in which names are looked for."""
    return (
        re.sub(r"[\s\-_‐‑–]+", " ", text.casefold())
        .replace("signalling", "signaling")
        .replace("tumour", "tumor")
    )


def _split(totals: Counts) -> Counts:
    """(..., 30) to (..., 3, 10)."""
    return totals.reshape(*totals.shape[:-1], 3, len(LABELS))


def _f1(tallies: Counts) -> Counts:
    """(..., 3, k) to the F1 of each of k labels; 0 where there is neither gold nor answer."""
    hits, extra, missed = np.moveaxis(tallies, -2, 0)
    sums = 2 * hits + extra + missed
    return np.asarray(np.where(sums > 0, 2 * hits / np.maximum(sums, 1e-12), 0.0))
