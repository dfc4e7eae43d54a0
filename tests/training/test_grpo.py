"""Reinforcement learning on the task's metric: rewards of training rows, the loss of the paper, health, resumption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.jobs import quiet
from support.launchers import local_runner
from support.worker import (
    disturb,
    log_probabilities,
    make_rows,
    plain_models,
    prepared,
    trial_of,
    write_rows,
)
from trex.errors import InputError
from trex.evaluation.base_models import resolve_model
from trex.files import write_json
from trex.training.curves import in_words
from trex.training.jobs.identity import environment_hash
from trex.training.jobs.job import Job, JobFailed
from trex.training.methods.grpo import GRPO, GrpoStage
from trex.training.methods.task_reward import open_reward
from trex.training.plan import TrainingPlan
from trex.training.runners.job_runner import JobRunner

SETTINGS: dict[str, Any] = {
    "method": "grpo",
    "max_steps": 4,
    "batch_size": 2,
    "generations": 4,
    "max_new_tokens": 4,
}


def scored_rows(folder: Path, metric: str, rows: list[dict[str, Any]] | None = None) -> Path:
    """A data set whose rows hold their columns, and which names a metric."""
    rows = rows if rows is not None else [row | {"source": {"id": n}} for n, row in enumerate(make_rows(40))]
    dataset = write_rows(folder, rows)
    write_json(dataset / "scoring.json", {"metric": metric})
    return dataset


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored_rows(tmp_path_factory.mktemp("rows"), "accuracy")


@pytest.fixture(scope="module")
def runner() -> Iterator[JobRunner]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_CHECKPOINT_SECONDS", "0.02")
        runner = local_runner(1, command=None)
    yield runner
    runner.close()


def molecule(target: str, answer: str) -> dict[str, Any]:
    source = {"kind": "atoms", "target": target, "molecule": answer}
    return {
        "prompt": [{"role": "user", "content": "A molecule"}],
        "completion": [{"role": "assistant", "content": answer}],
        "source": source,
    }


def test_a_molecule_in_pieces_has_no_reward(tmp_path: Path) -> None:
    """Its counts may be right, and the metric says so; as a reward it would be learnt."""
    pytest.importorskip("rdkit")
    propanol = molecule('{"carbon": 3, "oxygen": 1}', "CCCO")
    salt = molecule('{"carbon": 1, "oxygen": 1}', "C.O")
    reward = open_reward(scored_rows(tmp_path / "d", "molecules", [propanol, salt]))
    assert reward.rewards([propanol] * 6, ["CCCO", "C.C.C.O", "CCO", "CC", "no", ""]) == pytest.approx(
        [1, 0, 0.5 * (1 - 1 / 7), 0.5 * (1 - 2 / 6), 0, 0]
    )
    assert reward.rewards([salt], ["O.C"]) == [1.0], "asked for, it is right"
    assert reward.metric.score_items([propanol["source"]], ["C.C.C.O"]) == [1.0]
    assert reward.validity([propanol] * 2, ["CO", "no"]) == [1.0, 0.0]


def test_a_row_that_the_metric_cannot_score_costs_the_row(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    good, bad = molecule('{"carbon": 1}', "C"), molecule("no JSON", "C")
    reward = open_reward(scored_rows(tmp_path / "d", "molecules", [bad, good]))
    assert [reward.can_score(row) for row in (bad, good)] == [False, True]
    assert reward.rewards([bad], ["C"]) == [0.0]


@pytest.mark.parametrize(
    ("metric", "validity", "says"),
    [
        ("mine/metric.py:Mine", False, "cannot be a reward"),
        ("pass_at_k", False, "scores several answers together"),
        ("accuracy", True, "has no validity: set valid_weight to 0"),
        ("molecules", False, "gives none of the rows' own answers a reward"),
    ],
)
def test_metrics_that_are_no_rewards_are_refused(
    tiny: Path, tmp_path: Path, metric: str, validity: bool, says: str
) -> None:
    dataset = scored_rows(tmp_path / "d", metric)
    with pytest.raises(InputError, match=says):
        open_reward(dataset, validity)
    stage = GrpoStage(valid_weight=0.1 if validity else 0)
    [problem] = GRPO.measure(stage, dataset, tiny).problems
    assert problem.cause == "no_reward" and says in problem.message


def test_a_data_set_without_a_metric_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="build the data set again"):
        open_reward(write_rows(tmp_path, make_rows(2)))


def test_questions_that_are_too_long_and_plans_that_contradict(tiny: Path, dataset: Path) -> None:
    measured = GRPO.measure(GrpoStage(max_length=16, max_new_tokens=8), dataset, tiny)
    assert measured.unfit["too_long"] > 0 and measured.problems[0].cause == "too_long"
    assert (
        GRPO.measure(GrpoStage(max_length=measured.longest, max_new_tokens=8), dataset, tiny).problems == []
    )
    with pytest.raises(ValidationError, match="raise max_length"):
        GrpoStage(max_length=64, max_new_tokens=64)


def trainer_of(tiny: Path, dataset: Path, folder: Path, **settings: Any) -> Any:
    trainer = prepared(tiny, dataset, folder, SETTINGS | settings)
    trainer.model.train()
    return trainer


def answer_log_probabilities(model: Any, batch: dict[str, Any], temperature: float) -> Any:
    import torch

    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    return log_probabilities(model, ids, mask, temperature)[:, batch["prompt_ids"].shape[1] - 1 :]


@pytest.mark.parametrize("loss", ["grpo", "bnpo", "dr_grpo", "dapo"])
def test_the_loss_is_the_papers(tiny: Path, dataset: Path, tmp_path: Path, loss: str) -> None:
    """On answers of an older policy: ratios r are clipped, the KL divergence is estimated as r (exp(-d) + d - 1)."""
    import torch

    beta, epsilon, temperature = 0.3, 0.2, 0.7
    trainer = trainer_of(
        tiny, dataset, tmp_path, loss=loss, beta=beta, epsilon=epsilon, temperature=temperature
    )
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    torch.manual_seed(1)
    batch["advantages"] = torch.randn(8)
    disturb(trainer.model, 0.01)
    batch["completion_mask"][::2, 2:] = 0
    mask = batch["completion_mask"].float()
    batch["num_items_in_batch"] = mask.sum()
    reference = batch["ref_per_token_logps"]
    batch["old_per_token_logps"] = reference + 0.3 * torch.randn_like(reference)
    with torch.no_grad():
        found = trainer._compute_loss(trainer.model, dict(batch)).item()
        merged, plain = plain_models(tiny, trainer.model)
        started, current = (answer_log_probabilities(model, batch, temperature) for model in (plain, merged))
    assert torch.allclose(started * mask, reference * mask, atol=1e-4)
    assert not torch.allclose(current, reference, atol=1e-3)
    ratio = (current - batch["old_per_token_logps"]).exp()
    gain = batch["advantages"][:, None]
    away = reference - current
    each = -torch.minimum(ratio * gain, ratio.clamp(1 - epsilon, 1 + epsilon) * gain)
    each = (each + beta * ratio * (away.exp() - away - 1)) * mask
    expected = {
        "grpo": (each.sum(1) / mask.sum(1)).mean(),
        "bnpo": each.sum() / mask.sum(),
        "dr_grpo": each.sum() / (len(each) * SETTINGS["max_new_tokens"]),
        "dapo": each.sum() / mask.sum(),
    }[loss]
    assert ((ratio - 1).abs() > epsilon).any()
    assert found == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)


def test_advantages_compare_an_answer_with_its_group(tiny: Path, dataset: Path, tmp_path: Path) -> None:
    import torch

    trainer = trainer_of(tiny, dataset, tmp_path, ended_weight=0.5)
    rewards = torch.tensor([[1.0, 0], [0, 1], [0, 0], [1, 1], [0, 0], [0, 0], [1, 0], [0, 0]])
    trainer._calculate_rewards = lambda *given: rewards
    found = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))["advantages"]
    groups = (rewards @ torch.tensor([1.0, 0.5])).view(2, 4)
    expected = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
    assert torch.allclose(found, expected.flatten(), atol=1e-5)


def test_rloo_is_the_papers(tiny: Path, dataset: Path, tmp_path: Path) -> None:
    """Advantage: reward - beta KL, less the mean of the others. The probability ratio is that of the whole answer."""
    import torch

    beta, epsilon, temperature = 0.3, 0.2, 0.7
    settings = {"beta": beta, "epsilon": epsilon, "temperature": temperature}
    trainer = trainer_of(tiny, dataset, tmp_path, method="rloo", **settings)
    disturb(trainer.model, 0.01)
    rewards = torch.tensor([1.0, 0, 0, 1, 0, 0, 1, 0])
    trainer._calculate_rewards = lambda *given: rewards[:, None]
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    mask = batch["completion_mask"].float()
    batch["old_logps"] = batch["old_logps"] + 0.3 * torch.randn(8)
    with torch.no_grad():
        found = trainer._compute_loss(trainer.model, dict(batch)).item()
        merged, plain = plain_models(tiny, trainer.model)
        current, reference = (
            (answer_log_probabilities(model, batch, temperature) * mask).sum(1) for model in (merged, plain)
        )
    assert not torch.allclose(current, reference, atol=1e-4)
    groups = (rewards - beta * (current - reference)).view(2, 4)
    gain = (groups - (groups.sum(1, keepdim=True) - groups) / 3).flatten()
    assert torch.allclose(batch["advantages"], gain, atol=1e-4)
    ratio = (current - batch["old_logps"]).exp()
    each = -torch.minimum(ratio * gain, ratio.clamp(1 - epsilon, 1 + epsilon) * gain)
    assert ((ratio - 1).abs() > epsilon).any()
    assert found == pytest.approx(each.mean().item(), abs=1e-5)


def run(runner: JobRunner, tiny: Path, dataset: Path, folder: Path, plan: TrainingPlan, *stops: int) -> Any:
    trial = trial_of(tiny, dataset, plan)
    for rung, stop in enumerate((*stops, trial.total_steps)):
        result = runner.run(Job(trial=trial, rung=rung, stop_step=stop, folder=folder), None, quiet)
    return result


def test_it_learns_after_sft_and_rungs_do_not_change_the_weights(
    runner: JobRunner, tiny: Path, dataset: Path, tmp_path: Path
) -> None:
    """Resumed within the second stage, with accumulated gradients: the same samples are drawn."""
    sft = {"max_steps": 4, "batch_size": 8, "learning_rate": 3e-3}
    grpo = SETTINGS | {"gradient_accumulation": 2, "beta": 0.05, "learning_rate": 1e-3}
    plan = TrainingPlan.model_validate({"stages": [sft, grpo]})
    whole = run(runner, tiny, dataset, tmp_path / "a", plan)
    parts = run(runner, tiny, dataset, tmp_path / "b", plan, 3, 6)
    assert whole.adapter_hash == parts.adapter_hash and whole.curve == parts.curve
    rewards, losses = whole.series["reward"], dict(whole.curve)
    assert [step for step, _ in rewards] == [5, 6, 7, 8] and set(losses) == set(range(1, 9))
    assert whole.series == parts.series and in_words(whole.series).startswith("reward ")
    assert 0 <= whole.figures["reward"] <= 1 and whole.figures["kl"] >= 0
    assert whole.figures["completions/mean_length"] <= SETTINGS["max_new_tokens"]


def test_a_stage_without_differing_rewards_is_stopped_with_a_cause(
    runner: JobRunner, tiny: Path, tmp_path: Path
) -> None:
    """No answer of four tokens repeats a long one, so all rewards are 0. The stage that failed is named."""
    rows = [row | {"source": {"id": n}} for n, row in enumerate(make_rows(8))]
    for row in rows:
        row["completion"] = [
            {"role": "assistant", "content": "a very long answer about the film and the plot"}
        ]
    dataset = scored_rows(tmp_path / "d", "exact_match", rows)
    plan = TrainingPlan.model_validate(
        {"stages": [{"max_steps": 1}, SETTINGS | {"max_steps": 40, "max_length": 128}]}
    )
    trial = trial_of(tiny, dataset, plan, rows=8)
    with pytest.raises(JobFailed, match="equal rewards for 20 steps") as failed:
        runner.run(Job(trial=trial, rung=0, stop_step=41, folder=tmp_path / "t"), None, quiet)
    assert (failed.value.cause, failed.value.stage) == ("reward_collapse", 1)
    assert list((tmp_path / "t" / "stage-1").glob("checkpoint-*")), "the last checkpoint is kept"
    repair = GRPO.repair(GrpoStage(), "reward_collapse")
    assert repair is not None and getattr(repair.stage, "temperature", 0) > 1


def test_the_code_of_rewards_is_part_of_the_id() -> None:
    own = environment_hash(TrainingPlan())
    assert environment_hash(TrainingPlan.model_validate({"stages": [SETTINGS]})) != own
