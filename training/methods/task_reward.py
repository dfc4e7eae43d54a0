"""The reward of an answer to a training row: the value of the task's metric, with partial credit where it gives some.

Methods score answers here alone. A data set's folder names the metric; its rows hold the columns
that the metric reads. Nothing of dev or test can be read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...evaluation.metrics import Metric
from ...files import read_json, read_jsonl
from ..data.build import SCORING, TRAIN
from ..data.models.answer_reward import AnswerReward, open_answer_reward
from ..data.row_kinds import Row

VALIDITY = "validity"
_LOOKED_AT = 50  # rows


@dataclass(frozen=True)
class TaskReward:
    """A task's metric on training rows. Values are 0…1 for most metrics; a right answer has the highest."""

    metric: Metric

    def rewards(self, rows: Sequence[Row], answers: Sequence[str]) -> list[float]:
        """One finite value an answer. An answer on which the metric fails has the reward 0."""
        return [self._one(row, answer) for row, answer in zip(rows, answers, strict=True)]

    def validity(self, rows: Sequence[Row], answers: Sequence[str]) -> list[float]:
        """1 for a valid answer, else 0, as the metric's secondary figure says."""
        return [
            self.metric.secondary([_item(row)], [answer]).get(VALIDITY, 0.0)
            for row, answer in zip(rows, answers, strict=True)
        ]

    def can_score(self, row: Row) -> bool:
        """Whether the row has what the metric reads: then its own answer is worth something."""
        return self._one(row, str(row["completion"][-1]["content"])) > 0

    def _one(self, row: Row, answer: str) -> float:
        return AnswerReward(self.metric).of(_item(row), answer)


def open_reward(dataset: Path, validity: bool = False) -> TaskReward:
    """The reward for rows of a data set. Raises InputError for a metric that cannot be a reward."""
    path = dataset / SCORING
    if not path.exists():
        raise InputError(
            f"{dataset} names no metric, which is the reward: build the data set again from its recipe"
        )
    text = str(read_json(path)["metric"])
    found = open_answer_reward(text, "train with sft or dpo").metric
    reward = TaskReward(found)
    rows = list(islice(read_jsonl(dataset / TRAIN), _LOOKED_AT))
    if not any(map(reward.can_score, rows)):
        raise InputError(
            f"the metric {text} gives none of the rows' own answers a reward: look at the answers"
        )
    if validity and VALIDITY not in found.secondary([_item(rows[0])], [""]):
        raise InputError(f"the metric {text} has no validity: set valid_weight to 0")
    return reward


def _item(row: Row) -> dict[str, Any]:
    source = row.get("source")
    return (source if isinstance(source, dict) else {}) | {"reference": row["completion"][-1]["content"]}
