"""Python: a function of your own that scores one answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from ...errors import InputError
from ..task import Item
from .measure import mean
from .metric_example import MetricExample
from .user_code import named_object


class PythonFunction:
    """The mean of a Python function's values: `score(item, answer)` returns a number or a truth value.

    `item` is the row as a dictionary, with the reference as `item["reference"]`. A larger value is better; the search
    expects values within 0…1. The function is imported in the process that scores, and must be deterministic. For a
    score that is no mean, or for further figures, write a class instead (see docs/own_task.md).
    """

    aggregate = staticmethod(mean)
    examples = (
        MetricExample(
            answer="about 4.5",
            reference="4",
            options={"function": "near.py:near"},
            code={
                "near.py": 'def near(item, answer):\n    """1 if right, less with the distance, 0 from 1 on."""\n'
                '    return max(0.0, 1 - abs(float(answer.split()[-1]) - float(item["reference"])))\n'
            },
            value=0.5,
        ),
    )

    def __init__(
        self,
        function: Annotated[
            str, Field(description="'file.py:name' (relative to the task file) or 'package.module:name'")
        ],
    ) -> None:
        """Raises InputError for a function that cannot be imported, or that does not take two arguments."""
        self.function = named_object(function)
        self.name = function.rpartition(":")[2]
        if not callable(self.function) or not _takes_two(self.function):
            raise InputError(
                f"metric python: {function} must be a function of two arguments, the item and the answer"
            )

    @property
    def scored_by(self) -> Sequence[object]:
        """What decides a score beside this class: the evaluator's version covers it."""
        return (self.function,)

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """What the function returns per item."""
        return [self.function(dict(item), answer) for item, answer in zip(items, predictions, strict=True)]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """None."""
        return {}


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind({}, "")
    except TypeError:
        return False
    except ValueError:  # a function in C may have no signature
        return True
    return True
