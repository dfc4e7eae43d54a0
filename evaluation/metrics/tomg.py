"""TOMG-Bench and its successor S²-Bench: molecules made, edited and improved as an instruction says.

Li et al., "TOMG-Bench: Evaluating LLMs on Text-based Open Molecule Generation" / "Speak-to-Structure", arXiv
2412.14642. Scorer: `evaluate.py`, `utils/evaluation.py` and `correct.py` of
https://github.com/phenixace/TOMG-Bench (692f6b1). Success of a valid SMILES, everything else being 0:

    AtomNum                         the counts of all 17 elements equal the row's, zeros included
    BondNum                         the counts of bonds equal those of the row that are not zero
    FunctionalGroup                 the counts of 18 groups equal the row's, zeros included; not `thioether`
    AddComponent, DelComponent      the group occurs once more, or once less, than in the row's molecule
    SubComponent                    both: one removed, one added
    LogP, MR, QED                   strictly lower than the row's molecule where the instruction asks so, else higher

The task's score is the mean of its sub-tasks' (the README's average). `tomg_answer.py` reads the answers.

`tomg/upstream` is what TOMG-Bench's two programs give, `correct.py` and then `evaluate.py`, with the files of
comma-separated values between them: an empty text is read back as a missing value, so that `{"molecule": ""}` is
invalid. What breaks a whole run there scores 0 for its row: a molecule that is white space alone, a carriage return,
a SMILES that RDKit does not survive, and a row whose own molecule is none. It is not the program of the successor, https://github.com/phenixace/S2-TOMG-Bench
(`evaluate.py --correct` at df70b90), which counts alike but reads answers in another way: predictions in JSON that are
empty, white space or a lone arrow are valid there, and JSON without the key `molecule` is invalid.

`tomg` is corrected:
* Answers are read robustly, and an instruction may ask for 'Lower' in any case.
* A property must change by more than a rounding error: RDKit sums in the order of the atoms, so that `OCC`
  officially has a lower LogP than `CCO`.
* The benzene column may be called `benzene_ring`, as in OpenCompass's port
  (`opencompass/datasets/s2_tomg_bench.py` at a5acc4b).
* Rows that no molecule can satisfy are left out of the score; `unsatisfiable` counts them. They ask
  for fewer hydroxyls than carboxyls (the pattern of the first counts the second, too), or for one or two
  disulfides and no sulfide (a chain of sulfur has one bond less than it has atoms; only a ring, of three or
  more, has as many), or they take a group from a molecule that has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import InputError
from ..task import Item
from . import smiles, tomg_answer
from .columns import column, column_text, one_of, row_name, shown
from .measure import mean
from .metric_example import MetricExample
from .protocol import UPSTREAM, Counts
from .smiles import ATOMS, BONDS, GROUPS, PROPERTIES, UNCHECKED_GROUPS

BENZENE = "benzene ring"
BENZENE_COLUMN = "benzene rings"
BENZENE_ALIASES = (BENZENE_COLUMN, "benzene_ring")
EDITS = {
    "AddComponent": (("added_group", 1),),
    "DelComponent": (("removed_group", -1),),
    "SubComponent": (("removed_group", -1), ("added_group", 1)),
}
"""The columns that name a group, and by how much its count must change."""
ROUNDING = 1e-6
"""Properties that differ by less are the same."""
SUBTASKS = ("AtomNum", "BondNum", "FunctionalGroup", *EDITS, *PROPERTIES)


@dataclass(frozen=True)
class MoleculeRequest:
    """What a row asks for: counts by name, or a property that is to change in one direction."""

    subtask: str
    target: tuple[tuple[str, int], ...] = ()
    source: Any = None
    """The molecule to start from; None where there is none, or it is no molecule."""
    lower: bool = False
    margin: float = 0.0
    """By how much more than this a property must change."""

    @property
    def starts_somewhere(self) -> bool:
        """Whether the sub-task changes a given molecule."""
        return self.subtask in EDITS or self.subtask in PROPERTIES

    @cached_property
    def satisfiable(self) -> bool:
        """Whether any molecule could succeed, as far as the row itself tells."""
        if self.starts_somewhere and self.source is None:
            return False
        if self.subtask not in EDITS and self.subtask != "FunctionalGroup":
            return True
        wanted = dict(self.target)
        acid = wanted.get("hydroxyl", np.inf) >= wanted.get("carboxyl", 0)
        sulfur = wanted.get("sulfide") != 0 or wanted.get("disulfide") not in (1, 2)
        consistent = len(wanted) == len(self.target)  # else one group is to be added and removed
        return acid and sulfur and consistent and min(wanted.values()) >= 0

    def met_by(self, molecule: Any) -> bool:
        """Whether a molecule is what was asked for."""
        if self.starts_somewhere and self.source is None:
            return False
        if self.subtask in PROPERTIES:
            value, start = (smiles.property_value(m, self.subtask) for m in (molecule, self.source))
            gain = start - value if self.lower else value - start
            return gain > self.margin
        if self.subtask == "AtomNum":
            found = smiles.atom_counts(molecule)
        elif self.subtask == "BondNum":
            found = smiles.bond_counts(molecule)
        else:
            return all(smiles.group_count(molecule, name) == number for name, number in self.target)
        return all(found[name] == number for name, number in self.target)


@dataclass(frozen=True)
class JudgedMolecule:
    """What became of one answer."""

    subtask: str
    success: bool
    satisfiable: bool
    counted: bool
    """False for a row that is left out of the score."""
    molecule: Any
    similarity: float | None
    """To the row's molecule; None without one, or without a valid answer."""

    @property
    def weighted(self) -> float:
        """Success times similarity where a molecule is changed, as OpenCompass weighs it; else success."""
        return float(self.success) * (1.0 if self.similarity is None else self.similarity)


