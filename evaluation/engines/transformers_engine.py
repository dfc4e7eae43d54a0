"""The engine `transformers`: a model in this process, on the GPU if there is one. One base model, adapters swapped."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

from ...errors import InputError, IntegrityError
from ..causal_models import load_causal_model
from ..conversations import Message
from ..full_weights import full_weights
from ..rendering import Renderer, TokenRow, open_renderer
from ..task import GenerationSettings, RenderingOptions
from .adapter_check import is_full, tensor_names, verify_adapter, verify_full_weights
from .batching import Context, in_batches, shared_beginning
from .choice_search import ChoiceSearch, most_likely_of_all
from .protocol import AnswerLikelihood, Completion, Sampling
from .seeded_draws import GumbelNoise, draw_seed
from .token_tree import NoTree, supports_trees

T = TypeVar("T")

# An answer that is one of the choices is no longer than the longest of them; a few tokens more show that it is not.
TOKENS_BEYOND_CHOICES = 4
# Logits of so many answer tokens are held at a time: 400 MB for a vocabulary of 50,000.
_LIKELIHOOD_TOKENS = 2048


def precision() -> str:
    """The number format on this machine: from device and processor flags, never from a timing, so that runs agree."""
    if torch.cuda.is_available():
        return "cuda-bfloat16"
    return "float32+bfloat16-autocast" if _cpu_multiplies_bfloat16() else "float32"


def _cpu_multiplies_bfloat16() -> bool:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return False
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "")
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


class TransformersEngine:
    """An `InferenceEngine` on `transformers` and PEFT. Safe to call from threads, one call at a time."""

    def __init__(self, base_model: Path, threads: int, rendering: RenderingOptions | None = None) -> None:
        self._base_model = base_model
        self._rendering = rendering or RenderingOptions()
        self._threads = threads
        self._lock = threading.Lock()
        self._model: Any = None
        self._renderer: Renderer
        self._pad = 0  # any token: it is masked
        self._trees: bool | None = None  # whether the model computes trees, once it is known
        self.precision = precision()

    def load(self) -> None:
        """Read the weights once. Raises InputError for a model that cannot be loaded or rendered."""
        with self._lock:
            if self._model is not None:
                return
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
            from transformers.utils import logging

            logging.disable_progress_bar()
            torch.set_num_threads(self._threads)
            cuda = self.precision.startswith("cuda")
            renderer = open_renderer(self._base_model, self._rendering)
            try:
                dtype = torch.bfloat16 if cuda else torch.float32
                model = load_causal_model(self._base_model, dtype=dtype)
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise InputError(f"the base model in {self._base_model} can't be loaded: {error}") from error
            self._renderer = renderer
            self._model = model.to("cuda" if cuda else "cpu").eval().requires_grad_(False)

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> list[Completion]:
        """See `InferenceEngine.choose`, and `Renderer.choices` for the tokens that are compared."""
        return self._answered(
            conversations, lambda kept: self._choose(kept, choices, settings, adapter), Completion("")
        )

    def _choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None,
    ) -> list[Completion]:
        prompts = self._renderer.choices(conversations, choices, settings.max_prompt_tokens)
        chosen = [0] * len(prompts)
        with self._running(adapter) as model:
            # Prompts after which the choices have the same tokens: nearly always all.
            for answers in dict.fromkeys(prompt.choices for prompt in prompts):
                places = [place for place, prompt in enumerate(prompts) if prompt.choices == answers]
                ids = [prompts[place].ids for place in places]
                for place, index in zip(
                    places, self._most_likely(model, ids, answers, settings), strict=True
                ):
                    chosen[place] = index
        return [Completion(choices[index]) for index in chosen]

    def _most_likely(
        self,
        model: Any,
        prompts: list[list[int]],
        answers: Sequence[tuple[int, ...]],
        settings: GenerationSettings,
    ) -> list[int]:
        """For each prompt the index of the most likely answer."""
        shared = shared_beginning(answers)
        # Where answers differ in one token after a shared beginning, one pass tells them apart.
        if all(len(answer) == shared + 1 for answer in answers):
            beginning, last = answers[0][:shared], [answer[-1] for answer in answers]
            context = Context(model, [[*prompt, *beginning] for prompt in prompts], self._pad)

            def pick(batch: list[list[int]]) -> list[int]:
                logits = context.last_logits([[*prompt, *beginning] for prompt in batch], keep=1)
                best: list[int] = logits[:, -1, last].float().argmax(-1).tolist()
                return best

            return in_batches(prompts, len, settings.batch_size, pick)
        context, search = Context(model, prompts, self._pad), ChoiceSearch(answers)
        if self._trees is None:
            self._trees = supports_trees(model)
        if self._trees:
            with suppress(NoTree):
                return in_batches(
                    prompts, len, settings.batch_size, lambda batch: search.most_likely(context, batch)
                )
        size = max(1, settings.batch_size // len(answers))
        return in_batches(prompts, len, size, lambda batch: most_likely_of_all(context, batch, answers))

    def generate(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        adapter: Path | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Completion]:
        """See `InferenceEngine.generate`."""
        return self._answered(
            conversations, lambda kept: self._generate(kept, settings, adapter, choices), Completion("")
        )

    def _generate(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        adapter: Path | None,
        choices: Sequence[str] | None,
    ) -> list[Completion]:
        prompts = self._renderer.prompts(conversations, settings.max_prompt_tokens)
        limit = settings.max_new_tokens
        if choices:
            [first] = self._renderer.choices(conversations[:1], choices, settings.max_prompt_tokens)
            limit = min(limit, max(map(len, first.choices)) + TOKENS_BEYOND_CHOICES)
        with self._running(adapter) as model:
            context = Context(model, prompts, self._pad)
            return in_batches(
                prompts, len, settings.batch_size, lambda batch: self._continue(context, batch, limit)
            )

    def sample(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        sampling: Sampling,
        adapter: Path | None = None,
    ) -> list[list[Completion]]:
        """See `InferenceEngine.sample`."""
        return self._answered(
            conversations,
            lambda kept: self._sample(kept, settings, sampling, adapter),
            [Completion("")] * sampling.n,
        )

    def likelihoods(
        self, conversations: Sequence[Sequence[Message]], adapter: Path | None = None
    ) -> list[AnswerLikelihood]:
        """See `InferenceEngine.likelihoods`."""
        return self._answered(
            conversations, lambda kept: self._likelihoods(kept, adapter), AnswerLikelihood(0.0, 0)
        )

    def _likelihoods(
        self, conversations: Sequence[Sequence[Message]], adapter: Path | None
    ) -> list[AnswerLikelihood]:
        rows = self._renderer.rows(conversations)
        size = max(1, _LIKELIHOOD_TOKENS // max(len(row.ids) - row.last for row in rows))
        with self._running(adapter) as model:
            context = Context(model, [row.ids[: row.last] for row in rows], self._pad)

            def measured(batch: list[TokenRow]) -> list[AnswerLikelihood]:
                answers = [row.ids[row.last :] for row in batch]
                logits = context.last_logits([row.ids[:-1] for row in batch], keep=max(map(len, answers)))
                return [_likelihood(one, answer) for one, answer in zip(logits, answers, strict=True)]

            return in_batches(rows, lambda row: len(row.ids), size, measured)

    def _answered(
        self,
        conversations: Sequence[Sequence[Message]],
        answer: Callable[[Sequence[Sequence[Message]]], list[T]],
        refused: T,
    ) -> list[T]:
        """Answers to the conversations that the chat template takes, `refused` for the others if it takes any."""
        self.load()
        fit = self._renderer.accepts(conversations)
        if not any(fit):
            return answer(conversations)
        found = iter(answer([turns for turns, taken in zip(conversations, fit, strict=True) if taken]))
        return [next(found) if taken else refused for taken in fit]

    def _sample(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        sampling: Sampling,
        adapter: Path | None,
    ) -> list[list[Completion]]:
        prompts, n = self._renderer.prompts(conversations, settings.max_prompt_tokens), sampling.n
        numbers = range(sampling.first, sampling.first + n)
        draws = [
            (prompt, draw_seed(sampling.seed, prompt, number)) for prompt in prompts for number in numbers
        ]
        with self._running(adapter) as model:
            context = Context(model, prompts, self._pad)

            def drawn(batch: list[tuple[list[int], int]]) -> list[Completion]:
                noise = GumbelNoise([seed for _, seed in batch], sampling, model.device)
                return self._continue(
                    context, [prompt for prompt, _ in batch], settings.max_new_tokens, (noise,)
                )

            found = in_batches(draws, lambda draw: len(draw[0]), settings.batch_size, drawn)
        return [found[start : start + n] for start in range(0, len(found), n)]

    @contextmanager
    def _running(self, adapter: Path | None) -> Iterator[Any]:
        """The model with the adapter; afterwards the base model is as it was."""
        cpu_autocast = self.precision == "float32+bfloat16-autocast"
        autocast = torch.autocast("cpu", dtype=torch.bfloat16) if cpu_autocast else nullcontext()
        with self._lock, torch.inference_mode(), autocast:
            if adapter is None:
                try:
                    yield self._model
                except FloatingPointError as error:
                    raise InputError(
                        f"the base model in {self._base_model} cannot be used: {error}"
                    ) from error
                return
            try:
                with self._trained(adapter) as model:
                    yield model
            except FloatingPointError as error:
                raise IntegrityError(f"{adapter}: {error}; the training diverged") from error

    @contextmanager
    def _trained(self, folder: Path) -> Iterator[Any]:
        """The model with trained weights of either kind."""
        if is_full(folder):
            verify_full_weights(folder)
            with full_weights(self._model, folder) as model:
                yield model
            return
        wrapped = self._wrap(folder)
        try:
            yield wrapped
        finally:
            self._model = wrapped.unload()

    def _wrap(self, adapter: Path) -> Any:
        from peft import PeftModel, get_peft_model_state_dict

        verify_adapter(adapter, self._base_model)
        device = "cuda" if self.precision.startswith("cuda") else "cpu"
        model, self._model = self._model, None  # loaded again if PEFT stops half way
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about missing tensors, which are an error below
                wrapped = PeftModel.from_pretrained(model, adapter, torch_device=device).eval()
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # PEFT checks little, so anything may fail half way
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise IntegrityError(f"{adapter} does not fit the base model: {first}") from error
        differing = tensor_names(adapter) ^ set(get_peft_model_state_dict(wrapped))
        if differing:
            raise IntegrityError(f"{adapter} lacks or adds tensors to its own config, e.g. {min(differing)}")
        self._model = model
        return wrapped

    def _continue(
        self, context: Context, prompts: list[list[int]], limit: int, processors: Sequence[Any] = ()
    ) -> list[Completion]:
        from transformers import GenerationConfig

        ends = self._renderer.ends
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=sorted(ends),
            pad_token_id=self._pad,
        )
        produced = context.generate(prompts, settings, processors)
        rows: list[list[int]] = produced.tolist()
        texts = self._renderer.answers(rows)
        return [Completion(text, ends.isdisjoint(row)) for text, row in zip(texts, rows, strict=True)]


def _likelihood(logits: torch.Tensor, answer: list[int]) -> AnswerLikelihood:
    """Of an answer whose last token the last logits predict."""
    probabilities = logits[-len(answer) :].float().log_softmax(-1)
    targets = torch.tensor(answer, device=probabilities.device)[:, None]
    return AnswerLikelihood(float(probabilities.gather(-1, targets).sum()), len(answer))
