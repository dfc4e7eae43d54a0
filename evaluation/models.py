"""Base models: from a name to a directory with safetensors and tokenizer, and hashes that identify it."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import fingerprint, hash_file, lock, read_json, write_json
from ..home import home
from .task import EMBEDDED_MODEL, TINY_MODEL

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)


def resolve_model(name: str) -> Path:
    """The directory of a base model.

    `name` is 'tiny' (made on the fly, kept in TREX_HOME), the embedded model's name, a local directory, or a
    hub id, 'owner/name' or 'owner/name@revision'. Raises InputError if it can't be had, saying why.
    """
    if name == TINY_MODEL:
        return _tiny()
    if name == EMBEDDED_MODEL:
        from ..assets import embedded_model

        return embedded_model()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder.absolute())
    if HUB_ID.fullmatch(name):
        return _checked(_from_hub(name))
    raise InputError(
        f"base model {name!r} is neither a directory nor a hub id like 'owner/name'; "
        f"built in are {TINY_MODEL!r} and {EMBEDDED_MODEL!r}"
    )


def model_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of weights, configuration and tokenizer of a model directory.

    Hashes of files are kept in TREX_HOME by path, size and modification time: weights are read once.
    """
    return fingerprint(_file_hashes(_files(folder, MODEL_FILES + TOKENIZER_FILES)), length=64)


def chat_template_hash(folder: Path) -> str:
    """Hash of the chat template of a model directory, wherever its tokenizer keeps it."""
    template: Any = None
    if (folder / "chat_template.jinja").exists():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    elif (folder / "tokenizer_config.json").exists():
        template = read_json(folder / "tokenizer_config.json").get("chat_template")
    return fingerprint(template, length=64)


def _files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def _file_hashes(paths: list[Path]) -> dict[str, str]:
    memory = home() / "models" / "hashes.json"
    known: dict[str, list[Any]] = read_json(memory) if memory.exists() else {}
    hashes, fresh = {}, {}
    for path in paths:
        place, stat = str(path.resolve()), path.stat()
        state = [stat.st_size, stat.st_mtime_ns]
        entry = known.get(place)
        if entry is None or entry[:2] != state:
            entry = fresh[place] = [*state, hash_file(path)]
        hashes[path.name] = str(entry[2])
    if fresh:
        with lock(memory.with_suffix(".lock")):
            write_json(memory, (read_json(memory) if memory.exists() else {}) | fresh)
    return hashes


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").exists() or not _files(folder, ("*.safetensors",)):
        raise InputError(f"{folder} is no model directory: config.json and *.safetensors are needed")
    if not _files(folder, TOKENIZER_FILES):
        raise InputError(f"{folder} has no tokenizer; save one there with tokenizer.save_pretrained")
    return folder


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        found = snapshot_download(
            repository, revision=revision or None, allow_patterns=[*MODEL_FILES, *TOKENIZER_FILES]
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"base model {name!r} could not be fetched from the hub: {reason}; check its name and the "
            "network, log in if it is gated, or give a local directory"
        ) from error
    return Path(found)


# The tiny model: its tokenizer learns from these lines, and its weights are drawn from a fixed seed.
TINY_TEXT = """\
Is this review positive or negative? Answer with one word.
a warm and funny film with a lovely cast
a dull and tired story that never comes alive
the acting is good and the music is better
the plot is bad and the ending is worse
I loved every minute of this great little movie
I hated this boring mess of a picture
not a bad way to spend an evening
hardly worth the price of the ticket
Write a molecule as a SMILES string with two rings and one oxygen atom.
The product works well, and the price is fair.
The minister said on Monday that the talks would go on.
positive negative yes no true false one two three four
positive
negative
negative
"""
TINY_VERSION = 1
TINY_VOCABULARY = 512
TINY_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{{ '\\n' }}{% else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TINY_CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "initializer_range": 0.1,
}


def _tiny() -> Path:
    recipe = [TINY_VERSION, TINY_TEXT, TINY_VOCABULARY, TINY_TEMPLATE, TINY_CONFIG]
    folder = home() / "models" / f"tiny-{fingerprint(recipe, 12)}"
    if folder.exists():
        return folder
    with lock(folder.with_suffix(".lock")):
        if not folder.exists():
            making = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tiny-"))
            try:
                _make_tiny(making)
                # Times are part of nothing, but a readable folder is: mkdtemp makes it private.
                making.chmod(0o755)
                making.replace(folder)
            except BaseException:
                shutil.rmtree(making, ignore_errors=True)
                raise
    return folder


def _make_tiny(folder: Path) -> None:
    """A Llama of two layers with seeded random weights, and a byte-level BPE tokenizer."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    pad, start, end = special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TINY_VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TINY_TEXT.splitlines(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=start, eos_token=end, pad_token=pad, model_max_length=2048
    )
    fast.chat_template = TINY_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(fast),
        bos_token_id=fast.convert_tokens_to_ids(start),
        eos_token_id=fast.convert_tokens_to_ids(end),
        pad_token_id=fast.convert_tokens_to_ids(pad),
        **TINY_CONFIG,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    # transformers notes its own version; the tiny model is the same model under any.
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("transformers_version", None)
        write_json(path, content)
