"""Data sets on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from ...home import home
from .arrow_tables import table_rows
from .formats import Line
from .text_files import one_line
from .values import plain

if TYPE_CHECKING:
    import pyarrow as pa

HUB = "hub:"
_FORM = re.compile(
    r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(:(?P<config>\w[\w.-]*))?(@(?P<revision>[\w./-]+))?(#(?P<split>[\w.-]+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubReference:
    """A data set on the hub: `hub:owner/name:config@revision#split`; only owner and name are required."""

    name: str
    config: str | None
    revision: str | None
    split: str

    @classmethod
    def parse(cls, path: str) -> HubReference:
        """Parse a reference. Raises InputError if it does not have this form, or names a folder here."""
        found = _FORM.fullmatch(path)
        if not found:
            raise InputError(f"{path!r} is not of the form hub:owner/name:config@revision#split")
        if Path(found["name"]).exists():  # `datasets` would load it instead
            raise InputError(f"{found['name']} is a file or folder here, not on the hub: give its path")
        return cls(found["name"], found["config"], found["revision"], found["split"] or "train")

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, so that the content cannot change."""
        return bool(self.revision and _COMMIT.fullmatch(self.revision))


def load_from_hub(path: str) -> pa.Table:
    """The rows of a reference, cached in TREX_HOME. Code of a data set is never executed. Raises InputError."""
    import datasets

    reference = HubReference.parse(path)
    cache = home() / "hub"
    try:
        with _no_progress_bars():
            rows = datasets.load_dataset(
                reference.name,
                reference.config,
                revision=reference.revision,
                split=reference.split,
                cache_dir=str(cache),
                download_config=datasets.DownloadConfig(cache_dir=str(cache / "downloads")),
            )
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"{path} could not be loaded: {one_line(error)}; check the name, the configuration (hub:owner/name:config) "
            "and the network, or give a local .parquet file"
        ) from None
    return rows.with_format("arrow")[:]


def read_hub_lines(path: str) -> Iterator[Line]:
    """The rows of a reference, as `read_lines` gives those of a file. Raises InputError."""
    for number, row in enumerate(table_rows(load_from_hub(path)), start=1):
        yield Line(number, {name: plain(value) for name, value in row.items()})


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()
