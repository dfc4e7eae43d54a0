"""Data operators: the steps of a data recipe."""