class TomgSuccess:
    """1 for a molecule that is what the row asks for, else 0; over sub-tasks, the mean of their shares.

    Rows carry upstream's columns; without `subtask` also one of that name. `rows` is 0 for what is left out of
    the score; an aggregate over no counted row is 0. Raises InputError for an unknown sub-task, a row that
    lacks a column, or one that can't be read.

    `secondary`, where what has nothing to be a share of is 0:
    * `validity`: the share of answers that are molecules; `uniqueness`: of different ones among the valid.
    * `novelty`: the share of the different ones that are not in the NCI collection RDKit ships. Upstream's
      compares fingerprints with ZINC250k, a file it doesn't ship.
    * `disconnected`: the share of the valid ones that are in several pieces. An edit that only sets a new piece
      beside the old molecule succeeds, upstream and here.
    * `similarity`: Morgan and Tanimoto, the mean over valid answers to rows that give a molecule.
    * `weighted_success`: OpenCompass's, success times similarity for edits and properties, else success.
    * `unsatisfiable`: the number of such rows.
    * Each sub-task's success where there may be several; in the corrected form 'success/upstream', the official.
    """

    aggregate = staticmethod(mean)  # of values; the score is pooled from counts

    examples = (
        MetricExample(
            answer="CC=O",
            columns={
                "subtask": "DelComponent",
                "Instruction": "Remove a hydroxyl from the molecule.",
                "molecule": "OCC=O",
                "removed_group": "hydroxyl",
            },
            value=1,
        ),
    )

    def __init__(self, subtask: str | None = None, upstream: bool = False) -> None:
        self._subtask = None if subtask is None else one_of(subtask, SUBTASKS, "tomg")
        self._upstream = upstream

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return f"success{UPSTREAM}" if self._upstream else "success"

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1.0 or 0.0 per item."""
        return [float(verdict.success) for verdict in self._judge(items, predictions)]

    def counts(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Per item its successes by sub-task, then its rows by sub-task: shape (n, 2k)."""
        return self._counts(self._judge(items, predictions))

    def pooled(self, totals: Counts) -> Counts:
        """The mean over the sub-tasks that occur of their shares of successes."""
        successes, seen = np.split(np.asarray(totals, dtype=float), 2, axis=-1)
        shares = np.divide(successes, seen, out=np.zeros_like(successes), where=seen > 0)
        score: Counts = shares.sum(axis=-1) / np.maximum((seen > 0).sum(axis=-1), 1)
        return score

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        verdicts = self._judge(items, predictions)
        valid = [smiles.canonical(v.molecule) for v in verdicts if v.molecule is not None]
        different = set(valid)
        alike = [v.similarity for v in verdicts if v.similarity is not None]
        weights = self._counts(verdicts)
        half = weights.shape[1] // 2
        weights[:, :half] *= np.array([[v.weighted] for v in verdicts]).reshape(-1, 1)
        figures = {
            "validity": _share(len(valid), len(verdicts)),
            "uniqueness": _share(len(different), len(valid)),
            "novelty": _share(len(different - smiles.nci_collection()), len(different)) if different else 0.0,
            "disconnected": _share(sum("." in text for text in valid), len(valid)),
            "similarity": _share(sum(alike), len(alike)),
            "weighted_success": float(self.pooled(weights.sum(axis=0))),
            "unsatisfiable": float(sum(not v.satisfiable for v in verdicts)),
        }
        for subtask in SUBTASKS if self._subtask is None else ():
            mine = [v.success for v in verdicts if v.counted and v.subtask == subtask]
            if mine:
                figures[f"success {subtask}"] = sum(mine) / len(mine)
        if not self._upstream:
            official = TomgSuccess(self._subtask, upstream=True)
            totals = official.counts(items, predictions).sum(axis=0)
            figures[official.name] = float(official.pooled(totals))
        return figures

    def _counts(self, verdicts: Sequence[JudgedMolecule]) -> Counts:
        columns = SUBTASKS if self._subtask is None else (self._subtask,)
        seen = np.array(
            [[v.counted and v.subtask == name for name in columns] for v in verdicts], dtype=float
        )
        seen = seen.reshape(-1, len(columns))
        successes = seen * np.array([float(v.success) for v in verdicts]).reshape(-1, 1)
        return np.hstack([successes, seen])

    def _judge(self, items: Sequence[Item], predictions: Sequence[str]) -> list[JudgedMolecule]:
        return [self._judged(item, answer) for item, answer in zip(items, predictions, strict=True)]

    def _judged(self, item: Item, answer: str) -> JudgedMolecule:
        request = read_request(item, self._subtask, self._upstream)
        read = tomg_answer.official if self._upstream else tomg_answer.corrected
        molecule = smiles.parse(read(answer))
        counted = self._upstream or request.satisfiable
        alike = None
        if molecule is not None and request.source is not None:
            alike = smiles.similarity(molecule, request.source)
        return JudgedMolecule(
            subtask=request.subtask,
            success=counted and molecule is not None and request.met_by(molecule),
            satisfiable=request.satisfiable,
            counted=counted,
            molecule=molecule,
            similarity=alike,
        )


