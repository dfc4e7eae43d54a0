"""Batches of prompts for a causal language model: like lengths together, what all share computed once."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

T = TypeVar("T")

# A shorter beginning costs more to hand to every batch than it saves.
MIN_SHARED = 8


class Context:
    """A model, and the beginning that a set of prompts shares (system turn, instruction) in its cache.

    Sequences given later must start with that beginning; they are padded between it and what follows, so that
    all end at the same position. Positions count real tokens only, as if there were no padding.
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], pad: int) -> None:
        self._model = model
        self._pad = pad
        # The last token of a prompt is always computed anew: its logits are what is asked for.
        shared = min(shared_beginning(prompts), min(map(len, prompts)) - 1)
        self._shared = list(prompts[0][:shared]) if len(prompts) > 1 and shared >= MIN_SHARED else []
        self._cache: Any = None
        if self._shared:
            ids = torch.tensor([self._shared], device=model.device)
            self._cache = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values

    def last_logits(self, sequences: Sequence[Sequence[int]], keep: int) -> torch.Tensor:
        """Logits of the last `keep` positions: (batch, keep, vocabulary)."""
        ids, mask = self._padded(sequences, keep)
        start = len(self._shared)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        logits: torch.Tensor = self._model(
            input_ids=ids[:, start:],
            attention_mask=mask,
            position_ids=positions[:, start:],
            past_key_values=self._cache_for(len(sequences)),
            use_cache=bool(self._shared),
            logits_to_keep=keep,
        ).logits
        return finite(logits)

    def generate(self, sequences: Sequence[Sequence[int]], settings: Any) -> torch.Tensor:
        """New tokens only: (batch, up to max_new_tokens), padded after the end."""
        ids, mask = self._padded(sequences, 1)
        cache = {"past_key_values": self._cache_for(len(sequences))} if self._shared else {}
        produced: torch.Tensor = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=[lambda _, logits: finite(logits)],
            **cache,
        )
        return produced[:, ids.shape[1] :]

    def _cache_for(self, size: int) -> Any:
        if not self._shared:
            return None
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(size)
        return cache

    def _padded(self, sequences: Sequence[Sequence[int]], least: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, each (batch, longest), with at least `least` positions after the shared beginning."""
        start = len(self._shared)
        longest = max(start + least, *map(len, sequences))
        ids = torch.full((len(sequences), longest), self._pad)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, :start] = torch.tensor(self._shared, dtype=ids.dtype)
            mask[row, :start] = 1
            rest = sequence[start:]
            ids[row, longest - len(rest) :] = torch.tensor(rest)
            mask[row, longest - len(rest) :] = 1
        return ids.to(self._model.device), mask.to(self._model.device)


def finite(logits: torch.Tensor) -> torch.Tensor:
    """The logits. Raises FloatingPointError if one is NaN or +inf: the largest then says nothing about the answer."""
    if not bool(torch.isfinite(logits.amax())):
        raise FloatingPointError("the outputs are not finite numbers: the weights are too large")
    return logits


def in_batches(
    things: Sequence[T], length: Callable[[T], int], size: int, work: Callable[[list[T]], list[Any]]
) -> list[Any]:
    """Apply `work` to batches of things of like length, longest first; results keep the things' order."""
    order = sorted(range(len(things)), key=lambda index: (-length(things[index]), index))
    results: list[Any] = [None] * len(things)
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        for index, result in zip(batch, work([things[index] for index in batch]), strict=True):
            results[index] = result
    return results


def shared_beginning(sequences: Sequence[Sequence[int]]) -> int:
    """How many first elements all sequences share."""
    columns = zip(*sequences, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
