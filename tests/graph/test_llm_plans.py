"""A reading model in the Researcher's place: rounds of plans that vary what they refine, none of them a fallback."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chat import FakeChat
from support.llm_plans import model
from support.recipes import reviews
from trex.evaluation.failures.analysis import FailureGroup
from trex.evaluation.results import Evaluation, FailureCase, Score
from trex.evaluation.task import Prompt, Source, Task
from trex.files import write_jsonl
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.memory.memory_context import context
from trex.graph.researcher.agent.researcher_agent import ResearcherAgent
from trex.graph.researcher.agent.researcher_tools import ResearcherTools
from trex.graph.researcher.builtin.policy import BuiltinResearcher
from trex.graph.researcher.protocol import Evidence, PlanningRequest
from trex.graph.tree.experiment import Experiment, ExperimentPlan, TrialRecord
from trex.graph.tree.tree import Tree

ROUNDS, TRIALS, EXAMPLES = 6, 4, 160


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("task")
    write_jsonl(folder / "movies.jsonl", reviews(200))
    for name in ("dev", "test"):
        items = [{"text": f"{name} item {i}", "label": "positive"} for i in range(20)]
        write_jsonl(folder / f"{name}.jsonl", items)
    return Task(
        name="reviews",
        requirement="Tell good reviews from bad ones.",
        base_model="tiny",
        sources=[Source(name="movies", path=str(folder / "movies.jsonl"), licence="MIT")],
        dev=folder / "dev.jsonl",
        test=folder / "test.jsonl",
        prompt=Prompt(user="Positive or negative?\n{text}", answer="{label}"),
        choices=["negative", "positive"],
        rating_column="rating",
    )


def evaluation(value: float) -> Evaluation:
    found = Score(
        name="accuracy", value=value, n=12, ci_low=value - 0.1, ci_high=value + 0.1, standard_error=0.05
    )
    return Evaluation(id=f"v{value}", split="search", scoring="choices", score=found)


def carried_out(plan: ExperimentPlan, round_: int, parent: str) -> Experiment:
    """The experiment, done: its second trial is the best."""
    found = evaluation(0.5 + 0.03 * round_)
    trials = [
        TrialRecord(
            id=f"t{round_}.{n}", index=n, status="done", training=trial.training, note=trial.note, rung=1,
            step=20, total_steps=20, evaluation=found,
        )
        for n, trial in enumerate(plan.trials)
    ]  # fmt: skip
    return Experiment(
        id=f"e{round_:03d}", parent_id=parent, round=round_, strategy=plan.strategy, status="done", plan=plan,
        trials=trials, best_trial=trials[1].id, score=found.score, reward=found.score.value,
    )  # fmt: skip


def test_rounds_of_plans_vary_what_they_refine(task: Task, tmp_path: Path) -> None:
    chat = FakeChat(model)
    tools = ResearcherTools(task, tmp_path, tmp_path / "experiments.duckdb", outside=lambda visited: ())
    settings = ModelSettings(researcher="fake:model")
    agent = ResearcherAgent(chat, BuiltinResearcher(), tools, settings, trial_examples=EXAMPLES)
    analysis = agent.analyze(task)
    notes = agent.research(task, analysis)
    assert notes.findings and not any(note.source.startswith("unverified") for note in notes.findings)

    base = evaluation(0.5)
    root = Experiment(
        id="e000", parent_id=None, round=0, strategy="establish_baseline", status="done", baseline=base,
        score=base.score, reward=0.5,
    )  # fmt: skip
    experiments = [root]
    for round_ in range(1, ROUNDS + 1):
        parent = experiments[-1].id
        given = PlanningRequest(
            task=task, analysis=analysis, notes=notes, context=context(Tree(experiments), parent), round=round_,
            trials=TRIALS, trial_examples=EXAMPLES,
        )  # fmt: skip
        plan = agent.plan(given)
        assert "built-in policy" not in plan.hypothesis and parent in plan.hypothesis
        done = carried_out(plan, round_, parent)
        case = FailureCase(id="a", prompt="not bad", reference="positive", prediction="negative")
        cases = [case, case.model_copy(update={"id": "b"})]
        group = FailureGroup("confusion", "positive answered as negative", 2, ["a", "b"])
        diagnosis = agent.diagnose(Evidence(task, done, experiments[-1], cases, [group]))
        assert diagnosis.causes[0] == "positive taken for negative" and diagnosis.claims
        experiments.append(done.model_copy(update={"diagnosis": diagnosis}))

    plans = [e.plan for e in experiments if e.plan is not None]
    configurations = [
        (p.recipe_of(t.training).model_dump_json(), str(t.training.effective()))
        for p in plans
        for t in p.trials
    ]
    assert len(configurations) == len(set(configurations)) == ROUNDS * TRIALS
    assert len({plan.direction for plan in plans}) >= 4
    assert {"search_literature", "query_history", "check_plan", "failure_cases"} <= {
        name for asked in chat.asked for name in asked.tools
    }
