"""A task proposed from data files: what `trex init` and `Task.from_data` do."""

from .proposal import Proposal, Wanted, parts_by_name, propose, task_from_data
from .task_yaml import task_yaml

__all__ = ["Proposal", "Wanted", "parts_by_name", "propose", "task_from_data", "task_yaml"]
