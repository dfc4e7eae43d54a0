"""`--track`: trials as trackers show them, in local folders."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
from support.cli import caller, on_the_torch_free_runtime
from support.own_task import write_task
from trex import Run, run
from trex.files import read_json
from trex.graph.run.directory import RunDirectory
from trex.graph.tracking.trackers import TRACKERS, TrackedTrial, by_step, open_tracker
from trex.graph.tracking.tracking import Tracking, open_tracking, tracked


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was tracked in TensorBoard."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(folder / "home"))
        on_the_torch_free_runtime(patch, step_seconds=0.001)
        return run(
            write_task(folder), out=folder / "run", smoke=True, rounds=1, trials=2, track="tensorboard"
        )


def expected(done: Run) -> dict[str, list[tuple[int, float]]]:
    """The loss of each trial as its job left it, by the number of the trial."""
    losses = {}
    for trial in done.tree["e001"].trials:
        folder = done.directory / "trials" / trial.id / "rungs" / str(trial.rung)
        losses[str(trial.index)] = [tuple(point) for point in read_json(folder / "result.json")["curve"]]
    return losses


def read_events(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    tags: Any = events.Tags()
    series = {name: [(each.step, each.value) for each in events.Scalars(name)] for name in tags["scalars"]}
    [text] = events.Tensors(tags["tensors"][0])
    return series, text.tensor_proto.string_val[0].decode()


def test_a_run_is_shown_in_tensorboard(done: Run) -> None:
    folder = done.directory / "tracking" / "tensorboard"
    assert {path.name for path in folder.iterdir()} == {"run-e001-0", "run-e001-1"}
    for trial in done.tree["e001"].trials:
        series, text = read_events(folder / f"run-e001-{trial.index}")
        curve = expected(done)[str(trial.index)]
        assert [step for step, _ in series["loss"]] == [step for step, _ in curve]
        assert series["loss"] == [(step, pytest.approx(value)) for step, value in curve]
        assert series["accuracy"] == [(step, pytest.approx(value)) for step, value, _ in trial.scored]
        assert "- run: run" in text and "- node: e001" in text and f"- trial: {trial.id}" in text
        assert "- weights.rank: " in text and f"- status: {trial.status}" in text


def test_a_trial_that_is_told_again_is_there_once(done: Run) -> None:
    folder = done.directory / "tracking" / "tensorboard" / "run-e001-0"
    before = read_events(folder)
    tracking = open_tracking("tensorboard", RunDirectory.open(done.directory))
    assert tracking is not None
    tracking.tell(done.tree["e001"])
    assert read_events(folder) == before and len(list(folder.iterdir())) == 1


def test_a_run_is_shown_in_mlflow(done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking = Tracking("mlflow", open_tracker("mlflow", tmp_path), "run", "t1", done.directory / "trials")
    tracking.tell(done.tree["e001"])
    tracking.tell(done.tree["e001"])
    client = MlflowClient((tmp_path / "tracking" / "mlflow").as_uri())
    project = client.get_experiment_by_name("trex")
    runs = {each.data.tags["trex.name"]: each for each in client.search_runs([project.experiment_id])}
    assert set(runs) == {"run/e001/0", "run/e001/1"} and len(client.search_runs([project.experiment_id])) == 2
    for index, curve in expected(done).items():
        found = runs[f"run/e001/{index}"]
        assert found.data.tags["trex.node"] == "e001" and "weights.rank" in found.data.params
        history = client.get_metric_history(found.info.run_id, "loss")
        assert sorted((each.step, each.value) for each in history) == sorted(curve)


def test_runs_of_one_name_keep_their_trials_in_mlflow(
    done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one server, whatever the name of their folders."""
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tmp_path.as_uri())
    for thread in ("t1", "t2", "t1"):
        Tracking("mlflow", open_tracker("mlflow", tmp_path), "Ada's", thread, done.directory / "trials").tell(
            done.tree["e001"]
        )
    client = MlflowClient(tmp_path.as_uri())
    project = client.get_experiment_by_name("trex")
    kept = [
        (each.data.tags["trex.thread"], each.data.tags["trex.name"])
        for each in client.search_runs([project.experiment_id])
    ]
    assert sorted(kept) == [(thread, f"Ada's/e001/{number}") for thread in ("t1", "t2") for number in (0, 1)]


def test_a_tracker_that_fails_costs_a_warning(done: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def write(self, trial: TrackedTrial) -> None:
            raise ConnectionError("no\nserver")

    with caplog.at_level(logging.WARNING, "trex"):
        Tracking("mlflow", Broken(), "run", "t1", done.directory / "trials").tell(done.tree["e001"])
    [line] = caplog.messages
    assert line == "mlflow did not take run/e001/0: ConnectionError: no server"


def test_values_are_told_by_step(done: Run) -> None:
    [first, _] = tracked("run", "t1", done.tree["e001"], done.directory / "trials")
    steps = by_step(first)
    assert [step for step, _ in steps] == sorted(
        {step for points in first.series.values() for step, _ in points}
    )
    last = done.tree["e001"].trials[0].scored[-1]
    assert dict(steps)[last[0]]["accuracy"] == last[1] and set(dict(steps)[last[0]]) >= {"loss", "accuracy"}


def test_a_missing_tracker_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "trex.graph.tracking.trackers.find_spec", lambda name: None if name in TRACKERS else find(name)
    )
    trex = caller(monkeypatch, capfd)
    for name in TRACKERS:
        trex("run", "sentiment", "--smoke", "--track", name, "--out", tmp_path / "run").complains(
            2, f"pip install 'trex-finetune[{name}]'"
        )
    said = trex("run", "sentiment", "--smoke", "--track", "paper", "--out", tmp_path / "run")
    said.complains(2, "no tracker 'paper'")
    assert not (tmp_path / "run").exists()
