"""Data recipes: what training sets are made of, and how."""
