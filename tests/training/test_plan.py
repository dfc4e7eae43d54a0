"""Training plans: what they hold, what they refuse, and what of them determines a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.plans import training_plan
from support.worker import trial_of
from trex.graph.tree.experiment import ExperimentPlan
from trex.training.data.recipe import DataRecipe, Stream
from trex.training.plan import TrainingPlan, rung_steps

RECIPE = DataRecipe(streams=(Stream(source="movie"),))


def test_without_settings_a_plan_is_one_stage_of_sft_on_lora_from_the_base_model() -> None:
    plan = TrainingPlan.model_validate({})
    assert (plan.start, plan.weights.kind) == ("base", "lora")
    assert (plan.stage.method, plan.stage.recipe) == ("sft", "main") and len(plan.stages) == 1
    assert plan.model_dump(mode="json", exclude_defaults=True) == {}
    changed = training_plan(learning_rate=0.002, rank=4)
    short = changed.model_dump(mode="json", exclude_defaults=True)
    assert short == {"weights": {"rank": 4}, "stages": [{"learning_rate": 0.002}]}
    assert TrainingPlan.model_validate(short) == changed


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"start": "elsewhere"}, "Input should be 'base' or 'parent'"),
        ({"stages": []}, "a plan has 1 to 4 stages, not 0"),
        ({"stages": [{}] * 5}, "a plan has 1 to 4 stages, not 5"),
        (
            {"stages": [{"method": "magic"}]},
            "no training method 'magic'; there are: sft, pretraining, dpo, kto",
        ),
        ({"weights": {"kind": "magic"}}, "no kind of weights 'magic'; there are: lora, full"),
        ({"stages": [{"packing": True}]}, r"packing is not offered: .* leave it out"),
        ({"stages": [{"recipe": "../main"}]}, "should match pattern"),
        ({"stages": ["sft"]}, "instance of Stage"),
        ({"weights": 8}, "instance of WeightsSettings"),
        ({"learning_rate": 0.1}, "Extra inputs"),
    ],
)
def test_what_a_plan_refuses(plan: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TrainingPlan.model_validate(plan)


def test_errors_say_where(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as error:
        TrainingPlan.model_validate({"weights": {"rank": 0}, "stages": [{"epochs": 0, "seed": 1}]})
    places = {mistake["loc"] for mistake in error.value.errors()}
    assert places == {("weights", "rank"), ("stages", 0, "epochs"), ("stages", 0, "seed")}


def test_the_name_of_a_recipe_does_not_change_a_trial(tmp_path: Path) -> None:
    model, data = tmp_path / "model", tmp_path / "data"
    ids = [
        trial_of(model, data, plan).id
        for plan in (training_plan(), training_plan(recipe="other"), training_plan(rank=4))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_effective_settings_name_stage_and_weights() -> None:
    settings = training_plan(rank=4, max_steps=9).effective()
    assert settings["weights.rank"] == 4 and settings["max_steps"] == 9 and "epochs" not in settings


def experiment_plan(recipes: dict[str, Any], *names: str) -> ExperimentPlan:
    trials = [{"training": {"stages": [{"recipe": name}]}} for name in names]
    return ExperimentPlan.model_validate(
        {"strategy": "refine_data", "direction": "d", "hypothesis": "h", "recipes": recipes, "trials": trials}
    )


def test_an_experiments_trials_may_differ_in_their_recipe() -> None:
    plan = experiment_plan({"a": RECIPE, "b": RECIPE.model_copy(update={"rows": 9})}, "a", "b", "a")
    assert [plan.recipe_of(trial.training).rows for trial in plan.trials] == [None, 9, None]
    assert ExperimentPlan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("recipes", "names", "says"),
    [
        ({"a": RECIPE}, ("b",), "a stage trains on the recipe 'b', but the recipes are a"),
        ({"a": RECIPE, "b": RECIPE}, ("a",), "no stage trains on the recipe 'b'"),
        ({}, ("main",), "at least 1 item"),
        (dict.fromkeys("abcde", RECIPE), tuple("abcde"), "at most 4 items"),
        ({"A b": RECIPE}, ("main",), "should match pattern"),
    ],
)
def test_recipes_and_stages_must_agree(recipes: dict[str, Any], names: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        experiment_plan(recipes, *names)


def test_rungs_end_with_the_schedule() -> None:
    assert rung_steps(30, (0.5, 1.0)) == [15, 30] and rung_steps(1, (0.3, 1.0)) == [1]
