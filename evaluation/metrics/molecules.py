"""Molecules that satisfy stated counts, scored with RDKit as TOMG-Bench's MolCustom tasks are.

Li et al., "TOMG-Bench: Evaluating LLMs on Text-based Open Molecule Generation", 2024;
https://github.com/phenixace/TOMG-Bench (`evaluate.py`, `correct.py`). The rules of extraction are theirs, as
are the elements and groups counted (`smiles.py`). We differ in two points: an empty answer is
invalid (RDKit reads it as a molecule without atoms), and an outer pair of brackets is only taken off if the
answer is no molecule with it (`[NH3+]CC(=O)[O-]` is one).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import InputError
from ..task import Item
from .columns import column, row_name, shown
from .measure import mean
from .metric_example import MetricExample
from .smiles import ATOMS, GROUPS, atom_counts, canonical, group_counts, nci_collection, parse

KINDS = ("atoms", "groups")


class MoleculeSuccess:
    """1 for a valid SMILES whose counts all equal the item's, those not stated being 0; else 0.

    Items carry `kind` ('atoms' or 'groups') and `target`, a JSON object of counts by name. `secondary`: validity
    (share of answers that are molecules), uniqueness (share of different ones among the valid) and novelty
    (share of the different ones that are not in the NCI collection RDKit ships). Without a valid answer both
    are 0.
    """

    aggregate = staticmethod(mean)

    examples = (
        MetricExample(
            answer="CCO", columns={"kind": "atoms", "target": '{"carbon": 2, "oxygen": 1}'}, value=1
        ),
    )

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return "success"

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1.0 or 0.0 per item. Raises InputError if an item states its target wrongly."""
        scores = []
        for item, answer in zip(items, predictions, strict=True):
            kind, target = _target(item)
            molecule = parse(extract(answer))
            scores.append(float(molecule is not None and counts(molecule, kind) == target))
        return scores

    def reward_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1 for a success; else half of the share of stated and found counts that agree, 0 if no molecule is written.

        Of stated counts s and found counts f that share is 1 - Σ|s - f| / Σ(s + f). An answer of several molecules
        (`C.C.C.O`) has the reward 0 unless the row's own answer has several, although its counts may be right.
        """
        rewards = []
        for item, answer in zip(items, predictions, strict=True):
            kind, target = _target(item)
            smiles = extract(answer)
            molecule = parse(smiles)
            if molecule is None or ("." in smiles and "." not in str(item.get("reference") or "")):
                rewards.append(0.0)
                continue
            found = counts(molecule, kind)
            names = found.keys() | target.keys()
            apart = sum(abs(found.get(name, 0) - target.get(name, 0)) for name in names)
            total = sum(found.values()) + sum(target.values())
            rewards.append(1.0 if not apart else 0.5 * (1 - apart / total))
        return rewards

    def degenerate(self, answer: str, reference: str) -> str:
        """What is wrong with a right answer: several molecules (`C.C.C.O`) have the counts of one."""
        return "are several molecules" if "." in extract(answer) and "." not in reference else ""

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
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
    except (ValueError, KeyError, RecursionError):
        return text.partition(":")[2].strip("} \n").strip('" ')
    return value if isinstance(value, str) else ""


def counts(molecule: Any, kind: str) -> dict[str, int]:
    """How often each element or group occurs, without those that don't; `kind` is 'atoms' or 'groups'."""
    found = atom_counts(molecule) if kind == "atoms" else group_counts(molecule)
    return {name: number for name, number in found.items() if number}


def _target(item: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
    """The kind and the counts an item asks for, zeros left out. Raises InputError for a row that states no counts."""
    where, kind = row_name(item), column(item, "kind", "molecules")
    if kind not in KINDS:
        raise InputError(f"{where}: `kind` must be one of {', '.join(KINDS)}, not {shown(kind)}")
    known = ATOMS if kind == "atoms" else GROUPS
    try:
        target = json.loads(column(item, "target", "molecules"))
        if not target.keys() <= known.keys():
            raise InputError(f"{where}: `target` must name counts among {', '.join(known)}")
        return kind, {name: int(number) for name, number in target.items() if number}
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{where}: `target` must be a JSON object of counts, not {shown(item['target'])}"
        ) from error
