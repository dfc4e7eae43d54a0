"""Generated recipes, valid and broken: rows whose counts add up, or one clear error."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.recipes import reviews, task_in
from trex.errors import PlanError
from trex.training.data.build import Preview, preview
from trex.training.data.operators import operators
from trex.training.data.recipe_file import recipe_from_yaml, recipe_to_yaml

EXAMPLES = [dict(example) for kind in operators().values() for example in kind.examples]
WRONG: list[Any] = [None, -1, "", "no such column", [], {}, "text +", 10**9, ["text", "text"]]


@st.composite
def steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = copy.deepcopy(draw(st.lists(st.sampled_from(EXAMPLES), max_size=4)))
    if made and draw(st.booleans()):  # one setting is wrong, misspelt or missing
        step = draw(st.sampled_from(made))
        name = draw(st.sampled_from(sorted(step)))
        match draw(st.integers(0, 2)):
            case 0:
                step[name] = draw(st.sampled_from(WRONG))
            case 1:
                step[f"{name}s"] = step.pop(name)
            case _:
                del step[name]
    return made


recipes = st.fixed_dictionaries(
    {
        "streams": st.lists(
            st.fixed_dictionaries(
                {"source": st.sampled_from(["movies", "shops", "nothing"]), "steps": steps()},
                optional={"weight": st.sampled_from([1, 2.5, 0]), "max_rows": st.sampled_from([1, 7])},
            ),
            max_size=2,
        ),
        "steps": steps(),
    },
    optional={"rows": st.sampled_from([0, 1, 30]), "temperature": st.sampled_from([1, 3, 0.5])},
)


def carried_out(text: str, task: Any) -> Preview | str:
    try:
        return preview(recipe_from_yaml(text), task)
    except PlanError as error:
        return str(error)


@given(fields=recipes)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_recipe_makes_rows_that_add_up_or_one_clear_error(tmp_path: Path, fields: dict[str, Any]) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [{**row, "label": "x", "parts": ["a", "b"], "messages": turns} for row in reviews(12)]
    task = task_in(tmp_path)(movies=rows, shops=[{"text": "a shop", "label": "y", "rating": 1.0}])
    text = yaml.safe_dump(fields)
    found = carried_out(text, task)
    if isinstance(found, str):
        assert found and "\n" not in found and len(found) < 600, found
        return
    assert len(found.rows) == len(found.lineage) == found.report.contents.rows
    for before, after in pairwise(found.report.steps):
        lost = before.rows - after.rows
        if after.op not in ("load", "mix", "explode", "convert"):
            assert sum(after.dropped.values()) == lost
    assert carried_out(recipe_to_yaml(recipe_from_yaml(text)), task) == found
