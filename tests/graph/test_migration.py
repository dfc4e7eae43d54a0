"""A run of schema version 1, written by hand, is read by this version: settings, tree, end, winner, calls, report."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.worker import built
from trex.errors import InputError
from trex.evaluation.engines.adapter_check import adapter_hash
from trex.evaluation.grader import audit
from trex.evaluation.results import Evaluation
from trex.files import fingerprint, read_json, write_json, write_yaml
from trex.ftbench.tasks.sentiment import load
from trex.graph.api import load_run
from trex.graph.app import build_graph
from trex.graph.finish.replay import read_winner
from trex.graph.llm.call_ledger import read_calls
from trex.graph.run.budget import read_clock
from trex.graph.run.checkpoint_store import connect, saver
from trex.graph.run.directory import RunDirectory
from trex.graph.run.migration import migrated
from trex.graph.tree.experiment import Experiment
from trex.training.jobs.identity import make_trial
from trex.training.methods.sft import SftStage
from trex.training.weights.lora import LoraWeights

TRAINING: dict[str, Any] = {
    "learning_rate": 0.002, "lr_scheduler_type": "cosine", "warmup_ratio": 0.05, "epochs": 4.0, "max_steps": None,
    "batch_size": 8, "gradient_accumulation": 1, "max_length": 256, "weight_decay": 0.0, "max_grad_norm": 1.0,
    "neftune_noise_alpha": 5.0, "lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.1,
    "target_modules": ["q_proj", "v_proj"], "append_eos": False, "layers": "upper_half",
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "streams": [
        {"source": "movie", "weight": 1.0,
         "steps": [{"op": "threshold", "column": "rating", "into": "label", "below": -1.5, "above": 1.5,
                    "low": "negative", "high": "positive"}]},
    ],
    "rows": 45,
    "steps": [{"op": "shuffle", "seed": 0}],
}  # fmt: skip
DATASET = {
    "fingerprint": "f774196367e75c85",
    "rows": 45,
    "summary": "45 rows",
    "steps": [],
    "contamination": None,
}
SETTINGS: dict[str, Any] = {
    "schema_version": 1, "task": "sentiment", "thread_id": "old", "checkpoint": "sqlite", "rounds": 1, "trials": 1,
    "budget_seconds": None, "policy": "mcts", "seed": 0, "smoke": True,
    "llm": {"researcher": "openai:x", "money_budget": 2.0}, "memory": True, "diagnosis": True, "approve": False,
    "reuse": True, "keep_all": False, "trial_examples": 320, "rungs": [0.5, 1.0], "reduction": 2, "rung_items": 20,
    "finalists": 1, "fresh_seeds": 0, "guards": True, "slots": 2, "threads": 1, "grader_threads": 2,
    "memory_limit_mb": 9642, "job_timeout_s": 21600.0, "device": "cpu",
}  # fmt: skip
CALL = {"event": "settled", "id": "c1", "status": "answered", "tokens_in": 10, "tokens_out": 5, "money": 0.25,
        "seconds": 1.0, "answer": {}}  # fmt: skip


def score(value: float) -> dict[str, Any]:
    return {"name": "accuracy", "value": value, "n": 27, "ci_low": value - 0.1, "ci_high": value + 0.1,
            "standard_error": 0.05, "covers": "items"}  # fmt: skip


def evaluation(name: str, value: float, split: str = "search") -> dict[str, Any]:
    return {"id": name, "split": split, "scoring": "choices", "score": score(value), "extras": {"empty": 0.25},
            "predictions": None, "seconds": 0.5}  # fmt: skip


def node(**fields: Any) -> dict[str, Any]:
    common = {"schema_version": 1, "status": "done", "extras": {"empty": 0.25}, "dataset": None, "plan": None,
              "baseline": None, "trials": [], "best_trial": None, "diagnosis": None, "failure": None,
              "repairs": [], "seconds": 3.0}  # fmt: skip
    return common | fields


def old_tree() -> dict[str, Any]:
    root = node(id="e000", parent_id=None, round=0, strategy="establish_baseline", score=score(0.6), reward=0.6,
                baseline=evaluation("base", 0.6))  # fmt: skip
    plan = {
        "strategy": "refine_data", "direction": "first_plan", "hypothesis": "Rows teach.", "recipe": RECIPE,
        "trials": [{"training": TRAINING, "note": "cosine"}],
    }  # fmt: skip
    trial = {
        "id": "t1", "index": 0, "status": "done", "training": TRAINING, "note": "cosine", "rung": 1, "step": 23,
        "total_steps": 23, "train_loss": 0.5, "curve": [[1, 1.0], [23, 0.5]], "scored": [[23, 0.9, 0.05]],
        "evaluation": evaluation("won", 0.9), "cause": None, "message": "", "repairs": [], "load_seconds": 1.0,
        "train_seconds": 2.0, "eval_seconds": 0.5, "attempts": 1, "reused": False,
    }  # fmt: skip
    child = node(id="e001", parent_id="e000", round=1, strategy="refine_data", plan=plan, dataset=DATASET,
                 trials=[trial], best_trial="t1", score=score(0.9), reward=0.9)  # fmt: skip
    return {"e000": root, "e001": child}


def _write_records(path: Path, evaluations: list[dict[str, Any]]) -> None:
    """The adapter, the evaluations and their entries in the audit trail, as that version wrote them."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        write_json(path / "best" / "adapter" / name, {})
    adapter = adapter_hash(path / "best" / "adapter")
    for each in evaluations:
        made = {
            "id": each["id"],
            "split": each["split"],
            "adapter": "base" if each["id"] == "base" else adapter,
        }
        audit.record(path, "grader", "evaluate", made)
        hashes = {"evaluation": fingerprint(each, length=64), "predictions": None}
        audit.record(path, "grader", "evaluated", {"id": each["id"], **hashes})
        write_json(path / "evaluations" / f"{each['id']}.json", each)
    audit.record(path, "grader", "seal", {"key": "k", "winner": adapter})


