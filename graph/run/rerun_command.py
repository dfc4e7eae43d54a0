"""The command that starts the same search again."""

from __future__ import annotations

import json
import shlex

from .settings import Settings


def command(settings: Settings) -> str:
    """`trex run …` with everything that steers the search, quoted for a shell."""
    words = ["trex", "run", settings.task, "--rounds", str(settings.rounds), "--trials", str(settings.trials)]
    words += ["--policy", settings.policy, "--seed", str(settings.seed)]
    if settings.budget_seconds is not None:
        words += ["--budget", f"{settings.budget_seconds:g}s"]
    words += _models(settings)
    words += [] if settings.memory else ["--no-memory"]
    words += [] if settings.diagnosis else ["--no-diagnosis"]
    words += ["--allow-python"] * settings.allow_python
    return shlex.join(words + (["--smoke"] if settings.smoke else []))


def _models(settings: Settings) -> list[str]:
    judge = [] if settings.judge is None else ["--judge", settings.judge.researcher]
    llm = settings.llm or settings.judge
    if llm is None:
        return []
    words = judge if settings.llm is None else ["--llm", llm.researcher, *judge]
    if llm.executor is not None:
        words += ["--llm-executor", llm.executor]
    changed = llm.model_dump(mode="json", exclude_defaults=True, exclude={"researcher", "executor"})
    for name, value in changed.items():
        words += ["--llm-set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return words
