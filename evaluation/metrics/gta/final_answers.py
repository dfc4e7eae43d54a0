"""Final answers. Gold is a whitelist of alias groups (with a blacklist), or a list of reference texts.

The official rule (`GTABenchEvaluator.iscorrect` and `simscore` in
https://github.com/open-compass/GTA/blob/37c2b60/opencompass/opencompass/datasets/gta_bench.py): of every group one
alias must occur between word boundaries, in any case, and of the blacklist none; of reference texts the most
similar counts, by the cosine of sentence embeddings.

    whitelist [['12', 'twelve']], answer 'There are Twelve.'  → right
    whitelist [['50%']], answer '50%'                         → wrong officially: no word boundary after '%'
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

from ....errors import InputError

Similarity = Callable[[str, str], float]
"""How like a gold text an answer is: 1 for the same, not above 1."""

MODEL = "all-mpnet-base-v2"


def official_hit(answer: str, gold: dict[str, Any]) -> bool:
    """The official rule, which raises KeyError or TypeError for malformed gold and for an answer that is no text.

    A group without aliases is found wherever a word begins or ends.
    """
    found = [_bounded(aliases, answer) for aliases in gold["whitelist"]]
    forbidden = [alias for aliases in gold["blacklist"] or () for alias in aliases]
    blocked = bool(gold["blacklist"]) and _bounded(forbidden, answer)
    return all(found) and not blocked


def _bounded(aliases: Iterable[str], answer: str) -> bool:
    pattern = r"\b(?:" + "|".join(re.escape(alias) for alias in aliases) + r")\b"
    return re.search(pattern, answer, re.IGNORECASE) is not None


def hit(answer: str, gold: dict[str, Any]) -> bool:
    """The corrected rule: an alias may begin or end in a symbol, and full-width characters are their narrow ones.

    Aliases of letters and digits are found where the official rule finds them. Empty aliases, which officially
    are found everywhere, don't count.
    """
    text = _folded(answer)
    whitelist, blacklist = gold["whitelist"], gold.get("blacklist") or []
    return all(_occurs(group, text) for group in whitelist) and not any(
        _occurs(group, text) for group in blacklist
    )


def _occurs(aliases: Iterable[Any], text: str) -> bool:
    wanted = [re.escape(folded) for alias in aliases if (folded := _folded(str(alias)))]
    return bool(wanted) and re.search(rf"(?<!\w)(?:{'|'.join(wanted)})(?!\w)", text) is not None


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def most_similar(answer: str, gold: Iterable[str], similarity: Similarity) -> float:
    """The highest similarity of a reference text to the answer, not below 0."""
    return max([0.0, *(float(similarity(answer, text)) for text in gold)])


class SentenceCosine:
    """Cosine of sentence embeddings, cut at 0; the model is loaded when it is first asked.

    Raises InputError where sentence-transformers or the model is missing, at every call after the first alike.
    """

    def __init__(self) -> None:
        self._model: Any = None
        self._fault: str | None = None

    def __call__(self, answer: str, gold: str) -> float:
        if self._model is None and self._fault is None:
            self._load()
        if self._fault is not None:
            raise InputError(self._fault)
        ours, theirs = self._model.encode([answer, gold], normalize_embeddings=True)
        return max(float(ours @ theirs), 0.0)

    def _load(self) -> None:
        try:
            self._model = importlib.import_module("sentence_transformers").SentenceTransformer(MODEL)
        except ImportError:
            self._fault = (
                "its gold answer is a list of texts, which the official scorer compares by the embeddings of "
                f"{MODEL}: pip install sentence-transformers, or give ToolUseMetric a similarity of your own"
            )
        except Exception as error:  # the hub's client raises its own, requests' and OSError
            self._fault = f"its gold answer needs the model {MODEL}, which can't be loaded ({error})"
