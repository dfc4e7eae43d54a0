"""The layout of the project: import directions, names, sizes, the wheel, and calls that are never made."""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from support.places import REPOSITORY

ROOT = REPOSITORY
ROOMS = ("evaluation", "training", "tools", "graph", "ftbench")
MAY_IMPORT = {
    "evaluation": {"evaluation"},
    "training": {"training", "evaluation"},
    "tools": {"tools", "training", "evaluation"},
    "graph": {"graph", "tools", "training", "evaluation"},
    "ftbench": set(ROOMS),
}
ROOT_MODULES = {
    "__init__",
    "assets",
    "errors",
    "files",
    "home",
    "keys",
    "landlock",
    "privileges",
    "registry",
    "sealed_folder",
}
OF_EVALUATION = {
    "evaluation.conversations",
    "evaluation.base_models",
    "evaluation.causal_models",
    "evaluation.data_files",
    "evaluation.full_weights",
    "evaluation.rendering",
    "evaluation.results",
    "evaluation.task",
    "evaluation.usable_rows",
}
REWARDS = {"training/methods/task_reward.py", "training/data/models/answer_reward.py"}
"""They score answers to training rows, for reinforcement learning and rejection sampling."""
ENGINE_MODEL = "training/data/models/engine_model.py"
"""It samples answers for data sets."""
OF_ENGINES = {"evaluation.base_models", "evaluation.engines"}
SANDBOX = "training/data/sandbox/row_process.py"
"""It runs code, after it has given up everything else."""
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 60

MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
PRODUCT = sorted([*MODULES, *ROOT.glob("*.py")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a module, also inside functions: line and name; ours begin with 'trex.'."""
    here = ["trex", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def ours(path: Path) -> Iterator[tuple[int, str]]:
    """Imports of this package, without the leading 'trex.'."""
    for line, name in imports(path):
        if name.startswith("trex."):
            yield line, name.removeprefix("trex.")


def test_imports_between_rooms_point_down() -> None:
    wrong = []
    for path in MODULES:
        room = path.relative_to(ROOT).parts[0]
        for line, name in ours(path):
            target = name.split(".")[0]
            if target not in MAY_IMPORT[room] | ROOT_MODULES:
                wrong.append(f"{name_of(path)}:{line} imports {name}")
    assert wrong == []


def modules() -> dict[str, Path]:
    """Every product module by its dotted name without 'trex.'; a package by the name of its folder."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PRODUCT
    }


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports inside functions count too. A package's `__init__` is a module like any other."""
    known = modules()
    graph = {name: {_module(target, known) for _, target in ours(path)} & known.keys() - {name}
             for name, path in known.items()}  # fmt: skip
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def _module(imported: str, known: dict[str, Path]) -> str:
    """The module that an imported name comes from: the name itself, or what it stands in."""
    return imported if imported in known else imported.rpartition(".")[0]


SAME_STEM = {"__init__", "protocol"}
"""The same thing at another level."""
TASK_AND_METRIC = {"csbench", "molecules", "openfindata", "sst2", "tomg"}
"""A task of the benchmark and the metric that scores it."""


def test_no_two_modules_share_a_file_name() -> None:
    places = defaultdict(list)
    for path in PRODUCT:
        places[path.stem].append(name_of(path))
    shared = {stem: found for stem, found in places.items() if len(found) > 1 and stem not in SAME_STEM}
    assert shared.keys() <= TASK_AND_METRIC, shared
    assert all(len(found) == 2 for found in shared.values()), shared


def test_no_two_public_classes_share_a_name() -> None:
    places = defaultdict(list)
    for path in PRODUCT:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name_of(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_training_takes_tasks_rows_and_rendering_from_evaluation_and_nothing_that_scores() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for path in MODULES
        if path.relative_to(ROOT).parts[0] == "training"
        if name_of(path) not in REWARDS
        for line, name in ours(path)
        if name.startswith("evaluation.")
        if ".".join(name.split(".")[:2])
        not in OF_EVALUATION | (OF_ENGINES if name_of(path) == ENGINE_MODEL else set())
    ]
    assert wrong == []


def test_root_modules_know_no_room() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == ROOT_MODULES
    for path in ROOT.glob("*.py"):
        if path.stem != "__init__":  # its menu names the rooms and looks them up on first use
            assert [n for _, n in ours(path) if n.split(".")[0] in ROOMS] == [], path.name


def test_imports_between_rooms_are_relative() -> None:
    wrong = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            wrong += [f"{name_of(path)}:{node.lineno}" for name in names if name.split(".")[0] == "trex"]
    assert wrong == []


def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_package_is_in_the_wheel() -> None:
    folders = {path.parent for path in MODULES}
    assert all((folder / "__init__.py").is_file() for folder in folders)
    found = {".".join(["trex", *folder.relative_to(ROOT).parts]) for folder in folders}
    assert set(settings()["packages"]) == {"trex"} | found


def test_every_data_file_is_in_the_wheel() -> None:
    patterns = settings()["package-data"]
    packages = sorted(settings()["packages"], key=len, reverse=True)
    missing = []
    for path in sorted(p for room in ROOMS for p in (ROOT / room).rglob("*")):
        if not path.is_file() or path.suffix in {".py", ".pyc"}:
            continue
        dotted = ".".join(["trex", *path.parent.relative_to(ROOT).parts])
        package = next(p for p in packages if dotted == p or dotted.startswith(p + "."))
        folder = ROOT.joinpath(*package.split(".")[1:])
        inside = path.relative_to(folder).as_posix()
        if not any(fnmatch.fnmatch(inside, pattern) for pattern in patterns.get(package, [])):
            missing.append(f"{package}: {inside}")
    assert missing == []


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_nothing_is_pickled_executed_or_trusted(path: Path) -> None:
    assert [name for _, name in imports(path) if name.split(".")[0] in PICKLES] == []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        where = f"{name_of(path)}:{node.lineno}"
        runs_code = isinstance(node.func, ast.Name) and node.func.id in {"exec", "eval"}
        assert not runs_code or name_of(path) == SANDBOX, where
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        assert given.get("shell") in (None, False), where
        assert "trust_remote_code" not in given or given["trust_remote_code"] is False, where
        called = ast.unparse(node.func)
        if called in {"torch.load", "numpy.load", "np.load"}:
            assert given.get("weights_only") is True or given.get("allow_pickle") is False, where


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_files_and_functions_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    assert not re.fullmatch(r"(utils?|helpers?|managers?|misc|common)", path.stem)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or node.lineno) - node.lineno <= LONGEST_FUNCTION, node.name


HEAVY = (
    *("torch", "transformers", "trl", "peft", "datasets"),
    *("rdkit", "pandas", "scipy", "matplotlib", "langgraph"),
)
GRAPH = ("langgraph",)


def loaded_by(statement: str) -> set[str]:
    """Which heavy libraries a fresh process has loaded after a statement."""
    code = f"import sys; {statement}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import trex", ()),
        ("from trex import Task", ()),
        ("import trex.assets", ()),
        ("import trex.training.plan, trex.training.data.recipe", ()),
        ("import trex.ftbench.tasks.sentiment, trex.ftbench.tasks.molecules", ()),
        ("import trex.graph.app", GRAPH),
        ("import trex.graph.cli.commands", GRAPH),
    ],
)
def test_light_imports_stay_light(statement: str, allowed: tuple[str, ...]) -> None:
    assert loaded_by(statement) <= set(allowed)


def test_the_menu_is_whole() -> None:
    import trex

    assert sorted(trex.__all__) == dir(trex)
    for name in trex.__all__:
        assert getattr(trex, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = trex.nothing
