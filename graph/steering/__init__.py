"""Steering: hints, pause, stop, approval and forks of a run."""
