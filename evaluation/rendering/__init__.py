"""Rendering: the one way from a conversation to tokens, for training, evaluation and token counts."""

from __future__ import annotations

from .renderer import ChoicePrompt, Renderer, TokenRow, open_renderer

__all__ = ["ChoicePrompt", "Renderer", "TokenRow", "open_renderer"]
