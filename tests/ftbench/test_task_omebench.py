"""oMeBench: the samples validate themselves, and no family stands in two parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rdkit import Chem
from trex.evaluation.task import Task
from trex.files import read_jsonl
from trex.ftbench.tasks import omebench
from trex.ftbench.tasks.omebench import BENCHMARK, SUBTYPES, Families, teachable
from trex.ftbench.validation import problems

ROWS = [record.row for record in BENCHMARK.samples()]


def reaction(identity: str, name: str, product: str = "", subtype: str = "coordination") -> dict[str, Any]:
    step = {"step": 1, "type": "coordination", "subtype": subtype, "intermediate_smiles": product or identity}
    return {
        "reaction_id": identity,
        "name": name,
        "reactants_smiles": [identity],
        "products_smiles": product or [identity],
        "conditions": None,
        "mechanism": [{**step, "step_weight": 1.0}],
    }


def test_smoke_task_validates_itself(fresh_home: Path) -> None:
    task = omebench.load(smoke=True)
    assert isinstance(task, Task)
    assert problems(task) == []
    assert (len(list(read_jsonl(task.dev))), len(list(read_jsonl(task.test)))) == (7, 5)
    assert task.sources[0].name == "train"
    assert len(list(read_jsonl(Path(task.sources[0].path)))) >= 10


def test_samples_are_chemistry() -> None:
    assert len(ROWS) >= 20
    for row in ROWS:
        steps = row["mechanism"]
        assert sum(step["step_weight"] for step in steps) == pytest.approx(1)
        assert row["mechanism_step_nums"] == len(steps)
        for smiles in [*row["reactants_smiles"], *row["products_smiles"]]:
            assert Chem.MolFromSmiles(smiles) is not None
        assert Chem.CanonSmiles(steps[-1]["intermediate_smiles"]) in map(
            Chem.CanonSmiles, row["products_smiles"]
        )
        for step in steps:
            assert step["subtype"] in SUBTYPES[step["type"]]


def test_the_published_list_has_31_subtypes() -> None:
    names = [name for subtypes in SUBTYPES.values() for name in subtypes]
    assert len(names) == len(set(names)) == 31


def test_prompt_and_gold() -> None:
    turn = BENCHMARK.turn(ROWS[0])
    assert '["CCC=O", "[C-]#N"]' in turn.prompt
    assert "HCN, then water" in turn.prompt
    steps = json.loads(turn.gold)
    assert [list(step) for step in steps] == [["step", "type", "subtype", "intermediate_smiles"]] * 2
    assert "not stated" in BENCHMARK.turn(reaction("X-1", "a")).prompt


def test_families_are_linked_by_id_name_and_reaction() -> None:
    rows = [
        reaction("X-1", "Alpha reaction"),
        reaction("X-1_1-CC", "other"),
        reaction("X-2", " alpha  Reaction"),
        reaction("X-3", "", "CC"),
        reaction("X-4", "Beta", "CC") | {"reactants_smiles": ["X-3"]},
        reaction("X-5", ""),
    ]
    families = Families(rows)
    names = [families.of(row) for row in rows]
    assert names[0] == names[1] == names[2]
    assert names[3] == names[4]
    assert len(set(names)) == 3


def test_no_train_row_shares_a_family_with_dev_or_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = [reaction(f"X-{n}", f"reaction {n}") for n in range(40)]
    template = [
        reaction("X-3", "reaction 3", "CC"),  # by id
        reaction("X-70", "Reaction 4", "CC"),  # by name
        reaction("X-71", "free"),
        reaction("X-72", "unlisted", subtype="hydride_shift"),
    ]
    silver = [reaction("X-5_1-CC", "reaction 5"), reaction("X-71_1-C", "free"), reaction("X-73_2-C", "alone")]
    folder = tmp_path / "skylarkie" / "oMeBench" / "data"
    folder.mkdir(parents=True)
    (folder / "oMe_Gold.json").write_text(json.dumps(gold))
    (folder / "oMe_Template.json").write_text(json.dumps(template))
    (folder / "oMe_Silver.jsonl").write_text("".join(json.dumps(row) + "\n" for row in silver))
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    records = list(omebench.read())
    assert [r.row["reaction_id"] for r in records if r.part == "cut"] == [row["reaction_id"] for row in gold]
    pool = [r for r in records if r.part == "train"]
    assert [r.row["reaction_id"] for r in pool] == ["X-3", "X-70", "X-71", "X-5_1-CC", "X-71_1-C", "X-73_2-C"]
    held = {r.group for r in records if r.part == "cut"}
    assert [r.row["reaction_id"] for r in pool if r.group not in held] == ["X-71", "X-71_1-C", "X-73_2-C"]
    parts = BENCHMARK.parts(records)
    assert all(len(parts[name]) > 5 for name in ("train", "dev", "test"))
    group_of = {r.row["reaction_id"]: r.group for r in records}
    groups = {name: {group_of[row["reaction_id"]] for row in parts[name]} for name in parts}
    assert not groups["train"] & (groups["dev"] | groups["test"])
    assert not groups["dev"] & groups["test"]


def test_rows_with_unlisted_subtypes_teach_nothing() -> None:
    row = reaction("X-1", "a")
    assert teachable(row)
    assert not teachable(row | {"mechanism": [*row["mechanism"], {"step": 2, "type": "coordination"}]})
