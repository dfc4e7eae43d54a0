"""The files of the `sentiment` task: dev, test, sources of four domains and one made by rule."""

from __future__ import annotations

import html
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...evaluation.decontamination.gate import ContaminationGate
from ...evaluation.task import Prompt
from ...files import fingerprint, write_jsonl
from .near_duplicates import groups, normalise

Row = dict[str, Any]

LABELS = ("positive", "negative")
NEUTRAL = 0.8
"""Dev and test leave out ratings nearer to 0 than this, as SST-2 leaves out the neutral class."""
LONGEST_ITEM = 40
LONGEST_PART = 14


@dataclass(frozen=True)
class SentimentSizes:
    """Rows of the two evaluation files and of the source made by rule."""

    dev: int
    test: int
    composed: int


def build(ratings: Mapping[str, Path], sizes: SentimentSizes, folder: Path) -> None:
    """Write every file of the task into `folder`, from each domain's rating file (`movie` is required)."""
    domains = {name: read_domain(name, path) for name, path in ratings.items()}
    dev, test, pool = split(domains["movie"], sizes)
    write_jsonl(folder / "dev.jsonl", dev)
    write_jsonl(folder / "test.jsonl", test)
    gate = ContaminationGate([*dev, *test], Prompt(user="{text}", answer="{label}"))
    sources = {**domains, "movie": pool, "composed": compose(pool, sizes.composed)}
    for name, rows in sources.items():
        repeated = gate.repeated_items(rows, every=False)
        write_jsonl(
            folder / f"{name}.jsonl", [row for row, items in zip(rows, repeated, strict=True) if not items]
        )


def read_domain(name: str, path: Path) -> list[Row]:
    """Rows `{id, text, rating}` of one rating file; ratings are means over raters, -4 to 4."""
    rows = []
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            number, rating, text = line.split("\t")
            rows.append({"id": f"{name}-{number}", "text": clean(text), "rating": round(float(rating), 3)})
    return rows


def clean(text: str) -> str:
    """Undo what the files' makers did to the text: HTML entities, doubled quotes, runs of spaces."""
    plain = html.unescape(text).replace("''", '"').replace("``", '"')
    return re.sub(r"\s+", " ", plain).strip()


def split(rows: Sequence[Row], sizes: SentimentSizes) -> tuple[list[Row], list[Row], list[Row]]:
    """Dev, test and what remains. Classes are balanced; rows that repeat each other stay on one side.

    Groups are taken in the order of their hash, so that the choice does not follow the order of the file;
    a group gives one row, its first, and the rest of it is in no split.
    """
    group_of = groups([row["text"] for row in rows])
    eligible = [i for i, row in enumerate(rows) if i == group_of[i] and _is_item(row)]
    eligible.sort(key=lambda i: fingerprint(normalise(rows[i]["text"])))
    wanted = {label: [*["test"] * (sizes.test // 2), *["dev"] * (sizes.dev // 2)] for label in LABELS}
    taken: dict[str, list[Row]] = {"dev": [], "test": []}
    held_out = set()
    for i in eligible:
        label = label_of(rows[i]["rating"])
        if wanted[label]:
            taken[wanted[label].pop()].append({**rows[i], "label": label})
            held_out.add(i)
    pool = [row for i, row in enumerate(rows) if group_of[i] not in held_out]
    return taken["dev"], taken["test"], pool


def _is_item(row: Row) -> bool:
    return abs(row["rating"]) >= NEUTRAL and 3 <= len(row["text"].split()) <= LONGEST_ITEM


def label_of(rating: float) -> str:
    """The class of a rating."""
    return LABELS[0] if rating > 0 else LABELS[1]


def compose(pool: Sequence[Row], count: int) -> list[Row]:
    """Reviews made by rule from two snippets: of one polarity, or of two, where the last clause decides.

    The rating is the mean of the parts in the first case and the last part's in the second.
    """
    chance = random.Random(0)
    parts = [row for row in pool if abs(row["rating"]) >= 1 and len(row["text"].split()) <= LONGEST_PART]
    sides = {label: [row for row in parts if label_of(row["rating"]) == label] for label in LABELS}
    inside = {word for row in pool for word in row["text"].split()[1:]}

    def lowered(text: str) -> str:
        """A clause that goes on after a link: its first word loses the capital unless it is a name."""
        first, _, rest = text.partition(" ")
        return f"{first.lower()} {rest}" if first.lower() in inside else text

    rows = []
    for number in range(count):
        last = LABELS[number % 2]
        contrast = chance.random() < 0.5
        first = LABELS[1 - number % 2] if contrast else last
        a, b = chance.choice(sides[first]), chance.choice(sides[last])
        links = ["Still,", "And yet", "Even so,"] if contrast else ["Also,", "And", "What is more,"]
        text = f"{a['text'].rstrip(' .,;')}. {chance.choice(links)} {lowered(b['text'])}"
        rating = b["rating"] if contrast else round((a["rating"] + b["rating"]) / 2, 3)
        rows.append({"id": f"composed-{number}", "text": text, "rating": rating, "contrast": contrast})
    return rows
