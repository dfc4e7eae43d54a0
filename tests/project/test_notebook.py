"""The notebooks: they run from top to bottom in smoke mode, and what is committed shows such a run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from support.places import REPOSITORY

NOTEBOOK = REPOSITORY / "notebooks" / "01_first_run.ipynb"
AGENTS = REPOSITORY / "notebooks" / "03_agents.ipynb"


@pytest.fixture(scope="module")
def committed() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, committed: NotebookNode) -> NotebookNode:
    return execute(committed, tmp_path_factory.mktemp("notebook"))


def execute(committed: NotebookNode, folder: Path) -> NotebookNode:
    notebook = nbformat.from_dict(committed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_SMOKE", "1")
        patch.setenv("TREX_HOME", str(folder / "home"))
        patch.setenv("TMPDIR", str(folder))
        client = NotebookClient(
            notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    return notebook


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text(notebook: NotebookNode) -> str:
    """All that was printed or shown as text."""
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def figures(notebook: NotebookNode) -> int:
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_every_cell_ran(executed: NotebookNode) -> None:
    assert [cell.execution_count for cell in code(executed)] == list(range(1, len(code(executed)) + 1))


def test_it_shows_the_tree_as_a_figure(executed: NotebookNode) -> None:
    assert figures(executed) == 1


def test_it_ends_two_runs_one_of_them_resumed(executed: NotebookNode) -> None:
    printed = text(executed)
    for line in ("e000  the base model:", "e002  done:", "stopped: interrupted", "resumed: done"):
        assert line in printed


def test_its_own_task_is_learnt(executed: NotebookNode) -> None:
    [line] = [
        line for line in text(executed).splitlines() if line.startswith("test ") and "base model" in line
    ]
    test, base = (float(part.split()[-1]) for part in line.split(","))
    assert test > base


def test_the_committed_one_shows_a_whole_run_and_no_machine(committed: NotebookNode) -> None:
    assert all(cell.execution_count for cell in code(committed))
    assert figures(committed) == 1
    raw = NOTEBOOK.read_text(encoding="utf-8")
    for sign in (str(Path.home()), "/tmp", "site-packages", str(NOTEBOOK.parents[1])):
        assert sign not in raw


def test_agents_are_stepped_through_edited_and_finish(tmp_path: Path) -> None:
    shown = nbformat.read(AGENTS, as_version=4)
    printed = text(execute(shown, tmp_path))
    for line in (
        "research: researcher_tools",
        "m003 tool",
        "True\n",
        "('researcher_answer',)",
        "done\n",
        "12 calls,",
    ):
        assert line in printed and line in text(shown), line
    assert "/tmp" not in AGENTS.read_text(encoding="utf-8")
