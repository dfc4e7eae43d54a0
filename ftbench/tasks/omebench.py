"""oMeBench: write the mechanism of an organic reaction, step by step.

Source: https://github.com/skylarkie/oMeBench/tree/4ecae92edef07c0b05429104012fc104e531eadf, licence MIT. A row
(invented here):

    {"reaction_id": "NR-900", "level": "easy", "name": "Cyanohydrin formation",
     "reactants_smiles": ["CC=O", "[C-]#N"], "products_smiles": ["CC(O)C#N"], "conditions": "HCN, then water",
     "mechanism_step_nums": 2, "mechanism": [
       {"step": 1, "type": "addition", "subtype": "nucleophilic_addition",
        "intermediate_smiles": "CC([O-])C#N", "step_weight": 0.7},
       {"step": 2, "type": "proton_transfer", "subtype": "acid_base_proton_transfer",
        "intermediate_smiles": "CC(O)C#N", "step_weight": 0.3}]}

Upstream evaluates on all of Gold (196 reactions, 858 steps) and trains on Silver (2 493 reactions by its README),
which expands Template (167 named reactions with placeholders). **That leaks**: 158 of the 196 reactions of Gold
have their family in Template. Here a family is everything of one id ('NR-001' of 'NR-001_1-CC_2-C'), one
name, or the same reactants and products; names count because 'Ganem Oxidation' is NR-000 in Gold and NR-076 in
Template, and ids of three other reactions differ likewise. Were all of Gold held out, 7 families of Template
would be left to learn from. So Gold is cut by family: two fifths of its families are trained on, with their
Templates and Silver, the others are dev and test, and what Template and Silver have of those is dropped. A score
here is of about 80 reactions and stands beside published ones over all 196 with that reservation.

Rows with a step whose subtype is missing or not in the published list can't score and are left out of
the train pool (7 such subtypes in Template). The prompt is ours: upstream's worked example is a reaction of
Gold. Public sources that may be added by their licences: USPTO reactions and other collections of mechanisms,
after the contamination check.

Scored by oMeScore (`evaluation/metrics/omescore.py`, which says what was corrected and why), after
https://github.com/skylarkie/oMeBench/blob/4ecae92edef07c0b05429104012fc104e531eadf/scripts/utils_eval.py.
Published (arXiv 2604.14116): .484 by TREX with its best backend; base and reference are not given.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from ...evaluation.task import GenerationSettings
from ...files import read_json, read_jsonl
from ..benchmark import Benchmark, GoldTurn, Licence, Published, Record, Row
from ..data_sources import GitHubHome

HOME = GitHubHome("skylarkie/oMeBench", "4ecae92edef07c0b05429104012fc104e531eadf")

SUBTYPES = {
    "addition": ("nucleophilic_addition", "electrophilic_addition", "radical_addition", "oxidative_addition"),
    "elimination": (
        *("proton_elimination", "leaving_group_elimination", "radical_elimination", "reductive_elimination"),
    ),
    "substitution": ("nucleophilic_substitution", "electrophilic_substitution", "radical_substitution"),
    "rearrangement": ("1,2-shift", "radical_rearrangement", "migratory insertion"),
    "proton_transfer": ("acid_base_proton_transfer",),
    "electron_transfer": ("single_electron_transfer",),
    "radical": ("radical_initiation", "radical_propagation", "radical_termination", "radical_coupling"),
    "pericyclic": (
        *("cycloaddition", "cycloreversion", "electrocyclization", "sigmatropic_rearrangement"),
        *("group_transfer", "ene_reaction", "cheletropic_reaction"),
    ),
    "cleavage": ("heterolytic_cleavage", "homolytic_cleavage"),
    "coordination": ("coordination",),
    "dissociation": ("dissociation",),
}
"""The published list: types with their subtypes, 31 in all."""

_KEYS = ("step", "type", "subtype", "intermediate_smiles")
_LISTED = frozenset(subtype for subtypes in SUBTYPES.values() for subtype in subtypes)

# The reaction stands at the end: between fixed sentences, equal conditions would look like a repeated item.
_PROMPT = """Write the mechanism of an organic reaction, one elementary step after the other.

