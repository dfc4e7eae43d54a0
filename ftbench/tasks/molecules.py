"""Molecules to specification: similar to TOMG-Bench's MolCustom (AtomNum, FunctionalGroup), without a hub.

Source: the NCI molecules that RDKit ships (`RDDataDir/NCI/first_5K.smi`, public domain; RDKit: BSD-3-Clause).
Citation: Li et al., "TOMG-Bench: Evaluating LLMs on Text-based Open Molecule Generation", 2024.

A row (made up here); `molecule` is one of many right answers:
    {"id": "nci-7-groups", "kind": "groups", "spec": "1 benzene ring, 1 hydroxyl groups",
     "target": "{\"benzene ring\": 1, \"hydroxyl\": 1}", "molecule": "Oc1ccccc1", "heavy_atoms": 7}

Every specification is read off a molecule, so all can be met (a quarter of upstream's can't). Dev (200) and
test (300) are half `atoms`, half `groups`, from molecules of at most 16 heavy atoms; no source has a row with
the specification or the reference molecule of one of them. Sources: `nci` (over 12 heavy atoms), `nci_small`
(up to 12) and `assembled` (from fragments, by rule, counted by RDKit).
Scorer: `evaluation/metrics/molecules.py`, success if every count equals the stated one and all others are 0.
"""

from __future__ import annotations

from pathlib import Path

from ...evaluation.metrics import molecules as scorer
from ...evaluation.metrics import smiles
from ...evaluation.task import EMBEDDED_MODEL, TINY_MODEL, GenerationSettings, Prompt, Source, Task
from ...files import hash_file
from . import molecules_data
from .materialise import materialise
from .molecules_data import MoleculeSizes

SMOKE_DATA = Path(__file__).parent / "smoke_data" / "molecules.smi"
SOURCES = {
    "nci": ("Specifications of NCI molecules with 13 to 30 heavy atoms", False),
    "nci_small": ("Specifications of NCI molecules with at most 12 heavy atoms", False),
    "assembled": ("Molecules put together from fragments by rule, with the counts RDKit finds in them", True),
}


def load(smoke: bool = False) -> Task:
    """The task; with `smoke`, the same from 186 simple molecules written by hand, and a tiny model.

    Raises InputError if RDKit is not installed.
    """
    molecules = SMOKE_DATA if smoke else smiles.nci_file()
    if smoke:
        sizes = MoleculeSizes(dev=40, test=40, assembled=100, small=7)
    else:
        sizes = MoleculeSizes(dev=200, test=300, assembled=3000, small=12)
    folder = materialise(
        "molecules-smoke" if smoke else "molecules",
        [molecules_data, scorer, smiles],
        f"{sizes} {hash_file(molecules)}",
        lambda target: molecules_data.build(molecules, sizes, target),
    )
    licence = "Apache-2.0 (written for TREX)" if smoke else "public domain (NCI)"
    return Task(
        name="molecules",
        requirement="Write a molecule, as SMILES, that has exactly the stated atoms or functional groups.",
        base_model=TINY_MODEL if smoke else EMBEDDED_MODEL,
        sources=[
            Source(
                name=name,
                path=str(folder / f"{name}.jsonl"),
                description=description,
                licence="Apache-2.0" if synthetic else licence,
                synthetic=synthetic,
            )
            for name, (description, synthetic) in SOURCES.items()
        ],
        dev=folder / "dev.jsonl",
        test=folder / "test.jsonl",
        prompt=Prompt(system="Answer with one SMILES.", user="A molecule with {spec}.", answer="{molecule}"),
        metric="molecules",
        generation=GenerationSettings(
            max_new_tokens=24 if smoke else 48, max_prompt_tokens=128, batch_size=32
        ),
        answer_column="molecule",
        licence=licence,
        citation="Li et al., TOMG-Bench, 2024",
    )