def read_request(
    row: Mapping[str, Any], subtask: str | None = None, upstream: bool = False
) -> MoleculeRequest:
    """What a row asks for; `subtask` defaults to its own column. Raises InputError as `TomgSuccess` does."""
    task = subtask or one_of(column(row, "subtask", "tomg"), SUBTASKS, row_name(row))
    if task == "AtomNum":
        return MoleculeRequest(task, tuple((name, _number(row, name)) for name in ATOMS))
    if task == "BondNum":
        wanted = [(name, _number(row, name)) for name in BONDS]
        return MoleculeRequest(task, tuple((name, number) for name, number in wanted if number))
    if task == "FunctionalGroup":
        benzene = BENZENE_COLUMN
        if not upstream:
            benzene = next((name for name in BENZENE_ALIASES if name in row), benzene)
        columns = {BENZENE: benzene}
        return MoleculeRequest(task, tuple((name, _number(row, columns.get(name, name))) for name in GROUPS))
    source = smiles.parse(column(row, "molecule", "tomg"))
    if task in PROPERTIES:
        instruction = column_text(row, "Instruction", "tomg")
        wording = instruction if upstream else instruction.casefold()
        lower = "lower" in wording or "decrease" in wording
        return MoleculeRequest(task, source=source, lower=lower, margin=0.0 if upstream else ROUNDING)
    changes = [(_group(row, name), change) for name, change in EDITS[task]]
    if source is None:
        return MoleculeRequest(task)
    return MoleculeRequest(
        task, tuple((name, smiles.group_count(source, name) + change) for name, change in changes), source
    )


def _number(row: Mapping[str, Any], name: str) -> int:
    value = column(row, name, "tomg")
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{row_name(row)}: column {name!r} must hold a whole number, not {shown(value)}"
        ) from error


def _group(row: Mapping[str, Any], name: str) -> str:
    """The group a row names; 'benzene_ring' is written for 'benzene ring', as upstream's own rows do."""
    group = column_text(row, name, "tomg").replace("benzene_ring", BENZENE)
    if group not in GROUPS and group not in UNCHECKED_GROUPS:
        raise InputError(
            f"{row_name(row)}: column {name!r} names no group that can be counted: {shown(group)}"
        )
    return group


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0
