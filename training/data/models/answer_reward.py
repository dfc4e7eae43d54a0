"""What an answer to a training row is worth: the value of the task's metric, with partial credit where it gives some.

With `methods/task_reward`, which uses it, the only place where training scores answers. Nothing of dev or test can be
read here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....errors import InputError, TrexError
from ....evaluation.metrics import JudgedMetric, Metric, SampledMetric, is_ours, metric
from ....evaluation.metrics.protocol import RewardingMetric


@dataclass(frozen=True)
class AnswerReward:
    """A metric on single answers. Values are 0…1 for most metrics; a right answer has the highest."""

    metric: Metric

    def of(self, item: Mapping[str, Any], answer: str) -> float:
        """A finite value. An answer on which the metric fails has the reward 0."""
        score = (
            self.metric.reward_items if isinstance(self.metric, RewardingMetric) else self.metric.score_items
        )
        try:
            [value] = score([dict(item)], [answer])
        except TrexError:
            return 0.0
        return float(value) if math.isfinite(value) else 0.0


def open_answer_reward(text: str, mend: str) -> AnswerReward:
    """The reward by the metric that a task names. Raises InputError, with the mend, for one that cannot be a reward."""
    if not is_ours(text):
        raise InputError(
            f"the metric {text} cannot be a reward, because its code is not part of TREX: {mend}"
        )
    found = metric(text)
    if isinstance(found, JudgedMetric):
        raise InputError(f"a judge scores answers outside of the worker, so it gives no reward: {mend}")
    if isinstance(found, SampledMetric):
        raise InputError(f"the metric {text} scores several answers together: {mend}")
    return AnswerReward(found)
