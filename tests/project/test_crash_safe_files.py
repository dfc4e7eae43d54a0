"""What a crash leaves behind: a sealed folder is whole or not there, and a torn line spoils no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from trex.files import append_line, read_lines
from trex.sealed_folder import MANIFEST, copy, create, is_sealed, remove, seal


def fill(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "weights.bin").write_bytes(b"123456")
    (folder / "config.json").write_text("{}")


def test_a_sealed_folder_knows_its_files_and_facts(tmp_path: Path) -> None:
    create(tmp_path / "a", fill, version=3)
    assert is_sealed(tmp_path / "a") and is_sealed(tmp_path / "a", version=3)
    assert not is_sealed(tmp_path / "a", version=4) and not is_sealed(tmp_path / "a", other=3)
    assert copy(tmp_path / "a", tmp_path / "b", version=3)
    assert (tmp_path / "b" / "deep" / "weights.bin").read_bytes() == b"123456"
    assert not copy(tmp_path / "a", tmp_path / "c", version=4) and not (tmp_path / "c").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    "harm", ["edit", "cut", "remove a file", "remove the manifest", "cut the manifest", "no object"]
)
def test_a_damaged_folder_does_not_count_and_is_replaced(tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "a"
    create(folder, fill)
    weights, manifest = folder / "deep" / "weights.bin", folder / MANIFEST
    if harm == "edit":
        weights.write_bytes(b"123457")
    elif harm == "cut":
        weights.write_bytes(b"123")
    elif harm == "remove a file":
        weights.unlink()
    elif harm == "remove the manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:30] if harm == "cut the manifest" else "[]")
    assert not is_sealed(folder)
    assert is_sealed(folder, thorough=False) == (harm == "edit"), "without hashes the same size passes"
    assert not copy(folder, tmp_path / "b")
    create(folder, fill)
    assert is_sealed(folder)


def test_a_manifest_with_bare_hashes_is_read(tmp_path: Path) -> None:
    create(tmp_path / "a", fill)
    manifest = tmp_path / "a" / MANIFEST
    files = {name: known["sha256"] for name, known in json.loads(manifest.read_text())["files"].items()}
    manifest.write_text(json.dumps({"files": files}))
    assert is_sealed(tmp_path / "a")
    (tmp_path / "a" / "config.json").write_text("{ }")
    assert not is_sealed(tmp_path / "a")


def test_a_failure_while_it_is_filled_leaves_what_was_there(tmp_path: Path) -> None:
    create(tmp_path / "a", fill)

    def fail(folder: Path) -> None:
        fill(folder)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        create(tmp_path / "a", fail)
    assert is_sealed(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


KILLED = """
import os, signal, sys
from pathlib import Path
from trex import sealed_folder

def stop(*given):
    os.kill(os.getpid(), signal.SIGKILL)

def fill(folder):
    (folder / "data").write_text("half")
    if sys.argv[2] == "while it is filled":
        stop()

if sys.argv[2] == "before it is sealed":
    sealed_folder.write_json = stop
elif sys.argv[2] == "before it is renamed":
    Path.rename = stop
sealed_folder.create(Path(sys.argv[1]) / "a", fill)
"""


@pytest.mark.parametrize("moment", ["while it is filled", "before it is sealed", "before it is renamed"])
def test_a_kill_leaves_nothing_that_counts(tmp_path: Path, moment: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "a").exists()
    assert [path.name for path in tmp_path.iterdir()] == [".building-a"]
    create(tmp_path / "a", fill)
    assert is_sealed(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_removed_does_not_count_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "a", fill)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *given: None)
        remove(tmp_path / "a")
    assert not is_sealed(tmp_path / "a")
    seal(tmp_path / "a")
    remove(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    log = tmp_path / "new" / "log.jsonl"
    assert list(read_lines(log)) == []
    for number in range(3):
        append_line(log, json.dumps({"n": number, "text": "a\u2028b\x85c\rd"}, ensure_ascii=False))
    assert [(line, value["n"]) for line, value in read_lines(log)] == [(1, 0), (2, 1), (3, 2)]
    assert [value["n"] for _, value in read_lines(log, tail=60)][-1] == 2
    append_line(log, json.dumps("\ud800", ensure_ascii=False))
    assert log.read_bytes().endswith(b"\n") and len(list(read_lines(log))) == 4


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_line_spoils_no_other(tmp_path: Path, cut: int) -> None:
    log = tmp_path / "log.jsonl"
    append_line(log, '{"n": 1}')
    append_line(log, '{"n": "é"}')
    log.write_bytes(log.read_bytes()[:-cut])
    whole = 2 if cut == 1 else 1
    assert [line for line, _ in read_lines(log)] == list(range(1, whole + 1))
    append_line(log, '{"n": 3}')
    assert [value["n"] for _, value in read_lines(log)] == [1, "é", 3][:: 1 if whole == 2 else 2]


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trex.files import append_line, lock\n"
        "for n in range(50):\n"
        "    with lock(Path(sys.argv[1] + '.lock')):\n"
        "        append_line(Path(sys.argv[1]), str(n))"
    )
    log = tmp_path / "log.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(log)], env=os.environ) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert sorted(value for _, value in read_lines(log)) == sorted([*range(50)] * 3)
