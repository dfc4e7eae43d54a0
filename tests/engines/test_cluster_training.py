"""Real training and the probe on real schedulers: confined as on this machine, the same weights and scores."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.kill import launch, tree_of
from trex.files import read_json
from trex.graph.run.runner_check import check_runner
from trex.landlock import abi, describe
from trex.training.jobs.resource_class import resource_class_here

from engines import engine_settings

clusters = pytest.mark.parametrize("name", ["ray", "slurm"])


def runner(name: str, **settings: object) -> str:
    """What `--runner` takes."""
    given = engine_settings(name) | settings
    return f"{name}:{','.join(f'{key}={value}' for key, value in given.items())}"


@clusters
def test_the_probe_runs_confined_on_a_node(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checks = {check.what: check for check in check_runner(runner(name))}
    assert all(check.ok for check in checks.values()), checks
    assert checks["nodes"].detail == "2 that take jobs"
    assert checks["class"].detail == resource_class_here("cpu")
    assert checks["confinement"].detail == describe(abi())


@clusters
def test_a_node_of_another_class_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checks = {check.what: check for check in check_runner(runner(name, **{"class": "cpu/z80/float32"}))}
    assert not checks["class"].ok and f"set class={resource_class_here('cpu')}" in checks["class"].detail


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke run on this machine."""
    engine_settings("ray")
    folder = tmp_path_factory.mktemp("here")
    return smoke(folder, "local")


def smoke(folder: Path, where: str) -> Path:
    # The number of threads is part of a trial's identity; on this machine it follows from the cores.
    command = [
        "-m",
        "trex.graph.cli.commands",
        "run",
        "sentiment",
        "--smoke",
        "--rounds",
        "1",
        "--trials",
        "2",
    ]
    command += ["--no-reuse", "--runner", where, "--out", str(folder / "run")]
    assert launch(command, folder / "home", folder / "log").wait(timeout=500) == 0, (
        folder / "log"
    ).read_text()
    return folder / "run"


@clusters
def test_a_run_trains_the_same_on_a_cluster(name: str, here: Path, tmp_path: Path) -> None:
    threads = read_json(here / "run.json")["settings"]["threads"]
    run = smoke(tmp_path, runner(name, threads=threads))
    assert tree_of(run) == tree_of(here)
    results = [read_json(file) for file in run.glob("trials/*/rungs/*/result.json")]
    assert results and {each["confinement"] for each in results} == {describe(abi())}
