"""A fork: a new run that continues from an experiment of another, with its tree and the files that it needs.

The audit trail is copied, so that evaluations on dev are counted on and every score stays verified. Its entries of
the test split are not: the fork scores the split once for its own winner, and reports if the source run had opened
it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic import ValidationError

from ...errors import InputError, explain
from ...evaluation.grader import audit
from ...evaluation.grader import evaluation_records as ledger
from ...evaluation.grader.audit import AuditEntry
from ...evaluation.grader.messages import IDENTITY
from ...evaluation.results import Evaluation
from ...files import read_json
from ...sealed_folder import copy
from ..app import build_graph  # first: it makes checkpoints strict
from ..run.checkpoint_store import checkpoint_kind, checkpointer
from ..run.directory import RunDirectory, explain_write_error
from ..run.settings import Settings
from ..run.setup import check_settings
from ..tree.experiment import Experiment
from ..tree.tree import Tree
from .control import Control
from .lineage import inherit_trail
from .requests import check_refinable


def fork_run(
    source: RunDirectory, tree: Tree, experiment: str, out: Path, hint: str = "", **changes: object
) -> tuple[RunDirectory, Settings]:
    """Make the directory of a run that refines `experiment` of the source's tree next; it can be resumed.

    `changes` are fields of `Settings` with other values than the source's; `rounds` are those to come, by
    default what the source has left, at least one. Raises InputError for an experiment that cannot be refined
    and for a directory that is not empty; then nothing was written.
    """
    finished = [each for each in tree if each.status != "running"]
    check_refinable(Tree(finished), experiment)
    settings = _settings(source, out, sum(each.round > 0 for each in finished), changes)
    check_settings(settings)
    RunDirectory.refuse_existing(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty: choose another --out for the fork")
    directory = RunDirectory(settings.path)
    try:
        _take_over(source, directory, finished, experiment)
        _begin(directory, source, settings, finished, experiment)
        if hint:
            Control(directory.path).hint(hint, "fork", experiment)
        # Its run.json makes a directory a run: written last.
        return RunDirectory.create(settings, source.task()), settings
    except OSError as error:
        shutil.rmtree(directory.path, ignore_errors=True)
        raise explain_write_error(error, out, begun=False) or error from error
    except BaseException:
        shutil.rmtree(directory.path, ignore_errors=True)
        raise


def _settings(source: RunDirectory, out: Path, made: int, changes: dict[str, object]) -> Settings:
    before = source.settings()
    given = {name: value for name, value in changes.items() if value is not None}
    # With another chat model the Researcher is chosen anew.
    kept = before.model_dump(exclude={"researcher"} if "llm" in given else None)
    to_come = given.pop("rounds", max(1, before.rounds - made))
    own: dict[str, object] = {
        "directory": str(out.absolute()),
        "thread_id": uuid.uuid4().hex,
        "checkpoint": checkpoint_kind(),
        "rounds": made + to_come if isinstance(to_come, int) else to_come,
    }
    if before.task == str(source.task_file):
        own["task"] = str(RunDirectory(out.absolute()).task_file)
    try:
        return Settings.model_validate(kept | own | given)
    except ValidationError as error:
        raise InputError(f"invalid settings: {explain(error)}") from error


def _take_over(source: RunDirectory, fork: RunDirectory, finished: list[Experiment], experiment: str) -> None:
    """Copy the files that the tree refers to; a link would let an edit in one run change the other."""
    entries = audit.read(source.path)
    for fingerprint in sorted({card.fingerprint for each in finished for card in each.datasets.values()}):
        copy(source.datasets / fingerprint, fork.datasets / fingerprint, fingerprint=fingerprint)
    for trial in sorted({trial.id for each in finished for trial in each.trials if trial.id}):
        _copy_trial(source.trials / trial, fork.trials / trial)
    for name in (
        source.analysis.name,
        source.research.name,
        source.earlier_insights.name,
        source.check.name,
        IDENTITY,
    ):
        if (source.path / name).exists():
            shutil.copyfile(source.path / name, fork.path / name)
    _copy_evaluations(source.path, fork.path, entries)
    inherit_trail(source.path, fork.path, entries, experiment)


def _copy_trial(source: Path, target: Path) -> None:
    """A trial's plan, attempts, results and adapters; files of a running worker are left out."""
    if not source.is_dir():
        return
    target.mkdir(parents=True)
    for name in ("plan.json", "attempts.json"):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    if (source / "rungs").is_dir():
        shutil.copytree(source / "rungs", target / "rungs")
    if (source / "adapter").is_symlink():
        (target / "adapter").symlink_to((source / "adapter").readlink())


def _copy_evaluations(source: Path, fork: Path, entries: Iterable[AuditEntry]) -> None:
    """The evaluations on dev in the trail, with their predictions; nothing of the test split."""
    for folder in ("evaluations", "predictions"):
        (fork / folder).mkdir(parents=True, exist_ok=True)
    for entry in entries:
        path = source / "evaluations" / f"{entry.detail.get('id')}.json"
        if entry.what != ledger.EVALUATED or entry.detail["split"] == "test" or not path.exists():
            continue
        evaluation = Evaluation.model_validate(read_json(path))
        shutil.copyfile(path, fork / "evaluations" / path.name)
        if evaluation.predictions is not None and (source / evaluation.predictions).exists():
            shutil.copyfile(source / evaluation.predictions, fork / evaluation.predictions)


def _begin(
    fork: RunDirectory, source: RunDirectory, settings: Settings, finished: list[Experiment], experiment: str
) -> None:
    """The first checkpoint: the tree as it was, and what to refine. Next is `baseline`, which is known."""
    values = {
        "task": settings.task,
        "settings": settings.model_dump(mode="json"),
        "status": "running",
        "analysis": _analysis(source),
        "tree": {each.id: each.model_dump(mode="json") for each in finished},
        "refine_next": experiment,
    }
    with checkpointer(fork, settings) as store:
        graph = build_graph(checkpointer=store)
        graph.update_state(_thread(settings), values, as_node="analyze")


def _analysis(source: RunDirectory) -> dict[str, Any]:
    """The source's analysis of the requirement; older runs keep it in their checkpoint alone."""
    if source.analysis.exists():
        analysis: dict[str, Any] = read_json(source.analysis)
        return analysis
    if not source.checkpoints.exists():
        return {}
    with checkpointer(source, source.settings()) as store:
        graph = build_graph(checkpointer=store)
        found: dict[str, Any] = graph.get_state(_thread(source.settings())).values.get("analysis", {})
        return found


def _thread(settings: Settings) -> RunnableConfig:
    return {"configurable": {"thread_id": settings.thread_id}}
