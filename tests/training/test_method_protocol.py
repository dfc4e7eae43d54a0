"""Every training method keeps the protocol, one from an installed package as well."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from support.toy_package import write_toy_package
from support.worker import dataset_of, make_rows, trial_of, write_rows
from trex.errors import InputError, PlanError
from trex.evaluation.base_models import resolve_model
from trex.files import canonical_json
from trex.tools.guide import training_guide
from trex.training.causes import Cause
from trex.training.data.render import Contents, Lengths
from trex.training.jobs.identity import environment_hash
from trex.training.jobs.job import Job
from trex.training.jobs.trial_folder import TrialFolder
from trex.training.methods import METHODS, method_of
from trex.training.methods.protocol import Method, RowSchema
from trex.training.plan import TrainingPlan
from trex.training.preflight import preflight

NAMES = [*METHODS.names(), "count"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an installed package, on the path."""
    place = write_toy_package(tmp_path_factory.mktemp("toy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        yield place
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy_trex"]:
        del sys.modules[name]


@pytest.fixture(params=NAMES)
def method(request: pytest.FixtureRequest, place: Path) -> Method[Any]:
    return METHODS.load(request.param)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


def contents(rows: int, schema: RowSchema) -> Contents:
    marked = rows if schema == "unpaired_preference" else 0
    return Contents(
        rows=rows,
        streams={"a": rows},
        answers={},
        distinct_answers=2,
        words=Lengths(p50=5, p95=9, max=12),
        repeated=0,
        pairs=rows,
        good=marked // 2,
        bad=marked // 2,
        texts=rows if schema == "plain_text" else 0,
    )


def test_a_stage_is_a_bounded_model_that_explains_itself(method: Method[Any]) -> None:
    stage = method.stage()
    assert stage.method == method.name and method_of(stage) is method
    assert method.row_schema in get_args(RowSchema)
    for name, field in method.stage.model_fields.items():
        assert field.description or name == "method", f"{name} has no description"
    with pytest.raises(ValidationError, match="Extra inputs"):
        method.stage(seed=1)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="frozen"):
        stage.recipe = "other"
    plan = TrainingPlan.model_validate({"stages": [{"method": method.name}]})
    assert plan.stages == (stage,) and hash(plan) == hash(plan.model_copy())
    assert TrainingPlan.model_validate_json(plan.model_dump_json()) == plan


def test_steps_and_tokens_grow_with_the_rows(method: Method[Any]) -> None:
    stage = method.stage()
    steps = [method.total_steps(stage, rows) for rows in (1, 10, 100, 1000)]
    assert steps[0] >= 1 and steps == sorted(steps) and steps[0] < steps[-1]
    assert method.rows_per_step(stage) >= 1


def test_rows_are_measured_for_the_preflight(method: Method[Any], tiny: Path, tmp_path: Path) -> None:
    dataset = dataset_of(method.row_schema, tmp_path / "d", 20)
    measured = method.measure(method.stage(), dataset, tiny)
    assert measured.measured_rows == 20 and measured.longest > 0
    assert all(0 <= count <= 20 for count in measured.unfit.values())
    assert preflight(dataset, TrainingPlan(stages=(method.stage(),)), tiny) == []


def test_faults_of_a_plan_are_sentences(method: Method[Any]) -> None:
    fitting = contents(400, method.row_schema)
    assert method.plan_faults(method.stage(), fitting, 8000) == []
    faults = method.plan_faults(method.stage(), fitting, 10)
    assert faults and all(isinstance(fault, str) and fault for fault in faults)


def test_effective_settings_are_plain_data(method: Method[Any]) -> None:
    stage = method.stage()
    assert canonical_json(method.effective(stage)) == canonical_json(method.effective(stage.model_copy()))
    assert method.effective(stage)["method"] == method.name


@pytest.mark.parametrize("schema", ["prompt_completion", "unpaired_preference", "plain_text"])
def test_rows_of_another_kind_are_refused_with_the_mend(
    method: Method[Any], tiny: Path, tmp_path: Path, schema: RowSchema
) -> None:
    """By the preflight, and by the check of a plan before it is handed in."""
    fits = {"preference_pair", "prompt_and_item", "prompt_completion"}
    if method.name == "count" or schema == method.row_schema or {schema, method.row_schema} <= fits:
        return
    problems = method.measure(method.stage(), dataset_of(schema, tmp_path, 20), tiny).problems
    faults = method.plan_faults(method.stage(), contents(400, schema), 8000)
    if method.row_schema == "preference_pair":
        assert "`output: " in str(faults)
    else:
        assert "`output: " in problems[0].message and problems[0].cause == "wrong_rows"
        assert any("`output: " in fault for fault in faults)


@pytest.mark.parametrize("cause", get_args(Cause))
def test_repairs_are_valid_reported_and_end(method: Method[Any], cause: Cause) -> None:
    stage = method.stage()
    for _ in range(64):
        repair = method.repair(stage, cause)
        if repair is None:
            return
        assert repair.report and repair.stage != stage
        assert (repair.stage.method, repair.stage.recipe) == (stage.method, stage.recipe)
        assert method.stage.model_validate(repair.stage.model_dump()) == repair.stage
        stage = repair.stage
    pytest.fail("a repair rule has no end")


def test_adjustments_go_one_way(method: Method[Any]) -> None:
    stage = method.stage()
    assert method.adjusted(stage, {}) == stage
    assert set(method.repairable) <= method.stage.model_fields.keys() - {"method", "recipe"}
    for name, way in method.repairable.items():
        value = getattr(stage, name)
        wrong = value * 2 if way == "down" else value / 2
        if not isinstance(value, bool):
            with pytest.raises(PlanError, match=name):
                method.adjusted(stage, {name: type(value)(wrong)})


def test_the_search_space_holds_values_that_validate(method: Method[Any]) -> None:
    assert method.search_space
    for name, (low, high) in method.search_space.items():
        assert low < high
        for value in (low, high):
            method.stage.model_validate({name: value})


def test_agents_are_told_of_it(method: Method[Any]) -> None:
    guide = training_guide()
    assert f"method={method.name}: " in guide
    assert all(f"{name}=" in guide for name in method.stage.model_fields.keys() - {"method"})


def test_the_trainer_is_a_function(method: Method[Any]) -> None:
    assert callable(resolve_name(method.trainer))


def test_an_unknown_method_is_named(place: Path) -> None:
    with pytest.raises(
        ValidationError, match=r"no training method 'magic'; there are: sft, pretraining, .*, count"
    ):
        TrainingPlan.model_validate({"stages": [{"method": "magic"}]})
    with pytest.raises(InputError, match="no training method 'magic'"):
        METHODS.load("magic")


def test_installed_code_is_part_of_a_trials_identity(place: Path) -> None:
    plan = TrainingPlan.model_validate({"stages": [{"method": "count"}]})
    own, with_count = environment_hash(TrainingPlan()), environment_hash(plan)
    assert own == environment_hash() != with_count
    trainer = place / "toy_trex" / "trainer.py"
    before = trainer.read_text()
    trainer.write_text(before + "# changed\n")
    assert environment_hash(plan) != with_count
    trainer.write_text(before)
    assert environment_hash(plan) == with_count


def test_the_worker_trains_an_installed_method_and_kind_of_weights(
    place: Path, tiny: Path, tmp_path: Path
) -> None:
    plan = TrainingPlan.model_validate(
        {"weights": {"kind": "number", "start": 4}, "stages": [{"method": "count"}]}
    )
    trial = trial_of(tiny, write_rows(tmp_path / "d", make_rows(40)), plan)
    folder = TrialFolder(tmp_path / "trials" / trial.id)
    folder.write_plan(trial)
    command = [
        sys.executable,
        "-m",
        "trex.training.jobs.worker",
        str(folder.path),
        "0",
        str(trial.total_steps),
    ]
    environment = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    job = Job(trial=trial, rung=0, stop_step=trial.total_steps, folder=folder.path)
    result = folder.read_result(job)
    assert result is not None and (result.train_loss, result.step) == (0.5, 5)
    assert (folder.adapter(0) / "number.json").read_text().split() == ["{", '"value":', "7", "}"]
