"""Hallmarks of cancer: which of ten hallmarks an abstract of PubMed is about; none to all may be right.

Source: the documents of the corpus (1,852 abstracts; https://github.com/sb895/Hallmarks-of-Cancer, GPL-3.0) as
tables in https://github.com/BIDS-Xu-Lab/Biomedical-NLP-Benchmarks, `benchmarks/[MLC]Hoc/datasets/full_set/`, in
the split of BLUE: 1,108 to train on, 157 to develop, 315 to test; the 272 abstracts without a hallmark are not in
it. Lines are tab-separated, without quoting. A row (invented here):

    {"pmid": "1", "text": "The drug starved the tumours of vessels and the cells died .",
     "labels": "inducing angiogenesis;resisting cell death"}

A document has one row and stays in its part; the train pool is the published one, less what repeats a text of the
others. Not to be trained on: anything else made from the corpus (`bigbio/hallmarks_of_cancer`, BLUE, BLURB, the
sentences of BioGPT), whose splits differ, so that it holds documents of dev and test. Other abstracts of PubMed
may be, after the contamination check.

Scored by document macro-F1 over the ten labels (`evaluation/metrics/macro_f1.py`, which says what was corrected and
why); the official form is that of
https://github.com/BIDS-Xu-Lab/Me-LLaMA/blob/08c893f27bcd879aa65f17bb9643697a574ca2aa/src/tasks/vital_measure.py
with the average of `run_eval.py` in the tables' repository. Our prompt asks for names joined by semicolons, because
the substring rule of that scorer reads the JSON, which the repository's own prompt asks for, as all ten labels.
Published (arXiv 2604.14116): .897, with its best backend; that paper does not say which F1 it means.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import InputError
from ...evaluation.metrics.macro_f1 import LABELS
from ...evaluation.task import GenerationSettings
from ..benchmark import Benchmark, GoldTurn, Licence, Part, Published, Record, Row
from ..data_sources import GitHubHome

HOME = GitHubHome("BIDS-Xu-Lab/Biomedical-NLP-Benchmarks", "e607a812d87df151f310a9dd3677cfc21924f192")
FOLDER = "benchmarks/[MLC]Hoc/datasets/full_set"
COLUMNS = ["pmid", "text", "labels"]
PARTS: tuple[Part, ...] = ("train", "dev", "test")

_PROMPT = """Which hallmarks of cancer is this abstract about?

{text}

The hallmarks are: {labels}.
Answer with those that apply, joined by semicolons, and nothing else."""


def read() -> Iterator[Record]:
    """The documents in their published parts. Raises InputError if a table is out of reach or malformed."""
    for part in PARTS:
        lines = HOME.file(f"{FOLDER}/{part}.tsv").read_text(encoding="utf-8").split("\n")
        if lines[0].split("\t") != COLUMNS:
            raise InputError(f"{FOLDER}/{part}.tsv: its columns must be {', '.join(COLUMNS)}")
        for number, line in enumerate(lines[1:], start=2):
            if line.strip():
                yield Record(part, _row(line, f"{FOLDER}/{part}.tsv, line {number}"))


def _row(line: str, where: str) -> Row:
    cells = line.rstrip("\r").split("\t")
    if len(cells) != len(COLUMNS):
        raise InputError(f"{where}: {len(cells)} columns, not {len(COLUMNS)}")
    return dict(zip(COLUMNS, cells, strict=True))


def turn(row: Row) -> GoldTurn:
    """The abstract and its labels, in the order of the row."""
    return GoldTurn(_PROMPT.format(text=row["text"], labels="; ".join(LABELS)), str(row["labels"]))


BENCHMARK = Benchmark(
    name="hoc",
    title="Hallmarks of Cancer",
    domain="biomedicine",
    requirement="Name the hallmarks of cancer, of ten, that an abstract is about",
    metric="hoc",
    licence=Licence(
        "GPL-3.0", commercial=True, note="the corpus; the repository of the tables says Apache-2.0"
    ),
    citation="Baker et al., Automatic semantic classification of scientific literature according to the hallmarks of "
    "cancer, Bioinformatics 32(3), 2016",
    homes=(HOME,),
    read=read,
    turn=turn,
    generation=GenerationSettings(max_new_tokens=96, max_prompt_tokens=1024),
    published=Published(trex_best=0.897),
)
load = BENCHMARK.load
