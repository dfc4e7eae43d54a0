"""Functions of the row language on molecules, which RDKit reads and writes as SMILES."""

from __future__ import annotations

from ...evaluation.metrics import smiles
from ...training.data.expressions.row_functions import RowFunction
from ...training.data.expressions.row_values import RowError, Value

LONGEST = 300
"""Characters of a SMILES that is read."""
MOST_VARIANTS = 32


def smiles_canonical(text: str) -> Value:
    """The canonical SMILES of a molecule; null if the text is none."""
    molecule = _read(text)
    return None if molecule is None else smiles.canonical(molecule)


def smiles_atoms(text: str) -> Value:
    """The number of atoms of each element that is there, as an object; null if the text is no SMILES."""
    molecule = _read(text)
    return None if molecule is None else _present(smiles.atom_counts(molecule))


def smiles_groups(text: str) -> Value:
    """The number of functional groups of each name that is there, as an object; null if the text is no SMILES."""
    molecule = _read(text)
    return None if molecule is None else _present(smiles.group_counts(molecule))


def smiles_variants(text: str, number: int) -> list[str]:
    """Up to so many different SMILES of one molecule, always the same ones; an empty list if the text is none."""
    molecule = _read(text)
    if not 1 <= number <= MOST_VARIANTS:
        raise RowError(f"smiles_variants() writes 1 to {MOST_VARIANTS}")
    if molecule is None:
        return []
    from rdkit.Chem import MolToRandomSmilesVect

    return sorted(set(MolToRandomSmilesVect(molecule, number, randomSeed=1)))


def _read(text: str) -> Value:
    if len(text) > LONGEST:
        raise RowError(f"a SMILES has at most {LONGEST} characters here")
    return smiles.parse(text)


def _present(counts: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}


SMILES_CANONICAL = RowFunction(smiles_canonical, work=200, packages=("rdkit",), modules=(smiles,))
SMILES_ATOMS = RowFunction(smiles_atoms, work=200, packages=("rdkit",), modules=(smiles,))
SMILES_GROUPS = RowFunction(smiles_groups, work=500, packages=("rdkit",), modules=(smiles,))
SMILES_VARIANTS = RowFunction(smiles_variants, work=2_000, packages=("rdkit",), modules=(smiles,))
