"""Memory: what a Researcher is told of earlier experiments and earlier runs."""
