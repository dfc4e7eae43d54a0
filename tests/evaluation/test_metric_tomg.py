"""TOMG-Bench's scorer: the official rules case by case, a table of official results, and what was corrected."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.places import DATA
from trex.errors import InputError
from trex.evaluation.metrics import PooledMetric, measure, metric, smiles
from trex.evaluation.metrics.smiles import ATOMS, GROUPS
from trex.evaluation.metrics.tomg import SUBTASKS, TomgSuccess, read_request
from trex.evaluation.metrics.tomg_answer import corrected, official
from trex.evaluation.statistics.intervals import score_measured
from trex.files import read_jsonl

OFFICIAL = list(read_jsonl(DATA / "tomg_official.jsonl"))


def atoms(**wanted: int) -> dict[str, Any]:
    return {"Instruction": "", **dict.fromkeys(ATOMS, 0), **wanted}


def bonds(**wanted: int) -> dict[str, Any]:
    return {"Instruction": "", "single": 0, "double": 0, "triple": 0, "rotatable": 0, "aromatic": 0, **wanted}


def groups(benzene: int = 0, **wanted: int) -> dict[str, Any]:
    zeros = {name: 0 for name in GROUPS if name != "benzene ring"}
    return {"Instruction": "", "benzene rings": benzene, "thioether": 0, **zeros, **wanted}


def add(molecule: str, group: str) -> dict[str, Any]:
    return {"Instruction": "", "molecule": molecule, "added_group": group}


def remove(molecule: str, group: str) -> dict[str, Any]:
    return {"Instruction": "", "molecule": molecule, "removed_group": group}


def swap(molecule: str, removed: str, added: str) -> dict[str, Any]:
    return {**add(molecule, added), "removed_group": removed}


def change(molecule: str, wording: str) -> dict[str, Any]:
    return {"Instruction": wording, "molecule": molecule}


def both(subtask: str, row: dict[str, Any], answer: str) -> tuple[float, float]:
    """What the official form and the corrected one say."""
    upstream = TomgSuccess(subtask, upstream=True).score_items([row], [answer])
    return upstream[0], TomgSuccess(subtask).score_items([row], [answer])[0]


@pytest.mark.parametrize(
    ("subtask", "row", "answer", "success"),
    [
        ("AtomNum", atoms(carbon=2, oxygen=1), "CCO", 1),
        ("AtomNum", atoms(carbon=2, oxygen=1), "CCOC", 0),
        ("AtomNum", atoms(carbon=2), "CCO", 0),  # zeros count
        ("AtomNum", atoms(carbon=1, polonium=1), "C[Po]", 1),
        ("BondNum", bonds(double=1), "C=CCC#N", 1),  # zeros do not
        ("BondNum", bonds(double=1, triple=2), "C=CCC#N", 0),
        ("BondNum", bonds(single=6), "c1ccccc1", 0),  # an aromatic bond is not single
        ("BondNum", bonds(aromatic=6, single=1), "Cc1ccccc1", 1),
        ("BondNum", bonds(rotatable=1), "CCCC", 1),
        ("BondNum", bonds(rotatable=2), "CCCC", 0),
        ("FunctionalGroup", groups(1, hydroxyl=1), "Oc1ccccc1", 1),
        ("FunctionalGroup", groups(1, hydroxyl=2), "Oc1ccccc1", 0),
        ("FunctionalGroup", groups(1), "Oc1ccccc1", 0),  # zeros count
        ("FunctionalGroup", groups(carboxyl=1, hydroxyl=1), "CC(=O)O", 1),
        ("FunctionalGroup", groups(thioether=3, thiol=1), "CS", 1),  # thioether is not looked at
        ("FunctionalGroup", groups(disulfide=1, sulfide=1), "CSSC", 1),
        ("FunctionalGroup", groups(disulfide=3), "S1SS1", 1),
        ("AddComponent", add("CCC", "nitro"), "CCC[N+](=O)[O-]", 1),
        ("AddComponent", add("CCC", "nitro"), "CCC", 0),
        ("AddComponent", add("CCC", "hydroxyl"), "OCCCO", 0),  # two more
        ("AddComponent", add("CC", "benzene ring"), "CCc1ccccc1", 1),
        ("AddComponent", add("CC", "thioether"), "CSC", 0),  # its pattern matches both sides
        ("AddComponent", add("CC", "thioether"), "CSc1ccccc1", 1),
        ("DelComponent", remove("CCCl", "halo"), "CC", 1),
        ("DelComponent", remove("CCCl", "halo"), "CCBr", 0),
        ("DelComponent", remove("Cc1ccccc1", "benzene_ring"), "C", 1),
        ("SubComponent", swap("CCCl", "halo", "thiol"), "CCS", 1),
        ("SubComponent", swap("CCCl", "halo", "thiol"), "CC", 0),
        ("SubComponent", swap("CCCl", "halo", "thiol"), "SCCCl", 0),
        ("LogP", change("CCO", "a higher LogP"), "CCCO", 1),
        ("LogP", change("CCO", "a lower LogP"), "CCCO", 0),
        ("LogP", change("CCO", "decrease its LogP"), "OCCO", 1),
        ("LogP", change("CCO", "a higher LogP"), "CCO", 0),  # equal is not enough
        ("LogP", change("CCO", "a lower LogP"), "CCO", 0),
        ("MR", change("CCO", "a higher MR"), "CCCO", 1),
        ("MR", change("CCO", "a lower MR"), "CO", 1),
        ("QED", change("C", "a higher QED"), "CC(=O)Nc1ccc(O)cc1", 1),
        ("QED", change("CC(=O)Nc1ccc(O)cc1", "a lower QED"), "C", 1),
    ],
)
def test_both_forms_follow_the_rules(subtask: str, row: dict[str, Any], answer: str, success: int) -> None:
    assert both(subtask, row, answer) == (success, success)
    assert both(subtask, row, "no molecule") == (0, 0)


def test_the_official_form_says_what_the_official_script_says() -> None:
    """The table was made by running upstream's `correct.py` and `evaluate.py`, with the files between them."""
    assert len(OFFICIAL) >= 370
    for subtask in SUBTASKS:
        cases = [case for case in OFFICIAL if case["subtask"] == subtask]
        items, answers = [case["row"] for case in cases], [case["answer"] for case in cases]
        said = measure(metric(f"tomg:{subtask}/upstream"), items, answers)
        expected = [case["success"] for case in cases]
        assert [(a, v) for a, v in zip(answers, said.values, strict=True)] == list(
            zip(answers, expected, strict=True)
        )
        assert 0 < sum(expected) < len(expected)
        assert said.secondary["validity"] == pytest.approx(sum(c["valid"] for c in cases) / len(cases))
        assert score_measured(metric(f"tomg:{subtask}/upstream"), said).value == sum(expected) / len(expected)
        alike = [case["similarity"] for case in cases if case["similarity"] is not None]
        assert said.secondary["similarity"] == pytest.approx(sum(alike) / len(alike) if alike else 0.0)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("", "None"),
        (" \n", "None"),
        ("Molecule: CCO", "Molecule: CCO"),
        ("C\nC", "C C"),
        ("CO => CC -> CCO ", "CCO"),
        ("C ->", "None"),
        ("[CCO]", "CCO"),
        ("[]", "None"),
        ("=> ->", "None"),
        ('{"molecule": ""}', "None"),
        ('{"molecule":}', "None"),
        ("CC\rO", "None"),
        ("[NH3+]C[O-]", "NH3+]C[O-"),
        ('x {"molecule": " CCO "} y', " CCO "),
        ('{"molecule": "[CCO]"}', "[CCO]"),
        ('{"molecule": "C -> CCO"}', "CCO"),
        ('{""molecule"": ""CCO""}', "CCO"),
        ('{"smiles": "CCO"}', "CCO"),  # whatever follows the first colon
        (r'{"molecule": "F/C=C\F"}', r"F/C=C\F"),
        ("{x} CCO", "None"),
        ('{"molecule": 5}', "5"),
        ('{"molecule": ["C"]}', ["C"]),
    ],
)
def test_official_extraction(answer: str, read: object) -> None:
    assert official(answer) == read


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Molecule: CCO", "CCO"),
        ("**Molecule:** `CCO`", "CCO"),
        ("The final answer is: CCO. It has a C-O bond.", "CCO"),
        ("Molecule：CCO", "CCO"),
        ("分子：CCO。", "CCO"),
        ("The answer is **CCO**.", "CCO"),
        ("CCO is the answer, it has a C-O bond", "CCO"),
        ("I start from CC and end with CCO", "CCO"),
        ("Here:\nCCO\nIt has 2 C and a C-O bond.", "CCO"),
        ("```smiles\nCCO\n```", "CCO"),
        ("<think>CCC, or CCCC?</think>\nCCO", "CCO"),
        ("CCC, or CCCC?</think>CCO", "CCO"),
        ("<think>CCC, or CCCC?", ""),
        ("So {as asked} CCO", "CCO"),
        ('First {"a": 1}, then {"molecule": "CCO"}.', "CCO"),
        ('{"answer": {"molecule": "CCO"}}', "CCO"),
        ('{"Molecule": "CCO"}', "CCO"),
        ("{'molecule': 'CCO'}", "CCO"),
        ('{"molecule": "CCO"', "CCO"),
        (r'{"molecule": "F/C=C\F"}', r"F/C=C\F"),
        ("[CCO]", "CCO"),
        ('["CCO"]', "CCO"),
        ("[NH3+]CC(=O)[O-]", "[NH3+]CC(=O)[O-]"),
        ("N->[Cu]", "N->[Cu]"),
        ("CC -> CCO", "CCO"),
        ("CC >> CCO", "CCO"),
        ("CC => N->[Cu]", "N->[Cu]"),
        ("Molecule: C", "C"),
        ("I", "I"),
        ("* CCO", "CCO"),
        ("", ""),
        ("?", ""),
        ("*", ""),
        ("[]", ""),
        ("I cannot say.", ""),
        ('{"molecule": ""}', ""),
        ('{"molecule": ["CCO"]}', ""),
        ("C" * 2001, ""),
    ],
)
def test_corrected_extraction(answer: str, read: str) -> None:
    assert corrected(answer) == read


