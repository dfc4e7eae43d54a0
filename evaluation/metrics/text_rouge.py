"""ROUGE: the words, pairs of words or longest common sequence that a text shares with its reference."""

from __future__ import annotations

import importlib
import re
from typing import Annotated, Any, Literal

from pydantic import Field

from ...errors import InputError
from .metric_example import MetricExample
from .reference_metric import Alternatives, ReferenceMetric

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)


class Rouge(ReferenceMetric):
    """ROUGE F1 of the library rouge-score (Lin 2004), averaged over items.

    Words are runs of letters and digits in lower case, which for English is the library's own rule; its rule drops all
    letters outside a–z, so that other languages would have no words. Chinese, Japanese and Korean characters are words
    of their own. 'rougeLsum' compares line by line. A text without words has the value 0.
    """

    name = "rougeL"
    examples = (
        MetricExample(answer="Dry cough, two days", reference="Cough for two days.", value=0.75),
        MetricExample(
            answer="two days of cough", reference="cough, two days", options={"kind": "rouge2"}, value=0.4
        ),
    )

    def __init__(
        self,
        kind: Annotated[
            Literal["rouge1", "rouge2", "rougeL", "rougeLsum"],
            Field(description="Words, pairs of words, longest common sequence, or that of each line"),
        ] = "rougeL",
        stem: Annotated[bool, Field(description="Compare English words by their stems (Porter)")] = False,
        alternatives: Alternatives = None,
    ) -> None:
        """Raises InputError without the library rouge-score."""
        super().__init__(alternatives)
        self.name = kind
        try:
            scorer = importlib.import_module("rouge_score.rouge_scorer")
        except ImportError as error:
            raise InputError(
                "metric rouge needs rouge-score, which is not installed: pip install 'trex-finetune[metrics]'"
            ) from error
        self._scorer: Any = scorer.RougeScorer([kind], tokenizer=_Words(stem))

    def compare(self, reference: str, answer: str) -> float:
        return float(self._scorer.score(reference, answer)[self.name].fmeasure)


class _Words:
    """A tokenizer in the form that rouge-score takes."""

    def __init__(self, stem: bool) -> None:
        porter = importlib.import_module("nltk.stem.porter").PorterStemmer() if stem else None
        self._stem = None if porter is None else porter.stem

    def tokenize(self, text: str) -> list[str]:
        words = _WORD.findall(text.lower())
        if self._stem is None:
            return words
        return [self._stem(word) if len(word) > 3 else word for word in words]  # as rouge-score does
