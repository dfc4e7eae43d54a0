"""Assets are whole or not there: downloads by pip from a local folder, damage, kills, two processes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from support.places import TESTS
from trex import assets
from trex.assets import RATINGS, Archive, Asset
from trex.errors import InputError, IntegrityError
from trex.sealed_folder import MANIFEST

METADATA = "Metadata-Version: 2.1\nName: trex-demo\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_wheel(folder: Path) -> str:
    """A package of one data file, in a folder that stands for the package index; its SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "trex_demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {
            "trex_demo/data.txt": "payload",
            "trex_demo-1.0.dist-info/METADATA": METADATA,
            "trex_demo-1.0.dist-info/WHEEL": WHEEL,
            "trex_demo-1.0.dist-info/RECORD": "",
        }.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_demo(archive: Path, folder: Path, report: assets.Report) -> None:
    report("demo: building")
    with zipfile.ZipFile(archive) as wheel:
        (folder / "data.txt").write_bytes(wheel.read("trex_demo/data.txt"))


def demo_asset(sha256: str) -> Asset:
    archive = Archive("trex-demo==1.0", sha256, wheel=True)
    return Asset("demo", "models/demo", archive, "MIT", 1000, build_demo)


@pytest.fixture
def demo(fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    index = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    asset = demo_asset(make_wheel(index))
    monkeypatch.setattr(assets, "ASSETS", (asset,))
    return asset


def no_leftovers(home: Path) -> bool:
    return not [p for p in home.rglob("*") if p.name.startswith(".") or p.suffix == ".archive"]


def test_fetched_once_and_kept(demo: Asset, fresh_home: Path) -> None:
    said: list[str] = []
    assert not assets.status()[0].ready
    assets.fetch_all(said.append)
    assert (demo.path / "data.txt").read_text(encoding="utf-8") == "payload"
    assert "downloading" in said[0] and "building" in said[1] and "ready" in said[2]
    assert assets.status()[0].ready and assets.status()[0].size > 0
    assert no_leftovers(fresh_home)
    again: list[str] = []
    assets.fetch_all(again.append)
    assert len(again) == 1


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "other archive"])
def test_damage_is_found_and_mended(demo: Asset, damage: str) -> None:
    assets.fetch_all(lambda line: None)
    data = demo.path / "data.txt"
    if damage == "changed":
        data.write_text("PAYLOAD", encoding="utf-8")
    elif damage == "cut":
        data.write_text("pay", encoding="utf-8")
    elif damage == "gone":
        data.unlink()
    else:
        manifest = demo.path / MANIFEST
        manifest.write_text(json.dumps({"archive_sha256": "0" * 64, "files": {}}), encoding="utf-8")
    if damage != "changed":  # same size: only the thorough look sees it
        assert not assets.status()[0].ready
    assets.fetch_all(lambda line: None)
    assert data.read_text(encoding="utf-8") == "payload"


def test_another_archive_under_that_name_is_refused(
    demo: Asset, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "ASSETS", (demo_asset("0" * 64),))
    with pytest.raises(InputError, match="cannot download trex-demo"):  # pip sees it first
        assets.fetch_all(lambda line: None)

    def slipped_in(archive: Archive, folder: Path) -> Path:
        path = folder / "slipped.whl"
        path.write_text("not it", encoding="utf-8")
        return path

    monkeypatch.setattr(assets, "_pip_download", slipped_in)
    with pytest.raises(IntegrityError, match=r"slipped\.whl is not the archive expected"):
        assets.fetch_all(lambda line: None)
    assert not demo.path.exists() and no_leftovers(fresh_home)


def test_without_network_one_line_says_what_to_do(demo: Asset, tmp_path: Path) -> None:
    for wheel in (tmp_path / "index").iterdir():
        wheel.unlink()
    with pytest.raises(InputError, match=r"run `trex assets` once with network, or use `--smoke`") as caught:
        assets.fetch_all(lambda line: None)
    assert "\n" not in str(caught.value)
    assert not demo.path.exists()


