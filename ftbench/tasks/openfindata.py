"""OpenFinData: everyday questions of Chinese finance, with a letter or a list of names for an answer.

Source: https://github.com/open-compass/OpenFinData, whose data is one archive of the release called 'release',
`openfindata_release.zip`: for academic use only, and **not to be trained on**, by any model. Unpack it into
`open-compass/OpenFinData/` of a mirror (TREX_DATA), so that `openfindata_release/<set>.json` are there. Rows
(invented here; `subtask`, the name of the set, is ours):

    {"subtask": "financial_terminology", "id": "0", "question": "市盈率是哪两个数的比值？", "A": "股价与每股收益",
     "B": "股价与每股净资产", "C": "市值与营业收入", "D": "股息与股价", "answer": "A"}
    {"subtask": "entity_recognition", "id": "0", "question": "请列出以下内容中提及的公司。\\n甲银行与乙证券签约。",
     "answer": "甲银行、乙证券"}

Nine sets can be scored without a judge, 645 rows: those with three to five options, and one of names. (The other
ten, of analysis, interpretation and compliance, carry criteria for a judge or no answer.) Nothing is split
upstream: we cut two fifths for dev and the rest for test, by the hash of the question, which stands in one part.

There is no train pool, and no row may ever be in one: the licence is marked so, and `Benchmark.parts` refuses.
Public sources that may be trained on instead, after the contamination check: Chinese instructions about finance
such as FinCUGE (Apache-2.0) and the exam questions of FinEval (CC BY-NC-SA 4.0).

Scored by the mean of right letters and of the F1 of names (`evaluation/metrics/openfindata.py`, which says what
was corrected and why); the official form follows OpenCompass,
https://github.com/open-compass/opencompass/blob/a5acc4bba3b658f151617a3b393602110fb7a740/opencompass/datasets/OpenFinData.py.
Published (arXiv 2604.14116): base about .494, TREX .699 with its best backend.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ...errors import InputError
from ...evaluation.metrics.openfindata import ENTITIES, LETTERS, SUBTASKS
from ...evaluation.task import GenerationSettings, Source
from ..benchmark import Benchmark, GoldTurn, Licence, Published, Record, Row
from ..data_sources import MIRROR, GitHubHome

HOME = GitHubHome("open-compass/OpenFinData", "622c186550ec746b928f6e826301e38905111658")
ARCHIVE = "https://github.com/open-compass/OpenFinData/releases/download/release/openfindata_release.zip"

_CHOOSE = "请直接回答正确选项的字母，不要写其他内容。"
_LIST = "请直接列出名称，用顿号（、）隔开，不要写其他内容。"


def read() -> Iterator[Record]:
    """The rows of the nine sets, to be cut. Raises InputError, saying what to fetch, if a file isn't there."""
    for subtask in SUBTASKS:
        path = f"openfindata_release/{subtask}.json"
        try:
            rows: list[Row] = json.loads(HOME.file(path).read_text(encoding="utf-8"))
            for row in rows:
                yield Record("cut", {**row, "subtask": subtask}, " ".join(str(row["question"]).split()))
        except InputError as error:
            raise InputError(
                f"{path} can't be fetched file by file: unpack {ARCHIVE} in the folder {HOME.repository} of a "
                f"mirror and set {MIRROR} to the mirror"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} of {HOME.repository} is not as published: {error!r}") from error


def turn(row: Row) -> GoldTurn:
    """The question with its options, and the right letter or names."""
    question, gold = str(row["question"]).strip(), str(row["answer"]).strip()
    if row["subtask"] == ENTITIES:
        return GoldTurn(f"{question}\n{_LIST}", gold)
    options = [f"{letter}. {str(row[letter]).strip()}" for letter in LETTERS[row["subtask"]]]
    return GoldTurn("\n".join([question, *options, _CHOOSE]), gold)


BENCHMARK = Benchmark(
    name="openfindata",
    title="OpenFinData",
    domain="finance",
    requirement="Answer Chinese questions of finance: choose the right option, or list the names a text mentions",
    metric="openfindata",
    licence=Licence(
        "Apache-2.0 file; README: academic use only, not for training any model",
        commercial=False,
        trainable=False,
    ),
    citation="East Money and Shanghai AI Laboratory, OpenFinData, 2024",
    homes=(HOME,),
    read=read,
    turn=turn,
    generation=GenerationSettings(max_new_tokens=96, max_prompt_tokens=2048),
    subtasks=SUBTASKS,
    public_sources=(
        Source(
            name="fincuge",
            path="hub:Maciel/FinCUGE-Instruction#train",
            description="100,715 Chinese tasks of finance: `instruction`, `input`, `output`",
            licence="Apache-2.0",
        ),
        Source(
            name="fineval",
            path="hub:FinGPT/fingpt-fineval#train",
            description="1,056 Chinese exam questions of finance with options: `instruction`, `input`, `output`",
            licence="CC BY-NC-SA 4.0 (FinEval's; the copy on the hub states none)",
        ),
    ),
    published=Published(base=0.494, trex_best=0.699),
)
load = BENCHMARK.load
