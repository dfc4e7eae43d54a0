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
            self._cache = reusable(model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values)
            self._shared = self._shared if self._cache else []

    def last_logits(self, sequences: Sequence[Sequence[int]], keep: int) -> torch.Tensor:
        """Logits of the last `keep` positions: (batch, keep, vocabulary)."""
        ids, mask = self._padded(sequences, keep)
        return self._read(ids, mask, keep)[0]

    def read(self, sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Logits after each sequence (batch, vocabulary), the mask, and the cache, None if it cannot be continued."""
        ids, mask = self._padded(sequences, 1)
        logits, cache = self._read(ids, mask, 1, use_cache=True)
        return logits[:, -1], mask, reusable(cache)

    def run(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any, **options: Any
    ) -> tuple[torch.Tensor, Any]:
        """The model's logits for ids that follow a cache, and the cache with them. `mask` covers both."""
        output = self._model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, **options
        )
        return finite(output.logits), output.get("past_key_values")

    def generate(
        self, sequences: Sequence[Sequence[int]], settings: Any, processors: Sequence[Any] = ()
    ) -> torch.Tensor:
        """New tokens only: (batch, up to max_new_tokens), padded after the end."""
        ids, mask = self._padded(sequences, 1)
        cache = {"past_key_values": self._cache_for(len(sequences))} if self._shared else {}
        produced: torch.Tensor = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=[lambda _, logits: finite(logits), *processors],
            **cache,
        )
        return produced[:, ids.shape[1] :]

    def _read(
        self, ids: torch.Tensor, mask: torch.Tensor, keep: int, use_cache: bool = False
    ) -> tuple[torch.Tensor, Any]:
        start = len(self._shared)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, start:]
        cache = self._cache_for(len(ids))
        use_cache = use_cache or bool(self._shared)
        return self.run(ids[:, start:], mask, positions, cache, use_cache=use_cache, logits_to_keep=keep)

    def _cache_for(self, size: int) -> Any:
        return selected(self._cache, [0] * size) if self._shared else None

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


def reusable(cache: Any) -> Any:
    """The cache if several continuations can start from it, else None: a recurrent layer has one state."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    layers = (DynamicLayer, DynamicSlidingWindowLayer)
    simple = isinstance(cache, DynamicCache) and all(type(layer) in layers for layer in cache.layers)
    return cache if simple else None


def selected(cache: Any, rows: Sequence[int]) -> Any:
    """A cache with these rows of another one, which stays as it is."""
    new = copy.copy(cache)
    new.layers = [copy.copy(layer) for layer in cache.layers]
    new.batch_select_indices(torch.tensor(rows))
    return new


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
