"""ROUGE, BLEU and chrF against the libraries rouge-score and sacrebleu."""

from __future__ import annotations

import numpy as np
import pytest
from trex.evaluation.metrics import PooledMetric, measure, metric
from trex.evaluation.statistics.intervals import score_measured

REFERENCES = [
    "The cat sat on the mat, and it was warm.",
    "A quick brown fox jumps over the lazy dog",
    "Two patients reported coughing for three days.",
    "One\nline and another\nline",
    "short",
]
ANSWERS = [
    "The cat was on the warm mat.",
    "The quick brown dog jumps over the lazy fox",
    "",
    "One line\nand another line",
    "a much longer answer than the reference",
]
ITEMS = [{"id": str(n), "reference": text} for n, text in enumerate(REFERENCES)]


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
@pytest.mark.parametrize("stem", [False, True])
def test_rouge_of_english_is_the_librarys(kind: str, stem: bool) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    official = RougeScorer([kind], use_stemmer=stem)
    wanted = [official.score(r, a)[kind].fmeasure for r, a in zip(REFERENCES, ANSWERS, strict=True)]
    assert metric(f"rouge(kind='{kind}', stem={stem})").score_items(ITEMS, ANSWERS) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("reference", "answer", "value"),
    [
        ("Grüße aus Köln", "grüße aus bonn", 2 / 3),
        ("我爱北京", "我爱上海", 0.5),
        ("Привет мир", "привет", 2 / 3),
    ],
)
def test_rouge_of_other_languages(reference: str, answer: str, value: float) -> None:
    assert metric("rouge(kind='rouge1')").score_items([{"reference": reference}], [answer]) == pytest.approx(
        [value]
    )


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("bleu", lambda s: s.BLEU()),
        ("bleu(lowercase=True)", lambda s: s.BLEU(lowercase=True)),
        ("bleu(tokenize='char')", lambda s: s.BLEU(tokenize="char")),
        ("chrf", lambda s: s.CHRF()),
        ("chrf(word_order=2)", lambda s: s.CHRF(word_order=2)),
        ("chrf(beta=1, char_order=4)", lambda s: s.CHRF(beta=1, char_order=4)),
    ],
)
def test_bleu_and_chrf_are_sacrebleus_also_on_resamples(name: str, make: object) -> None:
    library = pytest.importorskip("sacrebleu.metrics")
    official, made = make(library), metric(name)  # type: ignore[operator]
    measured = measure(made, ITEMS, ANSWERS)
    one_line = [" ".join(answer.split("\n")) for answer in ANSWERS]
    wanted = official.corpus_score(one_line, [REFERENCES]).score / 100
    assert score_measured(made, measured).value == pytest.approx(wanted)
    assert isinstance(made, PooledMetric) and measured.counts is not None
    for seed in range(3):
        rows = np.random.default_rng(seed).integers(0, 5, 5)
        again = official.corpus_score(
            [one_line[row] for row in rows], [[REFERENCES[row] for row in rows]]
        ).score
        assert float(made.pooled(measured.counts[rows].sum(axis=0))) == pytest.approx(again / 100)
    sentence = official if name.startswith("chrf") else library.BLEU(
        effective_order=True, lowercase="lowercase" in name, tokenize="char" if "char" in name else "13a"
    )  # fmt: skip
    singles = [sentence.sentence_score(a, [r]).score / 100 for a, r in zip(one_line, REFERENCES, strict=True)]
    assert measured.values == pytest.approx(singles)


def test_several_references_are_sacrebleus() -> None:
    library = pytest.importorskip("sacrebleu.metrics")
    items = [
        {"reference": "the cat", "more": ["a cat sat here", "the mat"]},
        {"reference": "a dog", "more": []},
    ]
    answers = ["a cat sat there", "a dog"]
    columns = [["the cat", "a dog"], ["a cat sat here", None], ["the mat", None]]
    for name, official in (("bleu", library.BLEU()), ("chrf", library.CHRF())):
        made = metric(f"{name}(alternatives='more')")
        wanted = official.corpus_score(answers, columns).score / 100
        assert score_measured(made, measure(made, items, answers)).value == pytest.approx(wanted)
