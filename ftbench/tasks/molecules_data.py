"""The files of the `molecules` task: specifications of real molecules, and of ones put together by rule."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...evaluation.metrics.molecules import KINDS, counts
from ...evaluation.metrics.smiles import canonical, parse
from ...files import fingerprint, write_jsonl

Row = dict[str, Any]

LONGEST_SMILES = 44
"""Characters; no token is shorter than one, so that every reference fits into the answer's 48 tokens."""
MOST_ATOMS = 30
ITEM_ATOMS = 16
ITEM_WORDS = 9
"""Specifications share their wording: the gate would take longer ones for near-duplicates of each other."""

CORES = (
    *("C{}", "CC{}", "C({})C{}", "C({})CC{}", "CC({})C{}", "C({})CCC{}", "C=CC({}){}", "C({})C({})C{}"),
    *("c1ccc({})cc1", "c1cc({})ccc1{}", "c1c({})ccc({})c1{}", "C1CCC({})CC1{}", "c1cc({})ncc1{}"),
    "c1cc({})sc1{}",
)
LINKS = ("", "", "C", "CC", "OC")
ENDS = (
    *("O", "O", "N", "N", "C(=O)O", "C=O", "C(C)=O", "C(=O)OC", "C(N)=O", "NC(C)=O", "[N+](=O)[O-]", "C#N"),
    *("F", "Cl", "Br", "I", "S", "SC", "S(C)(=O)=O", "c1ccccc1", "C", "CC"),
)
"""A molecule made by rule is a core whose open places get a link and an end each."""


@dataclass(frozen=True)
class MoleculeSizes:
    """Rows of the two evaluation files and of the source made by rule."""

    dev: int
    test: int
    assembled: int
    small: int
    """Heavy atoms of the largest molecules in `nci_small`."""


def build(molecules: Path, sizes: MoleculeSizes, folder: Path) -> None:
    """Write every file of the task into `folder`, from a file whose lines begin with a SMILES."""
    lines = molecules.read_text(encoding="utf-8").splitlines()
    rows = specifications("nci", (line.split()[0] for line in lines if line.strip()))
    dev, test, pool = split(rows, sizes)
    specs = {row["spec"] for row in [*dev, *test]}
    made = [row for row in specifications("assembled", assemble(sizes.assembled)) if row["spec"] not in specs]
    write_jsonl(folder / "dev.jsonl", dev)
    write_jsonl(folder / "test.jsonl", test)
    write_jsonl(folder / "nci.jsonl", [row for row in pool if row["heavy_atoms"] > sizes.small])
    write_jsonl(folder / "nci_small.jsonl", [row for row in pool if row["heavy_atoms"] <= sizes.small])
    write_jsonl(folder / "assembled.jsonl", made)


def specifications(name: str, smiles: Iterable[str]) -> list[Row]:
    """A row for the atoms and one for the groups (if it has any) of each different molecule of one piece."""
    rows, seen = [], set()
    for text in smiles:
        molecule = parse(text)
        if molecule is None:
            continue
        form = canonical(molecule)
        fits = "." not in form and len(form) <= LONGEST_SMILES and molecule.GetNumHeavyAtoms() <= MOST_ATOMS
        if form in seen or not fits:
            continue
        seen.add(form)
        for kind in KINDS:
            target = counts(molecule, kind)
            if target:
                rows.append(
                    {
                        "id": f"{name}-{len(seen)}-{kind}",
                        "kind": kind,
                        "spec": describe(kind, target),
                        "target": json.dumps(target),
                        "molecule": form,
                        "heavy_atoms": molecule.GetNumHeavyAtoms(),
                    }
                )
    return rows


def describe(kind: str, target: dict[str, int]) -> str:
    """Counts as the prompt states them: '6 carbon, 1 oxygen atoms', '2 benzene rings, 1 nitro groups'."""
    stated = ", ".join(f"{number} {name}" for name, number in target.items())
    return re.sub(r"\b([2-9]|\d\d+) benzene ring\b", r"\1 benzene rings", f"{stated} {kind}")


def split(rows: Sequence[Row], sizes: MoleculeSizes) -> tuple[list[Row], list[Row], list[Row]]:
    """Dev, test and pool, which share neither a specification nor a reference molecule.

    Specifications are taken in the order of their hash, half of each kind; each gives one item.
    """
    wanted = {kind: [*["test"] * (sizes.test // 2), *["dev"] * (sizes.dev // 2)] for kind in KINDS}
    taken: dict[str, list[Row]] = {"dev": [], "test": []}
    specs: set[str] = set()
    molecules: set[str] = set()
    for row in sorted(rows, key=lambda row: (fingerprint(row["spec"]), fingerprint(row["molecule"]))):
        fits = row["heavy_atoms"] <= ITEM_ATOMS and len(row["spec"].split()) <= ITEM_WORDS
        if fits and wanted[row["kind"]] and row["spec"] not in specs and row["molecule"] not in molecules:
            taken[wanted[row["kind"]].pop()].append(row)
            specs.add(row["spec"])
            molecules.add(row["molecule"])
    pool = [row for row in rows if row["spec"] not in specs and row["molecule"] not in molecules]
    return taken["dev"], taken["test"], pool


def assemble(count: int) -> list[str]:
    """SMILES of molecules put together from a core with a link and an end at each open place."""
    chance = random.Random(0)
    made = []
    for _ in range(count):
        smiles = chance.choice(CORES)
        while "{}" in smiles:
            smiles = smiles.replace("{}", chance.choice(LINKS) + chance.choice(ENDS), 1)
        made.append(smiles)
    return made
