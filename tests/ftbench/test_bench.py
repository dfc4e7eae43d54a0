"""FT-Bench as a whole: ten tasks that prove themselves, scoring of what one has, runs, and the table."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
from support.cli import Trex, caller, on_the_torch_free_runtime
from support.places import REPOSITORY
from trex import score_predictions
from trex.errors import InputError
from trex.evaluation.task import Prompt
from trex.files import read_json, write_jsonl
from trex.ftbench.benchmark import Benchmark, GoldTurn, Licence, Record, Row, across
from trex.ftbench.data_sources import GitHubHome, HubHome
from trex.ftbench.suite import TEN, benchmark, subtask
from trex.ftbench.table import TableRow, _interval
from trex.ftbench.validation import validate
from trex.graph.report.summary import Interval

Line = dict[str, Any]
SUBTASKS = [(name, part) for name in TEN for part in benchmark(name).subtasks]


@pytest.fixture
def trex(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fresh_home: Path) -> Trex:
    monkeypatch.delenv("TREX_DATA", raising=False)
    return caller(monkeypatch, capfd)


def gold_lines(found: Benchmark, part: str | None = None) -> list[Line]:
    """Samples with their gold answers as predictions; of one subtask where the rows say theirs."""
    items = [found.item(record) for record in found.samples()]
    chosen = [item for item in items if part is None or item.get("subtask", item.get("Format", part)) == part]
    return [
        {
            "id": str(number),
            "prediction": item.pop("gold"),
            "row": {k: v for k, v in item.items() if k != "prompt"},
        }
        for number, item in enumerate(chosen)
    ]


def without_embeddings(lines: list[Line]) -> list[Line]:
    """Without the rows of GTA that the official scorer compares by a sentence model, which is an extra."""
    return [line for line in lines if not isinstance(line["row"].get("gt_answer"), list)]


@pytest.mark.parametrize("name", TEN)
def test_a_task_proves_itself_on_its_samples(
    name: str, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TREX_DATA", raising=False)
    found = validate(benchmark(name))
    assert found.valid, found.problems
    assert found.data == "samples" and found.items >= 6


@pytest.mark.parametrize("name", TEN)
def test_samples_are_marked_and_enough(name: str) -> None:
    lines = [json.loads(line) for line in benchmark(name).samples_file.read_text("utf-8").splitlines()]
    assert len(lines) >= 12 and {line["origin"] for line in lines} == {"sample"}


@pytest.mark.parametrize("name", TEN)
def test_gold_scores_one_and_another_answer_less(name: str) -> None:
    lines = gold_lines(benchmark(name))
    scored = score_predictions(name, lines)
    assert scored.score.value == pytest.approx(1.0) and scored.score.n == len(lines)
    answers = [line["prediction"] for line in lines]
    moved = [
        line | {"prediction": answer} for line, answer in zip(lines, [*answers[1:], answers[0]], strict=True)
    ]
    assert score_predictions(name, moved).score.value < 0.9
    assert score_predictions(name, without_embeddings(lines), upstream=True).upstream


@pytest.mark.parametrize(("name", "part"), SUBTASKS)
def test_every_subtask_can_be_scored_by_itself(name: str, part: str) -> None:
    lines = gold_lines(benchmark(name), part)
    if (name, part) == ("csbench", "Open-ended"):  # left out of the task, for want of a judge
        line = {"ID": 1, "Format": part, "Question": "Why?", "Answer": "Because."}
        lines = [{"id": "1", "prediction": "Because.", "row": line}]
    assert lines, "a subtask needs a sample"
    assert score_predictions(f"{name}:{part.lower()}", lines).subtask == part
    assert score_predictions(f"{name}:{part}", without_embeddings(lines), upstream=True).score.value <= 1.0


def test_names_however_they_are_spelt() -> None:
    for spelt in ("CS-Bench", "cs_bench", "csbench", "CSBENCH"):
        assert benchmark(spelt).name == "csbench"
    assert benchmark("TOMG-Bench").name == benchmark("tomg").name == "tomg"
    assert benchmark("sst-2").name == "sst2"
    assert subtask(benchmark("tomg"), "add_component") == "AddComponent"
    with pytest.raises(InputError, match="it has: aci, tomg"):
        benchmark("glue")
    with pytest.raises(InputError, match="AtomNum"):
        subtask(benchmark("tomg"), "Boil")
    with pytest.raises(InputError, match="it has none"):
        subtask(benchmark("econlogicqa"), "x")


def test_scores_from_the_command_line(trex: Trex, tmp_path: Path) -> None:
    file = tmp_path / "said.jsonl"
    rows = [{"Answer": "D, A, C, B"}, {"Answer": "A, B, C, D"}]
    write_jsonl(file, [{"id": f"q{n}", "prediction": "D, A, C, B", "row": row} for n, row in enumerate(rows)])
    said = trex("bench", "score", "econlogicqa", file, "--json")
    assert said.code == 0, said
    scored = json.loads(said.out)
    assert [row["value"] for row in scored["rows"]] == [1.0, 0.0] and scored["score"]["value"] == 0.5
    assert scored["score"]["ci_low"] < 0.5 < scored["score"]["ci_high"]
    plain = trex("bench", "score", "EconLogicQA", file, "--upstream")
    assert plain.code == 0 and "q0" in plain.out and "0.5000 [" in plain.out


def test_predictions_that_cannot_be_scored(trex: Trex, tmp_path: Path) -> None:
    file = tmp_path / "said.jsonl"
    file.write_text('{"id": "1", "prediction": "A"}\n')
    trex("bench", "score", "econlogicqa", file).complains(2, "line 1", "'row'")
    file.write_text('{"id": "1", "prediction": "A", "row": {}}\n')
    trex("bench", "score", "econlogicqa", file).complains(2, "Answer")
    file.write_text("{\n")
    trex("bench", "score", "econlogicqa", file).complains(2, "said.jsonl:1", "not JSON")
    file.write_text("")
    trex("bench", "score", "econlogicqa", file).complains(2, "no prediction")
    trex("bench", "score", "econlogicqa", tmp_path / "none").complains(2, "can't be read")
    trex("bench", "score", "glue", file).complains(2, "glue")
    trex("bench", "score", "tomg:Boil", file).complains(2, "Boil")


def test_runs_are_made_once_and_tabled(trex: Trex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_torch_free_runtime(monkeypatch)
    out = tmp_path / "bench"
    words = ("bench", "run", "sentiment", "sst2", "--smoke", "--rounds", "1", "--trials", "2", "--out", out)
    said = trex(*words, "--seeds", "2")
    assert said.code == 0, said
    stamps = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/finish.json")}
    assert sorted(stamps) == ["sentiment-s0", "sentiment-s1", "sst2-s0", "sst2-s1"]
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["seeds"], row["smoke"]) for row in rows] == [
        ("sentiment", "0 1", "True"),
        ("sst2", "0 1", "True"),
    ]
    tests = [read_json(out / f"sst2-s{seed}" / "finish.json")["test"]["score"]["value"] for seed in (0, 1)]
    assert float(rows[1]["ours"]) == pytest.approx(sum(tests) / 2)
    assert (out / "table.png").stat().st_size > 10_000
    assert (out / "table.md").read_text().count("\n") == 4
    again = trex(*words, "--seeds", "2")
    assert again.code == 0 and again.out.count("already finished") == 4
    assert {p.parent.name: p.stat().st_mtime_ns for p in out.glob("*/finish.json")} == stamps
    shown = trex("bench", "table", out / "sst2-s0", "--to", tmp_path / "one")
    assert shown.code == 0 and "| sst2 (smoke) | sst2 | 1 |" in shown.out
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["table.csv", "table.md", "table.png"]


def test_a_table_of_nothing(trex: Trex, tmp_path: Path) -> None:
    trex("bench", "table", tmp_path).complains(2, "holds no run")


def test_the_gain_in_units_of_the_gap() -> None:
    row = TableRow("hoc", "macro-F1", "mcts", (0,), 0.2, 0.5, (0.4, 0.6), (0.1, 0.3), None, 0.8, 20, 5, False)
    assert row.ratio is not None and row.ratio.value == pytest.approx(0.5)
    assert row.ratio.ci_low < 0.5 - 0.1 / 0.6 and row.ratio.ci_high > 0.5 + 0.1 / 0.6
    for reference in (None, 0.2, 0.1):
        assert (
            TableRow(
                "x", "m", "p", (0,), 0.2, 0.5, (0.4, 0.6), (0.1, 0.3), None, reference, 1, 1, False
            ).ratio
            is None
        )


def test_more_seeds_narrow_the_seeds_part_only() -> None:
    def at(value: float) -> Interval:
        return Interval(value=value, ci_low=value - 0.098, ci_high=value + 0.098, n=100)

    assert _interval([at(0.5)]) == (0.402, 0.598)
    low, high = _interval([at(0.5), at(0.5), at(0.5)])
    assert (high - low) / 2 == pytest.approx(0.098, abs=1e-4), "items are shared"
    low, high = _interval([at(0.4), at(0.6)])
    assert (high - low) / 2 == pytest.approx(1.96 * (0.05**2 + 0.1**2) ** 0.5, abs=1e-3)


def made(read: list[Record], **changes: object) -> Benchmark:
    fields: dict[str, object] = {
        "name": "made",
        "title": "Made",
        "domain": "",
        "requirement": "",
        "metric": "accuracy",
        "licence": Licence("MIT", commercial=True),
        "citation": "",
        "homes": (),
        "read": lambda: read,
        "turn": lambda row: GoldTurn(str(row["q"]), str(row["a"])),
        "generation": benchmark("sst2").generation,
    }
    return Benchmark(**(fields | changes))  # type: ignore[arg-type]


def row(number: int, text: str = "") -> Row:
    words = " ".join(f"{text}{(number * 7919 + k * 104729) % 9973}" for k in range(12))
    return {"q": f"question {number}: {words}", "a": str(number % 2)}


def test_groups_never_part() -> None:
    records = [Record("cut", row(n), group=f"g{n // 4}") for n in range(80)]
    parts = made(records).parts(records)
    side = {item["q"]: name for name, items in parts.items() for item in items}
    groups = [{side[row(n)["q"]] for n in range(g * 4, g * 4 + 4) if row(n)["q"] in side} for g in range(20)]
    assert all(len(group) == 1 for group in groups) and {"dev", "test"} == set(side.values())


def test_the_stronger_part_keeps_a_shared_group() -> None:
    records = [
        Record("train", row(1), "a"), Record("dev", row(2), "a"), Record("test", row(3), "a"),
        Record("train", row(4), "b"), Record("dev", row(5), "b"),
        Record("train", row(6), "c"),
    ]  # fmt: skip
    parts = made(records).parts(records)
    assert {name: [item["q"] for item in items] for name, items in parts.items()} == {
        "train": [row(6)["q"]],
        "dev": [row(5)["q"]],
        "test": [row(3)["q"]],
    }


def test_a_repeat_is_taken_from_the_weaker_part() -> None:
    shouted = {**row(3), "q": str(row(3)["q"]).upper() + "!"}
    records = [
        Record("train", shouted),
        Record("train", row(6)),
        Record("dev", row(2)),
        Record("test", row(3)),
    ]
    assert [item["q"] for item in made(records).parts(records)["train"]] == [row(6)["q"]]
    records = [Record("dev", shouted), Record("dev", row(6)), Record("test", row(3))]
    assert [item["q"] for item in made(records).parts(records)["dev"]] == [row(6)["q"]]


def spelt(number: int) -> str:
    """A question of twelve words that no other number has."""
    chance = random.Random(number)
    return " ".join("".join(chance.choices("abcdefghij", k=5)) for _ in range(12))


@pytest.mark.parametrize(
    ("dev", "test"),
    [
        (spelt(3), f"{spelt(900)}, then {spelt(3)}, and {spelt(901)}"),
        (f"{spelt(900)}, then {spelt(3)}, and {spelt(901)}", spelt(3)),
        (spelt(3), spelt(3).replace(" ", " - ", 4)),
        (spelt(3), f"which {spelt(3)[6:]}"),
    ],
    ids=["test has dev's", "dev has test's", "punctuation", "other words"],
)
def test_near_duplicates_are_on_one_side(dev: str, test: str) -> None:
    texts = {"dev": [*map(spelt, range(50, 58)), dev], "test": [*map(spelt, range(60, 68)), test]}
    rows: dict[Any, list[Row]] = {
        part: [{"q": text, "a": "1"} for text in own] for part, own in texts.items()
    }
    assert across(rows["dev"], rows["test"], Prompt(user="{q}", answer="{a}")) == [(8, 8)]
    records = [Record(part, each) for part, own in rows.items() for each in own]
    for copies in (
        1,
        4,
    ):  # rows of one content are one item, so that what they share is no wording of the task
        parts = made(records * copies).parts(records * copies)
        assert sorted(item["q"] for item in parts["dev"]) == sorted(texts["dev"][:8])
        assert sorted(item["q"] for item in parts["test"]) == sorted(texts["test"])


def test_a_topic_that_few_dev_rows_share_is_no_repeat() -> None:
    """Such as CS-Bench's sub-domain, which has as many words as a question."""
    topic = {"topic": "stacks, queues and other lists"}
    records = [Record("dev" if n < 5 else "test", row(n) | topic) for n in range(40)]
    parts = made(records).parts(records)
    assert (len(parts["dev"]), len(parts["test"])) == (5, 35)


