"""What TREX itself costs: rounds with instant trials, timed, with the bytes that each adds to the checkpoint.

    python benchmarks/loop.py --rounds 300 [--trials 3] [--policy mcts] [--json]

`ms_per_round` counts everything between two records but the first round's imports and this measurement. Bytes are
read from the checkpoint file with its write-ahead log folded in.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
from instant import open_instant_runtime
from trex.ftbench.tasks.sentiment import load
from trex.graph.api import load_run, prepare_run
from trex.graph.run.runtime import RuntimeRegistry


def measure(rounds: int, trials: int, policy: str) -> dict[str, Any]:
    """Run the loop and return the figures."""
    with tempfile.TemporaryDirectory(prefix="trex-loop-") as folder:
        path = Path(folder) / "run"
        prepared = prepare_run(
            load(smoke=True), out=path, smoke=True, rounds=rounds, trials=trials, policy=policy
        )
        ends: list[float] = []
        goes_on: list[float] = []
        sizes: list[int] = []

        def follow(event: dict[str, Any]) -> None:
            if event["event"] == "experiment":
                ends.append(time.perf_counter())
                if event["id"][1:].lstrip("0") in ("", "100", str(rounds - 100), str(rounds)):
                    sizes.append(_bytes(path / "checkpoints.sqlite"))
                goes_on.append(time.perf_counter())

        prepared.go(follow=follow, runtimes=RuntimeRegistry(open_instant_runtime))
        own = sorted(1000 * (end - start) for start, end in zip(goes_on[1:-1], ends[2:], strict=True))
        started = time.perf_counter()
        nodes = len(load_run(path).tree)
        read_ms = 1000 * (time.perf_counter() - started)
        total = _bytes(path / "checkpoints.sqlite")
    result: dict[str, Any] = {
        "rounds": nodes - 1,
        "ms_per_round": sum(own) / len(own),
        "ms_per_round_median": own[len(own) // 2],
        "ms_per_round_p95": own[int(len(own) * 0.95)],
        "read_state_ms": read_ms,
        "checkpoint_bytes": total,
        "memory_mb": psutil.Process().memory_info().rss >> 20,
    }
    if rounds >= 200:
        result["bytes_per_round_first_100"] = (sizes[1] - sizes[0]) / 100
        result["bytes_per_round_last_100"] = (sizes[-1] - sizes[-2]) / 100
    return result


def _bytes(path: Path) -> int:
    """The size of the database once its write-ahead log is folded in."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--policy", default="mcts")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.rounds, given.trials, given.policy)
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<28} {value:,.1f}" if isinstance(value, float) else f"{name:<28} {value:,}")


if __name__ == "__main__":
    main()
