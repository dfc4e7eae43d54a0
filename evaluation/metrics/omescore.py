"""oMeScore: how well a written reaction mechanism follows the gold one, step by step.

Xu et al., "oMeBench", arXiv 2510.07731; https://github.com/skylarkie/oMeBench at 4ecae92 (`scripts/run.py` reads
the answer, `scripts/utils_eval.py` scores it). Both mechanisms are lists of (subtype, intermediate), gold steps
with weights that sum to 1. An alignment pairs steps in order:

- steps of one subtype gain the weight in `total` if the canonical SMILES are the same, and weight × similarity in
  `partial` if the Tanimoto similarity of their Morgan fingerprints (radius 2, 2048 bits) is at least 0.60;
- steps of two subtypes may be paired, and steps of either side skipped, for nothing;
- each cell takes the best of skip gold, skip predicted and pair by total, then partial, then pair of one subtype
  over pair of two over skip, then fewest steps without a partner of their subtype (1e-6 each), then in that order.

S_total and S_partial are the gains at the end, L the pairs of one subtype per gold step, V the predicted
intermediates that RDKit reads; each is rounded to 2 decimals, averaged over reactions and rounded to 3.

**oMeScore is S_partial**: the repository reports its models by that figure alone (the plot by mechanism length),
and the abstract says that oMeS "combines step-level logic and chemical similarity", which S_total does not.
`secondary` give V, L and S_total.

The upstream form takes what follows the first [ANSWER] up to [/ANSWER], a code fence off if it begins with
one, what stands between the first and the second 'is :' if there is one, and parses that as JSON; of an object
its `mechanism`. What is not a list, or has one step without subtype or readable intermediate text, scores 0 in
all four, as does a gold step without weight. A reader for base models alone, which searches for brackets, is
left out.

Corrected, with the reason:
- A sentence before or after the list, doubled braces as in upstream's prompt (`{{ "step": 1 … }}`), underscores
  escaped as in its `cot.txt`, fences in the middle and trailing commas made an answer worthless: the last list
  of steps in the answer counts, one inside [ANSWER] or after a `</think>` before others.
- An answer cut off at the length limit scored 0: the steps that are whole count, if no list is.
- One step without its keys zeroed the reaction: it is a step that matches nothing.
- Subtypes are compared without case, and 'migratory insertion' is 'migratory_insertion'.
- 'C=C (enolate)' scored in full, because RDKit takes what follows a space for a name: it is no SMILES.
- Rounding hides small gains from a search: the score is not rounded, and it is divided by the sum of weights.
Kept: further predicted steps cost nothing, as upstream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...errors import InputError
from ..task import Item
from .columns import row_name, shown
from .measure import mean
from .metric_example import MetricExample
from .smiles import canonical, parse

SIMILAR = 0.60
RADIUS = 2
BITS = 2048
PENALTY = 1e-6

_OPENING = re.compile(r"\[\s*\{|\{")
_SKIP, _OTHER_SUBTYPE, _SAME_SUBTYPE = 1, 2, 3


@dataclass(frozen=True)
class Structure:
    """What a SMILES stands for: `canonical` is '' and there is no fingerprint if it stands for nothing."""

    canonical: str = ""
    fingerprint: Any = None


@dataclass(frozen=True)
class MechanismStep:
    """A step of a mechanism; only gold steps weigh something."""

    subtype: Any
    structure: Structure
    weight: float = 0.0


@dataclass(frozen=True)
class Figures:
    """The four figures of a reaction, each in 0…1."""

    total: float = 0.0
    partial: float = 0.0
    valid: float = 0.0
    logic: float = 0.0

    def rounded(self) -> Figures:
        return Figures(*(round(value, 2) for value in (self.total, self.partial, self.valid, self.logic)))


@dataclass(frozen=True)
class _Cell:
    """The best alignment of two beginnings."""

    total: float = 0.0
    partial: float = 0.0
    rank: int = 0
    penalty: float = 0.0
    matches: int = 0

    @property
    def key(self) -> tuple[float, float, int, float]:
        return self.total, self.partial, self.rank, self.penalty

    def skip(self) -> _Cell:
        return _Cell(self.total, self.partial, _SKIP, self.penalty - PENALTY, self.matches)

    def pair(self, gold: MechanismStep, predicted: MechanismStep) -> _Cell:
        if gold.subtype != predicted.subtype:
            return _Cell(self.total, self.partial, _OTHER_SUBTYPE, self.penalty - PENALTY, self.matches)
        wanted, given = gold.structure, predicted.structure
        readable = bool(wanted.canonical and given.canonical)
        return _Cell(
            self.total + (gold.weight if readable and wanted.canonical == given.canonical else 0.0),
            self.partial + (gold.weight * _similarity(wanted, given) if readable else 0.0),
            _SAME_SUBTYPE,
            self.penalty,
            self.matches + 1,
        )


class OmeScore:
    """S_partial per reaction, in 0…1; 0 for an answer without a list of steps.

    Items carry `mechanism`, a list of steps with `subtype`, `intermediate_smiles` and `step_weight`. `secondary`:
    V, L and S_total, the share of answers read as a list of steps ('parsed'), and for the corrected form the
    official score.
    """

    examples = (
        MetricExample(
            answer='[{"subtype": "nucleophilic_addition", "intermediate_smiles": "CCC([O-])C#N"}]',
            columns={
                "mechanism": [
                    {
                        "subtype": "nucleophilic_addition",
                        "intermediate_smiles": "CCC([O-])C#N",
                        "step_weight": 0.6,
                    },
                    {"subtype": "proton_transfer", "intermediate_smiles": "CCC(O)C#N", "step_weight": 0.4},
                ]
            },
            value=0.6,
        ),
    )

    def __init__(self, subtask: str | None = None, upstream: bool = False) -> None:
        """Raises InputError for a subtask: there are none."""
        if subtask is not None:
            raise InputError(f"oMeBench has no subtasks, so none is called {subtask!r}: leave it out")
        self._upstream = upstream

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return "omescore/upstream" if self._upstream else "omescore"

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """S_partial per item. Raises InputError for a row without `mechanism`, or whose steps lack a key."""
        return [figures.partial for figures in self.figures(items, predictions)]

    def aggregate(self, values: Sequence[float]) -> float:
        """The mean, upstream rounded to 3 decimals. Raises TrexError for no values."""
        return round(mean(values), 3) if self._upstream else mean(values)

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        figures = self.figures(items, predictions)
        read = upstream_steps if self._upstream else corrected_steps
        found = {
            "V": self.aggregate([f.valid for f in figures]),
            "L": self.aggregate([f.logic for f in figures]),
            "S_total": self.aggregate([f.total for f in figures]),
            "parsed": sum(read(answer) is not None for answer in predictions) / len(predictions),
        }
        if not self._upstream:
            official = OmeScore(upstream=True)
            found[f"{self.name}/upstream"] = official.aggregate(official.score_items(items, predictions))
        return found

    def figures(self, items: Sequence[Item], predictions: Sequence[str]) -> list[Figures]:
        """The four figures of each reaction."""
        of = _upstream_figures if self._upstream else _corrected_figures
        return [of(item, answer) for item, answer in zip(items, predictions, strict=True)]


def align(gold: Sequence[MechanismStep], predicted: Sequence[MechanismStep]) -> Figures:
    """The figures of the best alignment, not rounded."""
    above = [_Cell()]
    for _ in predicted:
        above.append(above[-1].skip())
    for step in gold:
        row = [above[0].skip()]
        for column, other in enumerate(predicted, start=1):
            # max takes the first of equals, so that this order is part of the rule
            choices = (above[column].skip(), row[-1].skip(), above[column - 1].pair(step, other))
            row.append(max(choices, key=lambda cell: cell.key))
        above = row
    valid = sum(bool(step.structure.canonical) for step in predicted) / max(1, len(predicted))
    return Figures(above[-1].total, above[-1].partial, valid, above[-1].matches / max(1, len(gold)))


def _upstream_figures(item: Item, answer: str) -> Figures:
    mechanism = _mechanism(item)
    steps = upstream_steps(answer)
    if steps is None:
        return Figures()
    try:
        predicted = [MechanismStep(s["subtype"], _structure(s["intermediate_smiles"])) for s in steps]
        gold = [
            MechanismStep(s["subtype"], _structure(s["intermediate_smiles"]), s["step_weight"])
            for s in mechanism
        ]
        return align(gold, predicted).rounded()
    except Exception:  # upstream scores 0 whatever goes wrong in a reaction
        return Figures()


def _corrected_figures(item: Item, answer: str) -> Figures:
    gold = _gold(item)
    weight = sum(step.weight for step in gold)  # in the alignment's order, so that gold scores exactly 1
    figures = align(gold, [_predicted(step) for step in corrected_steps(answer) or []])
    if weight <= 0:
        return Figures(valid=figures.valid, logic=figures.logic)
    return Figures(figures.total / weight, figures.partial / weight, figures.valid, figures.logic)


def _mechanism(item: Item) -> list[Any]:
    mechanism = item.get("mechanism")
    if not isinstance(mechanism, list):
        raise InputError(
            f"{row_name(item)} has no column 'mechanism' with a list of steps, which oMeScore needs"
        )
    return mechanism


def _gold(item: Item) -> list[MechanismStep]:
    steps = []
    for number, step in enumerate(_mechanism(item), start=1):
        where = f"{row_name(item)}, column 'mechanism', step {number}"
        try:
            steps.append(
                MechanismStep(
                    _normal(step["subtype"]),
                    _structure(step["intermediate_smiles"].strip()),
                    float(step["step_weight"]),
                )
            )
        except KeyError as error:
            raise InputError(f"{where} has no {error}, which oMeScore needs") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{where} is malformed: {shown(str(error))}") from error
    return steps


def _predicted(step: dict[str, Any]) -> MechanismStep:
    """A step as the corrected form sees it; what is missing or no text matches nothing."""
    subtype, smiles = step.get("subtype"), step.get("intermediate_smiles")
    text = smiles.strip() if isinstance(smiles, str) else ""
    usable = bool(text) and text.isascii() and not re.search(r"\s", text)
    return MechanismStep(
        _normal(subtype) if isinstance(subtype, str) else None, _structure(text) if usable else Structure()
    )


def _normal(subtype: str) -> str:
    return re.sub(r"[\s_]+", "_", subtype.strip().casefold())


def upstream_steps(answer: str) -> list[Any] | None:
    """The list that the official reader finds in an answer, or None."""
    text = answer.strip()
    if "[ANSWER]" in text:
        text = text.split("[ANSWER]")[1].split("[/ANSWER]")[0].strip()
    if text.startswith("```"):
        text = text.strip("`").replace("json\n", "").replace("JSON\n", "").strip()
    if "is :" in text:
        text = text.split("is :")[1].strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = value.get("mechanism", value)
    return value if isinstance(value, list) else None


def corrected_steps(answer: str) -> list[dict[str, Any]] | None:
    """The steps an answer settles on, or None: what stands in [ANSWER] goes first, then the whole answer."""
    text = answer.rpartition("</think>")[2]
    tagged = text.rpartition("[ANSWER]")
    for part in (tagged[2].partition("[/ANSWER]")[0] if tagged[1] else "", text):
        plain = re.sub(r",(\s*[\]}])", r"\1", re.sub(r"\\+_", "_", part))
        for version in (plain, plain.replace("{{", "{").replace("}}", "}")):
            found = _steps_in(version)
            if found:
                return found
    return None


def _steps_in(text: str) -> list[dict[str, Any]]:
    """The last list of steps in a text; without a whole list, the steps that stand there one by one."""
    decoder, place = json.JSONDecoder(), 0
    whole: list[Any] = []
    loose: list[Any] = []
    while opening := _OPENING.search(text, place):
        try:
            value, place = decoder.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            place = opening.start() + 1
            continue
        steps = value.get("mechanism", value) if isinstance(value, dict) else value
        if isinstance(steps, list) and any(map(_is_step, steps)):
            whole = steps
        elif _is_step(steps):
            loose.append(steps)
    return [step if isinstance(step, dict) else {} for step in whole or loose]


def _is_step(value: Any) -> bool:
    return isinstance(value, dict) and "subtype" in value


def _similarity(one: Structure, other: Structure) -> float:
    """Tanimoto similarity of two molecules; 0 below the threshold."""
    from rdkit.DataStructs import TanimotoSimilarity

    similarity = float(TanimotoSimilarity(one.fingerprint, other.fingerprint))
    return 0.0 if similarity < SIMILAR else similarity


@lru_cache(maxsize=8192)
def _structure(smiles: str) -> Structure:
    """What a SMILES stands for. Raises ValueError for half of a surrogate pair, as RDKit does of itself."""
    smiles.encode()
    molecule = parse(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        return Structure()
    return Structure(canonical(molecule), _morgan().GetFingerprint(molecule))


@lru_cache(maxsize=1)
def _morgan() -> Any:
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    return GetMorganGenerator(radius=RADIUS, fpSize=BITS)
