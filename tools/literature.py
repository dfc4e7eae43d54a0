"""The tool `search_literature`: short notes on the practice of fine-tuning, searched by words, without a network.

A note is a file in `literature_notes/`: title, source, topics, a summary of the source in our words, and what to try
in a plan. To add a note, add a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from langchain_core.tools import BaseTool
from pydantic import Field

from ..errors import InputError, TrexError
from ..evaluation.words import words
from .agent_tool import agent_tool
from .excerpt import fitting
from .untrusted import quoted

NOTES = Path(__file__).parent / "literature_notes"

_FORM = re.compile(
    r"# (?P<title>[^\n]+)\n\nSource: (?P<source>[^\n]+)\nTopics: (?P<topics>[^\n]+)\n\n"
    r"(?P<text>.+?)\n\nTry: (?P<advice>.+?)\n*",
    re.DOTALL,
)
_QUERY = "A few words, e.g. 'noisy labels' or 'LoRA rank overfitting'"
_TITLE_WEIGHT = 3  # a word of the title or the topics counts as this many words of the text


@dataclass(frozen=True)
class LiteratureNote:
    """One note. `advice` names operators of recipes and fields of training plans in backticks."""

    name: str
    title: str
    source: str
    topics: tuple[str, ...]
    text: str
    advice: str

    @classmethod
    def parse(cls, name: str, written: str) -> LiteratureNote:
        """Parse a note's file. Raises InputError if it does not have the format of a note."""
        found = _FORM.fullmatch(written)
        if found is None:
            raise InputError(f"literature note {name}: write '# title', 'Source:', 'Topics:', a text, 'Try:'")
        parts = {part: text.strip() for part, text in found.groupdict().items() if part != "topics"}
        return cls(name=name, topics=tuple(map(str.strip, found["topics"].split(","))), **parts)

    @property
    def searched(self) -> str:
        """The text that is searched."""
        head = f"{self.title} {' '.join(self.topics)} {self.source}\n"
        return head * _TITLE_WEIGHT + f"{self.text}\n{self.advice}"

    def __str__(self) -> str:
        return f"{self.title}\n[{self.source}]\n{self.text}\nTry: {self.advice}"


def literature_tool(folder: Path = NOTES) -> BaseTool:
    """The tool `search_literature`. Raises InputError if bm25s is not installed."""

    def search_literature(
        query: Annotated[str, Field(min_length=1, max_length=500, description=_QUERY)],
        most: Annotated[int, Field(ge=1, le=6, description="Number of notes")] = 4,
    ) -> str:
        found = search(query, most, folder)
        if not found:
            return "no note has any of these words; try others, e.g. 'learning rate', 'label noise'"
        return quoted(fitting(f"{note}\n" for note in found), "notes on fine-tuning practice")

    return agent_tool(
        search_literature,
        "Search short notes on what is known about fine-tuning language models (LoRA, learning "
        "rates, data quality and mixtures, noisy labels, over-fitting, search, evaluation), each with its "
        "source and with what to try in a plan. Works without a network.",
    )


def search(query: str, most: int, folder: Path = NOTES) -> list[LiteratureNote]:
    """The notes that match the words best, best first (BM25: Robertson and Zaragoza 2009); none if no word matches.

    Raises InputError if bm25s is not installed.
    """
    notes, index = _index(folder)
    wanted = _words(query)
    scores = index.get_scores(wanted) if wanted else []
    ranked = sorted(zip(scores, notes, strict=False), key=lambda pair: (-pair[0], pair[1].name))
    return [note for score, note in ranked[:most] if score > 0]


@lru_cache(maxsize=2)
def load_notes(folder: Path = NOTES) -> tuple[LiteratureNote, ...]:
    """All notes, by name. Raises TrexError if there are none."""
    notes = [LiteratureNote.parse(p.stem, p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.md"))]
    if not notes:
        raise TrexError(f"no literature notes in {folder}: install the package again")
    return tuple(notes)


@lru_cache(maxsize=2)
def _index(folder: Path) -> tuple[tuple[LiteratureNote, ...], Any]:
    notes = load_notes(folder)
    index = _library().BM25()
    index.index([_words(note.searched) for note in notes], show_progress=False)
    return notes, index


# In addition to the library's stop words: words of most queries, which do not distinguish notes.
_STOP_WORDS = re.compile(
    "what|which|who|how|why|when|where|do|does|did|should|would|could|can|may|must|have|has|had"
    "|i|my|we|our|you|your|from|models?|fine|tun(e|ed|ing)|finetun(e|ed|ing)|training|data"
)


def _library() -> Any:
    """The module bm25s. Raises InputError if the extra is not installed."""
    try:
        import bm25s
        import bm25s.stopwords
    except ImportError:
        raise InputError(
            "search_literature needs the extra `llm`: pip install 'trex-finetune[llm]'"
        ) from None
    return bm25s


def _words(text: str) -> list[str]:
    """Words for comparison, without stop words and without endings of plurals and participles."""
    stop_words = _library().stopwords.STOPWORDS_EN
    kept = (word for word in words(text) if word not in stop_words and not _STOP_WORDS.fullmatch(word))
    return [_stem(word) for word in kept]


def _stem(word: str) -> str:
    """A light stemmer: 'rates' and 'rate', 'labelled' and 'label' become equal; numbers and short words are kept."""
    if len(word) <= 3 or not word.isalpha():
        return word
    for ending in ("ies", "ings", "ing", "ed", "es", "s", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] in "bdglmnprt":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word
