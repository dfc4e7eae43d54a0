"""The base of all answer types of chat models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from ...tools.excerpt import brief
from ...tools.untrusted import defanged

_NOTES = 300  # characters


def _without_extras(schema: dict[str, Any]) -> None:
    """Models are not invited to add fields."""
    schema.pop("additionalProperties", None)


class ModelAnswer(BaseModel):
    """Fields that the type does not have are no reason to ask again: they have no effect and are kept as notes."""

    model_config = ConfigDict(frozen=True, extra="allow", json_schema_extra=_without_extras)

    @property
    def notes(self) -> str:
        """The additional fields in one line of bounded length, such as 'confidence: 0.8'; empty without any."""
        extras = self.model_extra or {}
        return brief("; ".join(f"{_plain(name)}: {_plain(value)}" for name, value in extras.items()), _NOTES)


def _plain(value: object) -> str:
    return brief(defanged(str(value)[: 4 * _NOTES]), _NOTES)
