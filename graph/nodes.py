"""The nodes of the graph. Each reads the state, calls one thing with a name, and returns an update.

Nodes run at least once: after a crash a node starts again from its top and finds what it had finished in the run
directory. Nothing that a node calls repeats finished work.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from langgraph.config import get_config
from langgraph.types import Command, Send, interrupt
from pydantic import ValidationError

from ..errors import explain
from ..files import write_json
from .executor.parent_weights import parent_weights
from .finish import finish as conclude
from .planning import MOST_REVISIONS, NO_OTHER_PLAN, planned_experiment, planning_request, revised_experiment
from .researcher.protocol import Analysis
from .rounds import assess, evidence, promoted, root_experiment
from .run.events import emit
from .run.runtime import Runtime, RuntimeRegistry
from .run.settings import Settings
from .run.setup import served_settings
from .state import RungTask, RunState
from .steering.approval import EDITED, Review, edited_plan, question
from .steering.control import Control
from .steering.requests import STOPPED, chosen_by_person, stopped, unless_stopped
from .tree.experiment import DatasetCard, Experiment, TrialRecord, trial_dataset
from .tree.tree import Tree, fold_tree


class Nodes:
    """The graph's nodes over the runtimes of its runs; `settings` are given unless a form supplies them."""

    def __init__(self, runtimes: RuntimeRegistry | None = None, settings: Settings | None = None) -> None:
        self._runtimes = runtimes or RuntimeRegistry()
        self._settings = settings

    def analyze(self, state: RunState) -> RunState:
        """Freeze the settings and make the requirement precise."""
        settings = (self._settings or served_settings(state, get_config())).model_dump(mode="json")
        runtime = self._runtimes.open(settings)
        if hint := state.get("hint", "").strip():
            runtime.control.hint(hint, "form")
        analysis = runtime.researcher.analyze(runtime.task).model_dump(mode="json")
        write_json(runtime.directory.analysis, analysis)  # a fork takes it over
        emit("analysis", task=runtime.task.name, **analysis)
        return {"settings": settings, "status": "running", "analysis": analysis, "hint": ""}

    def baseline(self, state: RunState) -> RunState:
        """Evaluate the base model: the root of the tree."""
        runtime = self._open(state)
        evaluation = runtime.executor.baseline()
        root = root_experiment(evaluation)
        emit("experiment", id=root.id, parent=None, strategy=root.strategy, value=evaluation.score.value)
        reserve = conclude.reserve_seconds(runtime, evaluation)
        return {"tree": {root.id: root.model_dump(mode="json")}, "reserve_seconds": reserve}

    def research(self, state: RunState) -> RunState:
        """Look at the data (and literature) there is; notes are kept in the run directory."""
        runtime = self._open(state)
        if not runtime.directory.research.exists():  # a fork takes over the notes of the run it comes from
            notes = runtime.researcher.research(runtime.task, Analysis.model_validate(state["analysis"]))
            write_json(runtime.directory.research, notes.model_dump(mode="json"))
        runtime.look_back()
        emit(
            "research",
            sources=[source.name for source in runtime.notes.sources],
            notes=len(runtime.notes.notes),
        )
        return {"ending": conclude.reason_to_end(runtime, self._tree(state)) or ""}

    def go_on(self, state: RunState) -> Literal["select", "finish"]:
        """Another round while rounds and budget allow it, unless a stop was requested.

        Routes need no runtime: a server asks them when a person changes the state of a thread.
        """
        ended = state.get("ending") or Control(Path(state["settings"]["directory"])).stopping
        return "finish" if ended else "select"

    def select(self, state: RunState) -> RunState:
        """The search policy picks the experiment to refine, unless a person did."""
        runtime = self._open(state)
        chosen = chosen_by_person(runtime, self._tree(state), state.get("refine_next", ""))
        [selected] = [chosen] if chosen else runtime.policy.select(self._tree(state))
        emit("selected", id=selected)
        return {
            "selected": selected,
            "refine_next": "",
            "running": None,  # type: ignore[typeddict-item]
            "rung": 0,
            "problem": "",
            "revisions": 0,
        }

    def direction(self, state: RunState) -> RunState:
        """The Researcher looks at the memory and chooses the direction of the next experiment."""
        runtime, used = self._open(state), state.get("hints_used", 0)
        hints = runtime.control.unread(used)
        hint = "\n".join([*(each.text for each in hints), *filter(None, [state.get("hint")])])
        request = planning_request(runtime, self._tree(state), state, hint)
        return {
            "direction": runtime.researcher.direction(request),
            "hint": hint,
            "hints_given": used + len(hints),
        }

    def plan(self, state: RunState) -> RunState:
        """The Researcher plans one experiment in that direction, or revises its plan."""
        if state.get("problem"):
            return self._revise(state)
        runtime, hint = self._open(state), state.get("hint", "")
        request = planning_request(runtime, self._tree(state), state, hint, state.get("direction"))
        experiment = planned_experiment(request, runtime.researcher.plan(request))
        _emit_planned(experiment, hint)
        return {
            "tree": {experiment.id: experiment.model_dump(mode="json")},
            "current": experiment.id,
            "hint": "",
            "direction": {},
        }

    def _revise(self, state: RunState) -> RunState:
        """Another plan for the same experiment; without one it fails with the problem that `prepare` found."""
        runtime, experiment = self._open(state), self._tree(state)[state["current"]]
        assert experiment.plan is not None
        plan = runtime.researcher.revise(experiment.plan, state["problem"], experiment.id)
        number = state.get("revisions", 0) + 1
        if plan is None or plan == experiment.plan:
            repairs = [*experiment.repairs, NO_OTHER_PLAN]
            patch = {"repairs": repairs, "failure": experiment.failure or state["problem"]}
            return {"tree": {experiment.id: patch}, "revisions": number}
        revised = revised_experiment(experiment, plan, state["problem"])
        _emit_planned(revised)
        return {
            "tree": {revised.id: revised.model_dump(mode="json")},
            "revisions": number,
            "running": None,  # type: ignore[typeddict-item]
        }

    def ask(self, state: RunState) -> Literal["approve", "prepare", "diagnose"]:
        """Whether a person is asked about the plan; an experiment without another plan has failed."""
        if state.get("problem") and state["tree"][state["current"]].get("failure"):
            return "diagnose"
        return "approve" if state["settings"]["approve"] else "prepare"

    def approve(self, state: RunState) -> Command[Literal["direction", "prepare"]]:
        """A person accepts, edits or rejects the plan, unless one has asked for the end at once."""
        control = Control(Path(state["settings"]["directory"]))
        # A user who steps through the graph can also reach this node where approval is off.
        if not state["settings"]["approve"] or control.stops_now():
            return Command(goto="prepare")
        experiment = Experiment.model_validate(state["tree"][state["current"]])
        assert experiment.plan is not None
        plan, problem = experiment.plan, ""
        while True:
            answer = interrupt(question(experiment, plan, problem, state.get("problem", "")))
            try:
                review = Review.model_validate(answer)
                plan = edited_plan(plan, review)
                break
            except ValidationError as error:
                problem = explain(error)
        if review.decision == "reject":
            number = state.get("rejections", 0) + 1
            # Never the same words twice: the same question to a Researcher has the same answer.
            hint = review.hint.strip() or f"another plan ({number} turned down)"
            control.hint(hint, "rejection", f"{number}: {experiment.id}, {plan.hypothesis}"[:500])
            # Other hints for a rejected plan are given to the next one too.
            return Command(
                goto="direction", update={"hint": hint, "rejections": number, "problem": "", "revisions": 0}
            )
        patch: dict[str, Any] = {"plan": plan.model_dump(mode="json"), "strategy": plan.strategy}
        if plan != experiment.plan:
            patch["repairs"] = [*experiment.repairs, EDITED]
        return Command(goto="prepare", update={"tree": {experiment.id: patch}})

    def prepare(self, state: RunState) -> RunState:
        """The Executor builds the data set, passes the gate and the preflight, and repairs what it can."""
        runtime, tree = self._open(state), self._tree(state)
        experiment = tree[state["current"]]
        assert experiment.plan is not None
        if runtime.control.stops_now():
            patch: dict[str, Any] = {"failure": STOPPED}
            return {"tree": {experiment.id: patch}, "running": [], "problem": ""}
        parent = parent_weights(tree, experiment, runtime.directory.trials)
        ready = runtime.executor.prepare(experiment.plan, experiment.id, parent)
        repairs = [*experiment.repairs, *ready.repairs]
        patch = {"repairs": repairs, "failure": ready.failure}
        patch["datasets"] = {name: card.model_dump(mode="json") for name, card in ready.datasets.items()}
        if ready.plan is not None:
            patch |= {"executed_plan": ready.plan.model_dump(mode="json"), "strategy": ready.plan.strategy}
        emit("prepared", id=experiment.id, rows=[card.rows for card in ready.datasets.values()],
             repairs=repairs, failure=ready.failure)  # fmt: skip
        return {
            "tree": {experiment.id: patch},
            "running": _dump(ready.trials),
            "problem": ready.problem or "",
        }

    def carry_out(self, state: RunState) -> list[Send] | Literal["revise", "diagnose"]:
        """A plan that cannot be carried out goes back to the Researcher, `MOST_REVISIONS` times."""
        if state.get("problem") and state.get("revisions", 0) < MOST_REVISIONS:
            return "revise"
        return self.fan_out(state)

    def fan_out(self, state: RunState) -> list[Send] | Literal["diagnose"]:
        """One job for each trial that goes on; none left, or nothing to train on: diagnose."""
        experiment = state["tree"][state["current"]]
        datasets = experiment.get("datasets", {})
        going = [trial for trial in state["running"] if trial["status"] in ("planned", "running")]
        if experiment.get("failure") or not datasets or not going:
            return "diagnose"
        return [
            Send(
                "run_rung",
                RungTask(
                    settings=state["settings"],
                    reserve_seconds=state["reserve_seconds"],
                    dataset=_dataset(datasets, trial),
                    trial=trial,
                    rung=state["rung"],
                    experiment=state["current"],
                    step=state.get("step", False),
                ),
            )
            for trial in going
        ]

    def run_rung(self, state: RungTask) -> RunState:
        """The Executor trains one trial to the rung's end and evaluates it."""
        runtime = self._open(state)
        planned = TrialRecord.model_validate(state["trial"])
        dataset, control = DatasetCard.model_validate(state["dataset"]), runtime.control
        trial = unless_stopped(
            lambda: runtime.executor.run_rung(planned, dataset, state["rung"], state["experiment"]),
            planned,
            control,
        )
        emit("evaluated", trial=trial.id, index=trial.index, note=trial.note, rung=state["rung"],
             status=trial.status, value=trial.value, message=trial.message)  # fmt: skip
        return {"running": _dump([trial])}

    def promote(self, state: RunState) -> RunState:
        """The better trials get the next rung, the others end here."""
        runtime = self._open(state)
        before = [TrialRecord.model_validate(t) for t in state["running"]]
        trials = promoted(before, runtime.settings.reduction)
        if runtime.control.stops_now():
            trials = [stopped(trial) for trial in trials]
        emit("promoted", rung=state["rung"], going=[t.index for t in trials if t.status == "running"])
        return {"running": _dump(trials), "rung": state["rung"] + 1}

    def diagnose(self, state: RunState) -> RunState:
        """The Researcher reads the outcome: verdict, causes of failures, insights."""
        runtime, tree = self._open(state), self._tree(state)
        trials = [TrialRecord.model_validate(t) for t in state["running"]]
        outcome = assess(tree[state["current"]], trials)
        diagnosis = runtime.researcher.diagnose(evidence(runtime, outcome, tree.parent(outcome.id)))
        patch = outcome.model_dump(
            mode="json",
            include={"trials", "best_trial", "score", "reward", "secondary", "failure", "seconds"},
        )
        return {
            "tree": {outcome.id: patch | {"diagnosis": diagnosis.model_dump(mode="json")}},
            "hints_used": state.get("hints_given", 0),  # the plan that was given them is settled
        }

    def record(self, state: RunState) -> RunState:
        """Close the experiment: from here on it counts in the tree."""
        runtime, experiment = self._open(state), self._tree(state)[state["current"]]
        status: Literal["done", "failed"] = "failed" if experiment.failure else "done"
        closed = experiment.model_copy(update={"status": status})
        tree = runtime.reader.read(fold_tree(state["tree"], [{closed.id: {"status": status}}]))
        conclude.record_round(runtime, tree, closed)
        emit("experiment", id=closed.id, parent=closed.parent_id, strategy=closed.strategy, status=status,
             value=closed.score.value if closed.score else None, failure=closed.failure)  # fmt: skip
        ending = conclude.reason_to_end(runtime, tree) or ""
        return {"tree": {closed.id: {"status": status}}, "ending": ending, "running": None}  # type: ignore[typeddict-item]

    def finish(self, state: RunState) -> RunState:
        """Confirm the finalists, freeze the winner, open the test split once, write the report."""
        runtime, tree = self._open(state), self._tree(state)
        emit("finishing")
        finish = conclude.finish(runtime, tree, state["tree"])
        emit("finished", **finish.model_dump(mode="json", include={"reason", "winner_experiment"}))
        return {"status": "done", "finish": finish.model_dump(mode="json")}

    def _open(self, known: RunState | RungTask) -> Runtime:
        runtime = self._runtimes.open(known["settings"])
        runtime.budget.reserve_seconds = known.get("reserve_seconds", 0.0)
        return runtime

    def _tree(self, state: RunState) -> Tree:
        return self._open(state).reader.read(state["tree"])


def _emit_planned(experiment: Experiment, hint: str = "") -> None:
    plan = experiment.plan
    assert plan is not None
    emit("planned", id=experiment.id, parent=experiment.parent_id, direction=plan.direction,
         strategy=plan.strategy, hypothesis=plan.hypothesis, trials=[t.note for t in plan.trials],
         hint=hint)  # fmt: skip


def _dump(trials: list[TrialRecord]) -> list[dict[str, Any]]:
    return [trial.model_dump(mode="json") for trial in trials]


def _dataset(cards: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, Any]:
    """The data sets of a trial's stages, as JSON."""
    known = {name: DatasetCard.model_validate(card) for name, card in cards.items()}
    dataset = trial_dataset(known, TrialRecord.model_validate(trial).training)
    assert dataset is not None  # a trial with a recipe that failed does not go on
    return dataset.model_dump(mode="json")
