"""Files of a user's own task: support tickets to be routed to a team."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from trex.files import write_jsonl, write_yaml

Row = dict[str, Any]
TEAMS = {
    "billing": ["invoice", "refund", "charge", "payment", "receipt"],
    "network": ["router", "cable", "wifi", "signal", "outage"],
    "accounts": ["password", "login", "profile", "email", "username"],
}


def tickets(count: int, first: int = 0) -> list[Row]:
    """Different tickets, in turn for each team."""
    chance = random.Random(first)
    rows = []
    for number in range(first, first + count):
        team = list(TEAMS)[number % len(TEAMS)]
        one, two = chance.sample(TEAMS[team], 2)
        rows.append({"text": f"number {number}: my {one} is wrong, and the {two} too", "team": team})
    return rows


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)


def fields(**changes: Any) -> Row:
    """The fields of a task file; a change to None leaves a field out."""
    every = {
        "name": "tickets",
        "requirement": "Route support tickets to the right team.",
        "base_model": "tiny",
        "sources": [{"name": "train", "path": "train.jsonl", "description": "Tickets of last year"}],
        "dev": "dev.jsonl",
        "test": "test.jsonl",
        "prompt": {"user": "Ticket: {text}\nTeam:", "answer": "{team}"},
        "choices": list(TEAMS),
        "answer_column": "team",
    } | changes
    return {name: value for name, value in every.items() if value is not None}


def write_task(folder: Path, **changes: Any) -> Path:
    """A whole task in a folder; returns its file."""
    write_jsonl(folder / "train.jsonl", tickets(90))
    write_jsonl(folder / "dev.jsonl", tickets(40, 1000))
    write_jsonl(folder / "test.jsonl", tickets(30, 2000))
    path = folder / "tickets.yaml"
    write_yaml(path, fields(**changes))
    return path
