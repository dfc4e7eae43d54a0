"""Data recipes, and the training sets that are built from them."""
