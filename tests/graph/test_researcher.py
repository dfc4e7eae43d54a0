"""Tests of the built-in Researcher: plans, the bandit over directions, recipe edits, research and diagnosis."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plans import training_plan
from trex.evaluation.failures.analysis import Comparison, FailureGroup
from trex.evaluation.results import Evaluation, FailureCase, Score
from trex.evaluation.task import GenerationSettings, Prompt, Source, Task
from trex.files import canonical_json, write_jsonl
from trex.graph.memory.memory_context import context
from trex.graph.researcher.builtin import first_plan
from trex.graph.researcher.builtin.bandit import arm, outcomes
from trex.graph.researcher.builtin.diagnosis import fell_behind, read_outcome
from trex.graph.researcher.builtin.directions import DIRECTIONS
from trex.graph.researcher.builtin.learning_curve import read_curve
from trex.graph.researcher.builtin.policy import BuiltinResearcher, asked_for
from trex.graph.researcher.builtin.recipe_edits import with_step
from trex.graph.researcher.builtin.situation import History, Situation
from trex.graph.researcher.protocol import (
    Distribution,
    Evidence,
    PlanningRequest,
    Researcher,
    ResearchNotes,
    SourceNotes,
)
from trex.graph.tree.experiment import (
    DatasetCard,
    Diagnosis,
    Experiment,
    ExperimentPlan,
    Symptom,
    TrialPlan,
    TrialRecord,
)
from trex.graph.tree.tree import Tree
from trex.training.data.expected_rows import expected_rows
from trex.training.data.operators.balance import Balance
from trex.training.data.operators.dedup import Dedup
from trex.training.data.operators.filter import Filter
from trex.training.data.operators.threshold import Threshold
from trex.training.data.recipe import DataRecipe, Stream
from trex.training.methods.protocol import MAIN
from trex.training.plan import TrainingPlan

SYMPTOMS: tuple[Symptom, ...] = (
    "under_fitting", "over_fitting", "divergence", "label_bias", "long_inputs", "short_inputs",
    "format_errors", "mode_collapse", "too_little_data",
)  # fmt: skip
RATINGS = Distribution(low=-4, high=4, mean=0.1, counts=(10, 40, 90, 120, 110, 95, 50, 15))
WORDS = Distribution(low=1, high=60, mean=20, counts=(50, 120, 150, 100, 60, 30, 15, 5))


def rated_task(folder: Path = Path("/nowhere")) -> Task:
    names = ("movie", "amazon", "tweets")
    return Task(
        name="reviews",
        requirement="Say whether a review is positive or negative.",
        base_model="tiny",
        sources=[Source(name=name, path=str(folder / f"{name}.jsonl")) for name in names]
        + [Source(name="composed", path=str(folder / "composed.jsonl"), synthetic=True)],
        dev=folder / "dev.jsonl",
        test=folder / "test.jsonl",
        prompt=Prompt(user="{text}", answer="{label}"),
        choices=["negative", "positive"],
        rating_column="rating",
    )


def rated_notes(rows: int = 4000) -> ResearchNotes:
    sizes = {"movie": rows, "amazon": rows // 2, "tweets": max(1, rows // 20), "composed": rows // 3}
    sources = [
        SourceNotes(
            name=name,
            synthetic=name == "composed",
            rows=n,
            distinct=n - n // 50,
            columns=["id", "text", "rating"],
            rating=RATINGS,
            words=WORDS,
            text_column="text",
            closeness={"movie": 0.6, "composed": 0.58, "amazon": 0.4, "tweets": 0.3}[name],
        )
        for name, n in sizes.items()
    ]
    return ResearchNotes(sources=sources)


def free_task() -> Task:
    return Task(
        name="molecules",
        requirement="Write a molecule.",
        sources=[
            Source(name="nci", path="nci.jsonl"),
            Source(name="made", path="made.jsonl", synthetic=True),
        ],
        dev=Path("dev.jsonl"),
        test=Path("test.jsonl"),
        prompt=Prompt(user="{instruction}", answer="{smiles}"),
        answer_column="smiles",
        generation=GenerationSettings(max_new_tokens=96),
    )


def free_notes(rows: int = 3000) -> ResearchNotes:
    return ResearchNotes(
        sources=[
            SourceNotes(
                name=name,
                synthetic=name == "made",
                rows=n,
                distinct=n,
                columns=["instruction", "smiles"],
                words=WORDS,
                text_column="instruction",
            )
            for name, n in (("nci", rows), ("made", rows))
        ]
    )


def score(value: float, n: int = 300, error: float = 0.01) -> Score:
    return Score(
        name="accuracy", value=value, n=n, ci_low=value - 0.02, ci_high=value + 0.02, standard_error=error
    )


def evaluation(value: float, error: float = 0.01) -> Evaluation:
    return Evaluation(id=f"v{value:.6f}", split="search", scoring="choices", score=score(value, error=error))


def root(value: float = 0.6) -> Experiment:
    return Experiment(
        id="e000", parent_id=None, round=0, strategy="establish_baseline", status="done",
        baseline=evaluation(value), score=score(value), reward=value,
    )  # fmt: skip


def executed(
    plan: ExperimentPlan,
    parent: str,
    number: int,
    values: list[float],
    symptoms: list[Symptom] | None = None,
    error: float = 0.01,
) -> Experiment:
    """The experiment after training, with the given score for each trial."""
    trials = [
        TrialRecord(
            id=f"t{number}-{i}", index=i, status="done", training=trial.training, rung=1, step=60,
            evaluation=evaluation(value, error),
        )
        for i, (trial, value) in enumerate(zip(plan.trials, values, strict=True))
    ]  # fmt: skip
    best = max(trials, key=lambda t: (t.value or 0.0, t.id))
    assert best.value is not None
    return Experiment(
        id=f"e{number:03d}", parent_id=parent, round=number, strategy=plan.strategy, status="done",
        plan=plan, datasets={MAIN: DatasetCard(fingerprint="f", rows=plan.recipes[MAIN].rows or 1)}, trials=trials,
        best_trial=best.id, score=score(best.value, error=error), reward=best.value,
        diagnosis=Diagnosis(verdict="inconclusive", summary="", symptoms=symptoms or []),
    )  # fmt: skip


def failed(plan: ExperimentPlan, parent: str, number: int) -> Experiment:
    return Experiment(
        id=f"e{number:03d}", parent_id=parent, round=number, strategy=plan.strategy, status="failed",
        plan=plan, failure="too few rows",
        diagnosis=Diagnosis(verdict="failed", summary="", symptoms=["too_little_data"]),
    )  # fmt: skip


def request(
    task: Task, notes: ResearchNotes, tree: Tree, node: str = "e000", **given: object
) -> PlanningRequest:
    return PlanningRequest(
        task=task,
        analysis=BuiltinResearcher().analyze(task),
        notes=notes,
        context=context(tree, node),
        round=len(tree),
        **given,
    )  # type: ignore[arg-type]


def configurations(plan: ExperimentPlan, parent: str) -> list[str]:
    """Recipe, training and, of a trial that continues, the experiment whose weights it continues from."""
    recipe = plan.recipes[MAIN].model_dump(mode="json")
    trainings = [trial.training for trial in plan.trials]
    return [
        canonical_json([recipe, each.model_dump(mode="json"), parent if each.start == "parent" else None])
        for each in trainings
    ]


# Plans


def simulate(
    task: Task, notes: ResearchNotes, rounds: int, trials: int, examples: int, seed: int
) -> list[ExperimentPlan]:
    """Rounds with random scores, symptoms, failures and selections; checks the invariants of every plan."""
    rng, researcher = random.Random(seed), BuiltinResearcher(seed)
    nodes, seen, plans = [root()], set[str](), []
    allowed = {source.name for source in task.sources}
    for number in range(1, rounds + 1):
        tree = Tree(nodes)
        selected = rng.choice([e for e in nodes if e.status == "done"]).id
        asked = request(task, notes, tree, selected, trials=trials, trial_examples=examples, seed=seed)
        plan = researcher.plan(asked)
        assert plan == BuiltinResearcher(seed).plan(asked), "the same seed and tree must give the same plan"
        assert ExperimentPlan.model_validate_json(plan.model_dump_json()) == plan
        assert len(plan.trials) == trials and plan.hypothesis.endswith(".")
        assert {stream.source for stream in plan.recipes[MAIN].streams} <= allowed
        assert (
            plan.recipes[MAIN].rows is not None
            and 1 <= expected_rows(plan.recipes[MAIN], notes) <= plan.recipes[MAIN].rows
        )
        for trial in plan.trials:
            assert trial.note
            assert trial.training.stage.epochs * plan.recipes[MAIN].rows <= examples + 1e-6
            assert trial.training.stage.max_steps is None
        new = configurations(plan, selected)
        assert len(set(new)) == trials and not seen & set(new), "a configuration was proposed twice"
        seen |= set(new)
        plans.append(plan)
        if rng.random() < 0.1:
            nodes.append(failed(plan, selected, number))
        else:
            values = [rng.random() for _ in plan.trials]
            nodes.append(executed(plan, selected, number, values, rng.sample(SYMPTOMS, rng.randint(0, 3))))
    return plans


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    trials=st.integers(1, 8),
    examples=st.sampled_from([12, 48, 480, 5000]),
    rated=st.booleans(),
    rows=st.sampled_from([40, 900, 9000]),
)
def test_sixty_rounds_of_valid_new_repeatable_plans(
    seed: int, trials: int, examples: int, rated: bool, rows: int
) -> None:
    task, notes = (rated_task(), rated_notes(rows)) if rated else (free_task(), free_notes(rows))
    plans = simulate(task, notes, 60, trials, examples, seed)
    assert len({plan.direction for plan in plans}) >= 5


def test_long_searches_use_every_direction_and_strategy() -> None:
    plans = [p for seed in range(3) for p in simulate(rated_task(), rated_notes(), 60, 4, 480, seed)]
    used = {plan.direction for plan in plans}
    # This task has chosen answers, and its streams are deduplicated: that direction applies only to several streams.
    assert used >= DIRECTIONS.keys() - {"deduplication", "reinforcement"} | {"first_plan"}
    assert {plan.strategy for plan in plans} == {"refine_data", "construct_synthetic_data", "adjust_training"}


def _refined(task: Task, notes: ResearchNotes, examples: int) -> Situation:
    """The situation after a first plan that trained."""
    asked = request(task, notes, Tree([root()]), trials=3, trial_examples=examples)
    first = executed(BuiltinResearcher().plan(asked), "e000", 1, [0.7, 0.8, 0.75])
    tree = Tree([root(), first])
    return Situation.of(request(task, notes, tree, "e001", trials=3, trial_examples=examples), History())


def test_reinforcement_follows_where_the_metric_gives_partial_credit() -> None:
    task = free_task().model_copy(update={"metric": "molecules"})
    situation, direction = _refined(task, free_notes(), 480), DIRECTIONS["reinforcement"]
    plan = direction.propose(situation, random.Random(0))
    assert plan is not None and plan.direction == "reinforcement" and plan.recipes[MAIN].rows == 60
    assert "60 rows, 8 examples each, 15 steps a trial" in plan.hypothesis
    rates = set()
    for trial in plan.trials:
        [stage] = trial.training.stages
        assert (trial.training.start, stage.method) == ("parent", "grpo")
        assert trial.training.weights == situation.training.weights
        assert stage.epochs * 60 * stage.generations <= 480 and stage.max_new_tokens == 96
        rates.add(stage.learning_rate)
    assert len(rates) == 3 and all(1e-7 <= rate <= 1e-3 for rate in rates)
    assert DIRECTIONS["reinforcement"].propose(_refined(task, free_notes(), 60), random.Random(0)) is None
    for other in (task.model_copy(update={"metric": "exact_match"}), rated_task()):
        notes = rated_notes() if other.choices else free_notes()
        assert direction.propose(_refined(other, notes, 480), random.Random(0)) is None


def test_preferences_follow_on_pairs_that_are_there_or_are_made() -> None:
    situation, direction = _refined(rated_task(), rated_notes(), 480), DIRECTIONS["preferences"]
    plan = direction.propose(situation, random.Random(0))
    assert plan is not None and plan.recipes[MAIN].output == "pairs"
    assert {trial.training.stage.method for trial in plan.trials} == {"dpo"}
    assert any(step.op == "reject" for step in plan.recipes[MAIN].steps)
    notes = free_notes()
    given = [source.model_copy(update={"columns": [*source.columns, "rejected"]}) for source in notes.sources]
    found = direction.propose(_refined(free_task(), ResearchNotes(sources=given), 480), random.Random(0))
    assert found is not None and not any(step.op == "reject" for step in found.recipes[MAIN].steps)
    untrained = Situation.of(request(free_task(), notes, Tree([root()])), History())
    assert direction.propose(untrained, random.Random(0)) is None


def test_further_training_continues_from_the_parent() -> None:
    situation, direction = _refined(free_task(), free_notes(), 480), DIRECTIONS["further_training"]
    plan = direction.propose(situation, random.Random(0))
    assert plan is not None and situation.continues
    starts = [trial.training.start for trial in plan.trials]
    assert starts.count("parent") == 2 and starts.count("base") == 1, (
        "one trial is close to the parent's best"
    )


def test_first_plan_takes_in_domain_data_labelled_and_deduplicated() -> None:
    task, notes = rated_task(), rated_notes()
    plan = BuiltinResearcher().plan(request(task, notes, Tree([root(0.631)]), trials=4, trial_examples=480))
    [stream] = plan.recipes[MAIN].streams
    assert stream.source == "movie" and plan.recipes[MAIN].rows == 480 and plan.direction == "first_plan"
    kinds = [type(step) for step in stream.steps]
    assert kinds == [Threshold, Dedup], (
        "the ratings give 1.8 times as many rows of one answer as of the other"
    )
    threshold = stream.steps[0]
    assert isinstance(threshold, Threshold)
    assert 0.1 < RATINGS.share(threshold.below, threshold.above) <= first_plan.MIDDLE_SHARE
    assert len({trial.training.stage.learning_rate for trial in plan.trials}) > 1
    assert len({trial.training.weights.targets for trial in plan.trials}) > 1
    assert plan.trials[0].training.stage.learning_rate == first_plan.LEARNING_RATE
    assert "0.631" in plan.hypothesis, "a hypothesis contains the score to beat"


def labelled(counts: dict[str, int]) -> tuple[Task, ResearchNotes]:
    """A task with these answers, and notes on its only source, in which they are so frequent."""
    task = rated_task().model_copy(
        update={"choices": sorted(counts), "sources": [Source(name="movie", path="m")], "rating_column": None}
    )
    rows = sum(counts.values())
    source = SourceNotes(name="movie", rows=rows, distinct=rows, columns=["text", "label"], labels=counts)
    return task, ResearchNotes(sources=[source])


@pytest.mark.parametrize(
    ("counts", "balanced"),
    [
        ({"negative": 300, "positive": 290}, False),
        ({"billing": 200, "network": 150, "biling": 1}, False),
        ({"ham": 1000, "spam": 12}, False),
        ({"ham": 1000, "spam": 120}, True),
        ({"a": 500, "b": 400, "c": 60}, True),
    ],
)
def test_first_plan_compares_with_and_without_balance_where_answers_are_uneven(
    counts: dict[str, int], balanced: bool
) -> None:
    task, notes = labelled(counts)
    asked = request(task, notes, Tree([root()]), trials=4, trial_examples=5000)
    plan = BuiltinResearcher().plan(asked)
    balances = {
        name: any(isinstance(step, Balance) for step in recipe.streams[0].steps)
        for name, recipe in plan.recipes.items()
    }
    assert balances == ({MAIN: True, "natural": False} if balanced else {MAIN: False})
    stages = [trial.training.stage for trial in plan.trials]
    assert [stage.recipe for stage in stages] == ([MAIN, "natural"] * 2 if balanced else [MAIN] * 4)
    if balanced:
        assert [s.learning_rate for s in stages[::2]] == [s.learning_rate for s in stages[1::2]]
        natural = plan.recipes["natural"].rows
        assert natural == sum(counts.values()) > (plan.recipes[MAIN].rows or 0)
        assert all(s.epochs * (plan.recipes[s.recipe].rows or 0) <= 5000 for s in stages)


def test_balance_is_proposed_only_where_answers_are_uneven() -> None:
    for counts, ratios in (
        ({"negative": 300, "positive": 290}, set()),
        ({"negative": 300, "positive": 150}, {1.0}),
        ({"negative": 900, "positive": 150}, {1.0, 3.0}),
    ):
        task, notes = labelled(counts)
        situation = BuiltinResearcher().situation(request(task, notes, Tree([root()])))
        found = [e.recipe for e in DIRECTIONS["class_balance"].edits(situation)]  # type: ignore[attr-defined]
        steps = [step for recipe in found for step in recipe.streams[0].steps if isinstance(step, Balance)]
        assert {step.max_ratio for step in steps} == ratios


def test_first_plan_without_choices_has_no_threshold_and_no_balance() -> None:
    plan = BuiltinResearcher().plan(request(free_task(), free_notes(), Tree([root(0.0)]), trial_examples=640))
    steps = [step for stream in plan.recipes[MAIN].streams for step in stream.steps]
    assert not any(isinstance(step, Threshold | Balance) for step in steps)
    assert {stream.source for stream in plan.recipes[MAIN].streams} == {"nci"}, (
        "no synthetic rows in the first plan"
    )
    assert Dedup(columns=("instruction", "smiles")) in steps, "a question may have several correct answers"


def test_labels_of_a_task_with_other_choices() -> None:
    task = rated_task().model_copy(update={"choices": ["bad", "good"]})
    recipe = first_plan.recipe(task, rated_notes(), 100)
    [threshold] = [step for step in recipe.streams[0].steps if isinstance(step, Threshold)]
    assert (threshold.low, threshold.high) == ("bad", "good")


def after_first_plan(
    task: Task, notes: ResearchNotes, values: list[float], symptoms: list[Symptom] | None = None
) -> Tree:
    plan = BuiltinResearcher().plan(
        request(task, notes, Tree([root()]), trials=len(values), trial_examples=480)
    )
    return Tree([root(), executed(plan, "e000", 1, values, symptoms)])


def test_new_data_keeps_the_parents_best_training_plan_in_one_trial() -> None:
    tree = after_first_plan(rated_task(), rated_notes(), [0.7, 0.8, 0.75, 0.6])
    asked = request(
        rated_task(), rated_notes(), tree, "e001", trials=4, trial_examples=480, hint="rating margin"
    )
    plan = BuiltinResearcher().plan(asked)
    assert plan.direction == "rating_margin"
    assert plan.trials[0].training == tree["e001"].trials[1].training
    assert plan.recipes[MAIN] != tree["e001"].plan.recipes[MAIN]  # type: ignore[union-attr]


def test_new_training_keeps_the_data_and_stays_close_in_one_trial() -> None:
    tree = after_first_plan(rated_task(), rated_notes(), [0.7, 0.8, 0.75, 0.6])
    asked = request(rated_task(), rated_notes(), tree, "e001", trials=4, trial_examples=480, hint="LoRA rank")
    plan = BuiltinResearcher().plan(asked)
    assert plan.direction == "capacity" and plan.recipes[MAIN] == tree["e001"].plan.recipes[MAIN]  # type: ignore[union-attr]
    best = tree["e001"].trials[1].training
    close = [t for t in plan.trials if t.note.startswith("close to")]
    assert len(close) == 1 and close[0].training.with_stage(learning_rate=best.stage.learning_rate) == best
    assert "0.800" in plan.hypothesis


@pytest.mark.parametrize(
    ("symptom", "sign"), [("under_fitting", 1), ("over_fitting", -1), ("divergence", -1)]
)
def test_symptoms_set_the_direction_of_the_learning_rate(symptom: Symptom, sign: int) -> None:
    tree = after_first_plan(rated_task(), rated_notes(), [0.8, 0.7, 0.75, 0.7], [symptom])
    plan = BuiltinResearcher().plan(
        request(rated_task(), rated_notes(), tree, "e001", trials=3, trial_examples=480, hint="learning rate")
    )
    best = tree["e001"].trials[0].training.stage.learning_rate
    assert (plan.trials[0].training.stage.learning_rate - best) * sign > 0
    assert "The parent shows" in plan.hypothesis


def test_symptoms_change_the_choice_of_direction() -> None:
    def share(symptoms: list[Symptom]) -> float:
        tree = after_first_plan(free_task(), free_notes(), [0.1, 0.05, 0.08], symptoms)
        chosen = [
            BuiltinResearcher(seed).plan(request(free_task(), free_notes(), tree, "e001", trials=3)).direction
            for seed in range(120)
        ]
        return sum("mode_collapse" in DIRECTIONS[name].remedies for name in chosen) / len(chosen)

    assert share(["mode_collapse"]) > share([]) + 0.2


def test_the_hypothesis_reports_whether_a_hint_is_followed() -> None:
    tree = after_first_plan(rated_task(), rated_notes(), [0.7, 0.8])
    plan = BuiltinResearcher().plan(
        request(rated_task(), rated_notes(), tree, "e001", hint="use synthetic rows")
    )
    assert plan.direction == "synthetic_share" and "follows the hint" in plan.hypothesis
    other = BuiltinResearcher().plan(request(rated_task(), rated_notes(), tree, "e001", hint="sing a song"))
    assert "No untried direction matches the hint" in other.hypothesis
    assert asked_for("please try NEFTune", DIRECTIONS.values()) == {"regularisation"}


def test_a_failed_node_is_refined_from_its_nearest_trained_ancestor() -> None:
    tree = after_first_plan(rated_task(), rated_notes(), [0.7, 0.8])
    first = tree["e001"]
    assert first.plan is not None
    broken = failed(first.plan.model_copy(update={"direction": "length_filter"}), "e001", 2)
    asked = request(rated_task(), rated_notes(), Tree([*tree, broken]), "e002", trials=2)
    situation = Situation.of(asked, History())
    assert situation.training == first.trials[1].training and situation.recipe == first.plan.recipes[MAIN]
    assert situation.symptoms == {"too_little_data"}


def test_without_untried_directions_the_learning_rate_is_varied() -> None:
    tree = after_first_plan(rated_task(), rated_notes(), [0.7, 0.8])
    situation = Situation.of(request(rated_task(), rated_notes(), tree, "e001", trials=8), History())
    plan = DIRECTIONS["learning_rate"].around(situation, [], random.Random(0))  # type: ignore[attr-defined]
    assert len({trial.training for trial in plan.trials}) == 8 and plan.recipes[MAIN] == situation.recipe


def test_under_the_root_the_score_to_beat_is_the_first_plans() -> None:
    tree = after_first_plan(rated_task(), rated_notes(), [0.7, 0.8])
    plan = BuiltinResearcher().plan(request(rated_task(), rated_notes(), tree, "e000", trials=2))
    assert plan.direction != "first_plan" and "0.800" in plan.hypothesis


# The bandit


def test_bandit_prefers_the_direction_with_gains() -> None:
    """Only learning-rate experiments gain: late rounds select them far more often than early rounds."""
    task, notes = rated_task(), rated_notes()
    early = late = 0
    for seed in range(6):
        nodes, taken, rng = [root(0.5)], [], random.Random(seed)
        plan = BuiltinResearcher(seed).plan(request(task, notes, Tree(nodes), trials=2, trial_examples=480))
        nodes.append(executed(plan, "e000", 1, [0.7, 0.69], error=0.005))
        for number in range(2, 32):
            parent = rng.choice(nodes[1:])
            plan = BuiltinResearcher(seed).plan(
                request(task, notes, Tree(nodes), parent.id, trials=2, trial_examples=480)
            )
            assert parent.score is not None
            gain = 0.008 if plan.direction == "learning_rate" else -0.02
            value = min(0.99, parent.score.value + gain)
            nodes.append(executed(plan, parent.id, number, [value, value - 0.01], error=0.005))
            taken.append(plan.direction)
        early += taken[:10].count("learning_rate")
        late += taken[-10:].count("learning_rate")
    assert late >= 2 * max(1, early) and late >= 20, (early, late)


def test_arm_moves_from_its_prior_to_the_observed_gains() -> None:
    from trex.graph.tree.tree import ObservedGain

    before = arm(0.5, 0.02, [])
    assert before.mean == pytest.approx(0.01) and before.sd == pytest.approx(0.02)
    after = arm(0.5, 0.02, [ObservedGain(-0.03, 0.0)] * 8)
    assert after.mean == pytest.approx((0.01 - 8 * 0.03) / 9) and after.sd == pytest.approx(0.02 / 3)


def test_gains_under_the_root_are_measured_against_the_first_plan() -> None:
    tree = after_first_plan(rated_task(), rated_notes(), [0.8, 0.7])
    plan = tree["e001"].plan
    assert plan is not None
    again = executed(plan.model_copy(update={"direction": "capacity"}), "e000", 2, [0.79, 0.7])
    seen = outcomes(Tree([*tree, again]))
    assert set(seen) == {"capacity"}
    assert seen["capacity"][0].gain == pytest.approx(-0.01, abs=0.01), (
        "relative to the first plan, not +0.19 to the baseline"
    )


# Recipes


def test_edits_keep_other_steps() -> None:
    steps = (Threshold(column="rating"), Filter(column="lang", equals="en"), Balance(column="label"))
    changed = with_step(steps, Filter(column="text", min_words=3))
    assert [type(s) for s in changed] == [Threshold, Filter, Filter, Balance]
    assert with_step(changed, Filter(column="text", min_words=5))[2] == Filter(column="text", min_words=5)
    assert with_step(steps, Dedup(columns=("text",))) == (*steps[:2], Dedup(columns=("text",)), steps[2])


def test_expected_rows_follow_the_notes() -> None:
    notes = rated_notes(1000)
    whole = DataRecipe(streams=(Stream(source="movie"),))
    assert expected_rows(whole, notes) == 1000
    apart = Stream(source="movie", steps=(Threshold(column="rating", below=-1, above=1),))
    share = (10 + 40 + 90 + 95 + 50 + 15) / 530
    assert expected_rows(DataRecipe(streams=(apart,)), notes) == pytest.approx(1000 * share, abs=1)
    balanced = Stream(source="movie", steps=(*apart.steps, Balance(column="label", max_ratio=1)))
    assert expected_rows(DataRecipe(streams=(balanced,)), notes) == pytest.approx(2000 * 140 / 530, abs=1)
    dry = DataRecipe(streams=(Stream(source="movie"), Stream(source="tweets")), rows=400)
    assert expected_rows(dry, notes) == 250, "tweets have 50 rows, not 200"


def test_distribution_shares_and_quantiles() -> None:
    assert RATINGS.share() == pytest.approx(1)
    assert RATINGS.share(high=0) + RATINGS.share(low=0) == pytest.approx(1)
    assert RATINGS.share(high=RATINGS.quantile(0.3)) == pytest.approx(0.3)
    assert Distribution(low=2, high=2, mean=2, counts=(5,)).share(low=1, high=3) == 1


# Research


def write_sources(folder: Path) -> Task:
    movie = [{"text": f"a film with scene {i} and a plot", "rating": (i % 9) - 4.0} for i in range(60)]
    other = [{"text": f"senate votes on budget bill {i}", "rating": (i % 9) - 4.0} for i in range(60)]
    for name, rows in {"movie": movie, "amazon": other, "tweets": other[:20], "composed": movie[:10]}.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
    dev = [{"text": f"this film has a fine plot and scene {i}", "label": "positive"} for i in range(40)]
    write_jsonl(folder / "dev.jsonl", dev)
    write_jsonl(folder / "test.jsonl", [{"text": "SECRET test item", "label": "negative"}])
    return rated_task(folder)


def test_research_reads_only_the_sources(tmp_path: Path) -> None:
    task, researcher = write_sources(tmp_path), BuiltinResearcher()
    notes = researcher.research(task, researcher.analyze(task))
    movie = notes.source("movie")
    assert (movie.rows, movie.columns, movie.text_column) == (60, ["text", "rating"], "text")
    assert movie.rating is not None and (movie.rating.low, movie.rating.high) == (-4, 4)
    assert movie.closeness > notes.source("amazon").closeness + 0.2
    text = notes.model_dump_json()
    assert ResearchNotes.model_validate_json(text) == notes and json.loads(text)
    assert "SECRET" not in text and "fine plot" not in text, "examples come from the train pool only"
    plan = researcher.plan(request(task, notes, Tree([root()]), trials=3, trial_examples=24))
    assert [stream.source for stream in plan.recipes[MAIN].streams] == ["movie"]


def test_research_without_usable_source_reports_missing_columns(tmp_path: Path) -> None:
    from trex.errors import InputError

    task = write_sources(tmp_path).model_copy(update={"rating_column": None})
    with pytest.raises(InputError, match="no source of task 'reviews' has the columns"):
        BuiltinResearcher().research(task, BuiltinResearcher().analyze(task))


def test_the_recipes_of_plans_can_be_built(tmp_path: Path) -> None:
    """The policy's plans can be executed, and their estimated rows are correct."""
    from trex.training.data.build import preview

    task, researcher = write_sources(tmp_path), BuiltinResearcher()
    notes = researcher.research(task, researcher.analyze(task))
    tree = Tree([root()])
    plan = researcher.plan(request(task, notes, tree, trials=2, trial_examples=24))
    rows = preview(plan.recipes[MAIN], task).rows
    assert len(rows) == plan.recipes[MAIN].rows
    tree = Tree([root(), executed(plan, "e000", 1, [0.7, 0.6])])
    for hint in ("source", "rating", "balance", "length", "synthetic", "passes"):
        asked = request(task, notes, tree, "e001", trials=2, trial_examples=24, hint=hint)
        assert preview(researcher.plan(asked).recipes[MAIN], task).rows


