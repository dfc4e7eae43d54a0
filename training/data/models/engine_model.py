"""A `TextModel` in this process: a base model, with trained weights or without, through an inference engine."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from ....errors import InputError, IntegrityError, PlanError
from ....evaluation.base_models import model_hash, resolve_model
from ....evaluation.conversations import Message
from ....evaluation.engines import ENGINES, InferenceEngine, Sampling
from ....evaluation.engines.adapter_check import adapter_hash
from ....evaluation.rendering import open_renderer
from ....evaluation.task import EMBEDDED_MODEL, TINY_MODEL, GenerationSettings, RenderingOptions, Task
from ....files import fingerprint, hash_folder
from .text_model import POLICY, Drawing, DrawnAnswer, Draws, ModelChoice

CALLS_AT_ONCE = 256
PACKAGES = ("torch", "transformers")
"""Their versions are part of the identity: another one may draw other answers."""
EVALUATION = Path(inspect.getfile(Task)).parent


class EngineModel:
    """See `text_model.TextModel`. `weights` are checked by the engine before they are loaded."""

    calls_at_once = CALLS_AT_ONCE

    def __init__(
        self,
        base_model: Path,
        weights: Path | None,
        rendering: RenderingOptions,
        engine: str,
        threads: int,
        batch_size: int,
    ) -> None:
        self._base_model, self._weights, self._rendering = base_model, weights, rendering
        self._name, self._threads, self._batch_size = engine, threads, batch_size
        self._engine: InferenceEngine | None = None

    @cached_property
    def identity(self) -> str:
        """Base model, trained weights, rendering, engine with its code, libraries and number format.

        Raises PlanError.
        """
        rendering = self._rendering.model_dump(mode="json")
        try:
            hashes = [model_hash(self._base_model), adapter_hash(self._weights)]
        except IntegrityError as error:
            raise PlanError(str(error)) from error
        code = [hash_folder(EVALUATION / name, "**/*.py") for name in ("engines", "rendering")]
        libraries = [version(package) for package in PACKAGES]
        return fingerprint([*hashes, *code, *libraries, rendering, self._name, self._opened().precision])

    def draw(self, conversations: Sequence[Sequence[Message]], numbers: range, draws: Draws) -> Drawing:
        """See `TextModel.draw`. Raises PlanError for a model or weights that cannot be loaded."""
        settings = GenerationSettings(
            max_new_tokens=draws.max_new_tokens,
            max_prompt_tokens=draws.max_prompt_tokens,
            batch_size=self._batch_size,
        )
        engine = self._opened()
        try:
            if draws.temperature == 0:
                found = [[each] for each in engine.generate(conversations, settings, self._weights)]
            else:
                sampling = Sampling(len(numbers), draws.temperature, draws.top_p, draws.seed, numbers.start)
                found = [[*each] for each in engine.sample(conversations, settings, sampling, self._weights)]
        except (InputError, IntegrityError) as error:
            raise PlanError(str(error)) from error
        answers = [[DrawnAnswer(each.text.strip(), each.truncated) for each in texts] for texts in found]
        return Drawing([[*each] for each in answers], *self._tokens(conversations, answers, draws))

    def close(self) -> None:
        """See `TextModel.close`."""
        self._engine = None

    def _tokens(
        self,
        conversations: Sequence[Sequence[Message]],
        answers: Sequence[Sequence[DrawnAnswer]],
        draws: Draws,
    ) -> tuple[int, int]:
        """Tokens of the prompts and of the answers."""
        renderer = open_renderer(self._base_model, self._rendering)
        prompts = renderer.prompts(conversations, draws.max_prompt_tokens)
        whole = [
            [*turns, Message(role="assistant", content=answer.text)]
            for turns, texts in zip(conversations, answers, strict=True)
            for answer in texts
        ]
        rows = [row for row in renderer.rows_or_errors(whole) if not isinstance(row, InputError)]
        read = sum(len(ids) * len(texts) for ids, texts in zip(prompts, answers, strict=True))
        return read, sum(len(row.ids) - row.last for row in rows)

    def _opened(self) -> InferenceEngine:
        if self._engine is None:
            self._engine = ENGINES.load(self._name)(self._base_model, self._threads, self._rendering)
        return self._engine


def open_engine_model(
    task: Task, choice: ModelChoice, weights: Path | None, engine: str, threads: int
) -> EngineModel:
    """The policy, or the teacher in a directory. Raises PlanError for one that is not there.

    A teacher is never fetched: a recipe is written by agents.
    """
    name, rendering = task.base_model, task.rendering
    if choice.model != POLICY:
        name, rendering = choice.model, RenderingOptions()
        if name not in (TINY_MODEL, EMBEDDED_MODEL) and not Path(name).expanduser().is_dir():
            raise PlanError(
                f"model {name!r} is neither 'policy' nor 'llm' nor a model's directory on this machine"
            )
    if weights is not None and not weights.is_dir():
        raise PlanError(f"there is no folder of trained weights {str(weights)!r}")
    try:
        base_model = resolve_model(name)
    except InputError as error:
        raise PlanError(str(error)) from error
    return EngineModel(base_model, weights, rendering, engine, threads, task.generation.batch_size)
