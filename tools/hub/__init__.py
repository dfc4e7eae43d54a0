"""Data sets and models on a hub, or in a local folder that stands in for one."""