def test_builtin_is_a_researcher() -> None:
    researcher: Researcher = BuiltinResearcher()
    analysis = researcher.analyze(rated_task())
    assert analysis.allowed_data == ["movie", "amazon", "tweets", "composed"]
    assert any("highest likelihood" in line for line in analysis.constraints)


# Diagnosis


def outcome(values: list[float], **changes: object) -> tuple[Experiment, Experiment]:
    tree = after_first_plan(rated_task(), rated_notes(), [0.8, 0.78])
    parent = tree["e001"]
    plan = ExperimentPlan(
        strategy="adjust_training", direction="learning_rate", hypothesis="h.", recipes=parent.plan.recipes,  # type: ignore[union-attr]
        trials=[TrialPlan(training=training_plan(learning_rate=rate)) for rate in (2e-3, 5e-4)],
    )  # fmt: skip
    return parent, executed(plan, "e001", 2, values).model_copy(update=changes)


def compared(fixed: int, regressed: int, same: int = 200) -> Comparison:
    ids = [f"i{k}" for k in range(fixed + regressed + same)]
    return Comparison(
        ids=ids,
        before=[0.0] * fixed + [1.0] * (regressed + same),
        after=[1.0] * fixed + [0.0] * regressed + [1.0] * same,
        fixed=ids[:fixed],
        regressed=ids[fixed : fixed + regressed],
    )


