"""Base models: from a name to a directory with safetensors and tokenizer, and hashes that identify it."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

from ..errors import InputError, TrexError
from ..files import fingerprint, hash_file, lock, read_json, write_json
from ..home import home
from .task import EMBEDDED_MODEL, TINY_MODEL
from .tiny_model import tiny_model

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
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def resolve_model(name: str) -> Path:
    """The directory of a base model.

    `name` is 'tiny' (made on the fly, kept in TREX_HOME), the embedded model's name, a local directory, or a
    hub id, 'owner/name' or 'owner/name@revision'. Raises InputError if it can't be had, saying why, and TrexError for a
    full disk.
    """
    try:
        return _resolve(name)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = error.filename or home()
            raise TrexError(f"the disk of {place} is full: free some space for {name!r}") from error
        raise


def _resolve(name: str) -> Path:
    if name == TINY_MODEL:
        return tiny_model()
    if name == EMBEDDED_MODEL:
        from ..assets import embedded_model

        return embedded_model()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder.absolute())
    if HUB_ID.fullmatch(name):
        return _checked(_from_hub(name))
    if folder.exists() or name.startswith((".", "/", "~")):
        raise InputError(f"base model {name!r}: there is no such directory")
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
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise InputError(
                f"{folder} is an adapter: merge it into its base model (PEFT's merge_and_unload)"
            )
        raise InputError(f"{folder} is no model directory: it has no config.json")
    if not _files(folder, ("*.safetensors",)):
        other = next(iter(_files(folder, ("*.bin", "*.gguf", "*.pt", "*.pth", "*.h5"))), None)
        found = f"it has {other.name}, which is not read" if other else "it has no weights"
        raise InputError(f"{folder}: {found}: save the model as safetensors with model.save_pretrained")
    index = folder / "model.safetensors.index.json"
    named = read_json(index).get("weight_map", {}).values() if index.exists() else ()
    if missing := sorted(name for name in set(named) if not (folder / name).is_file()):
        raise InputError(
            f"{folder} lacks {len(missing)} files of its weights, e.g. {missing[0]}: fetch it again"
        )
    if not _files(folder, _VOCABULARIES):
        raise InputError(f"{folder} has no tokenizer: save one there with tokenizer.save_pretrained")
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
