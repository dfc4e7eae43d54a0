"""SST-2: whether a sentence of a film review is positive or negative.

Source: https://huggingface.co/datasets/nyu-mll/glue, config `sst2` (the same data as `stanfordnlp/sst2`), which
states no licence. A row (invented here):

    {"idx": 0, "sentence": "a small film with a big heart ", "label": 1}

67,349 train rows, most of them phrases cut from longer ones; 872 validation rows, whole sentences; 1,821 test rows
whose labels GLUE keeps to itself (they read -1). So:

    test    the validation rows: sealed, and what published figures call 'dev'
    dev     a twentieth of the train rows of ten words and more (as test rows are), by the hash of the sentence
    train   the other train rows, less those of three words and more that are part of a row of dev or test, or
            have one as their part: 'a big heart' tells the label of 'a small film with a big heart'

A sentence is one whatever its case and white space. Other public sources that
may be trained on, by their licences and after the contamination check: reviews such as `stanfordnlp/imdb`. Not
`rotten_tomatoes` or SST-5: their sentences are the same ones.

Scored by accuracy (`evaluation/metrics/sst2.py`); a model may choose between the two words by their likelihood, as
https://github.com/EleutherAI/lm-evaluation-harness does (`lm_eval/tasks/glue/sst2/default.yaml`). Published
(arXiv 2604.14116): .972 after fine-tuning, with its best backend.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...evaluation.metrics.sst2 import WORDS, gold_label
from ...evaluation.splits import position
from ...evaluation.task import GenerationSettings, Source
from ..benchmark import Benchmark, GoldTurn, Licence, Published, Record, Row
from ..data_sources import HubHome

HOME = HubHome("nyu-mll/glue")
CONFIG = "sst2"
DEV_SHARE = 0.05
"""Of the long train rows, how many become dev."""
DEV_WORDS = 10
PHRASE_WORDS = 3

_PROMPT = """Sentence of a film review: {sentence}

Is it positive or negative? Answer with one word."""


def read() -> Iterator[Record]:
    """The labelled rows in their parts. Raises InputError if a split is out of reach."""
    held = [Record("test", row, sentence(row)) for row in HOME.rows("validation", config=CONFIG)]
    rest: list[Record] = []
    for row in HOME.rows("train", config=CONFIG):
        snippet = sentence(row)
        long = len(snippet.split()) >= DEV_WORDS
        if long and position(snippet, "sst2 dev") < DEV_SHARE:
            held.append(Record("dev", row, snippet))
        else:
            rest.append(Record("train", row, snippet))
    yield from held
    wholes = {record.group for record in held}
    parts = {phrase for whole in wholes for phrase in phrases(whole)}
    yield from (
        record for record in rest if record.group not in parts and wholes.isdisjoint(phrases(record.group))
    )


def phrases(text: str) -> Iterator[str]:
    """Its parts of `PHRASE_WORDS` words and more, itself among them; a shorter text is its only part."""
    words = text.split()
    if len(words) < PHRASE_WORDS:
        yield text
    for start in range(len(words)):
        for end in range(start + PHRASE_WORDS, len(words) + 1):
            yield " ".join(words[start:end])


def sentence(row: Row) -> str:
    """The sentence of a row, its case and white space aside."""
    return " ".join(str(row["sentence"]).casefold().split())


def turn(row: Row) -> GoldTurn:
    """The sentence and its word."""
    return GoldTurn(_PROMPT.format(sentence=str(row["sentence"]).strip()), WORDS[gold_label(row)])


BENCHMARK = Benchmark(
    name="sst2",
    title="SST-2",
    domain="sentiment",
    requirement="Say whether a sentence of a film review is positive or negative",
    metric="sst2",
    licence=Licence("unknown", commercial=False, note="the hub states none; its sentences come from reviews"),
    citation="Socher et al., Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank, EMNLP, "
    "2013; Wang et al., GLUE, ICLR, 2019",
    homes=(HOME,),
    read=read,
    turn=turn,
    generation=GenerationSettings(max_new_tokens=8, max_prompt_tokens=192),
    choices=WORDS,
    public_sources=(
        Source(
            name="imdb",
            path="hub:stanfordnlp/imdb#train",
            description="25,000 film reviews: `text`, `label` (0 negative, 1 positive)",
            licence="unknown",
        ),
    ),
    published=Published(trex_best=0.972),
)
load = BENCHMARK.load
