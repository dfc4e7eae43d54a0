"""TOMG-Bench (now S²-Bench): molecules made, edited and improved as a chemist's instruction says.

Source: https://huggingface.co/datasets/phenixace/S2-TOMG-Bench (Apache-2.0), nine configs of 5 000 test rows,
and the train pools `phenixace/OpenMolIns-light`, `-small` and `-medium` (4.5k, 18k and 45k rows).
Citation: Li et al., "Speak-to-Structure: Evaluating LLMs in Open-domain Natural Language-Driven Molecule
Generation", arXiv 2412.14642 (its first version: "TOMG-Bench: Evaluating LLMs on Text-based Open Molecule
Generation").

Three families of three sub-tasks. Rows (made up here); `subtask` is ours, it is the config's name upstream:

    MolCustom   {"subtask": "BondNum", "Instruction": "The molecule has 2 double bonds.", "single": 0,
                 "double": 2, "triple": 0, "rotatable": 0, "aromatic": 0}; AtomNum has a column for each of 17
                 elements, FunctionalGroup for each of 19 groups. `C=C=C` is a right answer.
    MolEdit     {"subtask": "AddComponent", "index": 7, "Instruction": "Add a nitro to the molecule CCO.",
                 "molecule": "CCO", "added_group": "nitro"}; DelComponent has `removed_group`, SubComponent both.
                 `OCC[N+](=O)[O-]` is a right answer.
    MolOpt      {"subtask": "LogP", "index": 9, "Instruction": "Modify the molecule CCO to have a higher LogP
                 value.", "molecule": "CCO", "logP": -0.0014}; likewise MR and QED. `CCCO` is a right answer.

Many molecules are right, so that published rows name none: their `gold` is ''. Rows of the train pool are
{"SubTask", "Instruction", "molecule"}, where `molecule` is the *answer*. They were made by rule, and not all
are right: in SubComponent the piece that stands for a nitro group is N-O. The scorer's counts tell.

Splits: upstream has test alone. We take a tenth of it, 500 rows a sub-task like upstream's own `-mini` form,
and cut that into dev and test. All of it goes by the hash of what a row is about: the canonical form of the
molecule to start from, or the specification (kind of thing and numbers, however worded). No molecule and no
specification stands on two sides, and the train pool loses the rows about one of dev or test. Rows that no
molecule can satisfy are dropped (1 300 of the 5 000 of FunctionalGroup, and some of SubComponent).

Scorer: `evaluation/metrics/tomg.py`, success by RDKit's counts and properties, as in
https://github.com/phenixace/TOMG-Bench/blob/692f6b1ca18567cc329161336974f355f698fb75/evaluate.py; it says what
was corrected. The official form is that of TOMG-Bench's programs, not of S2-TOMG-Bench's, which read answers in
another way. Upstream's prompt suggests 'Molecule: …', which its script then fails to read; ours asks for the
SMILES alone. Scores upstream (success, and success weighted by similarity or novelty, in percent, on all rows):

    Llama-3.1-8B-Instruct  26.3  14.1      the same tuned on OpenMolIns-large   43.1  27.2
    GPT-4o                 49.1  32.3      the same tuned on OpenMolIns-xlarge  58.8  39.3

Other public sources for training: any collection of molecules (PubChem, ChEMBL, ZINC), whose counts RDKit gives;
RDKit's NCI molecules come with the `molecules` task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...evaluation.metrics import smiles
from ...evaluation.metrics.tomg import EDITS, SUBTASKS, read_request
from ...evaluation.splits import position
from ...evaluation.task import GenerationSettings
from ..benchmark import Benchmark, GoldTurn, Licence, Published, Record, Row
from ..data_sources import HubHome

BENCH = HubHome("phenixace/S2-TOMG-Bench")
POOLS = tuple(HubHome(f"phenixace/OpenMolIns-{size}") for size in ("light", "small", "medium"))
SHARE = 0.1
"""Of upstream's rows, how many become items."""

_SOURCE = re.compile(r"\bthe molecule (\S+)")
_NUMBER = re.compile(r"(\d+) ([a-z][a-z ]*?)s? (atom|bond|group)s?\b")


def read() -> Iterator[Record]:
    """A tenth of the published test rows, to be cut, and the train pool, each row once."""
    for subtask in SUBTASKS:
        for row in BENCH.rows("test", config=f"{family(subtask)}_{subtask}"):
            group = about(row)
            if position(group, "tomg items") < SHARE and read_request(row, subtask).satisfiable:
                yield Record("cut", {**row, "subtask": subtask}, group)
    seen: set[tuple[str, str]] = set()
    for pool in POOLS:
        for row in pool.rows("train"):
            content = (str(row["Instruction"]), str(row["molecule"]))
            if content not in seen:
                seen.add(content)
                yield Record("train", {**row, "subtask": row["SubTask"]}, about(row))


def family(subtask: str) -> str:
    """The family of a sub-task, the first half of its config's name."""
    return "MolEdit" if subtask in EDITS else "MolOpt" if subtask in smiles.PROPERTIES else "MolCustom"


def about(row: Mapping[str, Any]) -> str:
    """What a row is about, the same for every wording: the molecule to start from, or the specification.

    It is read off the instruction, which test rows and train rows share; an instruction that says neither is
    about itself.
    """
    instruction = str(row["Instruction"])
    stated = _SOURCE.search(instruction)
    if stated:
        molecule = smiles.parse(stated.group(1)) or smiles.parse(stated.group(1).removesuffix("."))
        if molecule is not None:
            return f"molecule {smiles.canonical(molecule)}"
    numbers = sorted(" ".join(found) for found in _NUMBER.findall(instruction))
    return f"specification {', '.join(numbers)}" if numbers else f"instruction {instruction}"


def turn(row: Row) -> GoldTurn:
    """The instruction as it is; the answer of a row of the train pool, which alone has one."""
    return GoldTurn(prompt=str(row["Instruction"]), gold=str(row["molecule"]) if "SubTask" in row else "")


BENCHMARK = Benchmark(
    name="tomg",
    title="TOMG-Bench",
    domain="chemistry",
    requirement=(
        "Follow a chemist's instruction with one molecule, as SMILES: with given numbers of atoms, bonds or "
        "functional groups; with a group added, removed or replaced; or with LogP, MR or QED raised or lowered."
    ),
    metric="tomg",
    licence=Licence(
        "Apache-2.0", commercial=True, note="as stated on the hub; the GitHub repository has none"
    ),
    citation="Li et al., Speak-to-Structure (TOMG-Bench), arXiv 2412.14642, 2024",
    homes=(BENCH, *POOLS),
    read=read,
    turn=turn,
    system="You help a chemist. Answer with one molecule as a SMILES string, and with nothing else.",
    generation=GenerationSettings(max_new_tokens=128, max_prompt_tokens=384),
    subtasks=SUBTASKS,
    published=Published(base=0.182, reference=0.642, trex_open=0.557, trex_best=0.681),
)
load = BENCHMARK.load
