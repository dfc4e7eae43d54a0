"""A grader process without torch: the real service, files and protocol, around a model made of rules.

It says 'positive' to everything, unless the adapter's folder is called 'good…', then it reads the text.
A file 'slow' in the run directory makes the next batch take a minute. Every batch asked for is noted in
calls.txt there.

    python tests/support/grader.py                 the process
    python tests/support/grader.py dies            a process that dies before it says anything
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trex.evaluation.grader.messages import Open
from trex.evaluation.grader.process import serve
from trex.evaluation.task import GenerationSettings, Message


@dataclass(frozen=True)
class Said:
    text: str
    truncated: bool = False


class RuleModel:
    precision = "rules"

    def __init__(self, opening: Open) -> None:
        self._calls = opening.run_dir / "calls.txt"

    def load(self) -> None:
        pass

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> list[Said]:
        return self._answers("choose", conversations, adapter)

    def generate(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        adapter: Path | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Said]:
        return self._answers("generate", conversations, adapter)

    def _answers(
        self, way: str, conversations: Sequence[Sequence[Message]], adapter: Path | None
    ) -> list[Said]:
        with self._calls.open("a") as calls:
            calls.write(f"{way} {len(conversations)} {adapter.name if adapter else 'base'}\n")
        slow = self._calls.with_name("slow")
        if slow.exists():
            slow.unlink()
            time.sleep(60)
        texts = [turns[-1]["content"] for turns in conversations]
        good = adapter is not None and adapter.name.startswith("good")
        return [Said("negative" if good and "a bad film" in text else "positive") for text in texts]


if __name__ == "__main__":
    if sys.argv[1:] == ["dies"]:
        sys.exit(3)
    serve(RuleModel)