@pytest.mark.parametrize("answer", ['{"molecule": ""}', "[]", "=>", "", " ", '{"molecule": " "}', "{:}"])
def test_what_is_empty_is_no_molecule_although_rdkit_reads_one(answer: str) -> None:
    assert both("DelComponent", remove("CO", "hydroxyl"), answer) == (0, 0)
    assert both("AtomNum", atoms(), answer) == (0, 0)
    assert both("LogP", change("CO", "a higher LogP"), answer) == (0, 0)


@pytest.mark.parametrize(
    ("answer", "success"),
    [('{"SMILES": "CCO"}', 1), ('{"smiles": "CCO"}', 1), ('{"answer": "CCO"}', 1), ('{"SMILES", "CCO"}', 0)],
)
def test_upstream_is_tomg_bench_and_not_its_successor(answer: str, success: int) -> None:
    """TOMG-Bench's program takes what follows a colon, whatever the key; S2-TOMG-Bench's needs `molecule`."""
    assert both("AtomNum", atoms(carbon=2, oxygen=1), answer)[0] == success


def test_what_was_corrected() -> None:
    ethanol = atoms(carbon=2, oxygen=1)
    assert both("AtomNum", ethanol, "Molecule: CCO") == (0, 1)
    assert both("AtomNum", atoms(carbon=1, nitrogen=1, oxygen=1), "[NH3+]C[O-]") == (0, 1)
    assert both("LogP", change("CCO", "a lower LogP"), "OCC") == (1, 0)  # a rounding error
    assert both("LogP", change("CCO", "Lower the LogP"), "CCCO") == (1, 0)
    assert both("LogP", change("CCO", "Lower the LogP"), "OCCO") == (0, 1)
    assert both("LogP", change("no molecule", "a lower LogP"), "CCO") == (0, 0)
    assert both("LogP", change("", "a lower LogP"), "O") == (0, 0)