@pytest.mark.parametrize(
    ("fixed", "regressed", "verdict"),
    [(30, 6, "supported"), (6, 30, "refuted"), (12, 10, "inconclusive"), (0, 0, "inconclusive")],
)
def test_the_verdict_is_a_paired_comparison(fixed: int, regressed: int, verdict: str) -> None:
    parent, experiment = outcome([0.9, 0.8])
    found = read_outcome(Evidence(rated_task(), experiment, parent, comparison=compared(fixed, regressed)))
    assert found.verdict == verdict and (found.fixed, found.regressed) == (fixed, regressed)
    assert found.gain == pytest.approx((fixed - regressed) / (fixed + regressed + 200))
    assert "accuracy 0.900" in found.summary and "e001" in found.summary


def test_without_paired_items_the_scores_are_compared() -> None:
    parent, experiment = outcome([0.9, 0.8])
    assert read_outcome(Evidence(rated_task(), experiment, parent)).verdict == "supported"
    parent, experiment = outcome([0.81, 0.8])
    assert read_outcome(Evidence(rated_task(), experiment, parent)).verdict == "inconclusive"


def test_trials_are_compared_by_their_differences() -> None:
    parent, experiment = outcome([0.86, 0.8])
    insights = read_outcome(Evidence(rated_task(), experiment, parent)).insights
    assert "learning rate 0.002 against 0.0005: +0.060 for the first" in insights
    parent, experiment = outcome([0.81, 0.8])
    assert any(
        line.endswith("within noise")
        for line in read_outcome(Evidence(rated_task(), experiment, parent)).insights
    )


