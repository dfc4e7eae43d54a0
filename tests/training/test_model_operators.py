"""Rows that a model makes or scores: rejection sampling, judges, pairs, the cache, limits, and the real engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.recipes import MakeTask, dataset, recipe, reviews, task_in
from support.text_models import ToyModel, toy_models
from trex.errors import PlanError
from trex.evaluation.task import Task
from trex.files import read_jsonl
from trex.training.data.build import BuiltDataset, build, preview, recipe_fingerprint, without_rows
from trex.training.data.models import engine_model
from trex.training.data.models.answer_cache import LLM_ANSWERS, read_answers
from trex.training.data.models.engine_model import open_engine_model
from trex.training.data.models.model_access import ModelAccess
from trex.training.data.models.text_model import Draws, ModelChoice
from trex.training.data.operators.dedup import Dedup
from trex.training.data.operators.generate import Generate
from trex.training.data.operators.pairs import Pairs
from trex.training.data.operators.protocol import OperatorContext
from trex.training.data.operators.score import ScoreRows, stated_score
from trex.training.data.recipe_execution import ModelNeeded
from trex.training.data.row_table import KEY, with_column

RIGHT = {"good": "positive", "bad": "negative"}


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    return task_in(tmp_path)


@pytest.fixture
def task(make_task: MakeTask) -> Task:
    rows = [{"text": f"{n} {word}", "label": RIGHT[word]} for n in range(10) for word in RIGHT]
    return make_task(movies=rows)


def sometimes_right(asked: str, number: int) -> str | None:
    """The right answer at number 1, and for 'good' at 3 with other words; nothing at 2."""
    right = RIGHT[asked.split()[-1]]
    return {1: right, 2: None, 3: right.title() if right == "positive" else "other"}.get(number, "wrong")


def built(task: Task, folder: Path, model: ToyModel, step: Any, *more: Any, **fields: Any) -> BuiltDataset:
    return build(recipe(step, *more, **fields), task, folder / "sets", models=toy_models(task, folder, model))


def test_rejection_sampling_keeps_the_answers_that_the_metric_finds_right(task: Task, tmp_path: Path) -> None:
    found = built(
        task, tmp_path, ToyModel(sometimes_right), Generate(verify="metric", n=4, score="value", seed=3)
    )
    rows = list(read_jsonl(found.folder / "train.jsonl"))
    answers = {(row["source"]["text"].split()[-1], row["completion"][0]["content"]) for row in rows}
    assert answers == {("good", "positive"), ("good", "Positive"), ("bad", "negative")}
    assert all(row["synthetic"] and row["source"]["value"] == 1 for row in rows)
    assert found.report.contents.synthetic == len(rows) == 30
    assert found.report.steps[1].note == "80 answers, 20 missing, 30 right"
    lineage = list(read_jsonl(found.folder / "lineage.jsonl"))
    assert all(line["steps"] == ["streams[0].steps[0] generate"] for line in lineage)


@pytest.mark.parametrize(
    ("settings", "rows", "answers"),
    [
        ({"n": 4, "verify": "metric", "per_row": 1}, 20, {"positive", "negative"}),  # best of n
        ({"n": 1, "verify": "metric", "threshold": 0}, 20, {"wrong"}),
        ({"n": 2, "verify": "metric", "threshold": 0, "per_row": 1}, 20, {"positive", "negative"}),
        ({"n": 2}, 40, {"wrong", "positive", "negative"}),
        ({"n": 2, "verify": "metric", "answer_after": "t"}, 0, set()),
    ],
)
def test_what_is_kept(
    task: Task, tmp_path: Path, settings: dict[str, Any], rows: int, answers: set[str]
) -> None:
    plan, models = recipe(Generate(**settings)), toy_models(task, tmp_path, ToyModel(sometimes_right))
    if not rows:
        with pytest.raises(PlanError, match=r"no answer can be kept .*0 right"):
            preview(plan, task, models=models)
        return
    found = preview(plan, task, models=models)
    assert len(found.rows) == rows
    assert {row["completion"][0]["content"] for row in found.rows} == answers


def test_the_answer_is_looked_for_behind_a_mark(task: Task, tmp_path: Path) -> None:
    model = ToyModel(lambda asked, number: f"Because positive is it. Answer: {RIGHT[asked.split()[-1]]}")
    step = Generate(prompt="Think. {text}", verify="metric", answer_after="Answer:", into="label")
    found = preview(recipe(step), task, models=toy_models(task, tmp_path, model))
    assert len(found.rows) == 20 and found.rows[0]["completion"][0]["content"].startswith("Because")
    assert model.seen[0][0].startswith("Think. 0 ")


def test_pairs_are_made_of_right_and_wrong_answers_to_one_row(task: Task, tmp_path: Path) -> None:
    step = Generate(verify="metric", n=4, threshold=0, score="value")
    found = built(
        task, tmp_path, ToyModel(sometimes_right), step, Pairs(column="label", score="value"), output="pairs"
    )
    rows = list(read_jsonl(found.folder / "train.jsonl"))
    assert len(rows) == 20 == found.report.contents.pairs
    for row in rows:
        assert row["completion"][0]["content"].lower() == RIGHT[row["source"]["text"].split()[-1]]
        assert row["rejected"][0]["content"] in ("wrong", "other")


def test_pairs_stay_within_a_row_and_above_the_margin() -> None:
    rows = [
        {"text": text, "value": value, "row": row}
        for row, text, value in [(1, "a", 0.9), (1, "b", 0.2), (1, "c", 0.85), (2, "d", 1.0), (3, "e", 0.5)]
    ]
    table = dataset(rows)
    keys = [f"k{row['row']}/{n}" for n, row in enumerate(rows)]
    table = with_column(table, KEY, keys)
    context = OperatorContext("stream")
    found = Pairs(column="text", score="value", per_row=2).run(table, context)
    assert [(row["text"], row["rejected"]) for row in found] == [("a", "b")]
    assert dict(context.dropped.rows) == {"worse, or without a partner": 4}
    wide = Pairs(column="text", score="value", margin=0.8).run(table, OperatorContext("stream"))
    assert len(wide) == 0


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Score: 7", 7),
        ("**Score**: 7/10", 7),
        ("Of 3 points, 2 hold. Score: 4.5", 4.5),
        ("First score: 2. On reflection, score = 6", 6),
        ("Score (1-10): 7", 7),
        ("**Score [1 to 10]:** 7", 7),
        ("Score (out of 10): 7 out of 10", 7),
        ("Score (/10) = 7.5", 7.5),
        ("Score - 7", 7),
        ("Score – 7/10", 7),
        ("Score-7", 7),
        ("Score\n\n7", 7),
        ('{"reason": "2 of 3 hold", "score": 7}', 7),
        ("Score: **7** (of 10)", 7),
        ("Of 3 points 2 hold, so the score is 6.", 6),
        ("I give it a score of 8 out of 10", 8),
        ("7 out of 10", 7),
        ("Score: -5", None),
        ("Score: 7-8", None),
        ("Underscore 5, then 6", None),
        ("8", 8),
        ("8 or 9", None),
        ("Score: 11", None),
        ("I cannot rate this.", None),
        ("", None),
    ],
)
def test_the_score_of_a_reply(reply: str, score: float | None) -> None:
    assert stated_score(reply, 1, 10) == score


def test_a_score_may_be_below_zero() -> None:
    assert [
        stated_score(f"Score{mark}-5", -10, 10) for mark in (": ", ":", " = ", ": **", " (-10 to 10): ")
    ] == [-5] * 5


def test_a_judge_that_answers_nonsense_costs_the_row(task: Task, tmp_path: Path) -> None:
    def judge(asked: str, number: int) -> str | None:
        place = int(asked.split()[1])
        return ["Score: 3", "no idea", None, f"Score: {place}"][place % 4]

    step = ScoreRows(prompt="Rate {text}", low=0, n=1)
    found = preview(recipe(step), task, models=toy_models(task, tmp_path, ToyModel(judge)))
    scores = {row["source"]["text"]: row["source"]["score"] for row in found.rows}
    assert {text: score for text, score in scores.items() if text.endswith("good")} == {
        f"{n} good": float(n if n % 4 else 3) for n in (0, 3, 4, 7, 8)
    }
    assert found.report.steps[1].dropped == {"no score": 10}
    assert found.report.contents.synthetic == 0
    with pytest.raises(PlanError, match=r"no reply states a score.*'no idea'"):
        preview(
            recipe(step.model_copy(update={"seed": 1})),
            task,
            models=toy_models(task, tmp_path, ToyModel(lambda asked, number: "no idea")),
        )


def test_a_killed_build_asks_for_nothing_twice(task: Task, tmp_path: Path) -> None:
    step = Generate(verify="metric", n=4)

    def reply(asked: str, number: int) -> str:
        return sometimes_right(asked, number) or "nothing"

    expected = built(task, tmp_path / "whole", ToyModel(reply), step)
    seen: list[tuple[str, int]] = []
    for _ in range(11):
        model = ToyModel(reply, stop_after=8)
        try:
            found = built(task, tmp_path, model, step)
            break
        except KeyboardInterrupt:
            seen += model.seen
    else:
        pytest.fail("the build did not end")
    seen += model.seen
    assert len(seen) == len(set(seen)) == 80
    assert (found.folder / "train.jsonl").read_bytes() == (expected.folder / "train.jsonl").read_bytes()


def test_only_calls_that_failed_are_made_again(task: Task, tmp_path: Path) -> None:
    for answered in (False, True):
        model = ToyModel(
            lambda asked, number: None if number == 2 and not answered else f"{number}"  # noqa: B023
        )
        found = preview(recipe(Generate(n=4)), task, models=toy_models(task, tmp_path, model))
        assert len(found.rows) == (80 if answered else 60)
        assert len(model.seen) == (20 if answered else 80)


def test_more_answers_are_added_to_those_on_disk(task: Task, tmp_path: Path) -> None:
    model = ToyModel(lambda asked, number: f"{number}")
    for n, calls in ((2, 40), (3, 60), (3, 60), (2, 60)):
        preview(recipe(Generate(n=n)), task, models=toy_models(task, tmp_path, model))
        assert len(model.seen) == calls
    for change in (
        {"seed": 1},
        {"temperature": 0.5},
        {"prompt": "{text}"},
        {"max_new_tokens": 9},
        {"top_p": 0.5},
    ):
        before = len(model.seen)
        preview(recipe(Generate(n=2, **change)), task, models=toy_models(task, tmp_path, model))
        assert len(model.seen) == before + 40, change


def test_the_model_is_part_of_the_fingerprint(task: Task, tmp_path: Path) -> None:
    plan = recipe(Generate())
    one, other = (
        recipe_fingerprint(
            plan, task, toy_models(task, tmp_path, ToyModel(sometimes_right, identity=identity))
        )
        for identity in "ab"
    )
    assert one != other
    with pytest.raises(PlanError, match="none can be used here"):
        recipe_fingerprint(plan, task)


def test_the_task_s_limits_of_tokens_are_part_of_the_fingerprint(task: Task, tmp_path: Path) -> None:
    models = toy_models(task, tmp_path, ToyModel(sometimes_right))

    def named(step: Any, **generation: int) -> str:
        changed = task.generation.model_copy(update=generation)
        return recipe_fingerprint(recipe(step), task.model_copy(update={"generation": changed}), models)

    for limit in ({"max_new_tokens": 7}, {"max_prompt_tokens": 99}):
        assert named(Generate(), **limit) != named(Generate())
    without = Dedup(columns=["text"])
    assert named(without, max_new_tokens=7) == named(without)
    assert named(Generate(), batch_size=3) == named(Generate())


def test_the_libraries_are_part_of_an_engine_model_s_identity(
    monkeypatch: pytest.MonkeyPatch, make_task: MakeTask
) -> None:
    task = make_task(movies=reviews(4)).model_copy(update={"base_model": "tiny"})

    def identity() -> str:
        return open_engine_model(task, ModelChoice("policy"), None, "transformers", 1).identity

    before = identity()
    assert identity() == before
    monkeypatch.setattr(engine_model, "version", lambda package: "0.0.1")
    assert identity() != before


def test_a_data_set_keeps_the_answers_of_the_chat_model(task: Task, tmp_path: Path) -> None:
    plan, model = recipe(Generate(model="llm", n=4)), ToyModel(sometimes_right)

    def built_with(models: ModelAccess, folder: str) -> BuiltDataset:
        return build(plan, task, tmp_path / folder, models=models)

    first = built_with(ModelAccess(task, tmp_path / "one", open_llm=lambda: model), "sets")
    left = without_rows(first, [0])
    assert (left.folder / LLM_ANSWERS).read_bytes() == (first.folder / LLM_ANSWERS).read_bytes()
    kept, silent = read_answers(first.folder / LLM_ANSWERS), ToyModel(lambda asked, number: "another")
    assert len(kept) == 80 and list(kept.values()).count(None) == 20
    again = ModelAccess(task, tmp_path / "two", open_llm=lambda: silent, kept=kept)
    assert built_with(again, "replayed").fingerprint == first.fingerprint and silent.seen == []
    assert (tmp_path / "replayed" / first.fingerprint / "train.jsonl").read_bytes() == (
        first.folder / "train.jsonl"
    ).read_bytes()
    of_policy = build(recipe(Generate()), task, tmp_path / "sets", models=toy_models(task, tmp_path, model))
    assert not (of_policy.folder / LLM_ANSWERS).exists()


def test_a_step_that_would_take_too_long_stops_early(task: Task, tmp_path: Path) -> None:
    model = ToyModel(sometimes_right, calls_at_once=8)
    models = toy_models(task, tmp_path, model, seconds_left=lambda: 0.0)
    with pytest.raises(PlanError, match=r"72 of 80 calls .* use fewer rows"):
        preview(recipe(Generate(n=4)), task, models=models)
    assert len(model.seen) == 8


def test_a_preview_tries_a_few_rows_and_estimates_all(task: Task, tmp_path: Path) -> None:
    model = ToyModel(lambda asked, number: "wrong")
    models = toy_models(task, tmp_path, model, trial_rows=4)
    found = preview(recipe(Generate(n=2, verify="metric")), task, models=models)
    assert len(found.rows) == 4 and len(model.seen) == 8
    note = found.report.steps[1].note
    assert "tried on 4 of 20 rows; all: 40 calls, about 440 tokens" in note
    assert "4 kept for the preview although not right" in note
    whole = toy_models(task, tmp_path, ToyModel(lambda asked, number: "wrong"))
    with pytest.raises(PlanError):
        preview(recipe(Generate(n=2, verify="metric")), task, models=whole)
    assert whole.use.made == 40 - 8 and whole.use.calls == 40


def test_without_models_the_steps_before_are_carried_out(task: Task) -> None:
    with pytest.raises(ModelNeeded, match=r"steps\[0\] generate: 20 rows reach this step: 60 calls"):
        preview(recipe(Generate(n=3)), task)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"model": "llm"}, "no chat model"),
        ({"model": "/no/such/model"}, "neither 'policy' nor 'llm'"),
        ({"model": "owner/name"}, "neither 'policy' nor 'llm'"),
        ({"weights": "/no/such/folder"}, "no folder of trained weights"),
    ],
)
def test_a_model_that_is_not_there(task: Task, tmp_path: Path, settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(PlanError, match=fault):
        preview(recipe(Generate(**settings)), task, models=ModelAccess(task, tmp_path / "answers"))


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": "/a/folder", "model": "llm"},
        {"n": 2, "temperature": 0},
        {"score": "value"},
        {"answer_after": "x"},
        {"prompt": "{text"},
        {"model": ""},
    ],
)
def test_settings_that_contradict(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Generate(**settings)


def test_the_policy_draws_by_seed_in_whatever_batch(tmp_path: Path, make_task: MakeTask) -> None:
    task = make_task(movies=reviews(4)).model_copy(update={"base_model": "tiny"})
    model = open_engine_model(task, ModelChoice("policy"), None, "transformers", 1)
    asked = [[{"role": "user", "content": text}] for text in ("a good film", "a bad film", "dull")]
    draws = Draws(1.0, 1.0, 6, 64, 0)
    whole = model.draw(asked, range(4), draws)
    later = model.draw(asked[1:2], range(2, 4), draws)
    assert later.answers[0] == whole.answers[1][2:]
    assert model.draw(asked, range(4), Draws(1.0, 1.0, 6, 64, 1)).answers != whole.answers
    greedy = model.draw(asked, range(1), Draws(0.0, 1.0, 6, 64, 0))
    assert [len(each) for each in greedy.answers] == [1, 1, 1]
    assert whole.tokens_in > 12 and whole.tokens_out >= 12
