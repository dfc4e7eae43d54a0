"""Every registered operator keeps the protocol; an operator of another package is one among them."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.outside_package import write_package
from support.recipes import Rows, apply, dataset
from trex.training.data.operators import operators
from trex.training.data.operators.protocol import Flow, Kind, Operator
from trex.training.data.recipe import DataRecipe, Stream
from trex.training.data.recipe_file import recipe_from_yaml, recipe_to_yaml
from trex.training.data.row_table import KEY, STREAM

WORDS = ["good", "bad", "dull", "bright", "slow", "warm"]
LABELS = ["a", "b", "c"]


def examples() -> list[Operator]:
    """The examples that the operators give of themselves."""
    return [kind.model_validate(example) for kind in operators().values() for example in kind.examples]


EXAMPLES = examples()
QUICK = [step for step in EXAMPLES if step.op != "python"]  # it starts a process; test_python_operator.py
each_example = pytest.mark.parametrize("step", QUICK, ids=lambda step: step.op)
each_operator = pytest.mark.parametrize("kind", operators().values(), ids=operators())
quick = settings(max_examples=12, deadline=None)


def counted(rows: Any) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True) for row in rows)


def complete(made: dict[str, Any]) -> dict[str, Any]:
    """A row with the columns that the examples of operators may use."""
    turns = [("user", made["text"]), ("assistant", made["label"]), ("user", "And?"), ("assistant", "No.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {**made, "parts": made["text"].split(), "messages": messages}


def some_rows(seed: int) -> Rows:
    """1 to 40 rows by chance. Drawn value by value, they would take longer than the operators."""
    chance = random.Random(seed)
    made = [
        {
            "id": chance.randint(0, 40),
            "rating": chance.choice([None, *map(float, range(-4, 5))]),
            "text": " ".join(chance.choices(WORDS, k=chance.randint(1, 4))),
            "label": chance.choice(LABELS),
        }
        for _ in range(chance.choice([1, 2, 5, 20, 40]))
    ]
    return [complete(row) for row in made]


row_lists = st.integers(0, 10_000).map(some_rows)


def empty() -> Any:
    """A table with the usual columns and no rows."""
    return dataset([complete({"id": 1, "rating": 1.0, "text": "good", "label": "a"})]).select([])


@each_operator
def test_it_says_what_it_is(kind: type[Operator]) -> None:
    assert kind.kind in get_args(Kind)
    assert (kind.__doc__ or "").strip()
    assert [name for name, field in kind.model_fields.items() if name != "op" and not field.description] == []
    assert kind.model_config["frozen"] and kind.model_config["extra"] == "forbid"
    assert any(type(step) is kind for step in EXAMPLES)


@each_example
def test_it_stands_in_a_recipe_and_in_yaml(step: Operator) -> None:
    recipe = DataRecipe(streams=(Stream(source="movies", steps=(step,)),), steps=(step,))
    assert recipe_from_yaml(recipe_to_yaml(recipe)) == recipe
    assert DataRecipe.model_validate_json(recipe.model_dump_json()) == recipe


@each_example
@given(rows=row_lists, order=st.randoms(use_true_random=False))
@quick
def test_the_same_rows_give_the_same_rows_in_whatever_order(
    step: Operator, rows: Rows, order: random.Random
) -> None:
    shuffled = rows.copy()
    order.shuffle(shuffled)
    first = list(apply(step, dataset(rows)))
    assert list(apply(step, dataset(rows))) == first
    assert counted(apply(step, dataset(shuffled))) == counted(first)
    if step.kind == "orders":
        assert list(apply(step, dataset(shuffled))) == first


@each_example
@given(rows=row_lists, others=row_lists)
@quick
def test_it_does_what_its_kind_says(step: Operator, rows: Rows, others: Rows) -> None:
    before, after = dataset(rows), apply(step, dataset(rows))
    if step.kind == "row-wise":
        both = counted(apply(step, dataset(rows + others)))
        assert both == counted(after) + counted(apply(step, dataset(others)))
        assert set(after[KEY]) <= set(before[KEY])
    elif step.kind == "selects":
        assert counted(after) <= counted(before)
    elif step.kind == "orders":
        assert counted(after) == counted(before)


@each_example
@pytest.mark.parametrize("scope", ["stream", "mix"])
def test_no_rows_stay_no_rows(step: Operator, scope: Any) -> None:
    after = apply(step, empty(), scope)
    assert len(after) == 0 and {KEY, STREAM} <= set(after.column_names)


@dataclass(frozen=True)
class Values:
    """The values of a column."""

    values: list[float]

    def share(self, low: float = -math.inf, high: float = math.inf) -> float:
        inside = sum(low <= value <= high for value in self.values)
        return inside / len(self.values) if self.values else 0.0


@dataclass(frozen=True)
class Facts:
    """All there is to know of a table."""

    table: Rows

    rows = property(lambda self: len(self.table))
    distinct = property(lambda self: len({row["text"] for row in self.table}))
    labels = property(lambda self: dict(Counter(row["label"] for row in self.table)))
    rating = property(lambda self: Values([r["rating"] for r in self.table if r["rating"] is not None]))
    words = property(lambda self: Values([len(row["text"].split()) for row in self.table]))
    text_column = "text"


@each_example
@given(seed=st.integers(0, 1000))
@quick
def test_the_estimate_is_near_what_is_left(step: Operator, seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        {
            "id": number,
            "rating": chance.choice([-3.0, -1.5, -0.5, 0.5, 1.5, 3.0]),
            "text": " ".join(chance.choices(WORDS, k=chance.randint(1, 4))),
            "label": chance.choice(LABELS),
        }
        for number in range(300)
    ]
    rows = [complete(row) for row in rows]
    facts = Facts(rows)
    flow = Flow(300.0, facts.distinct, tuple(n / 300 for n in facts.labels.values()), facts)
    expected, found = step.estimate(flow).rows, len(apply(step, dataset(rows)))
    assert expected >= 0
    if step.kind in ("row-wise", "selects"):
        assert expected <= 300
    if step.kind == "orders":
        assert expected == found == 300
    filters_labels = (
        step.op == "filter" and getattr(step, "column", "") == "label"
    )  # nothing is known of labels
    if step.op == "pairs":  # nor of answers to one row
        return
    if not filters_labels and step.kind != "expands":  # nothing is known of lists
        assert abs(expected - found) <= 45


@each_operator
def test_relaxing_comes_to_an_end(kind: type[Operator]) -> None:
    if kind.relax_order is None:
        return
    for step in (step for step in EXAMPLES if type(step) is kind):
        relaxed = step.relaxed()
        if relaxed is not None and relaxed != step:
            again = relaxed.relaxed()
            assert again is None or again == relaxed


TOY = '''
from typing import ClassVar, Literal
from pydantic import Field
from trex.training.data.operators.protocol import Operator
from trex.training.data.row_table import arrow, as_dataset


class Repeat(Operator):
    """Repeat every row."""

    op: Literal["repeat"] = "repeat"
    times: int = Field(ge=1, description="How often each row appears")
    examples: ClassVar = ({"op": "repeat", "times": 2},)
    kind: ClassVar = "expands"
    relax_order: ClassVar = 9

    def run(self, rows, context):
        import pyarrow as pa

        table = arrow(rows)
        return as_dataset(pa.concat_tables([table] * self.times))

    def estimate(self, flow):
        from dataclasses import replace

        return replace(flow, rows=flow.rows * self.times)
'''
USE = '''
import sys
from pathlib import Path
from support.recipes import reviews, task_in
from trex.graph.executor.agent.recipe_differences import differences
from trex.graph.executor.recipe_repair import repair_recipe
from trex.tools.guide import recipe_guide
from trex.training.data.build import build, preview, recipe_fingerprint
from trex.training.data.recipe_file import recipe_from_yaml

task = task_in(Path(sys.argv[1]))(movies=reviews(20))
plain = """{streams: [{source: movies, steps: [{op: threshold, column: rating}%s]}]}"""
recipe = recipe_from_yaml(plain % ", {op: repeat, times: 3}")
print(preview(recipe, task).report.steps[2].rows)
built = build(recipe, task, Path(sys.argv[1]) / "out")
print(built.rows, recipe_from_yaml((built.folder / "recipe.yaml").read_text()) == recipe)
print([line for line in recipe_guide().splitlines() if line.startswith("repeat")])
print(differences(recipe_from_yaml(plain % ""), recipe))
print(repair_recipe(recipe).report)
print(recipe_fingerprint(recipe, task))
'''


def use_outside_package(package: Path, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    path = os.pathsep.join([str(package), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", USE, str(folder)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_package_outside_of_the_repository_adds_an_operator(tmp_path: Path) -> None:
    group = {"trex.operators": "repeat = toy_operator:Repeat"}
    package = write_package(tmp_path / "site", "toy_operator", TOY, group)
    rows, built, guide, difference, repaired, fingerprint = use_outside_package(package, tmp_path / "a")
    assert rows == "60"
    assert built == "60 True"
    assert guide == "['repeat(times): Repeat every row']"
    assert difference == """['added repeat {"times":3} (source \\'movies\\')']"""
    assert repaired.endswith("the repeat step of source 'movies': the step was removed")
    (package / "toy_operator.py").write_text(TOY + "\n# another version\n")
    assert use_outside_package(package, tmp_path / "b")[-1] != fingerprint


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("repeat = toy_operator:Nothing", "cannot be imported"),
        ("again = toy_operator:Repeat", "its field `op` has another name"),
        ("repeat = json:loads", "is no subclass of Operator"),
    ],
)
def test_an_operator_that_cannot_be_used_is_left_out_with_a_warning(
    tmp_path: Path, entry: str, fault: str
) -> None:
    package = write_package(tmp_path / "site", "toy_operator", TOY, {"trex.operators": entry})
    done = subprocess.run(
        [sys.executable, "-c", "from trex.training.data.operators import operators; print(*operators())"],
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == list(operators())
    assert fault in done.stderr and "recipes cannot use it" in done.stderr


def test_an_operator_of_another_package_passes_the_same_tests(tmp_path: Path) -> None:
    package = write_package(
        tmp_path / "site", "toy_operator", TOY, {"trex.operators": "repeat = toy_operator:Repeat"}
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "repeat and not warning",
            __file__,
        ],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "8 passed" in done.stdout, done.stdout