def test_pruned_trials_are_not_compared_with_survivors() -> None:
    parent, experiment = outcome([0.9, 0.5])
    trials = [experiment.trials[0], experiment.trials[1].model_copy(update={"rung": 0, "status": "pruned"})]
    found = read_outcome(Evidence(rated_task(), experiment.model_copy(update={"trials": trials}), parent))
    assert not any("for the first" in line for line in found.insights)


def curve(*thirds: float, points: int = 8) -> list[tuple[int, float]]:
    rng = random.Random(0)
    levels = [level for level in thirds for _ in range(points)]
    return [(step + 1, level * (1 + rng.uniform(-0.03, 0.03))) for step, level in enumerate(levels)]


@pytest.mark.parametrize(
    ("thirds", "shape"),
    [((1.0, 0.6, 0.4), "falling"), ((1.0, 0.4, 0.39), "settled"), ((0.6, 0.5, 1.4), "diverged")],
)
def test_learning_curves(thirds: tuple[float, ...], shape: str) -> None:
    assert read_curve(curve(*thirds)).shape == shape


@pytest.mark.parametrize(
    ("losses", "shape"),
    [
        (
            (2.6, 1.92, 1.5, 1.12, 0.9, 0.74),
            "falling",
        ),  # thirds of 2.26, 1.31, 0.82: few points, little noise
        ((0.9, 0.3, 0.03, 0.01, 0.002, 0.0011, 0.0009, 0.0006, 0.0004), "near zero"),  # memorised rows
        ((0.75, 0.11, 0.03, 0.01, 0.16, 0.04), "unclear"),  # thirds of 0.43, 0.02, 0.10: single small batches
        ((2.5, 2.3, 2.1, 0.7, 0.6, 0.5, 1.7, 1.9, 2.2), "diverged"),  # lost most of what it had gained
        ((1.1, 0.9, 0.8, 1.5, 0.6, 1.3, 0.7, 1.2, 0.8), "unclear"),
        ((0.6, 0.6, 0.5, 0.5, 0.5, float("inf")), "diverged"),
    ],
)
def test_single_losses_are_read_with_their_noise(losses: tuple[float, ...], shape: str) -> None:
    assert read_curve(list(enumerate(losses, start=1))).shape == shape


