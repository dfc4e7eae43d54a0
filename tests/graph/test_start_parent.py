"""Plans with `start: parent`, from the plan through the tree to a replay of the whole chain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import torch_free
from support.cli import Said, caller, on_the_torch_free_runtime
from support.finished import copy_of, replays_without_torch
from support.own_task import write_task
from trex import Run, run
from trex.errors import PlanError
from trex.files import read_json, read_yaml, write_json, write_yaml
from trex.graph.executor.parent_weights import parent_weights, with_start
from trex.graph.finish.export import export_best
from trex.graph.finish.finish_record import FinishRecord
from trex.graph.finish.training_chain import training_chain
from trex.graph.run.directory import RunDirectory
from trex.training.plan import TrainingPlan


def from_the_parent(question: dict[str, Any]) -> dict[str, Any]:
    """The plan with all trials from the parent's weights; those of the second one with another rank."""
    plan = question["plan"]
    for trial in plan["trials"]:
        trial["training"]["start"] = "parent"
    plan["trials"][1]["training"]["weights"]["rank"] += 100
    return {"decision": "edit", "plan": plan}


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose trials continue from their parents', with the last experiment's best trial exported as the winner."""
    folder = tmp_path_factory.mktemp("chained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(folder / "home"))
        on_the_torch_free_runtime(patch, step_seconds=0.001)
        patch.setattr(torch_free, "GRADER", "learning")
        done = run(
            write_task(folder), out=folder / "run", smoke=True, rounds=3, trials=2, seed=1,
            policy="gbfs", approve=from_the_parent,
        )  # fmt: skip
        runtime = torch_free.open_runtime(RunDirectory.open(done.directory).settings())
        finish = FinishRecord.model_validate(read_json(runtime.directory.finish))
        experiment = deepest(done)
        export_best(runtime, done.tree, experiment, experiment.best_record, finish)
        runtime.close()
    return done


def deepest(done: Run) -> Any:
    return max((e for e in done.tree if e.best_record), key=lambda e: (done.tree.depth(e.id), e.id))


def test_trials_continue_from_the_best_weights_of_what_they_refine(chained: Run) -> None:
    tree = chained.tree
    for experiment in tree:
        if experiment.parent_id is None:
            continue
        source = tree.trained(experiment.parent_id)
        first, second = experiment.trials
        if source is None or source.best_record is None:
            assert first.start is second.start is None and first.training.start == "base"
            assert "starts from the base model" in first.repairs[0]
            continue
        best = source.best_record
        stored = read_json(chained.directory / "trials" / best.id / "rungs" / str(best.rung) / "result.json")
        for trial in (first, second):
            assert trial.start is not None and trial.start.trial == best.id
            assert trial.start.hash == stored["adapter_hash"]
            assert trial.start.fault(chained.directory / "trials") is None, "a child may still need it"
        assert second.training.weights.rank == best.training.weights.rank, second.repairs  # type: ignore[attr-defined]
        assert any(f"settings of {source.id}" in repair for repair in second.repairs)
    assert tree.depth(deepest(chained).id) >= 2


def test_best_describes_the_whole_chain(chained: Run) -> None:
    best, experiment = chained.directory / "best", deepest(chained)
    chain = training_chain(chained.tree, experiment, experiment.best_record)
    assert len(chain) == chained.tree.depth(experiment.id)
    for depth, (_, trial) in enumerate(chain):
        folder = best.joinpath(*["start"] * depth)
        plan = read_yaml(folder / "plan.yaml")
        assert plan["trial"] == trial.id and (folder / "recipe.yaml").exists()
        assert plan["origin"]["start"] == (trial.start.hash if trial.start else None)
        assert trial.id in (best / "README.md").read_text()
    assert not list(best.rglob("start/**/*.safetensors"))


Replay = Callable[[Path], Said]


@pytest.fixture
def replay(
    chained: Run, fresh_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Replay:
    replays_without_torch(monkeypatch, chained)
    trex = caller(monkeypatch, capfd)
    return lambda run: trex("replay", run)


def test_a_replay_trains_the_chain_again(chained: Run, replay: Replay) -> None:
    said = replay(chained.directory)
    assert said.code == 0 and "(same trial id)" in said.out and "differ" not in said.out, said
    [ours, again] = [line.split("dev")[1] for line in said.out.splitlines() if "dev" in line]
    assert again.startswith(ours)


def test_a_replay_names_what_is_not_as_in_the_run(chained: Run, replay: Replay, tmp_path: Path) -> None:
    run = copy_of(chained, tmp_path / "run")
    path = run / "best" / "start" / "plan.yaml"
    plan = read_yaml(path)
    plan["training"]["stages"][0]["learning_rate"] *= 2
    write_yaml(path, plan)
    said = replay(run)
    assert said.code == 0 and "(another trial id)" in said.out, said
    assert "start/plan.yaml differs from the run's" in said.out
    path.unlink()
    replay(run).complains(2, "incomplete", "start/plan.yaml")


def test_a_recipe_on_the_chain_passes_the_gate(chained: Run, replay: Replay, tmp_path: Path) -> None:
    run = copy_of(chained, tmp_path / "run")
    task = read_json(run / "best" / "task.json")
    held_out = tmp_path / "more.jsonl"
    held_out.write_bytes(Path(task["dev"]).read_bytes() + Path(task["test"]).read_bytes())
    more = task["sources"][0] | {"name": "more", "path": str(held_out)}
    write_json(run / "best" / "task.json", task | {"sources": [*task["sources"], more]})
    path = run / "best" / "start" / "recipe.yaml"
    write_yaml(path, read_yaml(path) | {"streams": [{"source": "more"}], "steps": [], "rows": None})
    replay(run).complains(1, "training rows repeat dev or test items: refused")


def test_damaged_weights_cost_the_trials_that_continue_from_them(chained: Run, tmp_path: Path) -> None:
    run, experiment = copy_of(chained, tmp_path / "run"), deepest(chained)
    [trial, _] = experiment.trials
    (trial.start.folder(run / "trials") / "adapter.json").write_text("{}")
    parent = parent_weights(chained.tree, experiment, run / "trials")
    assert parent is not None and parent.experiment == experiment.parent_id
    planned = trial.model_copy(update={"start": None, "repairs": []})
    with pytest.raises(PlanError, match="not what was scored; start from 'base'"):
        with_start(planned, parent)
    on_base = planned.model_copy(update={"training": TrainingPlan()})
    assert with_start(on_base, parent) == on_base
