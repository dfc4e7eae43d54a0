"""The functions on SMILES that the task `molecules` adds to the row language."""

from __future__ import annotations

from typing import Any

import pytest
from support.recipes import apply, dataset
from trex.errors import PlanError
from trex.training.data.expressions.expression import parse
from trex.training.data.expressions.row_functions import row_function
from trex.training.data.expressions.row_values import RowError, Work
from trex.training.data.operators.compute import Compute


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smiles_canonical('C(C)O') == smiles_canonical('OCC')", True),
        ("'not a molecule'.smiles_canonical()", None),
        ("smiles_atoms('OCC') == {'carbon': 2, 'oxygen': 1}", True),
        ("smiles_groups('OCC')['hydroxyl']", 1),
        ("smiles_groups('')", None),
        ("len(smiles_variants('CC(N)C(=O)O', 8)) > 3", True),
        ("unique([smiles_canonical(s) for s in smiles_variants('OCC', 8)])", ["CCO"]),
        ("smiles_variants('nothing', 2)", []),
    ],
)
def test_values(text: str, expected: Any) -> None:
    assert parse(text)({}, Work()) == expected
    assert parse(text)({}, Work()) == expected


@pytest.mark.parametrize(
    "text", ["smiles_atoms(repeat('C', 301))", "smiles_variants('C', 1000)", "smiles_atoms(1)"]
)
def test_limits(text: str) -> None:
    with pytest.raises(RowError):
        parse(text)({}, Work())


def test_work_is_counted() -> None:
    with pytest.raises(PlanError, match="too much work for one row"):
        apply(Compute(columns={"x": "[smiles_atoms('C') for n in range(999)]"}), dataset([{"text": "a"}]))


def test_the_data_set_depends_on_the_version_of_rdkit(monkeypatch: pytest.MonkeyPatch) -> None:
    from trex.training.data.expressions import row_functions

    function = row_function("smiles_atoms")
    before = function.identity
    row_function.cache_clear()
    monkeypatch.setattr(row_functions, "version", lambda name: "0")
    assert row_function("smiles_atoms").identity != before
    row_function.cache_clear()
