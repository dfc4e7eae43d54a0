"""Continuations of prompts as trees: a token is computed once, and sees the prompt and its own beginning only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .batching import Context, selected

Node = tuple[int, ...]
"""A continuation: its tokens."""

_HIDDEN = torch.finfo(torch.bfloat16).min
_TOLERANCE = 0.02  # of the range of the logits; rounding to bfloat16 stays below


class NoTree(Exception):
    """The model cannot compute this tree."""


class TokenTree:
    """The trees of some prompts in the model's cache. `logits`: after each prompt.

    Raises NoTree for a model whose cache cannot be continued, and where a tree is larger than its attention window.
    """

    def __init__(self, context: Context, prompts: Sequence[Sequence[int]]) -> None:
        self._context = context
        self.logits, self._mask, self._cache = context.read(prompts)
        if self._cache is None:
            raise NoTree
        windows = [layer.sliding_window for layer in self._cache.layers if hasattr(layer, "sliding_window")]
        self._room = min(windows, default=None)
        self._rows = list(range(len(prompts)))
        self._lengths = [len(prompt) for prompt in prompts]
        # The places in the cache of each node and of its beginnings.
        self._places: list[dict[Node, list[int]]] = [{(): []} for _ in prompts]

    def grow(self, nodes: Mapping[int, Sequence[Node]]) -> dict[tuple[int, Node], torch.Tensor]:
        """Add nodes to the trees of some prompts. Returns the logits after each node.

        The beginning of a node, one token shorter, must be there. The trees of the other prompts may end.
        """
        if 2 * len(nodes) <= len(self._rows):
            self._keep([place for place, row in enumerate(self._rows) if row in nodes])
        start, width = self._mask.shape[1], max(map(len, nodes.values()))
        if self._room is not None and start + width >= self._room:
            raise NoTree
        ids = torch.zeros((len(self._rows), width), dtype=torch.long)
        positions = torch.zeros_like(ids)
        added = torch.eye(width, dtype=torch.long).repeat(len(ids), 1, 1)  # a token sees itself
        visible = torch.cat([self._mask.cpu()[:, None].repeat(1, width, 1), added], dim=2)
        for place, row in enumerate(self._rows):
            for column, node in enumerate(nodes.get(row, ())):
                beginning = self._places[row][node[:-1]]
                self._places[row][node] = [*beginning, start + column]
                visible[place, column, beginning] = 1
                ids[place, column] = node[-1]
                positions[place, column] = self._lengths[row] + len(node) - 1
        hidden = torch.where(visible.bool(), 0.0, _HIDDEN)[:, None]
        device = self._mask.device
        logits, self._cache = self._context.run(
            ids.to(device), hidden.to(device), positions.to(device), self._cache, use_cache=True
        )
        self._mask = torch.cat([self._mask, torch.zeros_like(ids).to(device)], dim=1)
        return {
            (row, node): logits[place, column]
            for place, row in enumerate(self._rows)
            for column, node in enumerate(nodes.get(row, ()))
        }

    def _keep(self, places: list[int]) -> None:
        self._rows = [self._rows[place] for place in places]
        self._mask = self._mask[places]
        self._cache = selected(self._cache, places)


def supports_trees(model: Any) -> bool:
    """Whether the model computes a tree as it computes its branches: tried on a small one.

    Models with recurrent layers do not, nor those that make position biases from the mask.
    """
    step = model.config.get_text_config().vocab_size // 8
    prompt, (first, second, third) = [step, 2 * step, 3 * step, step], (4 * step, 5 * step, 6 * step)
    context = Context(model, [prompt], 0)
    try:
        tree = TokenTree(context, [prompt])
        tree.grow({0: [(first,), (second,)]})
        found = tree.grow({0: [(second, third)]})[0, (second, third)].float()
    except (NoTree, TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return False
    wanted = context.last_logits([[*prompt, second, third]], keep=1)[0, -1].float()
    return bool((found - wanted).abs().max() <= _TOLERANCE * (wanted.max() - wanted.min()))
