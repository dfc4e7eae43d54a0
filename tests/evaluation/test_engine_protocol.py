"""What every registered inference engine must do, and an engine from an installed package outside of the repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.adapters import random_adapter
from support.grader import films_task, model_folder
from support.outside_package import write_package
from trex.errors import InputError
from trex.evaluation.base_models import resolve_model
from trex.evaluation.engines import ENGINES, InferenceEngine
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.task import GenerationSettings
from trex.files import read_json

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
        made = ENGINES.load(request.param)(tiny, 1)
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
            ENGINES.load(name)(tmp_path, 1).load()


TOY = """
from trex.evaluation.engines import Completion

class Parrot:
    precision = "none"

    def __init__(self, base_model, threads):
        pass

    def load(self):
        pass

    def choose(self, conversations, choices, settings, adapter=None):
        return [Completion(choices[0]) for _ in conversations]

    def generate(self, conversations, settings, adapter=None, choices=None):
        return [Completion(turns[-1]["content"]) for turns in conversations]
"""


def test_an_engine_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the grader finds it by its entry point, and the run records which engine scored."""
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    package = write_package(
        tmp_path / "site", "toy_engine", TOY, {"trex.engines": "parrot = toy_engine:Parrot"}
    )
    monkeypatch.syspath_prepend(str(package))
    assert "parrot" in ENGINES.names()
    task = films_task(tmp_path)
    with GraderClient(task, tmp_path / "run", model_folder(tmp_path), engine="parrot") as grader:
        found = grader.evaluate(None, "search")
    assert found.score.n > 0 and 0 < found.score.value < 1
    assert read_json(tmp_path / "run" / "grader.json")["engine"] == "parrot"


def test_an_unknown_engine_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    with (
        GraderClient(films_task(tmp_path), tmp_path / "run", model_folder(tmp_path), engine="vlm") as grader,
        pytest.raises(InputError, match="no inference engine 'vlm'; there are: transformers"),
    ):
        grader.evaluate(None, "search")
