"""ACI-Bench: write the note of a visit from the talk of doctor and patient.

Source: https://github.com/wyim/aci-bench/tree/b909b2bb9cf1d19de08df15cddde7bd0179665e4, licence CC BY 4.0. A row
(invented here):

    {"dataset": "aci", "encounter_id": "D2N900",
     "dialogue": "[doctor] what brings you in ?\\n[patient] a cough , for two days .",
     "note": "CHIEF COMPLAINT\\n\\nCough.\\n\\nASSESSMENT AND PLAN\\n\\nViral cough. Fluids and rest."}

Train 67, dev 20 ('valid'), test 120: the three published test sets of 40 (MEDIQA-Chat tasks B and C, MEDIQA-Sum
task C) pooled, because they come from one collection and 40 notes alone leave the score uncertain by about .02.
No dialogue, note or id occurs twice in the five files. `encounter_id` tells the sets apart: D2N088 to 127, 128
to 167 and 168 to 207.

In some dialogues the tags of the speakers are swapped; upstream leaves them so on purpose, and so do we. The
folder `src_experiment_data` holds other transcripts of the same visits, of the test sets, too: it is no source.
Public sources that may be added by their licences, after the contamination check: MTS-Dialog (other visits, one
section each), and dialogues written by a model.

Scored by ROUGE-1 over the whole note (`evaluation/metrics/rouge.py`, which says what was corrected and why), after
https://github.com/wyim/aci-bench/blob/b909b2bb9cf1d19de08df15cddde7bd0179665e4/evaluation/evaluate_fullnote.py;
its four divisions are reported beside it and as metrics of their own, 'rouge1:subjective' and so on. Upstream
states no prompt for language models: it is ours. Published (arXiv 2604.14116): base .205, reference .240, TREX
.260 with an open backend and .502 with its best.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ...errors import InputError
from ...evaluation.task import GenerationSettings
from ..benchmark import Benchmark, GoldTurn, Licence, Part, Published, Record, Row
from ..data_sources import GitHubHome

HOME = GitHubHome("wyim/aci-bench", "b909b2bb9cf1d19de08df15cddde7bd0179665e4")

FILES: dict[str, Part] = {
    "train": "train",
    "valid": "dev",
    "clinicalnlp_taskB_test1": "test",
    "clinicalnlp_taskC_test2": "test",
    "clef_taskC_test3": "test",
}

COLUMNS = ("dataset", "encounter_id", "dialogue", "note")

_PROMPT = """Write the clinical note of this visit. Use the section headings of such notes, in capitals on lines \
of their own, as far as the conversation fills them: CHIEF COMPLAINT, HISTORY OF PRESENT ILLNESS, REVIEW OF \
SYSTEMS, PHYSICAL EXAMINATION, RESULTS, ASSESSMENT AND PLAN. Write whole sentences, in the third person, and \
nothing but the note.

Conversation:
{dialogue}

Note:"""


def read() -> Iterator[Record]:
    """The rows of the five files. Raises InputError if one is out of reach or lacks a column."""
    for name, part in FILES.items():
        for row in rows(HOME.file(f"data/challenge_data/{name}.csv")):
            yield Record(part, row)


def rows(path: Path) -> Iterator[Row]:
    """The rows of a published file. Raises InputError if it lacks a column."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (table.fieldnames or ())]
        if missing:
            raise InputError(f"{path} has no column {', '.join(missing)}: it is not a file of ACI-Bench")
        for line in table:
            yield {column: line[column] for column in COLUMNS}


def turn(row: Row) -> GoldTurn:
    """The conversation, and the note written of it."""
    return GoldTurn(_PROMPT.format(dialogue=row["dialogue"].strip()), row["note"].strip())


BENCHMARK = Benchmark(
    name="aci",
    title="ACI-Bench",
    domain="clinical notes",
    requirement="Write the clinical note of a visit from the conversation between doctor and patient",
    metric="rouge1",
    licence=Licence("CC BY 4.0", commercial=True),
    citation="Yim et al., ACI-BENCH: a Novel Ambient Clinical Intelligence Dataset for Benchmarking Automatic Visit "
    "Note Generation, Scientific Data, 2023",
    homes=(HOME,),
    read=read,
    turn=turn,
    generation=GenerationSettings(max_new_tokens=1536, max_prompt_tokens=5120, batch_size=8),
    published=Published(base=0.205, reference=0.240, trex_open=0.260, trex_best=0.502),
)
load = BENCHMARK.load
