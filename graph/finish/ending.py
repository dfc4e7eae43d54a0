"""The end of a run in its audit trail: hashes of what the run states from then on, so that a later change shows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ...evaluation.grader import audit
from ...evaluation.grader import evaluation_records as ledger
from ...evaluation.grader.evaluation_records import Records
from ...evaluation.grader.messages import FROZEN
from ...files import hash_file
from ...sealed_folder import MANIFEST
from ..report.integrity import confinement_of
from ..tree.tree import RawTree

FINISH, CONFINEMENT, TREE = "finish.json", "trials", "checkpoints.sqlite"
BEST = f"best/{MANIFEST}"
DOCUMENTS = (
    "run.json",
    "task.json",
    "tree.json",
    "research.json",
    "hints.jsonl",
    "calls.jsonl",
    FROZEN,
    BEST,
)


def record_end(directory: Path, finish: dict[str, Any], tree: RawTree | None) -> None:
    """Enter the hashes into the trail, before finish.json is written. `tree`: as in the checkpoint, if it is local."""
    audit.record(directory, "run", ledger.FINISHED, _hashes(directory, finish, tree))


def changed_since_end(
    directory: Path, records: Records, finish: dict[str, Any], tree: RawTree | None
) -> list[str] | None:
    """What is not as it was when the run ended, by name; None if the trail has no such entry."""
    known = records.last(ledger.FINISHED)
    if known is None:
        return None
    now = _hashes(directory, finish, tree)
    return [name for name in now if now[name] != known.get(name)]


def _hashes(directory: Path, finish: dict[str, Any], tree: RawTree | None) -> dict[str, str | None]:
    return {
        **{name: _hash(directory / name) for name in DOCUMENTS},
        FINISH: _digest(finish),
        TREE: _digest(tree),
        CONFINEMENT: confinement_of(directory / "trials"),
    }


def _hash(path: Path) -> str | None:
    try:
        return hash_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return str(error)


def _digest(value: object) -> str:
    # Not `canonical_json`, which refuses the NaN that a trial may have had as its loss.
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