def test_a_licence_that_forbids_training_is_enforced() -> None:
    records = [Record("train", row(1)), Record("dev", row(2)), Record("test", row(3))]
    closed = made(records, licence=Licence("evaluation only", commercial=False, trainable=False))
    with pytest.raises(InputError, match="forbids training"):
        closed.parts(records)
    assert not benchmark("openfindata").licence.trainable


def test_data_out_of_reach_says_what_to_do(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.delenv("TREX_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    home = GitHubHome("owner/name", "0" * 40)
    with pytest.raises(InputError, match=r"x.json of owner/name .*no network.* TREX_DATA"):
        home.file("x.json")
    assert not home.present and not list(fresh_home.rglob("x.json*"))


def test_data_out_of_reach_costs_one_task_of_a_validation(
    trex: Trex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TREX_DATA", raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    said = trex("bench", "validate", "aci", "csbench", "--fetch")
    assert said.code == 1 and said.err == ""
    assert said.out.count("TREX_DATA") == 2, "both were tried, and the mend is shown"


def test_a_mirror_stands_in(fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREX_DATA", str(tmp_path / "mirror"))
    folder = tmp_path / "mirror" / "owner" / "name"
    (folder / "easy").mkdir(parents=True)
    (folder / "notes.txt").write_text("x")
    write_jsonl(folder / "easy" / "test.jsonl", [{"a": 1}, {"a": 2}])
    home = HubHome("owner/name")
    assert home.present and home.file("notes.txt").read_text() == "x"
    assert [row["a"] for row in home.rows("test", "easy")] == [1, 2]
    before = home.identity
    (folder / "notes.txt").write_text("longer")
    assert home.identity != before


def test_the_prompt_is_the_turn() -> None:
    records = [Record("dev", row(2)), Record("test", row(3))]
    item = made(records).item(records[0])
    assert Prompt(user="{prompt}", answer="{gold}").turns(item)[-1]["content"] == row(2)["q"]
    with pytest.raises(InputError, match="'gold'"):
        made(records).item(Record("dev", {**row(1), "gold": "x"}))


def test_the_page_shows_the_ten() -> None:
    page = (REPOSITORY / "docs" / "benchmark.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith("| `")] == [described(n) for n in TEN]


def described(name: str) -> str:
    """A task's line on the page."""

    def score(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}".lstrip("0")

    found = benchmark(name)
    published, licence = found.published, found.licence
    terms = [licence.name, *([] if licence.commercial else ["non-commercial"])]
    terms += [] if licence.trainable else ["never trained on"]
    cells = [
        f"`{name}`",
        found.title,
        found.domain,
        score(published.base),
        score(published.reference),
        score(published.trex_best),
        ", ".join(terms),
    ]
    return f"| {' | '.join(cells)} |"