def test_the_name_of_the_benzene_column_has_an_alias_in_the_corrected_form_alone() -> None:
    row = groups(1)
    row["benzene_ring"] = row.pop("benzene rings")
    assert TomgSuccess("FunctionalGroup").score_items([row], ["c1ccccc1"]) == [1.0]
    with pytest.raises(InputError, match="no column 'benzene rings'"):
        TomgSuccess("FunctionalGroup", upstream=True).score_items([row], ["c1ccccc1"])


@pytest.mark.parametrize(
    ("subtask", "row", "satisfiable"),
    [
        ("FunctionalGroup", groups(carboxyl=1), False),
        ("FunctionalGroup", groups(carboxyl=2, hydroxyl=1), False),
        ("FunctionalGroup", groups(carboxyl=2, hydroxyl=2), True),
        ("FunctionalGroup", groups(disulfide=1), False),
        ("FunctionalGroup", groups(disulfide=2), False),
        ("FunctionalGroup", groups(disulfide=3), True),  # a ring of three
        ("FunctionalGroup", groups(disulfide=2, sulfide=1), True),
        ("FunctionalGroup", groups(), True),
        ("DelComponent", remove("CC", "halo"), False),
        ("DelComponent", remove("CCl", "halo"), True),
        ("AddComponent", add("CC", "carboxyl"), True),
        ("AddComponent", add("(((", "carboxyl"), False),
        ("SubComponent", swap("CCO", "hydroxyl", "carboxyl"), False),
        ("SubComponent", swap("OCCCO", "hydroxyl", "carboxyl"), True),
        ("SubComponent", swap("CCO", "hydroxyl", "hydroxyl"), False),
        ("LogP", change("(((", "a lower LogP"), False),
        ("AtomNum", atoms(), True),
    ],
)
def test_rows_that_nobody_can_satisfy_are_known(subtask: str, row: dict[str, Any], satisfiable: bool) -> None:
    assert read_request(row, subtask).satisfiable is satisfiable


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_no_molecule_contradicts_what_is_called_unsatisfiable(seed: int) -> None:
    chance = random.Random(seed)
    pieces = ["OC(=O)", "O", "SS", "S", "C", "C(=O)", "SSS", "N", "OC(=O)C(=O)", "C(O)(O)"]
    molecule = smiles.parse("C" + "C".join(chance.choices(pieces, k=4)) + "C")
    if molecule is None:
        return
    found = smiles.group_counts(molecule)
    row = groups(found.pop("benzene ring"), **found)
    assert read_request(row, "FunctionalGroup").satisfiable
    assert TomgSuccess("FunctionalGroup").score_items([row], [smiles.canonical(molecule)]) == [1.0]


