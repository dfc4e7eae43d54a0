"""What a run states, compared with the grader's records and with the end of the run in the audit trail.

What does not agree is withheld, and said in one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import IntegrityError
from ...evaluation.engines.adapter_check import BASE_MODEL, adapter_hash
from ...evaluation.grader import evaluation_records as ledger
from ...evaluation.grader.evaluation_records import NO_SCORE, Records
from ...evaluation.grader.messages import FROZEN
from ...evaluation.results import Evaluation
from ...evaluation.task import Split
from ...landlock import NOT_CONFINED
from ...sealed_folder import MANIFEST, changed_files
from ..finish.ending import BEST, CONFINEMENT, FINISH, TREE, changed_since_end
from ..finish.finish_record import FinishRecord
from ..run.directory import RunInfo
from ..steering.lineage import saw_test_split
from ..tree.experiment import Experiment, TrialRecord, reward_of
from ..tree.tree import RawTree, Tree
from .integrity import Integrity, check_integrity

_NAMES = {
    "confirm": "the score on confirm",
    "test": "the test score",
    "baseline_test": "the test score of the base model",
}
_SHOWN = 3
_DERIVED: dict[str, Any] = {"test_gain": None, "selection_bias": None, "seeds": None, "regression_checks": []}


@dataclass(frozen=True)
class Verified:
    """A run with what agrees with its records alone; `integrity` says what does not, None without a directory."""

    info: RunInfo
    tree: Tree
    finish: FinishRecord | None
    integrity: Integrity | None = None

    @property
    def faults(self) -> list[str]:
        """What does not agree, a line each."""
        return self.integrity.faults if self.integrity is not None else []


@dataclass(frozen=True)
class Stated:
    """What a run directory states: tree and end as read, and as they are stored; `done`: the graph has ended."""

    tree: Tree
    finish: FinishRecord | None
    stored_tree: RawTree | None
    stored_finish: dict[str, Any] | None
    done: bool


def verify(info: RunInfo, stated: Stated) -> Verified:
    """Compare what a run states with its records."""
    directory = info.settings.path
    records = ledger.read_records(directory)
    integrity = check_integrity(directory, info.task, records)
    tree, faults = _checked_tree(stated.tree, records)
    finish = stated.finish
    if finish is not None:
        changed = changed_since_end(directory, records, stated.stored_finish or {}, stated.stored_tree)
        faults += _changes(directory, changed, finish, ignored=FROZEN if integrity.winner is None else "")
        finish, found = _checked_finish(directory, finish, stated.tree, records, changed)
        faults += found
        if changed and CONFINEMENT in changed:
            info = info.model_copy(update={"confinement": NOT_CONFINED})
    elif stated.done:
        faults.append(f"{directory / FINISH} is missing, although the run has ended: no result is shown")
    if not len(stated.tree) and records.last(ledger.FINISHED) is not None:
        faults.append(
            f"{directory} has lost its tree ({TREE}, of a served run tree.json): nothing can be shown"
        )
    return Verified(info, tree, finish, integrity.model_copy(update={"faults": [*integrity.faults, *faults]}))


def _checked_tree(tree: Tree, records: Records) -> tuple[Tree, list[str]]:
    """The tree without scores that the grader did not make, and without what follows from them."""
    checked = [_checked_experiment(experiment, records) for experiment in tree]
    wrong = [place for _, places in checked for place in places]
    faults = [f"{_listed(wrong)}: not in the grader's records, withheld"] if wrong and records.entries else []
    derived = [_with_its_reward(experiment) for experiment, _ in checked]
    edited = [new.id for new, (old, _) in zip(derived, checked, strict=True) if new is not old]
    if edited:
        places = _listed([f"the reward of {one}" for one in edited])
        faults.append(f"{places}: does not follow from its score, withheld; computed anew")
    return (Tree(derived), faults) if wrong or edited else (tree, faults)


def _with_its_reward(experiment: Experiment) -> Experiment:
    """The experiment with the reward that follows from its score."""
    reward = reward_of(experiment.score)
    return experiment if experiment.reward == reward else experiment.model_copy(update={"reward": reward})


def _checked_experiment(experiment: Experiment, records: Records) -> tuple[Experiment, list[str]]:
    wrong = [
        t.index for t in experiment.trials if t.evaluation and not records.confirm(t.evaluation, "search")
    ]
    places = [f"the score of {experiment.id} trial {index + 1}" for index in wrong]
    trials = [_without_score(t) if t.index in wrong else t for t in experiment.trials]
    checked = experiment.model_copy(update={"trials": trials})
    baseline = experiment.baseline
    if baseline is not None and not _of(records, baseline, "search", BASE_MODEL):
        checked = checked.model_copy(update={"baseline": None})
        places.append(f"the score of {experiment.id}")
    behind = checked.evaluation
    if experiment.score is not None and (behind is None or behind.score != experiment.score):
        if not places:
            places.append(f"the score of {experiment.id}")
        withheld: dict[str, Any] = {"score": None, "reward": 0.0, "secondary": {}, "diagnosis": None}
        checked = checked.model_copy(update=withheld)
    return checked, places


def _without_score(trial: TrialRecord) -> TrialRecord:
    return trial.model_copy(update={"evaluation": None, "scored": []})


def _of(records: Records, evaluation: Evaluation, split: Split, adapter: str) -> bool:
    return records.confirm(evaluation, split) and records.adapter(evaluation.id) == adapter


def _checked_finish(
    directory: Path, finish: FinishRecord, tree: Tree, records: Records, changed: list[str] | None
) -> tuple[FinishRecord, list[str]]:
    """The end of the run without what is not confirmed."""
    sealed = records.last(ledger.SEAL)
    winner = str(sealed.get("winner")) if sealed else None
    if winner is None and finish.reason == "failed" and not finish.states_scores:
        return finish, []
    if winner is None or not _is_winner(finish, tree, records, winner):
        nothing = finish.model_copy(
            update={
                **_DERIVED,
                **dict.fromkeys(_NAMES),
                "dev": None,
                "winner_experiment": None,
                "best_path": None,
            }
        )
        fault = f"{directory / FINISH}: its winner or its score on search is not the one that was sealed: {NO_SCORE}"
        return nothing, [fault] if records.entries else []
    update: dict[str, Any] = {}
    faults: list[str] = []
    for name, text in _NAMES.items():
        evaluation = getattr(finish, name)
        adapter = BASE_MODEL if name == "baseline_test" else winner
        if evaluation is not None and not _of(
            records, evaluation, "confirm" if name == "confirm" else "test", adapter
        ):
            update[name] = None
            faults.append(f"{directory / FINISH}: {text} is not in the grader's records: withheld")
    if update.keys() & {"test", "baseline_test"}:
        update["test_gain"] = None
    if changed is None or FINISH in changed:
        update |= {**_DERIVED, "reason": None, "active_seconds": None, "test_seen": saw_test_split(directory)}
        for name in ("dev", *_NAMES):
            evaluation = update.get(name, getattr(finish, name))
            if evaluation is not None:
                update[name] = records.evaluations[evaluation.id]
    if finish.winner_trial is not None and (problem := _changed_best(directory / "best", winner)):
        update["best_path"] = None
        faults.append(problem)
    return finish.model_copy(update=update), faults


def _is_winner(finish: FinishRecord, tree: Tree, records: Records, winner: str) -> bool:
    """Whether the record names the sealed winner, with its score on `search`."""
    if finish.dev is None or finish.winner_experiment is None or finish.winner_experiment not in tree:
        return False
    if not _of(records, finish.dev, "search", winner):
        return False
    experiment = tree[finish.winner_experiment]
    if finish.winner_trial is None:
        return winner == BASE_MODEL and experiment.baseline == finish.dev
    return any(t.id == finish.winner_trial and t.evaluation == finish.dev for t in experiment.trials)


def _changed_best(best: Path, winner: str) -> str | None:
    """What is wrong with best/, None if nothing is."""
    try:
        same = adapter_hash(best / "adapter") == winner
    except (IntegrityError, OSError):
        same = False
    if not same:
        return f"{best / 'adapter'} is not the adapter that was sealed and scored"
    # Runs of earlier versions have no manifest.
    names = changed_files(best) if (best / MANIFEST).exists() else []
    return f"{_listed([str(best / name) for name in names])}: not as the run wrote it" if names else None


def _changes(directory: Path, changed: Sequence[str] | None, finish: FinishRecord, ignored: str) -> list[str]:
    """What is not as it was at the end of the run, a line each, but for a file that another line names."""
    if changed is None:
        derived = any(getattr(finish, name) != empty for name, empty in _DERIVED.items())
        why = "the trail was cut, or is of an earlier version"
        return [f"the audit trail has no entry for the end of the run ({why}): gains are withheld"] * derived
    lines = {
        FINISH: " is not what the run wrote at its end: gains, checks and the reason of the end are withheld",
        TREE: ": its tree is not the one that the run ended with; its scores and rewards were checked, texts were not",
        CONFINEMENT: ": results of workers state another confinement than at the end of the run",
        BEST: " is not what the run wrote at its end",
    }
    told = [name for name in changed if name != ignored]
    return [f"{directory / name}{lines.get(name, ': changed since the run ended')}" for name in told]


def _listed(places: Sequence[str]) -> str:
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
