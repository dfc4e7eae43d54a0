"""The most likely of many choices, without computing them all.

Choices form a tree of tokens. A further token never makes a text more likely, so the likeliest beginnings are followed
first, and none that is less likely than the best complete choice. The result is exact.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import torch

from .batching import Context
from .token_tree import Node, TokenTree

_FIRST, _GROWTH, _MOST = 2, 1.5, 16
"""Beginnings of a prompt that are followed at a time: few where the model is sure, more where it is not."""


class ChoiceSearch:
    """Finds for each prompt the choice with the highest log-likelihood, the first of equals. No choice is empty."""

    def __init__(self, choices: Sequence[Sequence[int]]) -> None:
        self._choices = [tuple(choice) for choice in choices]
        self._next: dict[Node, list[int]] = {}
        for choice in self._choices:
            for length, token in enumerate(choice):
                tokens = self._next.setdefault(choice[:length], [])
                if token not in tokens:
                    tokens.append(token)

    def most_likely(self, context: Context, prompts: Sequence[Sequence[int]]) -> list[int]:
        """The index of the choice for each prompt. Raises NoTree, see `TokenTree`."""
        tree = TokenTree(context, prompts)
        searches = [_Search(self._next) for _ in prompts]
        self._tell(searches, {(row, ()): logits for row, logits in enumerate(tree.logits)})
        width = float(_FIRST)
        while nodes := {row: found for row, each in enumerate(searches) if (found := each.take(int(width)))}:
            self._tell(searches, tree.grow(nodes))
            width = min(_MOST, width * _GROWTH)
        return [each.best(self._choices) for each in searches]

    def _tell(self, searches: Sequence[_Search], logits: dict[tuple[int, Node], torch.Tensor]) -> None:
        places = [(at, token) for at, (_, node) in enumerate(logits) for token in self._next[node]]
        at, tokens = torch.tensor(places).T
        together = torch.stack(list(logits.values())).float()
        found = iter((together[at, tokens] - together.logsumexp(-1)[at]).tolist())
        for row, node in logits:
            for token in self._next[node]:
                searches[row].add(node, token, next(found))


class _Search:
    """The search for one prompt."""

    def __init__(self, following: dict[Node, list[int]]) -> None:
        self._next = following
        self._known: dict[Node, float] = {(): 0.0}
        self._open: list[tuple[float, Node]] = []
        self._highest = float("-inf")

    def add(self, node: Node, token: int, likelihood: float) -> None:
        """The log-likelihood of a token after a node."""
        total, longer = self._known[node] + likelihood, (*node, token)
        self._known[longer] = total
        if longer in self._next:
            heapq.heappush(self._open, (-total, longer))
        else:
            self._highest = max(self._highest, total)

    def take(self, most: int) -> list[Node]:
        """The likeliest beginnings that may lead to the best choice."""
        found: list[Node] = []
        while self._open and len(found) < most and -self._open[0][0] > self._highest:
            found.append(heapq.heappop(self._open)[1])
        return found

    def best(self, choices: Sequence[Node]) -> int:
        """The index of the likeliest choice."""
        return max(range(len(choices)), key=lambda index: self._known.get(choices[index], float("-inf")))


def most_likely_of_all(
    context: Context, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
) -> list[int]:
    """Like `ChoiceSearch.most_likely`, each choice after each prompt, for models that cannot compute trees."""
    pairs = [(prompt, choice) for prompt in prompts for choice in choices]
    keep = max(map(len, choices))
    # The last token is never an input: the position before it predicts it.
    logits = context.last_logits([[*prompt, *choice[:-1]] for prompt, choice in pairs], keep)
    totals = []
    for row, (_, choice) in enumerate(pairs):
        likelihoods = logits[row, keep - len(choice) :].float().log_softmax(-1)
        targets = torch.tensor(choice, device=likelihoods.device)
        totals.append(likelihoods.gather(-1, targets[:, None]).sum())
    best: list[int] = torch.stack(totals).view(len(prompts), len(choices)).argmax(-1).tolist()
    return best
