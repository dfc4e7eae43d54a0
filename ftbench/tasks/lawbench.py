"""LawBench: twenty tasks of Chinese law, from reciting an article to a sentence in months.

Source: https://github.com/open-compass/LawBench, `data/zero_shot/<id>.json`, 500 rows each. The repository is
Apache-2.0, the data are as each source has them (judgments, examinations, forums, the CAIL contests): see its README.
Citation: Fei et al., "LawBench: Benchmarking Legal Knowledge of Large Language Models", EMNLP 2024.

A row (invented here; `subtask` is ours, it is the file's name upstream):

    {"subtask": "3-4", "instruction": "根据事实、罪名和法条预测刑期，写在[刑期]与<eoa>之间。",
     "question": "事实:被告人甲某入户盗窃现金三千元。\\n罪名:盗窃。法条:刑法第264条", "answer": "刑期:8个月"}

    memory       1-1 article recitation, 1-2 examination questions
    understanding 2-1 proofreading, 2-2 dispute foci, 2-3 marital disputes, 2-4 topics of consultations, 2-5 reading,
                 2-6 entities, 2-7 summaries, 2-8 arguments that meet, 2-9 events, 2-10 their trigger words
    application  3-1 articles for facts, 3-2 for a scene, 3-3 charges, 3-4 prison terms, 3-5 the same with the
                 article's text, 3-6 cases of the examination, 3-7 amounts of crimes, 3-8 consultation

The prompt is instruction and question on lines of their own, as OpenCompass joins them. The gold answer is the
published one; the instruction asks for another form of it ([刑期]8月<eoa>), which the scorer reads as well.

Splits: upstream is test alone. We cut it by what a row is about, a fifth dev and the rest test: 3-1, 3-4 and 3-5
ask about the same 500 cases, of which 3-3 asks about 86, and the question of one states the answer of another;
2-9 and 2-10 share sentences and 3-2 repeats questions. All rows about one case or text stand on one side. The
eight rows of 3-4 and 3-5 whose answer is death or life are left out, as the scorer leaves them out of its mean.

train: none. No row of LawBench is trained on. Public sources that may be used, after the contamination check, for
they draw on the same contests and examinations: DISC-Law-SFT and fuzi.mingcha's data (both Apache-2.0); and the
laws themselves, which are in no one's copyright (Copyright Law of the PRC, article 5), from https://flk.npc.gov.cn.

Scorer: `evaluation/metrics/lawbench/`, the rules of
https://github.com/open-compass/LawBench/tree/e30981bb3ff54c41571f222e0b23e92d27375388/evaluation, each module
saying what was corrected and why; the whole is the mean over sub-tasks. Zero-shot means of the twenty upstream
(predictions/zero_shot/results.csv): GPT-4 .524, GPT-3.5-turbo .421, Qwen-7B-Chat .370, Qwen-7B .196.

2-1 in its official form weighs characters by two tables of the same repository; reading the data fetches them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import InputError
from ...evaluation.metrics.lawbench import SUBTASKS
from ...evaluation.metrics.lawbench.lexicon import COMMIT, CONFUSIONS, REPOSITORY, THESAURUS
from ...evaluation.task import GenerationSettings, Source
from ..benchmark import Benchmark, GoldTurn, Licence, Published, Record, Row
from ..data_sources import GitHubHome

HOME = GitHubHome(REPOSITORY, COMMIT)
CASES = ("3-1", "3-3", "3-4", "3-5")
"""The sub-tasks that ask about the same criminal cases."""

COLUMNS = ("instruction", "question", "answer")
_UNSCORED = ("死刑", "无期")


def read() -> Iterator[Record]:
    """All rows, to be cut. Raises InputError if a file is out of reach or not as published."""
    for table in (THESAURUS, CONFUSIONS):
        with contextlib.suppress(InputError):  # the scorer says it where it has to do without
            HOME.file(table)
    for subtask in SUBTASKS:
        path = f"data/zero_shot/{subtask}.json"
        try:
            rows: list[Row] = json.loads(HOME.file(path).read_text(encoding="utf-8"))
            for row in rows:
                found: Row = {"subtask": subtask, **{column: row[column] for column in COLUMNS}}
                if not (subtask in ("3-4", "3-5") and any(word in found["answer"] for word in _UNSCORED)):
                    yield Record("cut", found, about(found))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} of {REPOSITORY} is not as published: {error!r}") from error


def about(row: Mapping[str, Any]) -> str:
    """What a row is about: its question, or the facts in it, without punctuation, white space and label.

    Rows that are about the same share it, whatever they ask.
    """
    text = str(row["question"])
    if row["subtask"] in CASES:
        facts, charged, _ = text.rpartition("罪名:")
        text = facts if charged else text
    text = text.removeprefix("事实:").removeprefix("句子:")
    return "".join(char for char in text if char.isalnum())


def turn(row: Row) -> GoldTurn:
    """Instruction and question, and the published answer."""
    return GoldTurn(f"{row['instruction']}\n{row['question']}", str(row["answer"]))


BENCHMARK = Benchmark(
    name="lawbench",
    title="LawBench",
    domain="law",
    requirement=(
        "Answer in Chinese what a lawyer is asked: recite and find articles, choose right options, correct and "
        "summarise texts, extract events and entities, name charges and predict sentences, in the form asked for."
    ),
    metric="lawbench",
    licence=Licence(
        "Apache-2.0 (repository); data as each source has it",
        commercial=False,
        trainable=False,
        note="judgments, examinations and contests under terms of their own; a test set, never trained on",
    ),
    citation="Fei et al., LawBench: Benchmarking Legal Knowledge of Large Language Models, EMNLP 2024",
    homes=(HOME,),
    read=read,
    turn=turn,
    generation=GenerationSettings(max_new_tokens=512, max_prompt_tokens=3072),
    subtasks=SUBTASKS,
    cut={"dev": 0.2, "test": 0.8},
    public_sources=(
        Source(
            name="disc_law_sft",
            path="hub:ShengbinYue/DISC-Law-SFT#train",
            description="Instructions on Chinese law: `input`, `output`; partly made from the contests that LawBench "
            "draws on, so that some rows repeat its items and are refused",
            licence="Apache-2.0",
        ),
    ),
    published=Published(trex_best=0.421),
)
load = BENCHMARK.load
