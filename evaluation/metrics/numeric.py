"""Numeric: whether the last number of an answer equals the reference, within a tolerance.

For questions whose answer is a number that may follow a derivation, such as word problems in mathematics. The last
number counts, as in the usual scorer of GSM8K (Cobbe et al. 2021, arXiv 2110.14168). What precedes the end of a
`</think>` block is not the answer.

A number is digits with at most one decimal point, perhaps an exponent, commas between thousands, and a sign. The minus
sign U+2212 counts as '-'; a hyphen right after a letter or a digit is no sign ('7-3' ends in 3). Fractions and number
words are not read, and digits within a word ('B2') are no number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ...errors import InputError
from ..task import Item
from .columns import column_text, row_name, shown
from .measure import mean
from .metric_example import MetricExample
from .variants import final

_EXPONENT = r"(?:[eE][-+]?\d+)?"
_NUMBER = re.compile(
    rf"(?<![A-Za-z0-9_.])[-+]?(?:(?:\d{{1,3}}(?:,\d{{3}})+(?![\d,])|\d+)(?:\.\d+)?|\.\d+){_EXPONENT}"
)


class Numeric:
    """1 if the last number of the answer equals the reference within a tolerance, else 0.

    The difference may be up to the larger of `tolerance` and `relative_tolerance` times the reference.
    An answer without a number is wrong. `secondary`: 'read', the share of answers with a number.
    """

    name = "numeric"
    aggregate = staticmethod(mean)
    examples = (
        MetricExample(answer="9 * 2 = 18 dollars.", reference="18", value=1),
        MetricExample(answer="Total: $1250.00", reference="1,250", value=1),
        MetricExample(answer="3.1416", reference="3.14", value=0),
        MetricExample(answer="3.1416", reference="3.14", options={"tolerance": 0.01}, value=1),
        MetricExample(answer="199", reference="200", options={"relative_tolerance": 0.01}, value=1),
    )

    def __init__(
        self,
        tolerance: Annotated[float, Field(description="Largest difference")] = 0.0,
        relative_tolerance: Annotated[
            float, Field(description="Largest difference as a share of the reference")
        ] = 0.0,
    ) -> None:
        """Raises InputError for a tolerance that is negative or not finite."""
        for option, value in (("tolerance", tolerance), ("relative_tolerance", relative_tolerance)):
            if not 0 <= value < math.inf:
                raise InputError(f"metric numeric: {option} must be a number of at least 0, not {value}")
        self._tolerance = tolerance
        self._relative_tolerance = relative_tolerance

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1.0 or 0.0 per item. Raises InputError for a reference without a number."""
        return [float(self._right(item, answer)) for item, answer in zip(items, predictions, strict=True)]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        return {"read": sum(last_number(answer) is not None for answer in predictions) / len(predictions)}

    def _right(self, item: Item, answer: str) -> bool:
        reference = column_text(item, "reference", self.name)
        wanted = last_number(reference)
        if wanted is None:
            raise InputError(f"{row_name(item)}: the reference {shown(reference)} holds no number")
        found = last_number(answer)
        return found is not None and math.isclose(
            found, wanted, abs_tol=max(self._tolerance, self._relative_tolerance * abs(wanted)), rel_tol=1e-9
        )


def last_number(text: str) -> float | None:
    """The last number of a text; None if there is none, or it is beyond the range of a float."""
    found = _NUMBER.findall(final(text).replace("\u2212", "-"))
    number = float(found[-1].replace(",", "")) if found else math.inf
    return number if math.isfinite(number) else None
