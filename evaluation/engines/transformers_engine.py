"""The engine `transformers`: a model in this process, on the GPU if there is one. One base model, adapters swapped."""

from __future__ import annotations

import itertools
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError, IntegrityError
from ..task import GenerationSettings, Message
from .adapter_check import tensor_names, verify_adapter
from .batching import Context, in_batches, shared_beginning
from .protocol import Completion

# An answer that is one of the choices is no longer than the longest of them; a few tokens more show that it is not.
TOKENS_BEYOND_CHOICES = 4


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

    def __init__(self, base_model: Path, threads: int) -> None:
        self._base_model = base_model
        self._threads = threads
        self._lock = threading.Lock()
        self._model: Any = None
        self._tokenizer: Any = None
        self.precision = precision()

    def load(self) -> None:
        """Read the weights once. Raises InputError for a model that cannot be loaded or has no chat template."""
        with self._lock:
            if self._model is not None:
                return
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging

            logging.disable_progress_bar()
            torch.set_num_threads(self._threads)
            cuda = self.precision.startswith("cuda")
            try:
                tokenizer = AutoTokenizer.from_pretrained(self._base_model, padding_side="left")
                model = AutoModelForCausalLM.from_pretrained(
                    self._base_model,
                    dtype=torch.bfloat16 if cuda else torch.float32,
                    use_safetensors=True,
                    trust_remote_code=False,
                )
            except (OSError, ValueError, KeyError) as error:
                raise InputError(f"the base model in {self._base_model} can't be loaded: {error}") from error
            if tokenizer.chat_template is None:
                raise InputError(f"{self._base_model} has no chat template; choose an instruct model")
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            self._tokenizer = tokenizer
            self._model = model.to("cuda" if cuda else "cpu").eval().requires_grad_(False)

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> list[Completion]:
        """See `InferenceEngine.choose`.

        If one choice's tokens begin another's, the end of the turn counts too: otherwise the shorter always wins.
        """
        self.load()
        prompts = self._tokenize(conversations, settings)
        answers = self._choice_tokens(choices)
        shared = shared_beginning(answers)
        # Where choices differ in one token after a shared beginning, one pass tells them apart.
        single = all(len(answer) == shared + 1 for answer in answers)
        with self._running(adapter) as model:
            context = Context(model, prompts, self._tokenizer.pad_token_id)
            if single:
                beginning, last = answers[0][:shared], [answer[-1] for answer in answers]

                def pick(batch: list[list[int]]) -> list[int]:
                    logits = context.last_logits([prompt + beginning for prompt in batch], keep=1)
                    best: list[int] = logits[:, -1, last].float().argmax(-1).tolist()
                    return best
            else:

                def pick(batch: list[list[int]]) -> list[int]:
                    return _most_likely(context, batch, answers)

            size = settings.batch_size if single else max(1, settings.batch_size // len(choices))
            chosen = in_batches(prompts, len, size, pick)
        return [Completion(choices[index]) for index in chosen]

    def generate(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        adapter: Path | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Completion]:
        """See `InferenceEngine.generate`."""
        self.load()
        prompts = self._tokenize(conversations, settings)
        limit = settings.max_new_tokens
        if choices:
            longest = max(map(len, self._choice_tokens(choices)))
            limit = min(limit, longest + TOKENS_BEYOND_CHOICES)
        with self._running(adapter) as model:
            context = Context(model, prompts, self._tokenizer.pad_token_id)
            return in_batches(
                prompts, len, settings.batch_size, lambda batch: self._continue(context, batch, limit)
            )

    def _tokenize(
        self, conversations: Sequence[Sequence[Message]], settings: GenerationSettings
    ) -> list[list[int]]:
        texts = self._tokenizer.apply_chat_template(
            [list(turns) for turns in conversations], add_generation_prompt=True, tokenize=False
        )
        encoded = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [ids[-settings.max_prompt_tokens :] for ids in encoded]

    def _choice_tokens(self, choices: Sequence[str]) -> list[list[int]]:
        answers: list[list[int]] = self._tokenizer(list(choices), add_special_tokens=False)["input_ids"]
        if any(a[: len(b)] == b for a, b in itertools.permutations(answers, 2)):
            return [[*answer, self._tokenizer.eos_token_id] for answer in answers]
        return answers

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
            wrapped = self._wrap(adapter)
            try:
                yield wrapped
            except FloatingPointError as error:
                raise IntegrityError(f"{adapter}: {error}; the training diverged") from error
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

    def _continue(self, context: Context, prompts: list[list[int]], limit: int) -> list[Completion]:
        from transformers import GenerationConfig

        own = self._model.generation_config.eos_token_id
        ends = set(own if isinstance(own, list) else [own]) | {self._tokenizer.eos_token_id}
        ends.discard(None)
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=sorted(ends),
            pad_token_id=self._tokenizer.pad_token_id,
        )
        produced = context.generate(prompts, settings)
        texts = self._tokenizer.batch_decode(produced, skip_special_tokens=True)
        ended = [bool(ends & set(row)) for row in produced.tolist()]
        return [Completion(text.strip(), not done) for text, done in zip(texts, ended, strict=True)]


def _most_likely(context: Context, prompts: list[list[int]], answers: list[list[int]]) -> list[int]:
    """For each prompt the index of the answer with the highest total log-likelihood."""
    pairs = [(prompt, answer) for prompt in prompts for answer in answers]
    keep = max(map(len, answers))
    # The last answer token is never an input: the position before it predicts it.
    logits = context.last_logits([prompt + answer[:-1] for prompt, answer in pairs], keep)
    totals = []
    for row, (_, answer) in enumerate(pairs):
        likelihoods = logits[row, keep - len(answer) :].float().log_softmax(-1)
        targets = torch.tensor(answer, device=likelihoods.device)
        totals.append(likelihoods.gather(-1, targets[:, None]).sum())
    best: list[int] = torch.stack(totals).view(len(prompts), len(answers)).argmax(-1).tolist()
    return best