Answer with a JSON list and nothing else. Each step is an object with "step" (1, 2, …), "type", "subtype" and \
"intermediate_smiles", the SMILES of what the step yields; the last step yields the product. Types and their \
subtypes, to be spelt exactly so:
{subtypes}

For example, CCBr and [OH-] give CCO in one step:
[{{"step": 1, "type": "substitution", "subtype": "nucleophilic_substitution", "intermediate_smiles": "CCO"}}]

The reaction:
Reactants (SMILES): {reactants}
Products (SMILES): {products}
Conditions: {conditions}"""


class Families:
    """Reactions that count as the same: equal in one of their keys, or linked through others."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._parent: dict[Hashable, Hashable] = {}
        for row in rows:
            first, *others = _family_keys(row)
            for key in others:
                self._parent[self._root(key)] = self._root(first)

    def of(self, row: Row) -> str:
        """A name for the family of a row."""
        return str(self._root(_family_keys(row)[0]))

    def _root(self, key: Hashable) -> Hashable:
        while (parent := self._parent.setdefault(key, key)) != key:
            key = parent
        return key


def _family_keys(row: Row) -> list[Hashable]:
    """The family's id; its name if it has one; its reactants with its products."""
    name = " ".join(str(row["name"]).casefold().split())
    reaction = (tuple(_sides(row["reactants_smiles"])), tuple(_sides(row["products_smiles"])))
    identity = str(row["reaction_id"]).partition("_")[0]
    return [("id", identity), *([("name", name)] if name else []), ("reaction", *reaction)]


def _sides(smiles: str | list[str]) -> list[str]:
    """The molecules on one side; a few rows of Template give one as text."""
    return sorted([smiles] if isinstance(smiles, str) else smiles)


def teachable(row: Row) -> bool:
    """Whether every step of a row has a subtype of the list."""
    return all(step.get("subtype") in _LISTED for step in row["mechanism"])


def read() -> Iterator[Record]:
    """Gold to be cut by family, Template and Silver for training. Raises InputError out of reach."""
    gold: list[Row] = read_json(HOME.file("data/oMe_Gold.json"))
    pool: list[Row] = [
        *read_json(HOME.file("data/oMe_Template.json")),
        *read_jsonl(HOME.file("data/oMe_Silver.jsonl")),
    ]
    families = Families([*gold, *pool])
    for row in gold:
        yield Record("cut", row, families.of(row))
    for row in pool:
        if teachable(row):
            yield Record("train", row, families.of(row))


def turn(row: Row) -> GoldTurn:
    """The question and the mechanism of a row, without weights and rationales."""
    subtypes = "\n".join(f"- {kind}: {'; '.join(names)}" for kind, names in SUBTYPES.items())
    prompt = _PROMPT.format(
        reactants=json.dumps(row["reactants_smiles"]),
        products=json.dumps(row["products_smiles"]),
        conditions=row.get("conditions") or "not stated",
        subtypes=subtypes,
    )
    return GoldTurn(prompt, answer(row["mechanism"]))


def answer(mechanism: list[dict[str, Any]]) -> str:
    """A mechanism as a model should write it: a JSON list, one step a line."""
    steps = (json.dumps({key: step[key] for key in _KEYS}, ensure_ascii=False) for step in mechanism)
    return "[" + ",\n".join(steps) + "]"


BENCHMARK = Benchmark(
    name="omebench",
    title="oMeBench",
    domain="organic reaction mechanisms",
    requirement="Write the step-by-step mechanism of an organic reaction, with the intermediate of every step",
    metric="omebench",
    licence=Licence("MIT", commercial=True),
    citation="Xu et al., oMeBench: Towards Robust Benchmarking of LLMs in Organic Mechanism Elucidation and "
    "Reasoning, arXiv 2510.07731, 2025",
    homes=(HOME,),
    read=read,
    turn=turn,
    generation=GenerationSettings(max_new_tokens=1024, max_prompt_tokens=1536, batch_size=16),
    cut={"train": 0.4, "dev": 0.24, "test": 0.36},
    published=Published(trex_best=0.484),
)
load = BENCHMARK.load
