"""Parts of a plan that are written as changes of the parent's: `{"from": "parent", …}`, or only `"parent"`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from ..errors import PlanError
from ..training.data.recipe import DataRecipe
from ..training.data.recipe_file import recipe_from_yaml
from ..training.plan import TrainingPlan

PARENT, FROM = "parent", "from"
_OBJECT = WithJsonSchema({"type": "object"})


@dataclass(frozen=True)
class ParentConfiguration:
    """What a plan may be written as a change of: recipes by name, and the settings of one trial."""

    recipes: Mapping[str, DataRecipe] = field(default_factory=dict)
    training: TrainingPlan | None = None

    def recipe_argument(self) -> Any:
        """The type of one recipe; without a name it changes the first recipe."""
        return Annotated[DataRecipe, BeforeValidator(self._recipe), _OBJECT]

    def recipes_argument(self) -> Any:
        """The type of recipes by name; each changes the recipe of its name, else the first."""
        return BeforeValidator(self._named)

    def training_argument(self) -> Any:
        """The type of a trial's settings. Fields of weights and of stages by place replace the parent's."""
        return Annotated[TrainingPlan, BeforeValidator(self._training), _OBJECT]

    def _named(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: self._recipe(each, str(name)) for name, each in value.items()}

    def _recipe(self, value: Any, name: str = "") -> Any:
        value = parsed_recipe(value)
        if not _is_change(value):
            return value
        parent = self.recipes.get(name) or next(iter(self.recipes.values()), None)
        return _base(parent) | _changes(value)

    def _training(self, value: Any) -> Any:
        value = {FROM: PARENT} if value == PARENT else value
        if not _is_change(value):
            return value
        base, changes = _base(self.training), _changes(value)
        if isinstance(weights := changes.pop("weights", {}), Mapping):
            other_kind = weights.get("kind", base["weights"]["kind"]) != base["weights"]["kind"]
            base["weights"] = dict(weights) if other_kind else base["weights"] | weights
        stages = changes.pop("stages", [])
        if not isinstance(stages, list):
            stages = [stages]
        for place, stage in enumerate(stages):
            old = base["stages"][place] if place < len(base["stages"]) else {}
            other = not isinstance(stage, Mapping) or stage.get("method", old.get("method")) != old.get(
                "method"
            )
            base["stages"][place : place + 1] = [stage if other else old | stage]
        return base | changes


def parsed_recipe(value: Any) -> Any:
    """A recipe written as text: some models write a nested argument so; JSON and YAML are both read."""
    if isinstance(value, str) and value.strip().casefold() == PARENT:
        return {FROM: PARENT}
    try:
        return recipe_from_yaml(value) if isinstance(value, str) else value
    except PlanError as error:
        raise ValueError(str(error)) from None  # pydantic reports only a ValueError with its field


def _is_change(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get(FROM) == PARENT


def _changes(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if name != FROM}


def _base(parent: DataRecipe | TrainingPlan | None) -> dict[str, Any]:
    if parent is None:
        raise ValueError(f"there is no parent to start {FROM}: write it whole")
    return parent.model_dump(mode="json")
