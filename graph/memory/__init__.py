"""Memory: what a Researcher sees of earlier experiments and earlier runs."""
