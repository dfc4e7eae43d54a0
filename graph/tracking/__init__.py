"""Experiment trackers: every trial of a run in TensorBoard, MLflow, Weights & Biases or Trackio.

The driver writes them from the files that jobs leave: workers have no network and no keys. The run's own tables are
always written.
"""
