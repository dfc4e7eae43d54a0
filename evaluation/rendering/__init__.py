"""Rendering: the one way from a conversation to tokens, for training, evaluation and token counts."""

from __future__ import annotations

from .renderer import ChoicePrompt, Rendered, Renderer, open_renderer

__all__ = ["ChoicePrompt", "Rendered", "Renderer", "open_renderer"]
