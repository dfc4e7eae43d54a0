"""An installed package outside of the repository, for tests of entry points: a module and its dist-info folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_package(folder: Path, name: str, source: str, entry_points: Mapping[str, str]) -> Path:
    """Write the package; the folder belongs on sys.path or PYTHONPATH.

    `entry_points` are like {"trex.policies": "beam = toy_policy:Beam"}: a group, and a line in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8"
    )
    lines = [f"[{group}]\n{line}\n" for group, line in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder
