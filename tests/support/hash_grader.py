"""The grader's process around a model made of arithmetic. It imports neither torch nor the graph, so that it starts
in half a second.

python hash_grader.py hash      the model answers by a hash
python hash_grader.py learning  with an adapter it is mostly right
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from trex.evaluation.engines import Completion
from trex.evaluation.grader.messages import GraderSetup
from trex.evaluation.grader.process import serve
from trex.evaluation.task import GenerationSettings, Message


def hash_byte(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0]


class HashModel:
    """Answers by the hash of the prompt and of the adapter's weights: each adapter has an accuracy of its own."""

    precision = "hash"

    def __init__(self, setup: GraderSetup) -> None:
        pass

    def load(self) -> None:
        pass

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> list[Completion]:
        weights = json.loads((adapter / "adapter.json").read_text())["state"] if adapter else "base"
        texts = [turns[-1]["content"] for turns in conversations]
        digests = [hash_byte(f"{weights}\0{text}") for text in texts]
        return [Completion(choices[digest % len(choices)]) for digest in digests]

    def generate(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        adapter: Path | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Completion]:
        return self.choose(conversations, choices or [str(n) for n in range(256)], settings, adapter)


class LearningModel(HashModel):
    """With an adapter it answers most tickets of `own_task` rightly, so that a trial wins."""

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> list[Completion]:
        from support.own_task import TEAMS  # the process knows the path once it is told

        answers = super().choose(conversations, choices, settings, adapter)
        if adapter is None:
            return answers
        texts = [turns[-1]["content"] for turns in conversations]
        right = [
            next((team for team, words in TEAMS.items() if any(word in text for word in words)), None)
            for text in texts
        ]
        return [
            Completion(team) if team in choices and hash_byte(text) % 8 else answer
            for text, team, answer in zip(texts, right, answers, strict=True)
        ]


if __name__ == "__main__":
    serve({"hash": HashModel, "learning": LearningModel}[sys.argv[1]])
