"""A text model whose answers are a function of the conversation and the answer's number, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trex.evaluation.task import Task
from trex.training.data.models.model_access import ModelAccess
from trex.training.data.models.text_model import Drawing, DrawnAnswer, Draws, ModelChoice

Reply = Callable[[str, int], str | None]


@dataclass
class ToyModel:
    """Answers by `reply(last turn, number)`; None is a call that fails. `seen` are the calls made."""

    reply: Reply
    calls_at_once: int = 8
    identity: str = "toy"
    seen: list[tuple[str, int]] = field(default_factory=list)
    stop_after: int | None = None

    def draw(self, conversations: Sequence[Sequence[Any]], numbers: range, draws: Draws) -> Drawing:
        answers: list[list[DrawnAnswer | None]] = []
        for turns in conversations:
            if self.stop_after is not None and len(self.seen) >= self.stop_after:
                raise KeyboardInterrupt
            asked = [(str(turns[-1]["content"]), number) for number in numbers]
            self.seen += asked
            texts = [self.reply(*each) for each in asked]
            answers.append([None if text is None else DrawnAnswer(text) for text in texts])
        return Drawing(answers, 10 * len(conversations) * len(numbers), len(conversations) * len(numbers))

    def close(self) -> None: ...


def toy_models(task: Task, folder: Path, model: ToyModel, **given: Any) -> ModelAccess:
    """Access to one model under every name, with its answers kept in the folder."""

    class Opened(dict[ModelChoice, Any]):
        def __missing__(self, choice: ModelChoice) -> ToyModel:
            return model

        def __contains__(self, choice: object) -> bool:
            return True

    access = ModelAccess(task, folder / "answers.sqlite", **given)
    access._opened = Opened()
    return access
