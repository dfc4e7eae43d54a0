"""Random tokens that depend on the seed and the prompt only, not on the batch in which a prompt is continued."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from .protocol import Sampling


def draw_seed(seed: int, prompt: Sequence[int], number: int) -> int:
    """The seed of one answer to a prompt of token ids."""
    digest = hashlib.sha256(f"{seed}\0{number}\0{','.join(map(str, prompt))}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class GumbelNoise:
    """A logits processor after which the most likely token is a sample (Gumbel 1954; Maddison et al. 2014).

    The largest of `logit / temperature + g`, with `g` from the standard Gumbel distribution, falls on each token with
    its softmax probability. Each row has a generator of its own.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling, device: Any) -> None:
        from transformers import TopPLogitsWarper

        self._temperature = sampling.temperature
        self._top_p = TopPLogitsWarper(sampling.top_p) if sampling.top_p < 1 else None
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scaled = scores.float() / self._temperature
        if self._top_p is not None:
            scaled = self._top_p(input_ids, scaled)
        noise = torch.stack(
            [
                torch.empty(scaled.shape[-1], device=scaled.device).exponential_(generator=generator)
                for generator in self._generators
            ]
        )
        return scaled - noise.clamp(min=1e-30).log()  # -log of an exponential variable is Gumbel's
