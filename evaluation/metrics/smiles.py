"""Molecules written as SMILES: what RDKit reads, counts and compares in them.

The 17 elements, the SMARTS of the groups, the kinds of bonds, the properties and the similarity are those of
TOMG-Bench (Li et al., "TOMG-Bench: Evaluating LLMs on Text-based Open Molecule Generation", arXiv 2412.14642,
https://github.com/phenixace/TOMG-Bench at 692f6b1, `utils/evaluation.py`), so that every count here equals
theirs. RDKit is imported at the first call; without it every function raises InputError.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import InputError

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
    "sulfide": "[#16X2H0]",  # less the disulfides, see `group_count`
    "disulfide": "[#16X2H0][#16X2H0]",
    "sulfoxide": "[$([#16X3]=[OX1]),$([#16X3+][OX1-])]",
    "sulfone": "[$([#16X4](=[OX1])=[OX1]),$([#16X4+2]([OX1-])[OX1-])]",
    "borane": "[BX3]",
}

THIOETHER = "thioether"
UNCHECKED_GROUPS = {THIOETHER: "[SX2][CX4]"}
"""Upstream knows it, and compares it in edits alone."""

BONDS = ("single", "double", "triple", "rotatable", "aromatic")
PROPERTIES = {"LogP": "MolLogP", "MR": "MolMR", "QED": "qed"}
"""RDKit's descriptor of each."""

LONGEST = 5000
"""Characters of the longest SMILES that is read: RDKit's `MolToSmiles` ends the process for a chain of 20 000 atoms."""

_RADIUS, _BITS = 2, 2048


def parse(smiles: Any) -> Any:
    """The RDKit molecule of a SMILES; None for what is none, blank, too long or no text.

    Text after a space is a name, as in RDKit.
    """
    if not isinstance(smiles, str) or not smiles.strip() or len(smiles) > LONGEST:
        return None
    chem, blocked = _rdkit()
    with blocked():
        try:
            return chem.MolFromSmiles(smiles)
        except Exception:  # text that UTF-8 can't hold; Boost's error has no class of its own
            return None


def canonical(molecule: Any) -> str:
    """The one SMILES that stands for a molecule, however it was written."""
    return str(_rdkit()[0].MolToSmiles(molecule))


def atom_counts(molecule: Any) -> dict[str, int]:
    """Atoms of each of the 17 elements; hydrogen and the others are not counted."""
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return {name: numbers.count(number) for name, number in ATOMS.items()}


def bond_counts(molecule: Any) -> dict[str, int]:
    """Bonds of each type; an aromatic bond is neither single nor double, a rotatable one is single, too."""
    types = [str(bond.GetBondType()) for bond in molecule.GetBonds()]
    found = {name: types.count(name.upper()) for name in BONDS}
    return {**found, "rotatable": int(_descriptors().NumRotatableBonds(molecule))}


def group_counts(molecule: Any) -> dict[str, int]:
    """Matches of each of the 18 groups."""
    return {name: group_count(molecule, name) for name in GROUPS}


def group_count(molecule: Any, name: str) -> int:
    """Matches of one group, at most RDKit's 1 000. Raises KeyError for a name that is none."""
    found = len(molecule.GetSubstructMatches(_patterns()[name]))
    return found - group_count(molecule, "disulfide") if name == "sulfide" else found


def property_value(molecule: Any, name: str) -> float:
    """LogP and MR after Wildman and Crippen, QED after Bickerton. Raises KeyError for any other name.

    NaN where RDKit cannot compute it: QED of thousands of atoms.
    """
    try:
        return float(getattr(_descriptors(), PROPERTIES[name])(molecule))
    except OverflowError:
        return math.nan


def similarity(one: Any, other: Any) -> float:
    """Tanimoto similarity of Morgan fingerprints (radius 2, 2 048 bits), 0…1."""
    generator, tanimoto = _fingerprints()
    return float(tanimoto(generator.GetFingerprint(one), generator.GetFingerprint(other)))


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
    return {name: chem.MolFromSmarts(smarts) for name, smarts in {**GROUPS, **UNCHECKED_GROUPS}.items()}


@cache
def _descriptors() -> Any:
    _rdkit()
    from rdkit.Chem import Descriptors

    return Descriptors


@cache
def _fingerprints() -> tuple[Any, Any]:
    """The generator of fingerprints and the function that compares two."""
    _rdkit()
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
    from rdkit.DataStructs import TanimotoSimilarity

    return GetMorganGenerator(radius=_RADIUS, fpSize=_BITS), TanimotoSimilarity


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
