"""The experiment store: a DuckDB projection of the tree."""