def test_noise_alone_is_seldom_a_trend() -> None:
    rng = random.Random(3)
    flat = [[(step, 1 + rng.gauss(0, 0.2)) for step in range(24)] for _ in range(300)]
    shapes = Counter(read_curve(curve).shape for curve in flat)
    assert shapes["falling"] + shapes["diverged"] < 30


@pytest.mark.parametrize(
    ("scored", "loss", "fell"),
    [
        ([(10, 0.9, 0.02), (30, 0.8, 0.02)], (1.0, 0.6, 0.4), True),
        ([(10, 0.9, 0.02), (30, 0.85, 0.02)], (1.0, 0.6, 0.4), False),  # within the noise
        ([(10, 0.8, 0.02), (30, 0.9, 0.02)], (1.0, 0.6, 0.4), False),
        ([(10, 0.7, 0.02), (20, 0.9, 0.02), (30, 0.8, 0.02)], (1.0, 0.6, 0.4), True),
        ([(10, 0.9, 0.02), (30, 0.5, 0.02)], (1.0, 0.6, 9.0), False),  # divergence
        ([(30, 0.5, 0.02)], (1.0, 0.6, 0.4), False),
    ],
)
def test_a_score_that_fell_while_the_loss_did_not_rise(
    scored: list[tuple[int, float, float]], loss: tuple[float, ...], fell: bool
) -> None:
    trial = TrialRecord(index=0, status="done", training=TrainingPlan(), curve=curve(*loss), scored=scored)
    assert fell_behind(trial) is fell


