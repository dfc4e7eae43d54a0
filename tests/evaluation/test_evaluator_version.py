"""The hash of the code that scores: a move or a comment keeps it, another computation changes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import REPOSITORY
from trex.evaluation.grader.evaluator_version import code_hash, evaluator_identity
from trex.evaluation.metrics import metric

CODES = ("scoring_code", "metric_code", "engine_code")
PROGRAM = """
import json
from pathlib import Path
from {package}.evaluation import splits
from {package}.evaluation.grader.evaluator_version import _SCORING, code_hash

def defining(name):
    room = Path(splits.__file__).parent
    [path] = [p for p in room.rglob("*.py") if f"class {{name}}:" in p.read_text(encoding="utf-8")]
    return [path]

print(json.dumps([code_hash(_SCORING), code_hash(defining("Accuracy")), code_hash(defining("TransformersEngine"))]))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package under another name."""
    package = tmp_path / "another"
    shutil.copytree(
        REPOSITORY / "evaluation", package / "evaluation", ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in REPOSITORY.glob("*.py"):
        shutil.copy(path, package)
    return package


def hashes(package: Path) -> dict[str, str]:
    """The hashes of a copy, computed by the copy in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    program = PROGRAM.format(package=package.name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(zip(CODES, json.loads(done.stdout), strict=True))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def ours() -> dict[str, str]:
    from trex.evaluation.engines.transformers_engine import TransformersEngine

    found = evaluator_identity(metric("accuracy"), TransformersEngine(Path(), 1))
    return {code: found[code] for code in CODES}


def test_files_that_move_keep_the_hash(copy: Path, ours: dict[str, str]) -> None:
    """The package has another name; a metric, the statistics and the engine's batches lie elsewhere."""
    room = copy / "evaluation"
    moves = {
        "metrics/accuracy.py": "metrics/exact/first_line.py",
        "statistics/intervals.py": "statistics/confidence.py",
        "engines/batching.py": "engines/local/batches.py",
    }
    for old, new in moves.items():
        target = room / new
        target.parent.mkdir(exist_ok=True)
        (target.parent / "__init__.py").touch()
        (room / old).rename(target)
        if target.parent != (room / old).parent:
            target.write_text(re.sub(r"(?m)^from (\.+)", r"from .\1", target.read_text()))
    renamed = {"accuracy": "exact.first_line", "intervals": "confidence", "batching": "local.batches"}
    for path in room.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for old, new in renamed.items():
            text = re.sub(rf"(?m)^(from \.[\w.]*)\b{old} import", rf"\g<1>{new} import", text)
        path.write_text(text.replace('"accuracy:Accuracy"', '"exact.first_line:Accuracy"'), encoding="utf-8")
    assert hashes(copy) == ours


def test_comments_and_docstrings_keep_the_hash(copy: Path, ours: dict[str, str]) -> None:
    edit(
        copy / "evaluation/metrics/accuracy.py",
        '"""The first line',
        '# A comment.\n    """The very first line',
    )
    edit(copy / "evaluation/grader/model_scoring.py", '"""Scoring one model', '"""Scoring of one model')
    assert hashes(copy) == ours


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("metrics/accuracy.py", "float(_is_right(", "1.0 - float(_is_right(", "metric_code"),
        ("metrics/accuracy.py", ".casefold()", ".lower()", "metric_code"),
        ("engines/batching.py", "MIN_SHARED = 8", "MIN_SHARED = 9", "engine_code"),
        ("statistics/intervals.py", "inv_cdf(0.975)", "inv_cdf(0.95)", "scoring_code"),
        ("splits.py", "ID_LENGTH = 16", "ID_LENGTH = 12", "scoring_code"),
        ("metrics/csbench.py", 'LETTERS = "ABCD"', 'LETTERS = "ABCDE"', None),
        ("failures/clusters.py", "CLOSE = 0.15", "CLOSE = 0.25", None),
    ],
)
def test_what_computes_a_score_changes_the_hash(
    copy: Path, ours: dict[str, str], file: str, old: str, new: str, changes: str | None
) -> None:
    edit(copy / "evaluation" / file, old, new)
    found = hashes(copy)
    assert [code for code in CODES if found[code] != ours[code]] == ([changes] if changes else [])


def test_a_module_from_elsewhere_counts_byte_for_byte_with_what_it_imports_here(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("from trex.evaluation.metrics.accuracy import Accuracy\n")
    alone = tmp_path / "alone.py"
    alone.write_text("class Accuracy: ...\n")
    first, of_alone = code_hash([mine]), code_hash([alone])
    assert code_hash([tmp_path / "mine.py"]) == first != of_alone
    mine.write_text(mine.read_text() + "# a comment\n")
    assert code_hash([mine]) != first
