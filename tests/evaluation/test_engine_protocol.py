"""What every registered inference engine must do, and an engine from an installed package outside of the repository."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.adapters import random_adapter
from support.grader import films, films_task, model_folder
from support.outside_package import write_package
from support.plans import training_plan
from support.runs import make_score
from trex.errors import InputError
from trex.evaluation.base_models import resolve_model
from trex.evaluation.engines import ENGINES, InferenceEngine, Sampling
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.task import GenerationSettings, RenderingOptions
from trex.files import read_json, read_jsonl, write_json, write_jsonl, write_yaml
from trex.graph.api import prepare_run
from trex.graph.finish import replay
from trex.graph.finish.export import WinnerPlan
from trex.training.data.recipe import DataRecipe, Stream

SETTINGS = GenerationSettings(max_new_tokens=6, batch_size=4)
TURNS = [[{"role": "user", "content": "a film " * (1 + 5 * n % 7) + str(n)}] for n in range(9)]
CHOICES = ["positive", "negative"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        yield resolve_model("tiny")


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_adapter(tiny, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module", params=ENGINES.names())
def engine(request: pytest.FixtureRequest, tiny: Path) -> InferenceEngine:
    try:
        made = ENGINES.load(request.param)(tiny, 1, RenderingOptions())
        made.load()
    except InputError as error:  # e.g. an engine that needs a GPU
        pytest.skip(f"{request.param}: {error}")
    return made


def test_it_is_an_engine(engine: InferenceEngine) -> None:
    assert isinstance(engine, InferenceEngine)
    assert isinstance(engine.precision, str) and engine.precision
    engine.load()


def test_greedy_answers_are_the_same_every_time(engine: InferenceEngine) -> None:
    first = engine.generate(TURNS, SETTINGS)
    assert len(first) == len(TURNS)
    assert engine.generate(TURNS, SETTINGS) == first
    assert engine.choose(TURNS, CHOICES, SETTINGS) == engine.choose(TURNS, CHOICES, SETTINGS)


def test_batches_change_no_answer(engine: InferenceEngine) -> None:
    one_by_one = SETTINGS.model_copy(update={"batch_size": 1})
    same = [a == b for a, b in zip(*(engine.generate(TURNS, s) for s in (SETTINGS, one_by_one)), strict=True)]
    chosen = [engine.choose(TURNS, CHOICES, settings) for settings in (SETTINGS, one_by_one)]
    if engine.precision == "float32":
        assert all(same) and chosen[0] == chosen[1]
    else:  # rounding may decide between two tokens that are nearly equally likely
        assert sum(same) >= len(TURNS) - 2


def test_the_answers_keep_the_order_of_the_conversations(engine: InferenceEngine) -> None:
    backwards = engine.choose(TURNS[::-1], CHOICES, SETTINGS)
    assert list(backwards)[::-1] == list(engine.choose(TURNS, CHOICES, SETTINGS))


def test_choices_are_compared_by_likelihood_and_ties_go_to_the_first(engine: InferenceEngine) -> None:
    chosen = [answer.text for answer in engine.choose(TURNS, CHOICES, SETTINGS)]
    assert set(chosen) <= set(CHOICES)
    assert [answer.text for answer in engine.choose(TURNS, CHOICES[::-1], SETTINGS)] == chosen
    # An answer that the model would give by itself is at least as likely as one that it would not.
    greedy = engine.generate(TURNS[:1], SETTINGS.model_copy(update={"max_new_tokens": 1}))[0].text
    if greedy:
        assert engine.choose(TURNS[:1], [greedy, "negative"], SETTINGS)[0].text == greedy


def test_generation_stops_at_the_limit_and_says_so(engine: InferenceEngine) -> None:
    short = engine.generate(TURNS, SETTINGS.model_copy(update={"max_new_tokens": 1}))
    long = engine.generate(TURNS, SETTINGS)
    for cut, whole in zip(short, long, strict=True):
        assert cut.truncated or cut == whole
        assert len(cut.text) <= len(whole.text) or not cut.truncated


def test_samples_depend_on_the_seed_only(engine: InferenceEngine) -> None:
    sampling = Sampling(n=3, temperature=1.0, seed=1)
    first = engine.sample(TURNS, SETTINGS, sampling)
    assert [len(answers) for answers in first] == [3] * len(TURNS)
    assert engine.sample(TURNS, SETTINGS, sampling) == first
    assert engine.sample(TURNS[::-1], SETTINGS, sampling)[::-1] == first
    assert engine.sample(TURNS, SETTINGS, replace(sampling, seed=2)) != first
    assert any(len({answer.text for answer in answers}) > 1 for answers in first)
    one_by_one = SETTINGS.model_copy(update={"batch_size": 1})
    alone = engine.sample(TURNS, one_by_one, sampling)
    same = [a == b for own, other in zip(first, alone, strict=True) for a, b in zip(own, other, strict=True)]
    assert all(same) if engine.precision == "float32" else sum(same) >= len(same) - 6
    assert [answers[:2] for answers in first] == list(engine.sample(TURNS, SETTINGS, replace(sampling, n=2)))


def test_cold_samples_are_greedy_answers(engine: InferenceEngine) -> None:
    greedy = engine.generate(TURNS[:3], SETTINGS)
    for sampling in (Sampling(n=2, temperature=1e-4), Sampling(n=2, temperature=1.0, top_p=1e-6)):
        cold = engine.sample(TURNS[:3], SETTINGS, sampling)
        if engine.precision == "float32":
            assert [[answer, answer] for answer in greedy] == cold
        assert all(a == b for a, b in cold)


def test_an_adapter_changes_answers_and_leaves_the_base_model_as_it_was(
    engine: InferenceEngine, adapter: Path
) -> None:
    base = engine.generate(TURNS, SETTINGS)
    tuned = engine.generate(TURNS, SETTINGS, adapter)
    assert tuned != base
    assert engine.generate(TURNS, SETTINGS) == base
    assert engine.generate(TURNS, SETTINGS, adapter) == tuned


def test_a_model_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    for name in ENGINES.names():
        with pytest.raises(InputError):
            ENGINES.load(name)(tmp_path, 1, RenderingOptions()).load()


TOY = """
from trex.evaluation.engines import Completion

