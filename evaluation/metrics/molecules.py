"""Molecules that satisfy stated counts, scored with RDKit as TOMG-Bench's MolCustom tasks are.

Li et al., "TOMG-Bench: Evaluating LLMs on Text-based Open Molecule Generation", 2024;
https://github.com/phenixace/TOMG-Bench (`evaluate.py`, `utils/evaluation.py`, `correct.py`). The elements,
the SMARTS of the groups and the rules of extraction are theirs. We differ in two points: an empty answer is
invalid (RDKit reads it as a molecule without atoms), and an outer pair of brackets is only taken off if the
answer is no molecule with it (`[NH3+]CC(=O)[O-]` is one).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import InputError, TrexError
from ..task import Item

ATOMS = {
    "carbon": 6,
    "oxygen": 8,
    "nitrogen": 7,
    "sulfur": 16,
    "fluorine": 9,
    "chlorine": 17,
    "bromine": 35,
    "iodine": 53,
    "phosphorus": 15,
    "boron": 5,
    "silicon": 14,
    "selenium": 34,
    "tellurium": 52,
    "arsenic": 33,
    "antimony": 51,
    "bismuth": 83,
    "polonium": 84,
}

GROUPS = {
    "benzene ring": "[cR1]1[cR1][cR1][cR1][cR1][cR1]1",
    "hydroxyl": "[OX2H]",  # of acids, too
    "anhydride": "[CX3](=[OX1])[OX2][CX3](=[OX1])",
    "aldehyde": "[CX3H1](=O)[#6]",
    "ketone": "[#6][CX3](=O)[#6]",
    "carboxyl": "[CX3](=O)[OX2H1]",
    "ester": "[#6][CX3](=O)[OX2H0][#6]",
    "amide": "[NX3][CX3](=[OX1])[#6]",
    "amine": "[NX3;H2,H1;!$(NC=O)]",  # primary or secondary
    "nitro": "[$([NX3](=O)=O),$([NX3+](=O)[O-])][!#8]",
    "halo": "[F,Cl,Br,I]",
    "nitrile": "[NX1]#[CX2]",
    "thiol": "[#16X2H]",
    "sulfide": "[#16X2H0]",  # less the disulfides, see `group_counts`
    "disulfide": "[#16X2H0][#16X2H0]",
    "sulfoxide": "[$([#16X3]=[OX1]),$([#16X3+][OX1-])]",
    "sulfone": "[$([#16X4](=[OX1])=[OX1]),$([#16X4+2]([OX1-])[OX1-])]",
    "borane": "[BX3]",
}

KINDS = ("atoms", "groups")


class MoleculeSuccess:
    """1 for a valid SMILES whose counts all equal the item's, those not stated being 0; else 0.

    Items carry `kind` ('atoms' or 'groups') and `target`, a JSON object of counts by name. `extras`: validity
    (share of answers that are molecules), uniqueness (share of different ones among the valid) and novelty
    (share of the different ones that are not in the NCI collection RDKit ships). Without a valid answer both
    are 0.
    """

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return "success"

    def rows(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1.0 or 0.0 per item. Raises TrexError if an item states its target wrongly."""
        scores = []
        for item, answer in zip(items, predictions, strict=True):
            kind, target = _target(item)
            molecule = parse(extract(answer))
            scores.append(float(molecule is not None and counts(molecule, kind) == target))
        return scores

    def aggregate(self, rows: Sequence[float]) -> float:
        """The share of successes."""
        return sum(rows) / len(rows)

    def extras(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """Validity, uniqueness, novelty, each in 0…1."""
        valid = [canonical(m) for m in map(parse, map(extract, predictions)) if m is not None]
        different = set(valid)
        return {
            "validity": len(valid) / len(predictions) if predictions else 0.0,
            "uniqueness": len(different) / len(valid) if valid else 0.0,
            "novelty": len(different - nci_collection()) / len(different) if different else 0.0,
        }


def extract(answer: str) -> str:
    """The SMILES in an answer: `molecule` of a JSON object if there is one, what follows the last arrow."""
    found = re.search(r"\{.*?\}", answer, re.DOTALL)
    text = _from_object(found.group()) if found else answer.replace("\n", " ").strip()
    for arrow in ("=>", "->"):
        text = text.split(arrow)[-1].strip()
    if not found and text.startswith("[") and text.endswith("]") and parse(text) is None:
        return text[1:-1]
    return text


def _from_object(braced: str) -> str:
    text = braced.replace('""', '"')
    try:
        value = json.loads(text)["molecule"]
    except (ValueError, KeyError):
        return text.partition(":")[2].strip("} \n").strip('" ')
    return value if isinstance(value, str) else ""


def parse(smiles: str) -> Any:
    """The RDKit molecule of a SMILES, or None if it is none. As in RDKit, text after a space is a name."""
    chem, blocked = _rdkit()
    if not smiles.strip():
        return None
    with blocked():
        return chem.MolFromSmiles(smiles)


def canonical(molecule: Any) -> str:
    """The one SMILES that stands for a molecule, however it was written."""
    return str(_rdkit()[0].MolToSmiles(molecule))


def counts(molecule: Any, kind: str) -> dict[str, int]:
    """How often each element or group occurs, without those that don't; `kind` is 'atoms' or 'groups'."""
    found = atom_counts(molecule) if kind == "atoms" else group_counts(molecule)
    return {name: number for name, number in found.items() if number}


def atom_counts(molecule: Any) -> dict[str, int]:
    """Atoms of each of the 17 elements; hydrogen and the others are not counted."""
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return {name: numbers.count(number) for name, number in ATOMS.items()}


def group_counts(molecule: Any) -> dict[str, int]:
    """Matches of each of the 18 groups."""
    found = {name: len(molecule.GetSubstructMatches(pattern)) for name, pattern in _patterns().items()}
    found["sulfide"] -= found["disulfide"]
    return found


@cache
def nci_collection() -> frozenset[str]:
    """Canonical SMILES of the 5 000 NCI molecules that RDKit ships: what a new molecule is compared with."""
    molecules = (parse(line.split()[0]) for line in nci_file().read_text(encoding="utf-8").splitlines())
    return frozenset(canonical(molecule) for molecule in molecules if molecule is not None)


def nci_file() -> Path:
    """RDKit's file of NCI molecules, `SMILES TAB number` a line."""
    _rdkit()
    from rdkit import RDConfig

    return Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"


@cache
def _patterns() -> dict[str, Any]:
    chem, _ = _rdkit()
    return {name: chem.MolFromSmarts(smarts) for name, smarts in GROUPS.items()}


@cache
def _rdkit() -> tuple[Any, Any]:
    """RDKit's chemistry, and the context that keeps its parser from writing to stderr."""
    try:
        from rdkit import Chem
        from rdkit.rdBase import BlockLogs
    except ImportError as error:
        raise InputError(
            "molecules are counted with RDKit, which is not installed: pip install 'trex-finetune[molecules]'"
        ) from error
    return Chem, BlockLogs


def _target(item: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
    """The kind and the counts an item asks for, zeros left out."""
    where = f"item {item.get('id', '?')}"
    try:
        kind, target = str(item["kind"]), json.loads(item["target"])
    except KeyError as error:
        raise TrexError(f"{where} has no column {error} that the molecules metric needs") from error
    except (TypeError, ValueError) as error:
        raise TrexError(f"{where}: `target` must be a JSON object of counts ({error})") from error
    if kind not in KINDS:
        raise TrexError(f"{where}: `kind` must be one of {', '.join(KINDS)}, not {kind!r}")
    known = ATOMS if kind == "atoms" else GROUPS
    if not isinstance(target, dict) or not target.keys() <= known.keys():
        raise TrexError(f"{where}: `target` must name counts among {', '.join(known)}")
    return kind, {name: int(number) for name, number in target.items() if number}
