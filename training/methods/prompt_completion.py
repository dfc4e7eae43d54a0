"""Rows of prompt and completion in tokens, as TRL renders them: by the chat template, the loss on the completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import read_json, read_jsonl
from ..data.build import TRAIN
from ..data.render import Row

MAX_MEASURED = 5_000
"""Rows that are tokenised."""

_LONGEST = MAX_MEASURED // 10
_BATCH = 500


@dataclass(frozen=True)
class RowTokens:
    """A row in tokens: all of it, its prompt, and whether its completion ends."""

    total: int
    prompt: int
    ends: bool


@lru_cache(maxsize=8)
def measure_rows(dataset: str, base_model: str) -> tuple[int, list[RowTokens]]:
    """The number of rows, and all of them in tokens; of a large data set every n-th and the longest of the others.

    Rows are tokenised once a process for a data set and a base model. Raises InputError if the base model has no
    usable chat template.
    """
    rows = list(read_jsonl(Path(dataset) / TRAIN))
    measured = rows
    if len(rows) > MAX_MEASURED:
        wanted = MAX_MEASURED - _LONGEST
        sample = {place * len(rows) // wanted for place in range(wanted)}
        others = [place for place in range(len(rows)) if place not in sample]
        others.sort(key=lambda place: -_characters(rows[place]))
        measured = [rows[place] for place in [*sample, *others[:_LONGEST]]]
    return len(rows), _tokenise(measured, base_model)


def _characters(row: Row) -> int:
    return sum(len(turn["content"]) for turn in [*row["prompt"], *row["completion"]])


def _tokenise(rows: list[Row], base_model: str) -> list[RowTokens]:
    tokenizer, ends = _tokenizer(base_model)
    measured: list[RowTokens] = []
    for start in range(0, len(rows), _BATCH):
        texts = _texts(tokenizer, rows[start : start + _BATCH], base_model)
        prompts, wholes = (tokenizer(each, add_special_tokens=False)["input_ids"] for each in texts)
        measured += [_compare(*pair, ends) for pair in zip(prompts, wholes, strict=True)]
    return measured


def _texts(tokenizer: Any, rows: list[Row], base_model: str) -> tuple[list[str], list[str]]:
    """Prompts, and prompts with answers, as the chat template writes them."""
    prompts = [row["prompt"] for row in rows]
    wholes = [[*row["prompt"], *row["completion"]] for row in rows]
    try:
        return (
            tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False),
            tokenizer.apply_chat_template(wholes, tokenize=False),
        )
    except Exception as error:  # a chat template raises what its author chose
        raise InputError(f"{base_model}: its chat template cannot render the rows: {error}") from error


def _compare(prompt: Sequence[int], whole: Sequence[int], ends: frozenset[int]) -> RowTokens:
    """The answer begins where the prompt and the whole part, as in TRL."""
    pairs = enumerate(zip(prompt, whole, strict=False))
    start = next((place for place, (one, other) in pairs if one != other), min(len(prompt), len(whole)))
    return RowTokens(total=len(whole), prompt=start, ends=not ends.isdisjoint(whole[start:]))


@lru_cache(maxsize=2)
def _tokenizer(base_model: str) -> tuple[Any, frozenset[int]]:
    """A base model's tokenizer, and the tokens that end an answer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_model, local_files_only=True, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise InputError(f"{base_model}: the tokenizer has no chat template; choose an instruct model")
    ends = {tokenizer.eos_token_id}
    settings = Path(base_model) / "generation_config.json"
    if settings.is_file():
        known = read_json(settings).get("eos_token_id")
        ends |= set(known) if isinstance(known, list) else {known}
    return tokenizer, frozenset(ends - {None})