def test_no_space_and_no_place_are_one_line(
    demo: Asset, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "ASSETS", (replace(demo, needs_bytes=10**18),))
    with pytest.raises(InputError, match="free some space"):
        assets.fetch_all(lambda line: None)
    (fresh_home / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("TREX_HOME", str(fresh_home / "file"))
    with pytest.raises(InputError, match="set TREX_HOME"):
        assets.fetch_all(lambda line: None)


SCRIPT = """
import os, signal, sys
from dataclasses import replace
sys.path[:0] = {tests!r}
from test_assets import build_demo, demo_asset
from trex import assets
from trex.sealed_folder import MANIFEST

def build(archive, folder, report):
    (folder / "data.txt").write_text("half")
    if {kill}:
        os.kill(os.getpid(), signal.SIGKILL)
    build_demo(archive, folder, report)

assets.ASSETS = (replace(demo_asset({sha!r}), build=build),)
assets.fetch_all(print)
"""


def start(demo: Asset, kill: bool) -> subprocess.Popen[str]:
    script = SCRIPT.format(tests=[str(Path(__file__).parent), str(TESTS)], kill=kill, sha=demo.archive.sha256)
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_a_kill_leaves_nothing_half_made_and_the_download_is_kept(
    demo: Asset, fresh_home: Path, tmp_path: Path
) -> None:
    killed = start(demo, kill=True)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not demo.path.exists()
    (tmp_path / "index" / "trex_demo-1.0-py3-none-any.whl").unlink()  # as if the network were gone
    assets.fetch_all(lambda line: None)
    assert (demo.path / "data.txt").read_text(encoding="utf-8") == "payload"
    assert no_leftovers(fresh_home)


def test_two_processes_make_it_once(demo: Asset) -> None:
    both = [start(demo, kill=False) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(text.count("demo: building") for text in said) == 1


def add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def test_only_the_named_members_leave_the_archive(tmp_path: Path) -> None:
    inner_bytes = io.BytesIO()
    with tarfile.open(fileobj=inner_bytes, mode="w:gz") as inner:
        add_file(inner, "../escaped.txt", b"evil")
        for domain in assets.RATED_DOMAINS:
            add_file(inner, f"hutto_ICWSM_2014/{domain}_GroundTruth.txt", b"1\t0.5\tfine")
    archive = tmp_path / "sdist.tar.gz"
    root = "vaderSentiment-3.3.2"
    with tarfile.open(archive, "w:gz") as outer:
        add_file(outer, f"{root}/LICENSE.txt", b"MIT")
        add_file(outer, f"{root}/setup.py", b"raise SystemExit")
        add_file(outer, f"{root}/additional_resources/hutto_ICWSM_2014.tar.gz", inner_bytes.getvalue())
    folder = tmp_path / "deep" / "ratings"
    folder.mkdir(parents=True)
    RATINGS.build(archive, folder, lambda line: None)
    names = {path.name for path in folder.iterdir()}
    assert names == {"LICENSE", *(f"{domain}_GroundTruth.txt" for domain in assets.RATED_DOMAINS)}
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.real
def test_the_ratings_are_those_published() -> None:
    folder = assets.vader_ratings()
    counts = {
        domain: len((folder / f"{domain}_GroundTruth.txt").read_text(encoding="utf-8-sig").splitlines())
        for domain in assets.RATED_DOMAINS
    }
    assert counts == {
        "movieReviewSnippets": 10605,
        "amazonReviewSnippets": 3708,
        "nytEditorialSnippets": 5190,
        "tweets": 4200,
    }


@pytest.mark.real
def test_the_converted_model_knows_its_language() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = assets.embedded_model()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32 and model.config.tie_word_embeddings
    assert not hasattr(model.config, "quantization_config")
    assert tokenizer.eos_token == "<|im_end|>" and "<|im_start|>" in tokenizer.chat_template
    tokens = tokenizer("The capital of France is", return_tensors="pt")
    with torch.inference_mode():
        best = model(**tokens).logits[0, -1].argmax()
    assert tokenizer.decode([int(best)]).strip() == "Paris"