def test_short_and_broken_curves() -> None:
    assert read_curve([(1, 0.5), (2, 0.4)]).shape == "too short"
    assert read_curve([(k, float("nan")) for k in range(9)]).shape == "diverged"


def test_symptoms_of_curve_confusion_length_and_form() -> None:
    parent, experiment = outcome([0.8, 0.7])
    best = experiment.trials[0].model_copy(update={"curve": curve(1.0, 0.6, 0.4)})
    experiment = experiment.model_copy(
        update={"trials": [best, experiment.trials[1]], "secondary": {"uniqueness": 0.11, "validity": 0.6}}
    )
    cases = [
        FailureCase(id=str(k), prompt="p", reference="negative", prediction="positive") for k in range(20)
    ]
    cases += [FailureCase(id="x", prompt="p", reference="positive", prediction="negative")]
    groups = [
        FailureGroup("confusion", "negative→positive 20×", 20, []),
        FailureGroup("length", "long inputs (30–60 words) fail at 30%, others at 8%: 12×", 12, []),
    ]
    found = read_outcome(Evidence(rated_task(), experiment, parent, cases, groups))
    assert found.symptoms == ["format_errors", "label_bias", "long_inputs", "mode_collapse", "under_fitting"]
    assert found.causes[0] == "negative→positive 20×"
    assert any("still falling" in line for line in found.insights)


