"""A grader process without torch: the real service, files and protocol, around a model made of rules.

It says 'positive' to everything, unless the adapter's folder is called 'good…', then it reads the text.
A file 'slow' in the run directory makes the next batch take a minute; 'stuck' does too, in native code that holds
Python's lock. Every batch asked for is noted in
calls.txt there.

    python tests/support/grader.py                 the process
    python tests/support/grader.py dies            a process that dies before it says anything
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trex.evaluation.engines import Completion
from trex.evaluation.grader.messages import GraderSetup
from trex.evaluation.grader.process import serve
from trex.evaluation.task import GenerationSettings, Message, Prompt, Source, Task
from trex.files import write_jsonl


class RuleModel:
    precision = "rules"

    def __init__(self, setup: GraderSetup) -> None:
        self._calls = setup.run_dir / "calls.txt"

    def load(self) -> None:
        pass

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> list[Completion]:
        return self._answers("choose", conversations, adapter)

    def generate(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        adapter: Path | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Completion]:
        return self._answers("generate", conversations, adapter)

    def _answers(
        self, way: str, conversations: Sequence[Sequence[Message]], adapter: Path | None
    ) -> list[Completion]:
        with self._calls.open("a") as calls:
            calls.write(f"{way} {len(conversations)} {adapter.name if adapter else 'base'}\n")
        slow, stuck = (self._calls.with_name(name) for name in ("slow", "stuck"))
        if slow.exists():
            slow.unlink()
            time.sleep(60)
        if stuck.exists():
            stuck.unlink()
            ctypes.PyDLL(None).sleep(60)
        texts = [turns[-1]["content"] for turns in conversations]
        good = adapter is not None and adapter.name.startswith("good")
        return [Completion("negative" if good and "a bad film" in text else "positive") for text in texts]


def films(start: int, stop: int) -> list[dict[str, str]]:
    """Rows of a task that only an adapter called 'good…' solves."""
    return [
        {
            "text": f"a {'good' if i % 2 else 'bad'} film numbered {i}",
            "label": "positive" if i % 2 else "negative",
        }
        for i in range(start, stop)
    ]


def films_task(folder: Path, **fields: Any) -> Task:
    """A task on such rows, whose files are written to a folder."""
    write_jsonl(folder / "dev.jsonl", films(0, 60))
    write_jsonl(folder / "test.jsonl", films(100, 120))
    stated: dict[str, Any] = {
        "name": "films",
        "requirement": "Classify.",
        "sources": [Source(name="train", path=str(folder / "train.jsonl"))],
        "dev": folder / "dev.jsonl",
        "test": folder / "test.jsonl",
        "prompt": Prompt(user="Good or bad?\n{text}", answer="{label}"),
        "choices": ["negative", "positive"],
    }
    return Task(**(stated | fields))


def model_folder(folder: Path) -> Path:
    """A folder that looks like a base model, and is never loaded here."""
    base = folder / "model"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_text("weights")
    (base / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    return base


if __name__ == "__main__":
    if sys.argv[1:] == ["dies"]:
        sys.exit(3)
    serve(RuleModel)