def test_unsatisfiable_rows_are_left_out_and_counted() -> None:
    items = [groups(hydroxyl=1), groups(carboxyl=1), groups(1)]
    said = measure(metric("tomg:FunctionalGroup"), items, ["CO", "CC(=O)O", "CO"])
    assert said.values == [1.0, 0.0, 0.0]
    assert score_measured(metric("tomg:FunctionalGroup"), said).value == 0.5
    assert said.secondary["unsatisfiable"] == 1.0
    assert said.secondary["success/upstream"] == pytest.approx(1 / 3)
    alone = measure(metric("tomg:FunctionalGroup"), items[1:2], ["CC(=O)O"])
    assert score_measured(metric("tomg:FunctionalGroup"), alone).value == 0.0


def test_the_whole_task_is_the_mean_of_its_sub_tasks() -> None:
    logp = {**change("CCO", "a higher LogP"), "subtask": "LogP"}
    items = [{**atoms(carbon=1), "subtask": "AtomNum"}, logp, logp, logp]
    scorer = metric("tomg")
    assert isinstance(scorer, PooledMetric)
    said = measure(scorer, items, ["CC", "CCCO", "CCCO", "C -- x"])
    assert said.values == [0.0, 1.0, 1.0, 1.0]  # methane has a higher LogP than ethanol
    assert score_measured(scorer, said).value == 0.5
    assert scorer.aggregate(said.values) == 0.75
    assert (said.secondary["success AtomNum"], said.secondary["success LogP"]) == (0.0, 1.0)
    assert said.secondary["success/upstream"] == 0.5
    assert said.counts is not None and said.counts.shape == (4, 18)
    assert said.counts[0].tolist() == [0.0] * 9 + [1.0] + [0.0] * 8
    totals = np.stack([said.counts.sum(axis=0), said.counts[:1].sum(axis=0), np.zeros(18)])
    assert scorer.pooled(totals).tolist() == [0.5, 0.0, 0.0]


