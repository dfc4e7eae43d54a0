"""The operator `near_dedup`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ....evaluation.data_files import as_text
from ..minhash import TextHashes, bands, signatures, similarity
from ..row_table import KEY, STREAM, column, take
from .protocol import Column, Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

MOST_COMPARED = 64
"""Kept rows of one bucket that a row is compared with: text that all rows share fills a bucket."""


class NearDedup(Operator):
    """Drop rows whose text in `columns` is nearly the same as that of a row that is kept.

    Texts are compared by the Jaccard similarity of their word n-grams. MinHash-LSH finds candidates, and each is
    verified. An earlier stream goes before a later one; within a stream the content hash
    decides.
    """

    op: Literal["near_dedup"] = "near_dedup"
    columns: tuple[Column, ...] = Field(
        min_length=1, description="The columns that are compared, as one text"
    )
    threshold: float = Field(default=0.8, ge=0.5, le=1, description="Similarity from which a row is dropped")
    ngram: int = Field(
        default=3, ge=1, le=10, description="Words of an n-gram; shorter texts are compared whole"
    )

    ignore_case: bool = Field(default=False, description="Wrong for SMILES, formulas and code")

    examples: ClassVar = (
        {"op": "near_dedup", "columns": ["text"]},
        {"op": "near_dedup", "columns": ["text"], "threshold": 0.95, "ngram": 2, "ignore_case": True},
    )
    kind: ClassVar = "selects"
    position: ClassVar = 31
    cleaning: ClassVar = "near_dedup"
    relax_order: ClassVar = 5
    removes_duplicates: ClassVar = True

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        columns = [column(rows, name) for name in self.columns]
        texts = ["\n".join(as_text(value) for value in values) for values in zip(*columns, strict=True)]
        if self.ignore_case:
            texts = [text.casefold() for text in texts]
        streams = column(rows, STREAM)
        place = {name: number for number, name in enumerate(dict.fromkeys(streams))}
        keys = column(rows, KEY)
        order = sorted(range(len(texts)), key=lambda index: (place[streams[index]], keys[index], index))
        return take(rows, sorted(self._kept(texts, order, context)))

    def _kept(self, texts: list[str], order: list[int], context: OperatorContext) -> list[int]:
        """The rows that are no near-duplicate of one before them."""
        kept: dict[int, TextHashes] = {}
        buckets: list[dict[bytes, list[int]]] = []
        for index, text in zip(order, signatures([texts[i] for i in order], self.ngram), strict=True):
            found = bands(text.signature, self.threshold)
            buckets = buckets or [{} for _ in found]
            candidates = {
                other for bucket, band in zip(buckets, found, strict=True) for other in bucket.get(band, ())
            }
            if any(similarity(text, kept[other]) >= self.threshold for other in candidates):
                context.dropped.add("near-duplicate", texts[index][:80])
                continue
            kept[index] = text
            for bucket, band in zip(buckets, found, strict=True):
                members = bucket.setdefault(band, [])
                if len(members) < MOST_COMPARED:
                    members.append(index)
        return list(kept)

    def estimate(self, flow: Flow) -> Flow:
        """Exact duplicates are known, near ones are not."""
        return replace(flow, rows=min(flow.rows, flow.distinct))

    def relaxed(self) -> NearDedup | None:
        """Only the same n-grams."""
        return self.model_copy(update={"threshold": 1.0})