def test_balanced_confusion_is_no_bias() -> None:
    parent, experiment = outcome([0.8, 0.7])
    sides = [("negative", "positive")] * 11 + [("positive", "negative")] * 9
    cases = [FailureCase(id=str(k), prompt="p", reference=r, prediction=p) for k, (r, p) in enumerate(sides)]
    assert read_outcome(Evidence(rated_task(), experiment, parent, cases)).symptoms == []


def test_over_fitting_is_seen_between_trials() -> None:
    parent, experiment = outcome([0.85, 0.8])
    longer = experiment.trials[1].training.with_stage(epochs=4.0)
    trials = [
        experiment.trials[0].model_copy(update={"train_loss": 0.5}),
        experiment.trials[1].model_copy(update={"train_loss": 0.1, "training": longer}),
    ]
    found = read_outcome(Evidence(rated_task(), experiment.model_copy(update={"trials": trials}), parent))
    assert found.symptoms == ["over_fitting"]


def test_a_failed_experiment_keeps_its_reason() -> None:
    parent, experiment = outcome([0.8, 0.7])
    lost = [
        t.model_copy(update={"status": "failed", "cause": "nan_loss", "evaluation": None})
        for t in experiment.trials
    ]
    broken = experiment.model_copy(
        update={"trials": lost, "best_trial": None, "score": None, "failure": "the loss became NaN"}
    )
    found = read_outcome(Evidence(rated_task(), broken, parent))
    assert found.verdict == "failed" and found.symptoms == ["divergence"]
    assert "the loss became NaN" in found.summary and "2 of 2 trials: nan_loss" in found.insights


def test_the_parents_plan_on_new_data_is_reported() -> None:
    parent, _ = outcome([0.8, 0.7])
    assert parent.plan is not None
    streams = (parent.plan.recipes[MAIN].streams[0].model_copy(update={"steps": ()}),)
    plan = parent.plan.model_copy(
        update={"recipes": {MAIN: parent.plan.recipes[MAIN].model_copy(update={"streams": streams})}}
    )
    experiment = executed(plan, "e001", 2, [0.83, 0.7])
    insights = read_outcome(Evidence(rated_task(), experiment, parent)).insights
    assert "the parent's training plan on the new data: 0.830 after 0.800" in insights
