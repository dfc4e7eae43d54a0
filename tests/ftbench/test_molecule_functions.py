"""The functions on SMILES that the task `molecules` adds to the row language."""

from __future__ import annotations

from typing import Any

import pytest
from support.recipes import apply, dataset
from trex.errors import PlanError
from trex.evaluation.metrics.molecules import MoleculeSuccess
from trex.ftbench.tasks.molecules import load
from trex.training.data.build import preview
from trex.training.data.expressions.expression import parse
from trex.training.data.expressions.row_functions import row_function
from trex.training.data.expressions.row_values import RowError, Work
from trex.training.data.operators.compute import Compute
from trex.training.data.recipe_file import recipe_from_yaml


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


PROGRAM = """
streams: [{source: nci_small}, {source: nci}, {source: assembled}]
steps:
  - op: where
    test: kind == 'atoms'
  - op: compute
    columns:
      _target: parse_json(target)
      _halogens: "flatten([[sign for i in range(get(_target, name, 0))] for name, sign in
        items({'fluorine': 'F', 'chlorine': 'Cl', 'bromine': 'Br', 'iodine': 'I'})])"
      _others: "flatten([[sign for i in range(get(_target, name, 0))] for name, sign in
        items({'oxygen': 'O', 'sulfur': 'S', 'nitrogen': 'N', 'phosphorus': 'P'})])"
      _carbons: "['C' + ''.join([f'({h})' for h in _halogens[2 * i + 1:2 * i + 3]])
        for i in range(get(_target, 'carbon', 0))]"
      molecule: "''.join(_halogens[:1] + _carbons + _others)"
  - op: where
    test: smiles_atoms(molecule) == parse_json(target)
  - {op: dedup, columns: [spec]}
"""


def test_a_recipe_writes_a_right_answer_for_each_specification() -> None:
    found = preview(recipe_from_yaml(PROGRAM), load(smoke=True))
    rows = [row["source"] for row in found.rows]
    assert len(rows) > 100 and found.report.contents.synthetic == len(rows)
    answers = [row["completion"][-1]["content"] for row in found.rows]
    assert set(MoleculeSuccess().score_items(rows, answers)) == {1.0}
    by_step = {step.where: step.rows for step in found.report.steps}
    assert by_step["steps[2] where"] > 0.9 * by_step["steps[0] where"]
    assert all("steps[1] compute" in line["steps"] for line in found.lineage)
