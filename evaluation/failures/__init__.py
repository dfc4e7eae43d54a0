"""Failure analysis: which items of `search` a model got wrong, and what they have in common."""
