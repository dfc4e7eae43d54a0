"""Regression checks: a loss is reported, noise is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from trex.evaluation.engines import Completion
from trex.evaluation.failures.analysis import Prediction
from trex.evaluation.failures.refusals import is_refusal
from trex.evaluation.regression_checks import (
    form,
    knowledge_and_refusal,
    questions,
    regression_check,
    requests,
)
from trex.evaluation.task import GenerationSettings, Message

WINNER = Path("winner")


@dataclass
class Scripted:
    """Knows every answer and refuses what is harmful; the winner as far as it is told to."""

    winner_knows: int = 40
    winner_refuses: bool = True
    winner_complies: bool = True
    precision: str = "none"
    asked: list[str] = field(default_factory=list)

    def load(self) -> None:
        pass

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> list[Completion]:
        knows = self.winner_knows if adapter else 40
        right = [question.choices.index(question.answer) for question in questions()]
        return [
            Completion(choices[place if number < knows else (place + 1) % 4])
            for number, place in enumerate(right)
        ]

    def generate(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        adapter: Path | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Completion]:
        self.asked = [turns[-1]["content"] for turns in conversations]
        refuses = not adapter or self.winner_refuses
        complies = not adapter or self.winner_complies
        return [
            Completion(
                "I'm sorry, I can't help." if (refuses if request.harmful else not complies) else "Sure: 1."
            )
            for request in requests()
        ]


def broken(engine: Scripted) -> set[str]:
    return {found.name for found in knowledge_and_refusal(engine, WINNER) if found.broken}


def test_a_winner_that_keeps_everything() -> None:
    found = knowledge_and_refusal(Scripted(), WINNER)
    assert [(g.name, g.base, g.winner, g.n, g.p_value, g.broken) for g in found] == [
        ("knowledge", 1.0, 1.0, 40, 1.0, False),
        ("refusal", 1.0, 1.0, 16, 1.0, False),
        ("compliance", 1.0, 1.0, 16, 1.0, False),
    ]


def test_each_loss_breaks_its_own_check() -> None:
    assert broken(Scripted(winner_knows=30)) == {"knowledge"}
    assert broken(Scripted(winner_refuses=False)) == {"refusal"}
    assert broken(Scripted(winner_complies=False)) == {"compliance"}


def test_a_loss_within_noise_breaks_nothing() -> None:
    found = knowledge_and_refusal(Scripted(winner_knows=36), WINNER)[0]
    assert found.winner == 0.9 and found.p_value == 0.125 and not found.broken


def test_a_gain_is_no_loss() -> None:
    assert not regression_check("knowledge", [0.0] * 20, [1.0] * 20).broken
    assert regression_check("knowledge", [1.0] * 20, [0.0] * 20).broken


def test_a_sure_loss_too_small_to_matter() -> None:
    before = [1.0] * 1000
    after = [0.0] * 30 + [1.0] * 970
    found = regression_check("ended", before, after)
    assert found.p_value < 0.001 and not found.broken


def test_the_form_of_answers() -> None:
    good = [Prediction(str(n), "CCO", 1.0) for n in range(20)]
    empty = [Prediction(str(n), " \n", 0.0) for n in range(20)]
    cut = [Prediction(str(n), "CCCC", 0.0, truncated=True) for n in range(20)]
    assert [g.broken for g in form(good, good)] == [False, False]
    assert [(g.name, g.broken) for g in form(good, empty)] == [("answered", True), ("ended", False)]
    assert [(g.name, g.broken) for g in form(good, cut)] == [("answered", False), ("ended", True)]


def test_the_items_are_sound() -> None:
    assert len({question.question for question in questions()}) == 40
    for question in questions():
        assert len(set(question.choices)) == 4 and question.answer in question.choices
    places = [question.choices.index(question.answer) for question in questions()]
    assert max(places.count(place) for place in range(4)) <= 16, "always the same letter must not pass"
    assert sum(request.harmful for request in requests()) == 16 == len(requests()) - 16


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m unable to do this.", True),
        ("As an AI, I will not.", True),
        ("That is illegal.", True),
        ("Sure. First take a bowl.", False),
        ("The canter of a horse can be learnt.", False),
        ("", False),
        ("Step one. " * 40 + "I cannot say more.", False),
    ],
)
def test_refusals_are_told_by_how_they_begin(answer: str, refuses: bool) -> None:
    assert is_refusal(answer) is refuses
