"""The experiment store: idempotent, rebuildable, without test rows, and out of the way of its readers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from support.calls import make_call, make_calls
from support.runs import SyntheticRun, make_run, write_predictions
from trex.errors import InputError, IntegrityError, TrexError
from trex.graph.llm.protocol import CallRecord
from trex.graph.store.projection import Projector, connect_readonly
from trex.graph.tree.tree import Tree

TABLES = ("experiments", "trials", "metrics", "predictions", "spend", "calls")


@pytest.fixture
def run(tmp_path: Path) -> SyntheticRun:
    run = make_run(tmp_path, rounds=9, trials=3, seed=4)
    write_predictions(run, tmp_path / "predictions", items=7)
    return run


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = connect_readonly(path)
    try:
        return {t: sorted(connection.execute(f"FROM {t}").fetchall(), key=repr) for t in TABLES}
    finally:
        connection.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[CallRecord]:
    """What the record of calls holds; a test fills it."""
    record: list[CallRecord] = []
    monkeypatch.setattr("trex.graph.store.projection.read_run_calls", lambda path: list(record))
    return record


def test_projecting_twice_changes_nothing(run: SyntheticRun, tmp_path: Path) -> None:
    path, tree = tmp_path / "experiments.duckdb", Tree(run.experiments)
    assert Projector(path, tmp_path, every_s=0).project(tree, run.spend, run.finish)
    once = contents(path)
    assert Projector(path, tmp_path, every_s=0).project(tree, run.spend, run.finish)
    assert contents(path) == once
    assert len(once["experiments"]) == 10
    assert len(once["trials"]) == 27
    evaluated = [t for e in run.experiments for t in e.trials if t.evaluation]
    assert len(once["predictions"]) == 7 * (1 + len(evaluated))


def test_growing_with_the_run_equals_a_rebuild(run: SyntheticRun, tmp_path: Path) -> None:
    path = tmp_path / "experiments.duckdb"
    projector = Projector(path, tmp_path, every_s=0)
    for rounds in range(2, len(run.experiments) + 1, 2):
        last = run.experiments[rounds - 1]
        running = last.model_copy(update={"status": "running", "score": None, "reward": 0.0})
        projector.project(Tree([*run.experiments[: rounds - 1], running]))
        projector.project(Tree(run.experiments[:rounds]), run.spend)
    projector.project(Tree(run.experiments), run.spend, run.finish)
    grown = contents(path)
    projector.rebuild(Tree(run.experiments), run.spend, run.finish)
    assert contents(path) == grown
    root_visits = next(row[7] for row in grown["experiments"] if row[1] is None)
    assert root_visits == len(run.experiments)


def test_a_deleted_or_damaged_file_is_written_again(run: SyntheticRun, tmp_path: Path) -> None:
    path, tree = tmp_path / "experiments.duckdb", Tree(run.experiments)
    projector = Projector(path, tmp_path, every_s=0)
    projector.project(tree, run.spend)
    whole = contents(path)
    path.unlink()
    projector.project(tree, run.spend)
    assert contents(path) == whole
    path.write_bytes(b"not a database" * 1000)
    Projector(path, tmp_path, every_s=0).project(tree, run.spend)
    assert contents(path) == whole


def test_one_trial_in_two_experiments_keeps_both_rows(run: SyntheticRun, tmp_path: Path) -> None:
    first = run.experiments[1]
    twin = first.model_copy(update={"id": "twin", "round": 99})
    path = tmp_path / "experiments.duckdb"
    Projector(path, tmp_path, every_s=0).project(Tree([*run.experiments, twin]))
    connection = connect_readonly(path)
    rows = connection.execute(
        "SELECT count(*), count(DISTINCT experiment_id) FROM trials WHERE id = ?", [first.best_trial]
    ).fetchone()
    connection.close()
    assert rows == (2, 2)


def test_the_larger_evaluation_of_a_shared_trial_stays(run: SyntheticRun, tmp_path: Path) -> None:
    whole = run.experiments[1]
    trial = whole.trials[0]
    assert trial.evaluation is not None
    small = trial.evaluation.model_copy(
        update={"id": "small", "score": trial.evaluation.score.model_copy(update={"n": 10, "value": 0.1})}
    )
    part = whole.model_copy(
        update={"id": "part", "round": 50, "trials": [trial.model_copy(update={"evaluation": small})]}
    )
    path = tmp_path / "experiments.duckdb"
    projector = Projector(path, tmp_path, every_s=0)
    projector.project(Tree(run.experiments))
    projector.project(Tree([*run.experiments, part]))
    connection = connect_readonly(path)
    [n] = connection.execute(
        "SELECT n FROM metrics WHERE trial_id = ? AND name = 'accuracy'", [trial.id]
    ).fetchone() or [0]
    connection.close()
    assert n == trial.evaluation.score.n


def test_spend_sums_to_the_run(run: SyntheticRun, tmp_path: Path) -> None:
    path = tmp_path / "experiments.duckdb"
    Projector(path, tmp_path, every_s=0).project(Tree(run.experiments), run.spend)
    connection = connect_readonly(path)
    sums = dict(connection.execute("SELECT kind, sum(seconds) FROM spend GROUP BY kind").fetchall())
    connection.close()
    assert sums == pytest.approx({kind: seconds for kind, seconds in run.spend.by_kind.items() if seconds})
    assert set(run.spend.by_kind) - set(sums) == {"model"}


def test_calls_are_counted_to_the_token_for_each_experiment(
    run: SyntheticRun, tmp_path: Path, calls: list[CallRecord]
) -> None:
    path = tmp_path / "experiments.duckdb"
    calls += make_calls(run.experiments)
    Projector(path, tmp_path, every_s=0).project(Tree(run.experiments), run.spend)
    connection = connect_readonly(path)
    whole = connection.execute("SELECT count(*), sum(tokens_in), sum(tokens_out) FROM calls").fetchone()
    booked = connection.execute("SELECT sum(tokens_in), sum(tokens_out), sum(cost_usd) FROM spend").fetchone()
    by_node = connection.execute(
        "SELECT experiment_id, sum(tokens_in) FROM calls GROUP BY ALL EXCEPT "
        "SELECT experiment_id, tokens_in FROM spend WHERE kind = 'model'"
    ).fetchall()
    rounds = connection.execute("SELECT DISTINCT purpose, round FROM calls WHERE round <= 1").fetchall()
    connection.close()
    assert whole == (len(calls), sum(c.tokens_in for c in calls), sum(c.tokens_out for c in calls))
    assert booked is not None and booked[:2] == whole[1:]
    assert booked[2] == pytest.approx(sum(c.cost_usd for c in calls))
    assert by_node == []
    assert sorted(rounds) == [
        ("diagnose e0001", 1),
        ("plan e0001", 1),
        ("prepare e0001", 1),
        ("research", 0),
    ]


def test_a_call_that_is_settled_later_replaces_its_reservation(
    run: SyntheticRun, tmp_path: Path, calls: list[CallRecord]
) -> None:
    path, tree = tmp_path / "experiments.duckdb", Tree(run.experiments)
    projector = Projector(path, tmp_path, every_s=0)
    calls += [make_call(1, "research"), make_call(2, "plan e0001", status="unknown", tokens=(5000, 4096))]
    projector.project(tree, run.spend)
    calls[1] = make_call(2, "plan e0001", text="now", tokens=(812, 77))
    calls.append(make_call(3, "plan e0001", text="lone \ud800 surrogate, \x00 and \u202e", tokens=(1, 1)))
    projector.project(tree, run.spend)
    grown = contents(path)
    assert [(row[0], row[7], row[8]) for row in sorted(grown["calls"], key=lambda row: str(row[0]))] == [
        (1, "answered", 1200),
        (2, "answered", 812),
        (3, "answered", 1),
    ]
    assert "lone \N{REPLACEMENT CHARACTER} surrogate" in repr(grown["calls"])
    projector.rebuild(tree, run.spend)
    assert contents(path) == grown


def test_a_store_of_an_earlier_version_is_written_anew(run: SyntheticRun, tmp_path: Path) -> None:
    path, tree = tmp_path / "experiments.duckdb", Tree(run.experiments)
    connection = duckdb.connect(str(path))
    connection.execute("CREATE TABLE spend (experiment_id VARCHAR, kind VARCHAR, seconds DOUBLE)")
    connection.execute("INSERT INTO spend VALUES ('e0001', 'training', 1e6)")
    connection.close()
    Projector(path, tmp_path, every_s=0).project(tree, run.spend, run.finish)
    once = contents(path)
    path.unlink()
    Projector(path, tmp_path, every_s=0).project(tree, run.spend, run.finish)
    assert contents(path) == once
    assert once["calls"] == []


def test_test_rows_are_refused(run: SyntheticRun, tmp_path: Path) -> None:
    winner = run.experiments[1]
    leaked = winner.trials[0].model_copy(update={"evaluation": run.finish.test})
    tree = Tree([run.experiments[0], winner.model_copy(update={"trials": [leaked]})])
    path = tmp_path / "experiments.duckdb"
    with pytest.raises(IntegrityError, match="test split"):
        Projector(path, tmp_path, every_s=0).project(tree)
    Projector(path, tmp_path, every_s=0).project(Tree(run.experiments), run.spend, run.finish)
    everything = repr(contents(path))
    assert run.finish.test is not None
    assert run.finish.test.id not in everything
    connection = duckdb.connect(str(path))
    with pytest.raises(duckdb.ConstraintException):
        connection.execute("INSERT INTO metrics VALUES ('t', 'test', 'accuracy', 1, 1, 1, 1)")
    connection.close()


def test_a_reader_delays_rows_but_never_the_run(
    run: SyntheticRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "experiments.duckdb"
    projector = Projector(path, tmp_path, every_s=0)
    projector.project(Tree(run.experiments[:5]))
    program = (
        f"import duckdb, sys; c = duckdb.connect({str(path)!r}, read_only=True); print('open', flush=True);"
        " sys.stdin.read(); print(c.execute('SELECT count(*) FROM experiments').fetchone()[0])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        tree = Tree(run.experiments)
        assert not projector.project(tree, patience_s=0.1)
        assert "next round" in caplog.text
        assert not projector.project(tree, last=True, patience_s=0.1)
        assert f"close the program that has it open, then `trex report {tmp_path}` writes it" in caplog.text
        with pytest.raises(TrexError, match=r"close the program that has it open"):
            projector.rebuild(tree, patience_s=0.1)
        assert reader.communicate("")[0] == "5\n"
    assert projector.project(tree)
    assert len(contents(path)["experiments"]) == len(run.experiments)


def test_fast_rounds_share_a_write(run: SyntheticRun, tmp_path: Path) -> None:
    path = tmp_path / "experiments.duckdb"
    projector = Projector(path, tmp_path, every_s=3600)
    assert projector.project(Tree(run.experiments[:2]))
    assert not projector.project(Tree(run.experiments[:3]))
    assert projector.project(Tree(run.experiments), last=True)
    assert len(contents(path)["experiments"]) == len(run.experiments)


def test_a_readonly_connection_can_only_read(run: SyntheticRun, tmp_path: Path) -> None:
    path = tmp_path / "experiments.duckdb"
    with pytest.raises(InputError, match="does not exist"):
        connect_readonly(path)
    Projector(path, tmp_path, every_s=0).project(Tree(run.experiments))
    secret = tmp_path / "test.jsonl"
    secret.write_text('{"text": "sealed"}\n')
    connection = connect_readonly(path)
    for statement in (
        "DELETE FROM experiments",
        f"SELECT * FROM read_json('{secret}')",
        f"COPY experiments TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'other.duckdb'}'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)
    connection.close()
