"""Checks of a base model before a run: it can be loaded, adapted and rendered. Weights are not read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json
from .base_models import resolve_model
from .causal_models import ModelShapes, load_causal_model, measure, model_class
from .rendering import open_renderer
from .task import EMBEDDED_MODEL, TINY_MODEL, Task

_OTHER = "choose another base model"
_WITHOUT_MASKS = {"rwkv", "xlstm"}
"""Architectures that read padding as text: answers would depend on the batch."""


def check_base_model(task: Task) -> ModelShapes | None:
    """The sizes of a task's base model; None for a built-in one, which needs no check.

    Raises InputError, one line with what to do, for a model that cannot be had, loaded, adapted or rendered.
    """
    if task.base_model in (TINY_MODEL, EMBEDDED_MODEL):
        return None
    folder = resolve_model(task.base_model)
    try:
        shapes = _checked(folder)
        _check_tokens(task, folder, shapes)
    except InputError as error:
        raise InputError(f"base model {task.base_model!r}: {error}") from error
    return shapes


def _checked(folder: Path) -> ModelShapes:
    _check_configuration(folder)
    try:
        with _quietly():
            model, loading = load_causal_model(
                folder, device_map="meta", output_loading_info=True, ignore_mismatched_sizes=True
            )
            shapes = measure(model)
    except Exception as error:  # configurations and weights are broken in many ways
        reason = " ".join(next(iter(str(error).strip().splitlines()), "").split())
        raise InputError(
            f"it can't be loaded ({type(error).__name__}: {reason:.300}); fetch or save it again, or {_OTHER}"
        ) from error
    if model.base_model is model:
        raise InputError(
            f"{type(model).__name__} cannot be trained: its decoder has no name of its own; {_OTHER}"
        )
    _check_weights(loading)
    if not shapes.linear:
        raise InputError(f"{type(model).__name__} has no linear layers that could get an adapter; {_OTHER}")
    return shapes


def _check_configuration(folder: Path) -> None:
    """Raise InputError for a configuration that is damaged, or of no causal model of transformers."""
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForMaskedLM
    from transformers import __version__ as version

    try:
        raw = read_json(folder / "config.json")
    except ValueError as error:
        raise InputError(f"config.json is no JSON ({error}); save the model again") from error
    kind = raw.get("model_type") if isinstance(raw, dict) else None
    if not isinstance(kind, str):
        raise InputError("config.json names no model_type; save the model again with save_pretrained")
    if kind not in CONFIG_MAPPING:
        if "auto_map" in raw:
            raise InputError(f"{kind!r} needs the code of its repository, which is never executed; {_OTHER}")
        raise InputError(
            f"transformers {version} does not know the architecture {kind!r}; upgrade it, or {_OTHER}"
        )
    if raw.get("quantization_config"):
        raise InputError("its weights are quantised; choose the model with weights in float or bfloat16")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # each architecture checks its fields in its own way
        reason = " ".join(str(error).split())
        raise InputError(f"config.json is damaged: {reason:.300}; save the model again") from error
    if kind in _WITHOUT_MASKS:
        raise InputError(f"{kind} reads padding as text, so that answers depend on the batch; {_OTHER}")
    if config.is_encoder_decoder:
        raise InputError(f"{kind} is an encoder-decoder model; choose a causal language model")
    try:
        model_class(config)
    except ValueError as error:
        raise InputError(f"{kind} is no language model; choose a causal language model") from error
    if type(config) in AutoModelForMaskedLM._model_mapping and not getattr(config, "is_decoder", False):
        raise InputError(f"{kind} is an encoder, which writes no text; choose a causal language model")


def _check_weights(loading: dict[str, Any]) -> None:
    """Raise InputError for weights that are missing or of other shapes, which transformers would draw at random."""
    missing, others = loading["missing_keys"], [name for name, *_ in loading["mismatched_keys"]]
    for names, what in ((missing, "are missing"), (others, "have other shapes than config.json says")):
        if names:
            raise InputError(
                f"{len(names)} of its weights {what}, e.g. {min(names)}; take the complete causal language model"
            )


def _check_tokens(task: Task, folder: Path, shapes: ModelShapes) -> None:
    """Raise InputError for a tokenizer that cannot render, for token ids and lengths beyond the model's."""
    from transformers import AutoTokenizer

    try:
        open_renderer(folder, task.rendering)
    except InputError as error:
        reason = str(error).removeprefix(f"{folder}: ")
        raise InputError(
            f"{reason}; save a complete tokenizer there, set prompt.plain if its chat template fails, or {_OTHER}"
        ) from error
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= shapes.vocabulary:
        raise InputError(
            f"its tokenizer has the token id {largest}, its embeddings end at {shapes.vocabulary - 1}; "
            "save it with the tokenizer that it was trained with"
        )
    settings = task.generation
    longest = settings.max_prompt_tokens + settings.max_new_tokens
    if shapes.positions is not None and longest > shapes.positions:
        raise InputError(
            f"it reads at most {shapes.positions} tokens, the task asks for {settings.max_prompt_tokens} of the "
            f"prompt and {settings.max_new_tokens} of the answer; lower generation.max_prompt_tokens"
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the load report of transformers and its progress bars."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
