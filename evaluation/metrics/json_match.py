"""JSON: how many fields of the reference an answer gives with the right value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from ...errors import InputError
from ..task import Item
from .accuracy import after_thoughts, normalise
from .columns import column_text, row_name, shown
from .measure import mean
from .metric_example import MetricExample

MOST_FIELDS = 30
"""With more fields, `secondary` leaves the single ones out."""


@dataclass(frozen=True)
class _Absent:
    """The value of a field that is not there; it equals no value of JSON."""


class JsonMatch:
    """The share of the reference's fields that the answer's JSON gives with an equal value.

    Fields of objects within objects are named with dots, `address.city`; a list is one value. The JSON is the whole
    answer, or the last object or list in it, for example in a code block. An answer without JSON has the value 0.
    Numbers are equal within `tolerance`, texts without case and punctuation at the ends; the number 1, the text "1"
    and `true` differ. `secondary`: the share of answers with JSON ('valid'), of answers with all fields right ('all'),
    and the share of right values of each field.
    """

    name = "json_match"
    aggregate = staticmethod(mean)
    examples = (
        MetricExample(
            answer='```json\n{"city": "paris", "rooms": 2}\n```', reference='{"city": "Paris", "rooms": 3}', value=0.5
        ),
        MetricExample(
            answer='{"total": 12.501, "note": "x"}',
            reference='{"total": 12.5, "id": 7}',
            options={"fields": ["total"], "tolerance": 0.01},
            value=1,
        ),
        MetricExample(answer="two rooms in Paris", reference='{"city": "Paris"}', value=0),
    )  # fmt: skip

    def __init__(
        self,
        fields: Annotated[
            list[str] | None, Field(min_length=1, description="Only these fields; None: all of the reference")
        ] = None,
        tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False, description="Of numbers")] = 0.0,
        exact_text: Annotated[bool, Field(description="Compare texts character by character")] = False,
        strict: Annotated[
            bool, Field(description="Fields that the reference lacks count as wrong ones")
        ] = False,
    ) -> None:
        self._fields = None if fields is None else tuple(fields)
        self._tolerance = tolerance
        self._exact_text = exact_text
        self._strict = strict

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """The share of right fields per item. Raises InputError for a reference without JSON or without fields."""
        return [mean(list(right.values())) for right in self._right(items, predictions)]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        right = self._right(items, predictions)
        figures = {
            "valid": mean([not isinstance(json_in(answer), _Absent) for answer in predictions]),
            "all": mean([all(fields.values()) for fields in right]),
        }
        names = sorted({name for fields in right for name in fields})
        if len(names) <= MOST_FIELDS:
            for name in names:
                figures[f"field {name}"] = mean([fields[name] for fields in right if name in fields])
        return figures

    def _right(self, items: Sequence[Item], predictions: Sequence[str]) -> list[dict[str, bool]]:
        """Per item, whether each field is right."""
        return [self._fields_right(item, answer) for item, answer in zip(items, predictions, strict=True)]

    def _fields_right(self, item: Item, answer: str) -> dict[str, bool]:
        where, text = row_name(item), column_text(item, "reference", self.name)
        reference = json_in(text)
        if isinstance(reference, _Absent):
            raise InputError(f"{where}: the reference {shown(text)} is no JSON")
        wanted, found = _flat(reference), _flat(json_in(answer))
        names = list(self._fields or (wanted | found if self._strict else wanted))
        missing = [name for name in names if self._fields and name not in wanted]
        if missing or not names:
            raise InputError(f"{where}: the reference has no field {missing[0] if missing else ''}".rstrip())
        return {
            name: name in wanted and self._equal(wanted[name], found.get(name, _Absent())) for name in names
        }

    def _equal(self, wanted: Any, found: Any) -> bool:
        if isinstance(wanted, bool) or isinstance(found, bool):
            return wanted is found
        if isinstance(wanted, int | float) and isinstance(found, int | float):
            return abs(wanted - found) <= self._tolerance or math.isclose(wanted, found, rel_tol=1e-9)
        if isinstance(wanted, str) and isinstance(found, str) and not self._exact_text:
            return normalise(wanted) == normalise(found)
        if isinstance(wanted, list) and isinstance(found, list):
            return len(wanted) == len(found) and all(map(self._equal, wanted, found))
        if isinstance(wanted, dict) and isinstance(found, dict):
            return wanted.keys() == found.keys() and all(self._equal(wanted[k], found[k]) for k in wanted)
        return type(wanted) is type(found) and bool(wanted == found)


def json_in(text: str) -> Any:
    """The JSON value that a text is, or the last object or list in it; an `_Absent` if there is none."""
    plain = after_thoughts(text).strip()
    try:
        return _DECODER.decode(plain)
    except (ValueError, RecursionError):
        return next(reversed([*_values_in(plain)]), _Absent())


def _values_in(text: str) -> Iterator[Any]:
    """The objects and lists in a text that are in no other, in order."""
    start = 0
    while (start := next((i for i in range(start, len(text)) if text[i] in "{["), -1)) >= 0:
        try:
            value, start = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            start += 1
        else:
            yield value


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """The fields of an object by their dotted names; another value has the name 'value'."""
    if isinstance(value, _Absent):
        return {}
    if not isinstance(value, Mapping):
        return {path or "value": value}
    parts = [_flat(part, f"{path}.{name}" if path else name) for name, part in value.items()]
    return {name: part for flat in parts for name, part in flat.items()} or ({path: value} if path else {})


_DECODER = json.JSONDecoder(parse_constant=str)  # NaN is a text: it would not equal itself
