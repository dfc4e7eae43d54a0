"""The plan check: every fault is named, and what is sound passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.utils.function_calling import convert_to_openai_tool
from support.plans import training_plan
from support.recipes import LABEL, MakeTask, recipe, reviews, task_in
from trex.evaluation.task import Task
from trex.tools.guide import possibilities, recipe_guide, training_guide
from trex.tools.plan_check import Tried, plan_check_tool, plan_problems
from trex.training.data.operators.filter import Filter
from trex.training.data.operators.sample import Sample
from trex.training.data.recipe import DataRecipe, Step
from trex.training.methods.sft import SftStage
from trex.training.plan import TrainingPlan
from trex.training.weights.lora import LoraWeights

GOOD = recipe(LABEL, Sample(n=100))
SETTINGS = (SftStage.model_fields.keys() | LoraWeights.model_fields.keys()) - {"method", "recipe", "kind"}
RATES = [training_plan(learning_rate=rate, batch_size=8) for rate in (2e-4, 5e-4, 1e-3)]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    make: MakeTask = task_in(tmp_path_factory.mktemp("task"))
    return make(movies=reviews(200))


def problems(task: Task, trainings: list[TrainingPlan], plan: DataRecipe = GOOD, **more: Any) -> list[str]:
    return plan_problems({"main": plan}, trainings, task, **{"examples": 100, **more})


def test_a_sound_plan_passes(task: Task) -> None:
    assert problems(task, RATES, trials=3) == []
    tool = plan_check_tool(lambda plans, trainings: problems(task, list(trainings), plans["main"]))
    arguments = {
        "recipes": {"main": GOOD.model_dump(mode="json")},
        "trainings": [t.model_dump(mode="json") for t in RATES],
    }
    assert tool.invoke(arguments) == "nothing is wrong with this plan"


def test_a_recipe_that_cannot_be_carried_out_is_said_with_the_rest(task: Task) -> None:
    found = problems(task, [RATES[0], RATES[0]], recipe(Filter(column="stars", equals=1)), trials=3)
    assert found[0].startswith(
        "the recipe cannot be carried out: streams[0].steps[0] filter: no column 'stars'"
    )
    assert "2 trials are planned, 3 are wanted" in found
    assert any("trials 1 and 2 are the same" in fault for fault in found)


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ({}, {}, "are the same"),
        ({"max_steps": 12, "epochs": 1}, {"max_steps": 12, "epochs": 2}, "are the same"),
        (
            {"lr_scheduler_type": "constant", "warmup_ratio": 0},
            {"lr_scheduler_type": "constant", "warmup_ratio": 0.3},
            "are the same",
        ),
        ({"neftune_noise_alpha": None}, {"neftune_noise_alpha": 0}, "are the same"),
        (
            {"targets": ("q_proj", "v_proj")},
            {"targets": ("v_proj", "q_proj")},
            "are the same",
        ),
        ({"learning_rate": 1e-3}, {"learning_rate": 1.1e-3}, "too alike (learning_rate 0.001 and 0.0011)"),
        ({"warmup_ratio": 0.05}, {"warmup_ratio": 0.06}, "too alike"),
        ({"learning_rate": 1e-3}, {"learning_rate": 2e-3}, None),
        ({"weight_decay": 0.0}, {"weight_decay": 0.1}, None),
        ({"neftune_noise_alpha": None}, {"neftune_noise_alpha": 5}, None),
        ({"layers": "all"}, {"layers": "upper_half"}, None),
        ({"learning_rate": 1e-3, "rank": 8}, {"learning_rate": 1.1e-3, "rank": 32}, None),
        ({"max_steps": 12}, {"max_steps": None}, None),
    ],
)
def test_trials_that_teach_nothing(
    task: Task, one: dict[str, Any], other: dict[str, Any], word: str | None
) -> None:
    base = {"batch_size": 8}
    found = problems(task, [training_plan(**base, **one), training_plan(**base, **other)], examples=1000)
    assert [fault for fault in found if "trials 1 and 2" in fault and word is not None and word in fault] == (
        found if word is not None else []
    )
    assert bool(found) == (word is not None)


def test_what_was_tried_is_not_tried_again(task: Task) -> None:
    tried = [Tried("e003", GOOD, RATES[1]), Tried("e004", recipe(LABEL), RATES[0])]
    (only,) = problems(task, RATES, tried=tried)
    assert only.startswith("trial 2 repeats e003: ")


def test_the_budget_of_examples(task: Task) -> None:
    (only,) = problems(task, [training_plan(batch_size=8, epochs=4)])
    assert (
        "400 examples would be consumed (100 rows, 52 steps of 8), 100 are allowed: set epochs to 1" in only
    )
    (only,) = problems(task, [training_plan(batch_size=8, gradient_accumulation=2, max_steps=50)])
    assert "set max_steps to 6" in only
    assert problems(task, [training_plan(batch_size=8, max_steps=12)]) == []
    # The mended value passes.
    assert problems(task, [training_plan(batch_size=8, epochs=1)]) == []


def test_too_few_steps_and_rows_that_are_too_long(task: Task) -> None:
    (only,) = problems(task, [training_plan(batch_size=64)])
    assert only.startswith("trial 1: only 2 optimiser steps of 64 rows")
    make = task_in(task.dev.parent)
    long = make(movies=[{"text": "word " * 300, "label": "yes", "id": i} for i in range(50)])
    (only,) = problems(long, [training_plan(batch_size=8, max_length=256)], recipe())
    assert "words, more than max_length 256" in only


training_plans = st.builds(
    training_plan,
    learning_rate=st.floats(1e-5, 1e-1),
    epochs=st.floats(0.1, 20),
    max_steps=st.none() | st.integers(1, 1000),
    batch_size=st.integers(1, 512),
    lr_scheduler_type=st.sampled_from(["linear", "cosine", "constant"]),
    warmup_ratio=st.floats(0, 0.5),
    neftune_noise_alpha=st.none() | st.floats(0, 50),
)


@given(training_plans)
@settings(max_examples=60, deadline=None)
def test_a_plan_repeats_itself_and_settings_without_effect_do_not_count(plan: TrainingPlan) -> None:
    assert plan.effective() == plan.model_copy().effective()
    if cast(SftStage, plan.stage).max_steps is not None:
        assert plan.effective() == plan.with_stage(epochs=7.0).effective()
    assert plan.effective() != plan.with_weights(rank=99).effective()


def test_problems_reach_the_model_as_a_bounded_list() -> None:
    tool = plan_check_tool(lambda plan, trainings: [f"fault {i}: " + "x" * 3000 for i in range(40)])
    text = str(tool.invoke({"recipes": {"main": GOOD.model_dump(mode="json")}, "trainings": [{}]}))
    assert "40 to change:\n1. fault 0: " in text
    assert len(text) < 9000
    assert "more do not fit" in text


def test_settings_that_do_not_validate_are_named(task: Task) -> None:
    tool = plan_check_tool(lambda plan, trainings: [])
    said = str(
        tool.invoke(
            {
                "recipes": {"main": GOOD.model_dump(mode="json")},
                "trainings": [{"stages": [{"learning_rate": 3, "seed": 1}]}],
            }
        )
    )
    assert said.startswith("error: ")
    assert "trainings.0.stages.0.learning_rate" in said
    assert "trainings.0.stages.0.seed" in said
    assert "\n" not in said
    assert Path(task.dev).is_file()


def test_an_agent_is_told_of_python_only_where_it_is_allowed() -> None:
    assert "\npython(" in recipe_guide(allow_python=True) and "\npython(" not in recipe_guide()
    assert "- python:" in possibilities(allow_python=True) and "- python:" not in possibilities()


def test_the_guides_name_everything_and_stay_short() -> None:
    for name in SETTINGS:
        assert f"{name}=" in training_guide()
    assert "learning_rate=0.001 (> 0, ≤ 0.1)" in training_guide()
    assert "max_steps=null (≥ 1, ≤ 100000)" in training_guide()
    assert 'layers="all" (all | upper_half | upper_quarter)' in training_guide()
    for kind in get_args(get_args(Step)[0]):
        assert f"\n{kind.model_fields['op'].default}(" in recipe_guide(allow_python=True)
        assert all(name in recipe_guide(allow_python=True) for name in kind.model_fields)
    example = recipe_guide().split("Example: ")[1]
    assert DataRecipe.model_validate_json(example).rows == 600
    tool = plan_check_tool(lambda plan, trainings: [])
    assert len(json.dumps(convert_to_openai_tool(tool))) < 4000
