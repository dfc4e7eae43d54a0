"""Where jobs run: `--runner`, the section of trex.toml, the probe, and the resource class that trials are for."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import caller
from support.jobs import job_in
from trex.errors import InputError
from trex.graph.run.checkpoint_store import check_checkpoint
from trex.graph.run.runner_check import check_runner
from trex.graph.run.runner_choice import choose_runner
from trex.graph.run.setup import choose_settings
from trex.training.jobs.job import Resources
from trex.training.jobs.resource_class import device_of, resource_class_here
from trex.training.runners.local import visible_gpus


def test_without_a_word_jobs_run_on_this_machine(tmp_path: Path) -> None:
    assert choose_runner(None, tmp_path / "none") == {"launcher": "local", "launcher_settings": {}}


@pytest.mark.parametrize(
    ("text", "config", "complaint"),
    [
        ("kubernetes", "", "no launcher 'kubernetes'; there are: local"),
        ("local:gpus=3", "", "gpus: Extra inputs are not permitted; its settings: none"),
        ("local:gpus", "", "'gpus' is no setting: write NAME:setting=value"),
        (None, "[runner]\nname = 3 3", "is not valid TOML"),
        (None, "runner = 3", r"write \[runner\] as a table"),
        (None, "[runner]\nlocal = 3", r"\[runner.local\] must be a table"),
        (None, "[runner.local]\ngpus = 3", "gpus: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_choice_is_one_line(text: str | None, config: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "trex.toml").write_text(config)
    with pytest.raises(InputError, match=complaint) as refused:
        choose_runner(text, tmp_path / "trex.toml")
    assert "\n" not in str(refused.value)


def test_the_probe_goes_the_way_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = {check.what: check for check in check_runner("local")}
    assert all(check.ok for check in found.values())
    assert found["class"].detail == resource_class_here("cpu")
    assert "ran on" in found["probe"].detail
    assert list(tmp_path.iterdir()) == [], "the probe leaves nothing"


def test_the_command_refuses_a_setting(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trex = caller(monkeypatch, capfd)
    trex("doctor", "--runner", "local:gpus=1").complains(2, "gpus: Extra inputs are not permitted")


def test_a_job_sees_its_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [visible_gpus(slot, 2) for slot in (0, 1)] == [
        {"CUDA_VISIBLE_DEVICES": "0,1"},
        {"CUDA_VISIBLE_DEVICES": "2,3"},
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert visible_gpus(1, 1) == {"CUDA_VISIBLE_DEVICES": "5"}
    assert visible_gpus(1, 0) == {}


def test_limits_are_not_part_of_a_trials_identity_and_the_hardware_is(tmp_path: Path) -> None:
    trial = job_in(tmp_path).trial
    assert trial.model_copy(update={"resources": Resources(memory_mb=5)}).id == trial.id
    assert trial.model_copy(update={"resource_class": "cuda/A/float32"}).id != trial.id


@pytest.mark.parametrize("text", ["gpu", "tpu/v5/float32", "cpu//float32", "cpu/x/float8", "cpu/x/float32/"])
def test_a_wrong_resource_class_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no resource class"):
        device_of(text)


def test_the_class_decides_what_a_trial_may_consume(tmp_path: Path) -> None:
    """A driver without a GPU plans for nodes with one."""
    given = {"device": "cuda", "resource_class": "cuda/NVIDIA-A100-SXM4-80GB+8.0/bfloat16-autocast"}
    assert choose_settings("sentiment", tmp_path, **given).trial_examples == 50_000


def test_the_address_of_another_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREX_CHECKPOINT", "mysql://host/runs")
    with pytest.raises(InputError, match="write postgresql://user@host/name"):
        choose_settings("sentiment", tmp_path)
    monkeypatch.setenv("TREX_CHECKPOINT", "sqlite")
    assert choose_settings("sentiment", tmp_path).checkpoint == "sqlite"


def test_an_address_that_cannot_be_read_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("TREX_CHECKPOINT", "postgresql://user:sec%ret@host/runs")
    with pytest.raises(InputError, match="TREX_CHECKPOINT cannot be read") as refused:
        check_checkpoint(choose_settings("sentiment", tmp_path))
    assert "ret" not in str(refused.value) + "".join(capfd.readouterr())


def test_the_drivers_memory_does_not_limit_the_jobs_of_a_cluster(tmp_path: Path) -> None:
    settings = choose_settings("sentiment", tmp_path, launcher="slurm", trials=5)
    assert (settings.slots, settings.memory_limit_mb) == (5, 4096)
