"""`data` of a task file: cut by group into train pool, dev and test."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.own_task import fields, tickets, write_csv, write_parquet
from trex.errors import InputError
from trex.evaluation.data_cut import SHARES
from trex.evaluation.data_files import file_name, read_lines
from trex.evaluation.decontamination.normal_form import key
from trex.evaluation.decontamination.prompt_repeats import prompt_repeats
from trex.evaluation.group_split import cut_by_group
from trex.evaluation.splits import dev_items
from trex.evaluation.task import Task
from trex.evaluation.task_file import load_task
from trex.evaluation.usable_rows import RowCounts, usable
from trex.files import read_jsonl, write_jsonl, write_yaml

Rows = list[dict[str, Any]]
PARTS = ("train", *SHARES)


@pytest.fixture(autouse=True)
def home(fresh_home: Path) -> None:
    """Parts are written to TREX_HOME."""


def load(folder: Path, rows: Rows, **changes: Any) -> Task:
    write_jsonl(folder / "all.jsonl", rows)
    path = folder / "tickets.yaml"
    write_yaml(path, fields(**{"sources": None, "dev": None, "test": None, "data": "all.jsonl"} | changes))
    return load_task(path)


def parts_of(task: Task) -> dict[str, Rows]:
    files = {"train": Path(task.sources[-1].path), "dev": task.dev, "test": task.test}
    return {name: list(read_jsonl(path)) for name, path in files.items()}


def questions(rows: Rows) -> set[str]:
    return {key(str(row["text"])) for row in rows}


def apart(parts: dict[str, set[Any]]) -> bool:
    return sum(map(len, parts.values())) == len(set.union(*parts.values()))


def unique_ids(row: dict[str, Any], number: int) -> dict[str, Any]:
    return {"ticket": number, "opened": f"2024-03-{number % 28 + 1:02}", **row}


def capitals(row: dict[str, Any], number: int) -> dict[str, Any]:
    return {**row, "text": str(row["text"]).upper() + "!" * (number % 3)}


def spaces(row: dict[str, Any], number: int) -> dict[str, Any]:
    return {**row, "text": f"  {str(row['text']).replace(' ', '  ')} ", "number": number}


def another_team(row: dict[str, Any], number: int) -> dict[str, Any]:
    return {**row, "team": ["billing", "network", "accounts"][number % 3]}


@pytest.mark.parametrize("copy", [unique_ids, capitals, spaces, another_team])
def test_rows_with_the_same_question_stand_in_one_part(tmp_path: Path, copy: Any) -> None:
    distinct = tickets(200)
    repeated = [copy(distinct[number % 50], number) for number in range(120)]
    parts = parts_of(load(tmp_path, [*distinct, *repeated]))
    assert apart({name: questions(rows) for name, rows in parts.items()})
    assert all(parts.values())
    assert 0.55 < len(parts["train"]) / sum(map(len, parts.values())) < 0.85


@pytest.mark.parametrize("customers", [3, 12, 90])
def test_groups_named_by_a_column_stand_in_one_part(tmp_path: Path, customers: int) -> None:
    rows = [row | {"customer": n * n % customers if n % 7 else None} for n, row in enumerate(tickets(300))]
    parts = parts_of(load(tmp_path, rows, group_by="customer"))
    owners = {name: {row["customer"] for row in part} - {None} for name, part in parts.items()}
    assert apart(owners) and apart({name: questions(part) for name, part in parts.items()})
    assert all(parts.values())


@pytest.mark.parametrize(
    "counts",
    [
        {"billing": 200, "network": 200, "accounts": 200},
        {"billing": 400, "network": 100, "accounts": 20},
        {"billing": 300, "network": 300, "accounts": 3},
        {"billing": 60, "network": 1, "accounts": 2},
    ],
)
def test_each_part_has_the_shares_of_the_classes_and_rare_classes_are_trained_on(
    tmp_path: Path, counts: dict[str, int]
) -> None:
    rows = [
        {"text": f"{team} question {n}", "team": team} for team, count in counts.items() for n in range(count)
    ]
    parts = parts_of(load(tmp_path, rows))
    found = {name: Counter(row["team"] for row in part) for name, part in parts.items()}
    for team, count in counts.items():
        for name, share in SHARES.items():
            assert abs(found[name][team] - share * count) <= 0.5, (team, name)
        assert found["train"][team] >= min(count, 3)


@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=3, max_size=60),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_the_order_of_rows_does_not_matter(rows: list[tuple[int, str]], seed: int) -> None:
    def cut(order: list[tuple[int, str]]) -> dict[tuple[int, str], str]:
        places = cut_by_group([{f"{q}"} for q, _ in order], [a for _, a in order], SHARES, "train")
        return dict(zip(order, places, strict=True))

    places, distinct = cut(rows), len({question for question, _ in rows})
    assert cut(random.Random(seed).sample(rows, len(rows))) == places
    assert apart({n: {q for (q, _), place in places.items() if place == n} for n in PARTS})
    assert set(places.values()) == set(PARTS) or distinct < 3


def test_rows_joined_by_two_keys_are_one_group() -> None:
    keys = [{"q1", "ann"}, {"q2", "ann"}, {"q2", "bob"}, {"q3", "bob"}, {"q4"}, {"q5"}, {"q6"}]
    places = cut_by_group(keys, ["x"] * 7, SHARES, "train")
    assert len(set(places[:4])) == 1 and Counter(places[4:]).keys() >= set(SHARES)


def test_more_rows_move_few(tmp_path: Path) -> None:
    rows = tickets(440)
    before, after = parts_of(load(tmp_path, rows[:400])), parts_of(load(tmp_path, rows))
    kept = {name: len(questions(before[name]) & questions(after[name])) for name in SHARES}
    assert all(kept[name] >= 0.6 * len(before[name]) for name in SHARES)


@pytest.mark.parametrize("names", [("test",), ("dev",), ("dev", "test")])
def test_own_splits_beside_data_are_used(tmp_path: Path, names: tuple[str, ...]) -> None:
    rows = tickets(300)
    copies = [capitals(row, n) for n, row in enumerate(rows[:10])]
    for name in names:
        own = [row | {"from": name} for row in tickets(60, 9000 if name == "test" else 12_000)]
        write_jsonl(tmp_path / f"own_{name}.jsonl", [*own, *copies] if name == "test" else own)
    task = load(tmp_path, rows, **{name: f"own_{name}.jsonl" for name in names})
    for name in names:
        assert getattr(task, name) == tmp_path / f"own_{name}.jsonl"
    parts = {name: rows for name, rows in parts_of(task).items() if name not in names}
    assert apart({name: questions(part) for name, part in parts.items()})
    assert sum(map(len, parts.values())) == 300
    assert "test" not in names or questions(copies) <= questions(parts["train"])
    if len(names) == 2:
        assert task.sources[-1].path == str(tmp_path / "all.jsonl")


@pytest.mark.parametrize("names", [["more"], ["train"], ["train", "data"]])
def test_own_sources_beside_data_are_used(tmp_path: Path, names: list[str]) -> None:
    write_jsonl(tmp_path / "more.jsonl", tickets(30, 12_000))
    task = load(tmp_path, tickets(300), sources=[{"name": name, "path": "more.jsonl"} for name in names])
    assert [source.name for source in task.sources[:-1]] == names
    assert task.sources[-1].name not in names and len(parts_of(task)["train"]) > 200


@pytest.mark.parametrize(
    ("rows", "changes", "says"),
    [
        (tickets(2), {}, "2 rows are too few to cut into train, dev, test"),
        ([tickets(1)[0] | {"number": n} for n in range(90)], {}, "90 rows are too few"),
        ([row | {"customer": 1} for row in tickets(90)], {"group_by": "customer"}, "groups by 'customer'"),
        (tickets(90), {"group_by": "client"}, "no row has a value in the column 'client'"),
        ([{"question": "a", "team": "billing"}] * 9, {}, "no question: text empty; .* the columns question, team"),
        (tickets(90), {"data": None, "group_by": "team", "sources": [{"name": "a", "path": "all.jsonl"}],
                       "dev": "all.jsonl", "test": "all.jsonl"}, "group_by says how"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused_in_one_line(
    tmp_path: Path, rows: Rows, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load(tmp_path, rows, **changes)
    assert "\n" not in str(caught.value)


def test_rows_that_cannot_be_used_stay_in_the_train_pool(tmp_path: Path) -> None:
    odd: Rows = [
        {"text": "what now", "team": None, "customer": 1},
        {"text": None, "team": "billing", "customer": 2},
        {"text": "x", "team": " ", "customer": 3},
        {"text": "y", "team": "biling", "customer": 4},
    ]
    rows = [row | {"customer": n % 10} for n, row in enumerate(tickets(90))]
    parts = parts_of(load(tmp_path, [*rows, *odd], group_by="customer"))
    assert all(row in parts["train"] for row in odd)
    held_out = {row["customer"] for name in SHARES for row in parts[name]}
    assert held_out & {1, 2, 3, 4}, "one odd row does not keep its group in the train pool"


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_other_formats_are_cut_and_lines_that_cannot_be_read_are_counted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    rows = [{"id": f"00{n}"} | row for n, row in enumerate(tickets(90))]
    if suffix == "csv":
        write_csv(path, rows)
    elif suffix == "parquet":
        write_parquet(path, rows)
    else:
        path.write_text("\n".join([*map(json.dumps, rows), '{"text": ']))
    task = load(tmp_path, rows, data=path.name)
    found = [row for part in parts_of(task).values() for row in part]
    assert sorted(found, key=lambda row: str(row["id"])) == sorted(rows, key=lambda row: str(row["id"]))
    left_out = "1 unreadable (e.g. rows.jsonl:91" in task.sources[-1].description
    assert left_out == (suffix == "jsonl")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_messages_name_the_line_of_the_users_file(tmp_path: Path, kind: str) -> None:
    """Wherever a row was cut to: a row that is left out, an item in the prompt, a column that no row has."""
    rows = [*tickets(120)]
    rows[77] = rows[77] | {"team": "no such team"}
    data = tmp_path / f"all.{kind}"
    if kind == "jsonl":
        write_jsonl(data, rows)
    else:
        with data.open("w", newline="") as file:
            writer = csv.DictWriter(
                file, rows[0], delimiter="," if kind == "csv" else "\t", lineterminator="\n"
            )
            writer.writeheader()
            writer.writerows(rows)
    written = data.read_text().splitlines()
    stated = {"sources": None, "dev": None, "test": None, "data": data.name}
    write_yaml(tmp_path / "task.yaml", fields(**stated))
    task = load_task(tmp_path / "task.yaml")
    counts = RowCounts("train", task.sources[0].path)
    list(usable(read_lines(Path(task.sources[0].path)), task, counts))
    [left_out] = counts.dropped
    place = 78 if kind == "jsonl" else 79
    assert left_out.examples[0].startswith(f"all.{kind}:{place}: ") and "no such team" in written[place - 1]
    for path in (task.dev, task.test):
        item = next(iter(read_jsonl(path)))
        shown = task.prompt.model_copy(update={"user": f"{item['text']} {item['team']}\n{{text}}"})
        [found] = prompt_repeats(task.model_copy(update={"prompt": shown}))
        number = int(found.partition(f"all.{kind}:")[2].partition(":")[0])
        assert str(item["text"]) in written[number - 1]
    asked = task.prompt.model_copy(update={"user": "{absent} {text}"})
    with pytest.raises(InputError, match=rf"all\.{kind} \(its part dev\): no column 'absent'"):
        dev_items(task.model_copy(update={"prompt": asked}))


def test_parts_of_a_file_that_moved_name_its_new_place(tmp_path: Path) -> None:
    task = load(tmp_path, tickets(60))
    (tmp_path / "moved").mkdir()
    moved = load(tmp_path / "moved", tickets(60))
    assert moved.dev == task.dev and file_name(task.dev).startswith(str(tmp_path / "moved" / "all.jsonl"))
    assert file_name(tmp_path / "all.jsonl") == str(tmp_path / "all.jsonl")
    task.dev.with_name("dev.jsonl.origin.json").write_text('{"file": 3')
    assert file_name(task.dev) == str(task.dev)
