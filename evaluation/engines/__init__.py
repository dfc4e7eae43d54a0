"""Inference engines: what makes answers from a model and its weights."""