@pytest.fixture
def old_run(tmp_path: Path, fresh_home: Path) -> Path:
    """The directory of a finished run of schema version 1, with a checkpoint of its tree."""
    path = tmp_path / "old"
    (path / "trials").mkdir(parents=True)
    settings = SETTINGS | {"directory": str(path)}
    info = {"schema_version": 1, "settings": settings, "created": "2026-11-29T01:38:50+0000", "python": "3.11.7",
            "versions": {"torch": "2.13.0"}}  # fmt: skip
    write_json(path / "run.json", info)
    task = load(smoke=True).model_dump(mode="json")
    for folder in (path, path / "best"):
        write_json(folder / "task.json", task)
    guard = {"name": "knowledge", "base": 0.5, "winner": 0.25, "n": 40, "p_value": 1.0, "broken": False}
    finish = {
        "status": "done", "reason": "rounds", "winner_trial": "t1", "winner_experiment": "e001",
        "dev": evaluation("won", 0.9), "confirm": evaluation("confirmed", 0.8, "confirm"),
        "test": evaluation("sealed", 0.85, "test"), "guards": [guard], "best_path": "best",
    }  # fmt: skip
    write_json(path / "finish.json", finish)
    _write_records(path, [evaluation("base", 0.6), *(finish[name] for name in ("dev", "confirm", "test"))])
    write_json(path / "clock.json", {"active_seconds": 11.5, "own_seconds": 1.25})
    winner = {"trial": "t1", "seed": 0, "threads": 1, "grader_threads": 2, "device": "cpu", "step": 23,
              "training": TRAINING, "dev": score(0.9)}  # fmt: skip
    write_yaml(path / "best" / "plan.yaml", winner)
    write_yaml(path / "best" / "recipe.yaml", RECIPE)
    reserved = {"event": "reserved", "id": "c1", "role": "researcher", "purpose": "plan e001", "model": "openai:x",
                "tokens_in": 100, "tokens_out": 50, "money": 1.0, "messages": []}  # fmt: skip
    (path / "calls.jsonl").write_text(f"{json.dumps(reserved)}\n{json.dumps(CALL)}\n")
    directory = RunDirectory(path)
    values = {"settings": settings, "status": "done", "tree": old_tree()}
    with closing(connect(directory)) as connection:
        graph = build_graph(checkpointer=saver(connection))
        graph.update_state({"configurable": {"thread_id": "old"}}, values, as_node="finish")
    return path


def test_settings_and_tree_are_read_in_their_present_form(old_run: Path) -> None:
    run = load_run(old_run)
    settings = RunDirectory.open(old_run).settings()
    assert settings.regression_checks and settings.llm is not None and settings.llm.cost_budget_usd == 2.0
    experiment = run.tree["e001"]
    assert experiment.plan is not None and experiment.executed_plan is None
    assert list(experiment.plan.recipes) == list(experiment.datasets) == ["main"]
    assert experiment.plan.recipes["main"].rows == 45 and experiment.datasets["main"].rows == 45
    training = experiment.trials[0].training
    assert training == experiment.plan.trials[0].training
    weights, stage = training.weights, training.stage
    assert isinstance(weights, LoraWeights) and isinstance(stage, SftStage)
    assert (weights.rank, weights.alpha, weights.dropout, weights.layers) == (4, 8, 0.1, "upper_half")
    assert weights.targets == ("q_proj", "v_proj")
    flat = {name: value for name, value in TRAINING.items() if name in SftStage.model_fields}
    # Five settings are those of the weights, and `append_eos` is gone.
    assert stage.model_dump(include=set(flat)) == flat and len(flat) == len(TRAINING) - 6
    assert experiment.secondary == {"empty": 0.25} and run.tree["e000"].baseline is not None
    assert run.tree["e000"].baseline.secondary == {"empty": 0.25}


def test_summary_and_report_are_made(old_run: Path) -> None:
    run = load_run(old_run)
    best = run.summary.best
    assert best is not None and (best.trial, best.dev) == ("t1", 0.9)
    assert best.test is not None and best.test.value == 0.85 and best.path == "best"
    assert best.regression_checks == [], "that version entered no hash of finish.json into the trail"
    [fault] = run.summary.faults
    assert "no entry for the end of the run" in fault
    assert run.summary.spend.cost_usd == 0.25 and run.summary.spend.active_seconds == 11.5
    assert read_clock(old_run / "clock.json").overhead_seconds == 1.25
    page, text, store = run.write_report()
    assert "first plan" in page.read_text() and "45 rows" in text.read_text() and store.exists()
    assert run.trials["id"].tolist() == ["t1"]


def test_the_winner_can_be_trained_again(old_run: Path) -> None:
    [winner], task = read_winner(old_run / "best")
    plan, recipes = winner.plan, winner.recipes
    assert recipes["recipe.yaml"].rows == 45 and plan.training.total_steps(45) == 24
    trial = make_trial(plan.training, Path("m"), "h", [built(Path("d"), 45)], 0, 1)
    assert trial.id and trial.total_steps == 24 and task.name == "sentiment"


def test_calls_and_evaluations_keep_what_they_cost_and_scored(old_run: Path) -> None:
    [call] = read_calls(old_run / "calls.jsonl")
    assert (call.cost_usd, call.tokens_in) == (0.25, 10)
    assert Evaluation.model_validate(evaluation("won", 0.9)).secondary == {"empty": 0.25}


def test_targets_of_version_2_are_read() -> None:
    """As planned, as executed, before repairs, and in best/plan.yaml, which has no version."""
    new = Experiment.model_validate(migrated("experiment", old_tree()["e001"])).model_dump(mode="json")
    trial = new["trials"][0] | {"planned": new["trials"][0]["training"]}
    new |= {"executed_plan": new["plan"], "trials": [trial]}
    old = json.loads(json.dumps(new).replace('"targets"', '"target_modules"')) | {"schema_version": 2}
    assert old != new and migrated("experiment", old) == new
    winner = json.loads(json.dumps(trial).replace('"targets"', '"target_modules"'))
    assert migrated("winner", winner) == trial


def test_what_is_in_its_present_form_stays_as_it_is() -> None:
    new = Experiment.model_validate(migrated("experiment", old_tree()["e001"])).model_dump(mode="json")
    assert migrated("experiment", new) == new
    assert migrated("call", migrated("call", CALL)) == migrated("call", CALL)
    before = json.dumps(old_tree())
    tree = json.loads(before)
    migrated("experiment", tree["e001"])
    assert json.dumps(tree) == before, "a document that is read must not change"


def test_a_version_of_the_future_is_refused(old_run: Path) -> None:
    write_json(old_run / "run.json", read_json(old_run / "run.json") | {"schema_version": 7})
    with pytest.raises(InputError, match="schema version 7, this TREX reads 3"):
        load_run(old_run).summary  # noqa: B018
