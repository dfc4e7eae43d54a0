"""CS-Bench: exam questions on data structures, organisation of computers, networks and operating systems.

Source: https://github.com/csbench/csbench, `Dataset/CSBench-EN/`, CC BY-NC 4.0 (no commercial use). Rows (invented
here; each also has `ID`, `Split`, `Domain`, `SubDomain`, `Tag` and `Language`, some an `Explanation`):

    {"Format": "Multiple-choice", "Question": "Which of these is last in, first out?", "A": "A queue",
     "B": "A stack", "C": "A ring", "D": "A list", "Answer": "B"}
    {"Format": "Assertion", "Question": "A router forwards frames by their MAC address.", "Answer": false}
    {"Format": "Fill-in-the-blank", "Question": "The register that holds the next address is the ( ).",
     "Answer": "Program Counter"}

Splits, of these three formats:

    dev     the published validation rows, 217, less those that ask what a test row asks: eight questions stand in
            both, their options in another order or missing
    test    the published test rows, 2,013, all of them, so that the figure can be compared with published ones
    train   none. Nothing was published to be trained on, and no row of dev or test ever is

Dev is small: at an accuracy of .6 its standard error is .034. We leave it so rather than take rows from the test.
About 85 test rows resemble one of dev without asking the same (the same options under another question, the same
definition as a statement and as a blank); both are as published, and neither is trained on.
Open-ended questions (189 more rows) are left out, for want of a judge; `csbench:Open-ended` scores answers to
them. The same questions exist in Chinese, German and French, under other numbers (`CSBench-CN`, `-DE`, `-FR`, whose
golds a translator has spoilt here and there). They are neither read nor to be trained on: they are dev and test.

Other public sources that may be trained on, by their licences and after the contamination check: science exams in
the same form, such as SciQ.

Scored by accuracy (`evaluation/metrics/csbench.py`, which says what was corrected and why); the official form follows
https://github.com/csbench/csbench/blob/68d6f39fba45716e29f70f34e0f4b411d89736b4/gen_judgment.py, where a GPT-4
judge marks two of the formats. Published overall with that judge: Llama3-8B .544, Qwen1.5-110B .680, GPT-4o .723;
chance .262. Published (arXiv 2604.14116): .581, with its best backend.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ...errors import InputError
from ...evaluation.metrics.csbench import ASSERTION, BLANK, CHOICE, LETTERS, SUBTASKS
from ...evaluation.task import GenerationSettings, Source
from ..benchmark import Benchmark, GoldTurn, Licence, Part, Published, Record, Row
from ..data_sources import GitHubHome

HOME = GitHubHome("csbench/csbench", "68d6f39fba45716e29f70f34e0f4b411d89736b4")
FOLDER = "Dataset/CSBench-EN"
SPLITS: dict[str, Part] = {"valid": "dev", "test": "test"}
FORMATS = (CHOICE, ASSERTION, BLANK)
"""The formats that are scored without a judge."""

_ASKED = {
    CHOICE: "Answer with the letter of the right option, and nothing else.",
    ASSERTION: "Is this statement true or false? Answer with that one word.",
    BLANK: "Answer with what belongs in the blank, and nothing else.",
}


def read() -> Iterator[Record]:
    """The English rows that need no judge. Raises InputError if a file is out of reach or malformed."""
    for split, part in SPLITS.items():
        path = f"{FOLDER}/{split}.json"
        try:
            rows: list[Row] = json.loads(HOME.file(path).read_text(encoding="utf-8"))
            for row in rows:
                if row["Format"] in FORMATS:
                    yield Record(part, row, stem(row))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} of {HOME.repository} is not as published: {error!r}") from error


def stem(row: Row) -> str:
    """What a row asks, whatever its options, case and white space: rows with one stem stay together."""
    return " ".join(str(row["Question"]).casefold().split())


def turn(row: Row) -> GoldTurn:
    """The question with its options, and the right letter, verdict or term."""
    question = str(row["Question"]).strip()
    kind, gold = row["Format"], row["Answer"]
    options = [f"{letter}. {str(row[letter]).strip()}" for letter in LETTERS] if kind == CHOICE else []
    asked = _ASKED.get(kind, "Answer briefly.")
    return GoldTurn("\n".join([question, *options, "", asked]), str(gold).strip())


BENCHMARK = Benchmark(
    name="csbench",
    title="CS-Bench",
    domain="computer science",
    requirement="Answer exam questions of computer science: choose an option, judge a statement, fill a blank",
    metric="csbench",
    licence=Licence("CC BY-NC 4.0", commercial=False),
    citation="Song et al., CS-Bench: A Comprehensive Benchmark for Large Language Models towards Computer Science "
    "Mastery, arXiv 2406.08587, ICLR, 2025",
    homes=(HOME,),
    read=read,
    turn=turn,
    generation=GenerationSettings(max_new_tokens=48, max_prompt_tokens=768),
    subtasks=SUBTASKS,
    public_sources=(
        Source(
            name="sciq",
            path="hub:allenai/sciq#train",
            description="11,679 science questions: `question`, `correct_answer`, `distractor1` to `distractor3`, "
            "`support` (a paragraph that holds the answer)",
            licence="CC BY-NC 3.0",
        ),
    ),
    published=Published(trex_best=0.581),
)
load = BENCHMARK.load
