"""The tree of experiments: nodes, statistics, posterior values, search policies."""
