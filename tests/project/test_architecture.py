"""The architecture page: few defined words, many questions, and every file and name in it exists."""

from __future__ import annotations

import ast
import re

import pytest
from support.places import REPOSITORY

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(title: str) -> list[list[str]]:
    """The rows of the table under a heading, without its head; cells as text."""
    text = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1:]]


def defined(path: str) -> set[str]:
    """Functions, classes, their methods and fields, and module variables that a file defines."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_at_most_fifteen_words_are_defined() -> None:
    words = [row[0] for row in section("Words")]
    assert 1 <= len(words) == len(set(words)) <= 15


def test_the_questions_are_answered_by_names_that_exist() -> None:
    rows = section("Where is it?")
    assert len({row[0] for row in rows}) == len(rows) >= 30
    for question, answer in rows:
        assert question.endswith("?"), question
        path, *names = re.findall(r"`([^`]+)`", answer)
        assert (REPOSITORY / path).exists(), f"{question} names {path}"
        known = defined(path) if path.endswith(".py") else set()
        for name in names:
            assert name.split(".")[-1].removesuffix("()") in known, (
                f"{question} {path} does not define {name}"
            )


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "README.md"])
def test_every_path_on_a_page_exists(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for path in re.findall(
        r"`((?:evaluation|training|tools|graph|ftbench|tests|docs|benchmarks)/[\w./-]*)`", text
    ):
        assert (REPOSITORY / path).exists(), path
