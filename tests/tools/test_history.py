"""The history tool: what SQL shows of runs, and everything that it must not reach."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from langchain_core.tools import BaseTool
from support.runs import SyntheticRun, make_run, write_predictions
from trex.errors import InputError, TrexError
from trex.files import read_jsonl, write_json
from trex.graph.store.projection import Projector
from trex.graph.store.tables import HISTORY_TABLES, TABLES
from trex.graph.tree.tree import Tree
from trex.tools import history_query
from trex.tools.history_query import Query, answer, shown_tables
from trex.tools.history_tool import history_tool

SECRET = "sk-not-for-a-child"


def stored(folder: Path, seed: int, items: int = 5) -> SyntheticRun:
    """A finished run with its store and its task in a folder."""
    run = make_run(folder, rounds=6, trials=3, seed=seed)
    write_predictions(run, folder / "predictions", items=items)
    Projector(folder / "experiments.duckdb", folder, every_s=0).project(
        Tree(run.experiments), run.spend, run.finish, last=True
    )
    write_json(folder / "task.json", run.task.model_dump(mode="json"))
    return run


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("mine", "older"), start=4):
        (folder / name).mkdir()
        stored(folder / name, seed)
    yield folder


@pytest.fixture(scope="module")
def tool(folders: Path) -> BaseTool:
    return history_tool(
        folders / "mine" / "experiments.duckdb", HISTORY_TABLES, [folders / "older"], search_ids(folders)[:3]
    )


def search_ids(folders: Path) -> list[str]:
    path = next((folders / "mine" / "predictions").glob("*.jsonl"))
    return sorted(row["id"] for row in read_jsonl(path))


def ask(tool: BaseTool, sql: str, most: int = 40) -> list[list[str]]:
    """The rows of an answer, without its fences, its columns and its count."""
    lines = str(tool.invoke({"sql": sql, "most": most})).splitlines()[2:-1]
    return [line.split(" | ") for line in lines if not line.startswith("(")]


def test_what_was_tried_is_answered_in_numbers(tool: BaseTool, folders: Path) -> None:
    run = make_run(folders / "mine", rounds=6, trials=3, seed=4)
    done = [e for e in run.experiments if e.status == "done" and e.plan is not None]
    assert ask(tool, "SELECT count(*) FROM experiments") == [["7"]]
    best = max(done, key=lambda e: e.reward)
    rows = ask(
        tool,
        "SELECT id, score, plan->>'$.strategy' FROM experiments WHERE plan IS NOT NULL ORDER BY reward DESC",
    )
    assert best.score is not None
    assert rows[0] == [best.id, f"{best.score.value:.6g}", best.strategy]
    rates = ask(
        tool, "SELECT DISTINCT (plan->>'$.stages[0].learning_rate')::DOUBLE AS r FROM trials ORDER BY r"
    )
    assert [float(row[0]) for row in rates] == [0.0004, 0.0008, 0.0016]
    assert ask(tool, "SELECT sum(seconds) > 0 FROM spend WHERE kind = 'training'") == [["True"]]


def test_columns_are_named_and_a_cut_is_said(tool: BaseTool) -> None:
    text = str(tool.invoke({"sql": "SELECT id, round FROM experiments ORDER BY round", "most": 2}))
    assert "id | round\ne0000 | 0\ne0001 | 1\n(the first 2 rows; there are more" in text
    assert "(7 rows)" in str(tool.invoke({"sql": "FROM experiments SELECT id;"}))
    wide = str(tool.invoke({"sql": "SELECT plan, plan AS b FROM trials, range(50)", "most": 200}))
    assert len(wide) < 9000
    assert "there are more" in wide
    assert all(len(line) < 700 for line in wide.splitlines())


def test_earlier_runs_are_seen_with_their_origin(tool: BaseTool) -> None:
    assert ask(tool, "SELECT DISTINCT run, task, metric FROM past_experiments") == [
        ["older", "sentiment", "accuracy"]
    ]
    joined = "SELECT count(*) FROM past_trials t JOIN past_experiments e ON t.run = e.run AND t.experiment_id = e.id"
    assert ask(tool, joined) == [["18"]]


def test_only_search_is_visible(tool: BaseTool, folders: Path) -> None:
    with duckdb.connect(str(folders / "mine" / "experiments.duckdb"), read_only=True) as connection:
        splits = dict(connection.execute("SELECT split, count(*) FROM metrics GROUP BY split").fetchall())
    assert splits["confirm"] > 0
    assert ask(tool, "SELECT count(*) FROM metrics") == [[str(splits["search"])]]
    with pytest.raises(InputError, match="split"):
        tool.invoke({"sql": "SELECT split FROM metrics"})
    rows = ask(tool, "SELECT DISTINCT item_id FROM predictions ORDER BY item_id")
    assert [row[0] for row in rows] == search_ids(folders)[:3]
    bare = history_tool(folders / "mine" / "experiments.duckdb", HISTORY_TABLES)
    assert ask(bare, "SELECT count(*) FROM predictions") == [["0"]]


def test_tables_are_those_of_the_store_and_nothing_else(tool: BaseTool) -> None:
    shown = shown_tables(HISTORY_TABLES)
    for name, columns in HISTORY_TABLES.items():
        stored_columns, _ = TABLES[name]
        assert columns.items() <= stored_columns.items()
        assert f"{name}({', '.join(columns)})" in tool.description
    assert {row[0] for row in ask(tool, "SHOW TABLES")} == set(shown)
    assert ask(tool, "SELECT DISTINCT database_name FROM duckdb_tables()") == [["memory"]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_json('{folder}/older/task.json')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM '{folder}/mine/task.json'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT getenv('HOME')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM query('SELECT * FROM read_csv(''/etc/passwd'')')",
        "SELECT * FROM source.metrics",
        "COPY experiments TO '{folder}/stolen.csv'",
        "COPY (SELECT 1) TO '{folder}/stolen.csv'",
        "EXPORT DATABASE '{folder}/stolen'",
        "ATTACH '{folder}/older/experiments.duckdb' AS other",
        "DETACH memory",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "PRAGMA enable_external_access=true",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "CALL pragma_version()",
        "CREATE TABLE t AS SELECT 1",
        "DROP TABLE experiments",
        "DELETE FROM experiments",
        "UPDATE experiments SET score = 1",
        "INSERT INTO experiments (id) VALUES ('x')",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE experiments",
        "SELECT 1; ATTACH '{folder}/older/experiments.duckdb'",
        "",
        ";",
        "-- nothing",
        "SELEC 1",
        "SELECT no_such_column FROM experiments",
        "EXPLAIN ANALYZE SELECT 1",
    ],
)
def test_what_is_not_a_question_is_refused_in_one_line(folders: Path, sql: str) -> None:
    store = str(folders / "mine" / "experiments.duckdb")
    found = answer(
        Query(sql=sql.replace("{folder}", str(folders)), most=10, store=store, tables=HISTORY_TABLES)
    )
    assert found.error
    assert found.rows == []
    assert "\n" not in found.error
    assert len(found.error) < 600
    assert "root:" not in found.error
    assert not list(folders.glob("stolen*"))


def test_a_refusal_reaches_the_model_as_an_error(tool: BaseTool) -> None:
    with pytest.raises(
        InputError, match="query_history: one SELECT statement is allowed, found SELECT, DROP"
    ):
        tool.invoke({"sql": "SELECT 1; DROP TABLE experiments"})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000) c WHERE a.range + b.range < 0",
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t",
    ],
)
def test_an_endless_query_ends(monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setattr(history_query, "SECONDS", 0.3)
    start = time.monotonic()
    assert "took longer than" in (
        answer(Query(sql=sql, most=10, store=None, tables=HISTORY_TABLES)).error or ""
    )
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT len(range(5000000000))",
        "SELECT len(repeat('x', 4000000000))",
        "SELECT list(range) FROM range(500000000)",
    ],
)
def test_a_greedy_query_ends(tool: BaseTool, sql: str) -> None:
    with pytest.raises(TrexError) as caught:
        tool.invoke({"sql": sql})
    assert len(str(caught.value)) < 400
    assert ask(tool, "SELECT 1") == [["1"]]


def test_the_store_is_left_as_it_was_and_free(tool: BaseTool, folders: Path) -> None:
    path = folders / "mine" / "experiments.duckdb"
    before = path.read_bytes()
    ask(tool, "WITH gone AS (SELECT 1) SELECT * FROM gone")
    assert path.read_bytes() == before
    duckdb.connect(str(path)).close()  # nobody holds it


def test_a_store_that_is_being_written_is_waited_for_then_said(folders: Path) -> None:
    path = folders / "mine" / "experiments.duckdb"
    tool = history_tool(path, HISTORY_TABLES)
    writer = duckdb.connect(str(path))
    try:
        with pytest.raises(TrexError, match="lock"):
            tool.invoke({"sql": "SELECT 1"})
    finally:
        writer.close()
    assert ask(tool, "SELECT count(*) FROM experiments") == [["7"]]


def test_missing_and_damaged_stores(tmp_path: Path, folders: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "experiments.duckdb").write_bytes(b"no database" * 500)
    others = [tmp_path / "broken", tmp_path / "no" / "where", folders / "older"]
    tool = history_tool(tmp_path / "none" / "experiments.duckdb", HISTORY_TABLES, others)
    text = str(
        tool.invoke(
            {"sql": "SELECT count(*) FROM experiments UNION ALL SELECT count(*) FROM past_experiments"}
        )
    )
    assert "\n0\n7\n" in text
    assert "(left out: run broken: " in text
    assert "(left out: run " in text.split("run broken", 1)[1]


def test_the_run_itself_is_not_among_the_past(folders: Path) -> None:
    mine = folders / "mine" / "experiments.duckdb"
    tool = history_tool(mine, HISTORY_TABLES, [folders / "mine", folders / "older"])
    assert ask(tool, "SELECT DISTINCT run FROM past_experiments") == [["older"]]


def test_the_process_gets_none_of_our_secrets(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("PYTHONPATH", str(folders))
    given: list[object] = []
    real = subprocess.run

    def spy(*args: object, **options: object) -> object:
        given.append(options["env"])
        return real(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", spy)
    ask(history_tool(folders / "mine" / "experiments.duckdb", HISTORY_TABLES), "SELECT 1")
    (environment,) = given
    assert isinstance(environment, dict)
    assert environment["PYTHONPATH"] == str(folders)
    assert set(environment) <= {"PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}
    assert SECRET not in repr(environment)


def test_values_of_every_kind_come_as_text(tool: BaseTool) -> None:
    sql = (
        "SELECT NULL, 1.5::DECIMAL(4,2), 'nan'::DOUBLE, 'inf'::DOUBLE, DATE '2026-01-02', [1, 2], {'a': 1}, "
        "TRUE, 'two\nlines', INTERVAL 3 DAY, 'x'::BLOB, repeat('y', 5000)"
    )
    (row,) = ask(tool, sql)
    assert row[:4] == ["NULL", "1.5", "nan", "inf"]
    assert row[-1].endswith("…")
    assert len(row[-1]) == 300


def test_wrong_arguments_are_an_error_in_one_line(tool: BaseTool) -> None:
    assert str(tool.invoke({"sql": "SELECT 1", "most": 0})).startswith("error: most: ")
    assert "\n" not in str(tool.invoke({"statement": "SELECT 1"}))


def test_a_store_of_another_version_shows_the_columns_that_it_has(folders: Path, tmp_path: Path) -> None:
    older = tmp_path / "experiments.duckdb"
    with duckdb.connect(str(older)) as connection:
        connection.execute("CREATE TABLE experiments (id VARCHAR, score DOUBLE)")
        connection.execute("CREATE TABLE trials (id VARCHAR)")
        connection.execute("INSERT INTO experiments VALUES ('e001', 0.5)")
    tool = history_tool(folders / "mine" / "experiments.duckdb", HISTORY_TABLES, [older])
    assert ask(tool, "SELECT id, score, reward FROM past_experiments") == [["e001", "0.5", "NULL"]]
