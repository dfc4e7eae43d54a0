"""The project's texts use the field's terms: words that only its authors understood do not come back."""

from __future__ import annotations

import re

from support.places import REPOSITORY

PRIVATE = re.compile(  # not within a name of others, such as BIDS-Xu-Lab
    r"(?<!-)\b(ailments?|by heart|errands?|kin|labs?|likeness|mechanics?|mended|portraits?|slivers?|thinkers?|spoken"
    r"|cannot be: |the luck of)\b",
    re.IGNORECASE,
)
QUOTED = ("tools/literature_notes/", "ftbench/tasks/")
"""Texts of notes and of tasks."""


def test_no_private_words() -> None:
    rooms = ("docs", "evaluation", "ftbench", "graph", "tools", "training")
    paths = [*REPOSITORY.glob("*.py"), *REPOSITORY.glob("*.md")]
    for room in rooms:
        paths += [path for path in (REPOSITORY / room).rglob("*") if path.suffix in {".py", ".md", ".jinja"}]
    named = {path.relative_to(REPOSITORY).as_posix(): path for path in paths}
    assert len(named) > 100
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, path in named.items()
        if not name.startswith(QUOTED)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PRIVATE.search(line)
    ]
    assert found == []
