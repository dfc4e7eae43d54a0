"""Documents of runs that an earlier version of TREX made, read into their present form.

Schema version 1: one flat `training` object a trial, one `recipe` and one `dataset` an experiment, and other
names of some fields. Version 2: weights and stages, named recipes and data sets; LoRA on modules by the names of a
Llama (`target_modules`). Version 3: LoRA `targets`. Files are never rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

Kind = Literal["run", "settings", "experiment", "finish", "winner", "call", "clock"]

VERSION = 3

_EARLIER = (1, 2)
_MAIN = "main"
_WEIGHTS = {
    "lora_rank": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "targets",
    "layers": "layers",
}

Document = dict[str, Any]


def migrated(kind: Kind, document: Mapping[str, Any]) -> Document:
    """The document in its present form: 'run' is run.json, 'winner' is best/plan.yaml, 'call' a line of calls.jsonl.

    What is already in its present form comes back as it is. Fields that are missing or damaged are left to the
    model that validates the document.
    """
    if document.get("schema_version", 1) not in _EARLIER:
        return dict(document)
    return _MIGRATE[kind](dict(document))


def _run(run: Document) -> Document:
    if isinstance(run.get("settings"), dict):
        run["settings"] = _settings(dict(run["settings"]))
    return run | {"schema_version": VERSION} if run.get("schema_version") in _EARLIER else run


def _settings(settings: Document) -> Document:
    _rename(settings, guards="regression_checks")
    if isinstance(settings.get("llm"), dict):
        settings["llm"] = dict(settings["llm"])
        _rename(settings["llm"], money_budget="cost_budget_usd")
    return settings | {"schema_version": VERSION}


def _experiment(experiment: Document) -> Document:
    _rename(experiment, extras="secondary")
    for name in ("plan", "executed_plan"):
        if isinstance(experiment.get(name), dict):
            experiment[name] = _plan(dict(experiment[name]))
    if (dataset := experiment.pop("dataset", None)) is not None:
        experiment["datasets"] = {_MAIN: dataset}
    if isinstance(experiment.get("baseline"), dict):
        experiment["baseline"] = _evaluation(dict(experiment["baseline"]))
    if isinstance(experiment.get("trials"), list):
        experiment["trials"] = [_trial(dict(trial)) for trial in experiment["trials"]]
    return experiment | {"schema_version": VERSION}


def _plan(plan: Document) -> Document:
    if "recipe" in plan:
        plan["recipes"] = {_MAIN: plan.pop("recipe")}
    if isinstance(plan.get("trials"), list):
        plan["trials"] = [_trial(dict(trial)) for trial in plan["trials"]]
    return plan


def _trial(trial: Document) -> Document:
    for name in ("training", "planned"):
        if isinstance(trial.get(name), dict):
            trial[name] = _training(trial[name])
    if isinstance(trial.get("evaluation"), dict):
        trial["evaluation"] = _evaluation(dict(trial["evaluation"]))
    return trial


def _training(training: Document) -> Document:
    """Flat settings become one stage of supervised fine-tuning on a LoRA adapter."""
    if training.keys() & {"weights", "stages"}:
        if not isinstance(training.get("weights"), dict):
            return training
        weights = dict(training["weights"])
        _rename(weights, target_modules="targets")
        return training | {"weights": weights}
    weights = {new: training[old] for old, new in _WEIGHTS.items() if old in training}
    stage = {name: value for name, value in training.items() if name not in _WEIGHTS}
    return {"weights": {"kind": "lora", **weights}, "stages": [{"method": "sft", **stage}]}


def _finish(finish: Document) -> Document:
    _rename(finish, guards="regression_checks", picked="selection_bias")
    for name in ("dev", "confirm", "test", "baseline_test"):
        if isinstance(finish.get(name), dict):
            finish[name] = _evaluation(dict(finish[name]))
    return finish


def _evaluation(evaluation: Document) -> Document:
    _rename(evaluation, extras="secondary")
    return evaluation


def _call(call: Document) -> Document:
    _rename(call, money="cost_usd")
    return call


def _clock(clock: Document) -> Document:
    _rename(clock, own_seconds="overhead_seconds")
    return clock


def _rename(document: Document, **names: str) -> None:
    for old, new in names.items():
        if old in document:
            document.setdefault(new, document.pop(old))


_MIGRATE: dict[Kind, Callable[[Document], Document]] = {
    "run": _run,
    "settings": _settings,
    "experiment": _experiment,
    "finish": _finish,
    "winner": _trial,
    "call": _call,
    "clock": _clock,
}
