"""EconLogicQA: put four economic events into their logical order.

Source: https://huggingface.co/datasets/yinzhu-quan/econ_logic_qa, licence CC BY-NC-SA 4.0 (no commercial use). A
row (invented here):

    {"Question": "A bakery answers a rise of the price of flour. Arrange the events in a logical sequence.",
     "A": "Customers turn to a cheaper bakery.", "B": "The price of flour rises.",
     "C": "The bakery raises the price of bread.", "D": "The bakery looks for another mill.",
     "Answer": "B, C, A, D"}

Train 390, dev 130 ('val'), test 130, as published. Rows whose answer is no permutation of the four letters can't
be scored and are left out. Public sources that may be added by their licences, after the contamination check:
other collections of event order, and rows written by a model from news that the set does not use.

Scored by exact match of the four letters (`evaluation/metrics/ordering.py`, which says what was corrected and why).
The authors published no code: the official form follows the paper (arXiv 2405.07938, §4.1) as
https://github.com/EleutherAI/lm-evaluation-harness/pull/4120 does (commit 6da340c). They report 1 and 5 examples
in the prompt and leave out none; here a model is trained, so that the prompt, which is ours, has none. Chance
is .042. Published (arXiv 2604.14116): base .260, reference .469, TREX .392 with an open backend and .454
with its best.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...evaluation.metrics.ordering import EVENTS, gold_order
from ...evaluation.task import GenerationSettings
from ..benchmark import Benchmark, GoldTurn, Licence, Part, Published, Record, Row
from ..data_sources import HubHome

HOME = HubHome("yinzhu-quan/econ_logic_qa")

SPLITS: dict[str, Part] = {"train": "train", "val": "dev", "test": "test"}

_PROMPT = """{question}

{events}

Answer with the four letters in the right order, separated by commas, and nothing else."""


def read() -> Iterator[Record]:
    """The rows whose answer is an order. Raises InputError if a split is out of reach."""
    for split, part in SPLITS.items():
        for row in HOME.rows(split):
            if gold_order(row):
                yield Record(part, row)


def turn(row: Row) -> GoldTurn:
    """The question with its events, and their order."""
    events = "\n".join(f"{letter}. {str(row[letter]).strip()}" for letter in EVENTS)
    return GoldTurn(
        _PROMPT.format(question=str(row["Question"]).strip(), events=events), ", ".join(gold_order(row))
    )


BENCHMARK = Benchmark(
    name="econlogicqa",
    title="EconLogicQA",
    domain="order of economic events",
    requirement="Put four events of a story from business or economics into their logical order",
    metric="econlogicqa",
    licence=Licence("CC BY-NC-SA 4.0", commercial=False, note="share alike"),
    citation="Quan and Liu, EconLogicQA: A Question-Answering Benchmark for Evaluating Large Language Models in "
    "Economic Sequential Reasoning, Findings of EMNLP, 2024",
    homes=(HOME,),
    read=read,
    turn=turn,
    generation=GenerationSettings(max_new_tokens=64, max_prompt_tokens=768),
    published=Published(base=0.260, reference=0.469, trex_open=0.392, trex_best=0.454),
)
load = BENCHMARK.load
