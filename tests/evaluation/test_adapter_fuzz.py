"""Damaged adapters through the real grader: each gets a score or one line that says why not; nothing dies or hangs.

TREX_FUZZ_ADAPTERS sets how many, TREX_FUZZ_SEED which.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.adapters import random_adapter
from support.damaged_adapters import damage
from support.grader import films_task
from trex.errors import IntegrityError
from trex.evaluation.base_models import resolve_model
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.results import Evaluation
from trex.files import read_jsonl

COUNT = int(os.environ.get("TREX_FUZZ_ADAPTERS", "150"))
SEED = int(os.environ.get("TREX_FUZZ_SEED", "1"))
PATIENCE_S = 300.0  # for one adapter, on a busy machine


def judged(grader: GraderClient, adapter: Path) -> Evaluation | str:
    """The evaluation, or the line with which the trial is not eligible; whatever else is raised fails the test."""
    try:
        return grader.evaluate(adapter, "search", 1)
    except IntegrityError as error:
        return str(error)


def answers(folder: Path, evaluation: Evaluation) -> list[str]:
    assert evaluation.predictions is not None
    return [row["prediction"] for row in read_jsonl(folder / "run" / evaluation.predictions)]


def test_damaged_adapters_get_a_score_or_a_cause(tmp_path: Path, fresh_home: Path) -> None:
    model = resolve_model("tiny")
    intact = random_adapter(model, tmp_path / "intact")
    counts: Counter[str] = Counter()
    with GraderClient(films_task(tmp_path), tmp_path / "run", model) as grader, ThreadPoolExecutor(1) as pool:
        whole = grader.evaluate(intact, "search", 5)
        process = grader.pid
        for number in range(COUNT):
            adapter = tmp_path / f"adapter-{number}"
            shutil.copytree(intact, adapter)
            how = f"{number}: {damage(random.Random(f'{SEED}-{number}'), adapter)}"
            asked = pool.submit(judged, grader, adapter)
            try:
                found = asked.result(PATIENCE_S)
            except BaseException as error:
                grader.close()  # frees the thread that waits
                pytest.fail(f"{how}: {type(error).__name__}: {error}")
            if isinstance(found, str):
                assert str(adapter) in found and "\n" not in found and len(found) < 1000, (how, found)
            else:
                assert found.score.n == 1, how
            counts["refused" if isinstance(found, str) else "scored"] += 1
            if os.environ.get("TREX_FUZZ_SHOW"):
                print(f"{how}: {found if isinstance(found, str) else found.score.value}")
            shutil.rmtree(adapter)
        (intact / "README.md").write_text("another hash, so it is not answered from disk")
        again = grader.evaluate(intact, "search", 5)
        assert again.id != whole.id and answers(tmp_path, again) == answers(tmp_path, whole)
        assert grader.pid == process, "the grader died on the way"
    print(dict(counts))
    assert counts["refused"] > COUNT // 3 and counts["scored"] > COUNT // 20, counts
