"""Registries: own implementations by name, and those of installed packages by entry points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.outside_package import write_package
from trex.errors import InputError
from trex.registry import Registry

SHAPES: Registry[Callable[[], str]] = Registry("shape", "trex.test_shapes", {"own": "builtins:str"})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "round = outside_shapes:ball\nown = outside_shapes:ball\nbroken = outside_shapes:nothing"
    source = "def ball():\n    return 'ball'\n"
    folder = write_package(tmp_path, "outside_shapes", source, {"trex.test_shapes": lines})
    monkeypatch.syspath_prepend(str(folder))


def test_own_implementations_need_no_installed_package() -> None:
    assert SHAPES.names() == ("own",)
    assert SHAPES.load("own") is str


def test_installed_packages_add_but_never_replace(installed: None) -> None:
    assert SHAPES.names() == ("own", "broken", "round")
    assert SHAPES.load("round")() == "ball"
    assert SHAPES.load("own") is str


def test_an_unknown_name_is_refused_with_the_known_ones(installed: None) -> None:
    with pytest.raises(InputError, match="no shape 'square'; there are: own, broken, round"):
        SHAPES.check("square")
    with pytest.raises(InputError, match="no shape 'square'"):
        SHAPES.load("square")


def test_one_that_cannot_be_imported_says_where_it_is_from(installed: None) -> None:
    with pytest.raises(InputError, match=r"shape 'broken' .*outside_shapes:nothing.*no attribute 'nothing'"):
        SHAPES.load("broken")
