"""Where a benchmark's data is published, and how its files come here.

A file is looked for in the mirror first: `TREX_DATA/<owner>/<name>/…`, laid out as a checkout of the repository
or a snapshot of the hub's data set, for machines without a network. Else it is fetched once and kept under
`TREX_HOME/data`. A GitHub repository is pinned by its commit. A data set of the hub is pinned at its first
fetch: the commit that was current then is recorded and asked for ever after.
"""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from ..errors import InputError
from ..files import fingerprint, lock, read_json, write_json
from ..home import home

MIRROR = "TREX_DATA"
_TIMEOUT_S = 60
_TABLES = (".parquet", ".csv", ".jsonl", ".json")


class Home(Protocol):
    """A published data set."""

    @property
    def url(self) -> str:
        """Where a person finds it."""
        ...

    @property
    def identity(self) -> str:
        """Changes when what `file` and `rows` return may have changed."""
        ...

    @property
    def present(self) -> bool:
        """Whether it is here already, in a mirror or fetched before."""
        ...

    def file(self, path: str) -> Path:
        """One of its files, by its path there. Raises InputError if it can't be had."""
        ...


@dataclass(frozen=True)
class GitHubHome:
    """A repository at one commit."""

    repository: str
    commit: str

    @property
    def url(self) -> str:
        return f"https://github.com/{self.repository}/tree/{self.commit}"

    @property
    def identity(self) -> str:
        return f"{self.repository}@{self.commit} {_mirror_state(self.repository)}"

    @property
    def present(self) -> bool:
        fetched = _cache(self.repository, self.commit)
        return _mirror(self.repository) is not None or any(path.is_file() for path in fetched.rglob("*"))

    def file(self, path: str) -> Path:
        """See `Home.file`."""
        return _mirrored(self.repository, path) or self._fetched(path)

    def _fetched(self, path: str) -> Path:
        target = _cache(self.repository, self.commit) / path
        if target.is_file():
            return target
        source = f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{quote(path)}"
        try:
            with urllib.request.urlopen(source, timeout=_TIMEOUT_S) as answer:
                content = answer.read()
        except (urllib.error.URLError, OSError) as error:
            raise _out_of_reach(self.repository, path, error) from error
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
            draft = Path(folder) / target.name
            draft.write_bytes(content)
            draft.replace(target)
        return target


@dataclass(frozen=True)
class HubHome:
    """A data set of the Hugging Face hub; without a revision the one that is current at the first fetch."""

    dataset: str
    revision: str | None = None

    @property
    def url(self) -> str:
        return f"https://huggingface.co/datasets/{self.dataset}"

    @property
    def identity(self) -> str:
        mirror = _mirror_state(self.dataset)
        return f"{self.dataset}@{mirror or self._pinned()}"

    @property
    def present(self) -> bool:
        return _mirror(self.dataset) is not None or self.dataset in _pins()

    def file(self, path: str) -> Path:
        """See `Home.file`."""
        found = _mirrored(self.dataset, path)
        if found is not None:
            return found
        from huggingface_hub import hf_hub_download

        try:
            fetched = hf_hub_download(
                self.dataset,
                path,
                repo_type="dataset",
                revision=self._pinned(),
                cache_dir=str(home() / "hub"),
            )
        except Exception as error:  # the hub's client raises its own, requests' and OSError
            raise _out_of_reach(self.dataset, path, error) from error
        return Path(fetched)

    def rows(self, split: str, config: str | None = None) -> Iterator[dict[str, Any]]:
        """The rows of a split. Code of a data set is never run.

        In a mirror the split is `[<config>/]<split>*` or `[<config>/]data/<split>-*`, in Parquet, CSV or JSON
        lines. Raises InputError if it can't be had.
        """
        import datasets

        files = self._mirrored_split(split, config)
        try:
            if files:
                kind = {".jsonl": "json"}.get(files[0].suffix, files[0].suffix[1:])
                table = datasets.load_dataset(
                    kind,
                    data_files=[str(file) for file in files],
                    split="train",
                    cache_dir=str(home() / "hub"),
                )
            else:
                table = datasets.load_dataset(
                    self.dataset, config, split=split, revision=self._pinned(), cache_dir=str(home() / "hub")
                )
        except Exception as error:  # as above
            raise _out_of_reach(self.dataset, " ".join(filter(None, (config, split))), error) from error
        yield from table

    def _mirrored_split(self, split: str, config: str | None) -> list[Path]:
        folder = _mirror(self.dataset)
        if folder is None:
            return []
        base = folder / config if config else folder
        for place in (base, base / "data"):
            found = sorted(p for p in place.glob(f"{split}*") if p.suffix in _TABLES)
            if found:
                return [file for file in found if file.suffix == found[0].suffix]
        return []

    def _pinned(self) -> str:
        """The revision to ask for, found out and recorded at the first fetch."""
        if self.revision:
            return self.revision
        memory = _pin_file()
        with lock(memory.with_suffix(".lock")):
            known = _pins()
            if self.dataset not in known:
                from huggingface_hub import HfApi

                try:
                    current = HfApi().dataset_info(self.dataset, timeout=_TIMEOUT_S).sha
                except Exception as error:  # as above
                    raise _out_of_reach(self.dataset, "its current revision", error) from error
                if current is None:
                    raise InputError(f"the hub names no revision of {self.dataset}: try again later")
                known[self.dataset] = current
                write_json(memory, known)
        return known[self.dataset]


def _pin_file() -> Path:
    return home() / "data" / "pinned.json"


def _pins() -> dict[str, str]:
    """The revisions of data sets of the hub that were fetched, by name."""
    pins: dict[str, str] = read_json(_pin_file()) if _pin_file().exists() else {}
    return pins


def _mirror(name: str) -> Path | None:
    root = os.environ.get(MIRROR)
    folder = Path(root).expanduser() / name if root else None
    return folder.absolute() if folder is not None and folder.is_dir() else None


def _mirrored(name: str, path: str) -> Path | None:
    folder = _mirror(name)
    return folder / path if folder is not None and (folder / path).is_file() else None


def _mirror_state(name: str) -> str:
    """A hash of names, sizes and times of a mirror's files; '' without a mirror."""
    folder = _mirror(name)
    if folder is None:
        return ""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts)
    states = [[str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns] for p in files]
    return fingerprint(states)


def _cache(name: str, revision: str) -> Path:
    return home() / "data" / name / revision


def _out_of_reach(name: str, what: str, error: Exception) -> InputError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return InputError(
        f"{what} of {name} can't be fetched ({reason}): check the network, or set {MIRROR} to a folder that "
        f"holds {name} as it is published"
    )
