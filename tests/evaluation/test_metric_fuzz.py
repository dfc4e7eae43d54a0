"""Every registered metric on generated rows and answers: a value in its range, or one clear error.

`TREX_FUZZ_CALLS` sets the number of calls (150), `TREX_FUZZ_SEED` the seed.
"""

from __future__ import annotations

import copy
import json
import math
import os
import random
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from support.metric_cases import BENCHMARKS, INSTALLED, Case, case, made
from trex import score_predictions
from trex.errors import TrexError
from trex.evaluation.metrics import UPSTREAM, Metric, PooledMetric

CALLS = int(os.environ.get("TREX_FUZZ_CALLS", "150"))
SEED = int(os.environ.get("TREX_FUZZ_SEED", "0"))
BLOCKS = 5
UNBOUNDED = {
    *("lawbench/upstream", "lawbench:3-4/upstream", "lawbench:3-5/upstream", "gta:InstAcc/upstream"),
    "omebench/upstream",
}
"""Official figures that leave 0…1: terms far from the published one, steps that are counted above the line only, and
steps whose weights do not sum to 1."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 7, 2.5, 1e300, math.nan, math.inf, -math.inf, 10**30, 10**400, 10**5000),
    *("", " ", "\n", "\r\n", "None", "nan", "1e999", "-0", "9" * 5000, "9" * 400, "A", "B、C", "CCO", "{}"),
    *("\ud800", "\x00", "\u202e\u0301中文", "👩‍🔬" * 40, "ＡＢ１", "۳۴", "²", "十" * 300, "\u2028", "ſİ"),
    *("[" * 3000, '{"a":' * 2000, "C" * 20_000, "(" * 500, "A、" * 3000, "word " * 1500, "第" * 2000),
    *("</think>" * 50, "Action: OCR\nAction Input: 5", 'Action: OCR\nAction Input: {"image": 1e999}'),
    *(
        [],
        {},
        [[]],
        [None],
        [{}],
        {"a": []},
        [1, [2, [3, {"b": [4]}]]],
        {"": {"": [""]}},
        {"whitelist": "ab"},
    ),
    *([{"role": "assistant", "content": None}], {"whitelist": [[1]], "blacklist": [None]}),
)
PIECES = (
    *(
        "答案",
        "是",
        "C",
        "不",
        "、",
        "A",
        "B",
        "第",
        "二百",
        "条",
        "12",
        "个月",
        "年",
        "元",
        "{",
        "}",
        "[",
        "]",
    ),
    *('"', "'", ":", ",", ".", "=>", "->", "CC", "O", "(", ")", "=", "#", "\n", "$", "*", "`", "|", "1.5e9"),
)
MISPLACED = ("subtask", "Format", "Tag", "Domain", "step", "query", "teacher_output", "refr")


@cache
def known(name: str) -> Case:
    return case(name)


def odd(chance: random.Random) -> Any:
    """A value that no row or answer should have."""
    if chance.random() < 0.2:
        return "".join(chance.choices(PIECES, k=chance.randint(1, 40)))
    if chance.random() < 0.1:
        return {chance.choice(("name", "a", "subtype")): odd(chance), "x": [odd(chance)]}
    return copy.deepcopy(chance.choice(ODD))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place within nested containers, as a container and a key."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


def damaged(item: Mapping[str, Any], chance: random.Random) -> dict[str, Any]:
    """An item with up to three places replaced or removed; its id stays."""
    row = copy.deepcopy(dict(item))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        at = chance.random()
        if at < 0.1:
            row[chance.choice(MISPLACED)] = odd(chance)
            continue
        # Columns as often as what is nested in them.
        choices = [(row, key) for key in row] if at < 0.55 else places(row)
        container, key = chance.choice([*choices, (row, "extra")])
        if at % 0.1 < 0.02 and key != "extra":
            del container[key]
        else:
            container[key] = odd(chance)
    return row


def answer(gold: str, chance: random.Random) -> str:
    """An answer: the right one, one with changes, or something else."""
    kind = chance.random()
    if kind < 0.25:
        return gold
    if kind < 0.5:
        for _ in range(chance.randint(1, 3)):
            at = chance.randint(0, len(gold))
            gold = gold[:at] + chance.choice(PIECES) + gold[at + chance.randint(0, 3) :]
        return gold
    found = odd(chance)
    if isinstance(found, str):
        return found
    try:
        return json.dumps(found)
    except ValueError:
        return "∞"


def drawn(name: str, chance: random.Random) -> Case:
    items, gold = known(name)
    picks = chance.choices(range(len(items)), k=chance.choice((1, 1, 2, 3)))
    rows = [{**damaged(items[pick], chance), "id": f"row-{n}-{pick}"} for n, pick in enumerate(picks)]
    return rows, [answer(gold[pick], chance) for pick in picks]


def checked_values(name: str, scorer: Metric, rows: list[dict[str, Any]], answers: list[str]) -> None:
    low, high = (-math.inf, math.inf) if name in UNBOUNDED else (0.0, 1.0 + 1e-9)
    values = scorer.score_items(rows, answers)
    assert len(values) == len(rows)
    assert all(math.isfinite(value) and low <= value <= high for value in values), values
    if isinstance(scorer, PooledMetric):
        counts = np.asarray(scorer.counts(rows, answers), dtype=float)
        pooled = float(scorer.pooled(counts.sum(axis=0)))
        assert np.isfinite(counts).all() and math.isfinite(pooled) and low <= pooled <= high, pooled
    else:
        assert low <= scorer.aggregate(values) <= high
    figures = scorer.secondary(rows, answers)
    assert all(isinstance(key, str) and math.isfinite(float(figure)) for key, figure in figures.items()), (
        figures
    )


def checked_error(error: TrexError, rows: list[dict[str, Any]]) -> None:
    text = str(error)
    assert any(row["id"] in text for row in rows), f"names no item: {text[:300]!r}"
    assert "\n" not in text and text.isprintable() and len(text) < 500, text[:600]


@pytest.mark.parametrize("block", range(BLOCKS))
def test_any_row_and_any_answer_give_a_value_in_range_or_one_error_that_names_the_item(block: int) -> None:
    chance = random.Random(SEED * BLOCKS + block)
    scored = 0
    for _ in range(CALLS // BLOCKS):
        name = chance.choice(INSTALLED)
        rows, answers = drawn(name, chance)
        try:
            checked_values(name, made(name), rows, answers)
            scored += 1
        except TrexError as error:
            checked_error(error, rows)
    assert scored > CALLS // BLOCKS // 4


@pytest.mark.parametrize(
    ("name", "item", "text", "value"),
    [
        ("molecules", {"kind": "atoms", "target": '{"carbon": 20000}'}, "C" * 20_000, 0.0),
        ("tomg:AtomNum/upstream", {"carbon": 20_000}, '{"molecule": "' + "C" * 20_000 + '"}', 0.0),
        ("lawbench:3-1/upstream", {"question": "q", "answer": "罪名:刑法第12条"}, "9" * 9000 + "条", 0.0),
    ],
)
def test_answers_that_a_library_does_not_survive(
    name: str, item: dict[str, Any], text: str, value: float
) -> None:
    """RDKit ends the process that writes a chain of 20 000 atoms, and cn2an takes minutes for a long number."""
    items, _ = known(name)
    assert made(name).score_items([{**items[0], **item}], [text]) == [value]


@pytest.mark.parametrize("block", range(2))
def test_predictions_of_any_kind_are_scored_or_refused_by_line(block: int) -> None:
    chance = random.Random(SEED * 2 + block)
    for _ in range(CALLS // 20):
        name = chance.choice(sorted(BENCHMARKS))
        upstream = chance.random() < 0.5
        rows, answers = drawn(name + UPSTREAM * upstream, chance)
        lines = [
            {"id": row.pop("id"), "row": row, "prediction": text if chance.random() < 0.6 else odd(chance)}
            for row, text in zip(rows, answers, strict=True)
        ]
        try:
            found = score_predictions(BENCHMARKS[name], lines, upstream=upstream)
            assert math.isfinite(found.score.value) and len(found.rows) == len(lines)
        except TrexError as error:
            checked_error(error, lines)