class Parrot:
    precision = "none"

    def __init__(self, base_model, threads, rendering):
        pass

    def load(self):
        pass

    def choose(self, conversations, choices, settings, adapter=None):
        return [Completion(choices[0]) for _ in conversations]

    def generate(self, conversations, settings, adapter=None, choices=None):
        return [Completion(turns[-1]["content"]) for turns in conversations]

    def sample(self, conversations, settings, sampling, adapter=None):
        return [answer * sampling.n for answer in ([Completion(turns[-1]["content"])] for turns in conversations)]
"""


@pytest.fixture
def parrot(tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an engine of a package outside of the repository."""
    package = write_package(
        tmp_path / "site", "toy_engine", TOY, {"trex.engines": "parrot = toy_engine:Parrot"}
    )
    monkeypatch.syspath_prepend(str(package))
    return "parrot"


def test_an_engine_of_an_installed_package(tmp_path: Path, parrot: str) -> None:
    """The grader process finds it by its entry point, and the run records which engine scored."""
    assert parrot in ENGINES.names()
    task = films_task(tmp_path)
    with GraderClient(task, tmp_path / "run", model_folder(tmp_path), engine=parrot) as grader:
        evaluation = grader.evaluate(None, "search")
    assert evaluation.score.n > 0 and 0 < evaluation.score.value < 1
    assert read_json(tmp_path / "run" / "grader.json")["engine"] == parrot


def test_the_grader_of_a_run_uses_the_engine_of_the_settings(tmp_path: Path, parrot: str) -> None:
    prepared = prepare_run("sentiment", out=tmp_path / "run", smoke=True, rounds=0, engine=parrot)
    finished = prepared.go()
    assert finished.summary.status == "done"
    assert read_json(tmp_path / "run" / "grader.json")["engine"] == parrot
    [baseline] = [experiment.baseline for experiment in finished.tree]
    assert baseline is not None and baseline.scoring == "choices"
    rows = read_jsonl(tmp_path / "run" / baseline.predictions)
    assert {row["prediction"] for row in rows} == {"positive"}, "Parrot returns the first choice"


def test_a_run_with_an_unknown_engine_is_rejected_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no inference engine 'vlm'; there are: transformers"):
        prepare_run("sentiment", out=tmp_path / "run", smoke=True, engine="vlm")
    assert not (tmp_path / "run").exists()


def test_a_replay_uses_the_engine_of_the_run(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, engines = tmp_path / "best", []
    best.mkdir()
    plan = WinnerPlan(
        trial="t", seed=0, threads=1, grader_threads=1, engine="parrot", device="cpu", step=1,
        training=training_plan(), dev=make_score(0.5),
    )  # fmt: skip
    write_yaml(best / "plan.yaml", plan.model_dump(mode="json"))
    recipe = DataRecipe(streams=(Stream(source="train"),), rows=10)
    write_yaml(best / "recipe.yaml", recipe.model_dump(mode="json"))
    write_json(
        best / "task.json",
        films_task(tmp_path).model_copy(update={"base_model": "tiny"}).model_dump(mode="json"),
    )
    write_jsonl(tmp_path / "train.jsonl", films(200, 210))

    def open_grader(*_: object, engine: str, **__: object) -> None:
        engines.append(engine)
        raise InputError("no grader in this test")

    monkeypatch.setattr(replay, "GraderClient", open_grader)
    with pytest.raises(InputError, match="no grader in this test"):
        replay.replay(best, tmp_path / "replay", lambda status: None)
    assert engines == ["parrot"]


def test_an_unknown_engine_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    with (
        GraderClient(films_task(tmp_path), tmp_path / "run", model_folder(tmp_path), engine="vlm") as grader,
        pytest.raises(InputError, match="no inference engine 'vlm'; there are: transformers"),
    ):
        grader.evaluate(None, "search")