def test_further_figures() -> None:
    row = change("CCO", "a higher LogP")
    said = measure(metric("tomg:LogP"), [row] * 4, ["CCCO", "OCCC", "no molecule", "CCO.CCCC"]).secondary
    near = smiles.similarity(smiles.parse("CCCO"), smiles.parse("CCO"))
    far = smiles.similarity(smiles.parse("CCO.CCCC"), smiles.parse("CCO"))
    assert 0 < near < 1
    assert said["validity"] == 0.75
    assert said["uniqueness"] == pytest.approx(2 / 3)
    assert said["disconnected"] == pytest.approx(1 / 3)
    assert said["similarity"] == pytest.approx((2 * near + far) / 3)
    assert said["weighted_success"] == pytest.approx((2 * near + far) / 4)
    toluquinone = "CC1=CC(=O)C=CC1=O"  # the first of the NCI molecules
    known = measure(metric("tomg:LogP"), [row] * 2, [toluquinone, "CC(C)C(CCCN)C1CC1CCS"]).secondary
    assert known["novelty"] == 0.5
    nothing = measure(metric("tomg:LogP"), [row], ["no molecule"]).secondary
    assert set(nothing.values()) == {0.0}
    custom = measure(metric("tomg:AtomNum"), [atoms(carbon=1)] * 2, ["C", "CC"]).secondary
    assert (custom["weighted_success"], custom["similarity"]) == (0.5, 0.0)


def test_wrong_rows_are_one_clear_error() -> None:
    with pytest.raises(InputError, match="unknown subtask 'Atoms'"):
        metric("tomg:Atoms")
    with pytest.raises(InputError, match="row 7 has no column 'subtask'"):
        TomgSuccess().score_items([{"id": "7"}], ["C"])
    with pytest.raises(InputError, match="row 7: unknown subtask 'Bonds'"):
        TomgSuccess().score_items([{"id": "7", "subtask": "Bonds"}], ["C"])
    for subtask, row, column in [
        ("AtomNum", atoms(), "selenium"),
        ("BondNum", bonds(), "rotatable"),
        ("FunctionalGroup", groups(), "borane"),
        ("AddComponent", add("C", "halo"), "added_group"),
        ("DelComponent", remove("C", "halo"), "molecule"),
        ("SubComponent", swap("C", "halo", "thiol"), "removed_group"),
        ("QED", change("C", "lower"), "Instruction"),
    ]:
        del row[column]
        for upstream in (True, False):
            with pytest.raises(InputError, match=f"row 7 has no column '{column}'"):
                TomgSuccess(subtask, upstream).score_items([{**row, "id": "7"}], ["C"])
    with pytest.raises(InputError, match="'carbon' must hold a whole number, not 'two'"):
        TomgSuccess("AtomNum").score_items([{**atoms(), "carbon": "two"}], ["C"])
    with pytest.raises(InputError, match="names no group that can be counted: 'ether'"):
        TomgSuccess("AddComponent").score_items([add("C", "ether")], ["C"])


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text("CNO()[]{}=->:\"' molecuI1.*", max_size=40), st.booleans())
def test_any_answer_gets_a_score(answer: str, upstream: bool) -> None:
    scorer = TomgSuccess("QED", upstream)
    assert scorer.score_items([change("CCO", "lower")], [answer])[0] in (0.0, 1.0)
    assert corrected(answer) == "" or smiles.parse(corrected(answer)) is not None
