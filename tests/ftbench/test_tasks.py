"""The embedded tasks: they validate themselves, hold their promises, and score as upstream does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trex.errors import InputError, TrexError
from trex.evaluation.metrics.molecules import GROUPS, MoleculeSuccess, counts, extract, group_counts, parse
from trex.evaluation.task import Task
from trex.files import read_jsonl, write_jsonl
from trex.ftbench.tasks import molecules, sentiment
from trex.ftbench.tasks.near_duplicates import Overlap, groups, normalise
from trex.ftbench.tasks.sentiment_data import LABELS, clean, label_of
from trex.ftbench.validation import problems

LOADERS = {"sentiment": sentiment.load, "molecules": molecules.load}


@pytest.fixture(scope="module")
def smoke_tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr("trex.assets.vader_ratings", lambda: pytest.fail("smoke must need no asset"))
        return {name: load(smoke=True) for name, load in LOADERS.items()}


def rows_of(path: str | Path) -> list[dict[str, object]]:
    return list(read_jsonl(Path(path)))


@pytest.mark.parametrize("name", LOADERS)
def test_smoke_task_validates_itself(smoke_tasks: dict[str, Task], name: str) -> None:
    task = smoke_tasks[name]
    assert problems(task) == []
    assert task.base_model == "tiny"
    assert len(task.sources) >= 2
    assert any(source.synthetic for source in task.sources)
    assert (len(rows_of(task.dev)), len(rows_of(task.test))) == (40, 40)


@pytest.mark.real
@pytest.mark.parametrize("name", LOADERS)
def test_task_validates_itself(name: str) -> None:
    task = LOADERS[name]()
    assert problems(task) == []
    sizes = {"sentiment": (500, 600), "molecules": (200, 300)}
    assert (len(rows_of(task.dev)), len(rows_of(task.test))) == sizes[name]


@pytest.mark.real
def test_sentiment_keeps_its_promises() -> None:
    task = sentiment.load()
    for path in (task.dev, task.test):
        rows = rows_of(path)
        assert sum(row["label"] == "positive" for row in rows) * 2 == len(rows)
        for row in rows:
            assert str(row["id"]).startswith("movie-")
            assert abs(float(str(row["rating"]))) >= 0.8
            assert row["label"] == label_of(float(str(row["rating"])))
    for source in task.sources:
        assert all("label" not in row and "rating" in row for row in rows_of(source.path))


def test_validation_finds_faults(smoke_tasks: dict[str, Task], tmp_path: Path) -> None:
    task = smoke_tasks["sentiment"]
    leaky = tmp_path / "leaky.jsonl"
    shouted = [{**row, "text": str(row["text"]).upper() + "!"} for row in rows_of(task.test)[:3]]
    write_jsonl(leaky, shouted)
    source = task.sources[0].model_copy(update={"path": str(leaky)})
    found = problems(task.model_copy(update={"sources": [source]}))
    assert found == [f"3 rows of source {source.name!r} repeat dev or test items"]
    assert "test items repeat dev items" in problems(task.model_copy(update={"dev": task.test}))[0]
    alike = tmp_path / "alike.jsonl"
    write_jsonl(alike, [row for row in rows_of(task.dev) if row["label"] == "positive"])
    found = problems(task.model_copy(update={"dev": alike}))
    assert found == ["dev: another item's answer scores as well as an item's own"]


def test_tasks_are_made_once_and_the_same_everywhere(
    smoke_tasks: dict[str, Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path))
    again = sentiment.load(smoke=True)
    written = again.dev.stat().st_mtime_ns
    assert sentiment.load(smoke=True).dev.stat().st_mtime_ns == written
    here, there = again.dev.parent, smoke_tasks["sentiment"].dev.parent
    assert here != there and here.name == there.name
    for path in here.iterdir():
        assert path.read_bytes() == (there / path.name).read_bytes()


def test_a_task_cut_short_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path))
    task = sentiment.load(smoke=True)
    whole = task.dev.read_bytes()
    task.dev.write_text("half", encoding="utf-8")
    (task.dev.parent / "manifest.json").unlink()
    assert sentiment.load(smoke=True).dev.read_bytes() == whole
    assert [p.name for p in (tmp_path / "tasks").iterdir() if ".work." in p.name] == []


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set TREX_HOME"):
        sentiment.load(smoke=True)


def test_cleaning_undoes_the_files_marks() -> None:
    assert clean(" a ''b''   it's  &amp; c ") == 'a "b" it\'s & c'


WORDS = st.lists(st.sampled_from([f"w{i}" for i in range(40)]), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=12))
def test_texts_that_repeat_each_other_share_a_group(texts: list[list[str]]) -> None:
    joined = [" ".join(words) for words in texts]
    shouted = [text.upper() + " !" for text in joined]
    group = groups(joined + shouted)
    assert group[: len(joined)] == group[len(joined) :]
    index = Overlap(joined)
    for i, text in enumerate(joined):
        assert all(group[i] == group[j] for j in index.matches(text))


def test_near_duplicates_are_found_and_strangers_are_not() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    index = Overlap([text])
    assert index.matches(text + " and more words here") == {0}
    assert index.matches("Zero, " + text.replace("one ", "")) == {0}
    assert index.matches("one two three four five six seven other words that go on from here") == set()
    assert normalise("Don't STOP -- me") == "don t stop me"


def item(kind: str, **target: int) -> dict[str, str]:
    return {"id": "x", "kind": kind, "target": json.dumps(target)}


@pytest.mark.parametrize(
    ("kind", "target", "answer", "score"),
    [
        ("atoms", {"carbon": 2, "oxygen": 1}, "CCO", 1),
        ("atoms", {"carbon": 2, "oxygen": 1}, "OCC", 1),
        ("atoms", {"carbon": 2}, "CCO", 0),  # what is not stated is zero
        ("atoms", {"carbon": 2, "oxygen": 1}, "CCN", 0),
        ("groups", {"hydroxyl": 1, "benzene ring": 1}, "Oc1ccccc1", 1),
        ("groups", {"hydroxyl": 1, "benzene ring": 1}, "OC1=CC=CC=C1", 1),
        ("groups", {"carboxyl": 1}, "CC(=O)O", 0),  # an acid has a hydroxyl, too
        ("groups", {"carboxyl": 1, "hydroxyl": 1}, "CC(=O)O", 1),
        ("groups", {"disulfide": 1, "sulfide": 1}, "CSSC", 1),
        ("atoms", {"carbon": 1}, "", 0),
        ("atoms", {"carbon": 2, "oxygen": 1}, "CCO is the answer", 1),
        ("atoms", {"carbon": 2, "oxygen": 1}, "The answer is CCO", 0),
        ("atoms", {"carbon": 2, "oxygen": 1}, 'Sure: {"molecule": "CCO"}', 1),
        ("atoms", {"carbon": 2, "oxygen": 1}, "CO => CCO", 1),
        ("atoms", {"carbon": 2, "oxygen": 1}, "[CCO]", 1),
        ("atoms", {"carbon": 2, "oxygen": 2, "nitrogen": 1}, "[NH3+]CC(=O)[O-]", 1),
    ],
)
def test_molecules_are_scored_as_upstream(kind: str, target: dict[str, int], answer: str, score: int) -> None:
    assert MoleculeSuccess().score_items([item(kind, **target)], [answer]) == [score]


def test_every_group_has_a_molecule_that_shows_it() -> None:
    examples = {
        "benzene ring": "c1ccccc1",
        "hydroxyl": "CO",
        "anhydride": "CC(=O)OC(C)=O",
        "aldehyde": "CC=O",
        "ketone": "CC(C)=O",
        "carboxyl": "CC(=O)O",
        "ester": "COC(C)=O",
        "amide": "CC(N)=O",
        "amine": "CN",
        "nitro": "C[N+](=O)[O-]",
        "halo": "CCl",
        "nitrile": "CC#N",
        "thiol": "CS",
        "sulfide": "CSC",
        "disulfide": "CSSC",
        "sulfoxide": "CS(C)=O",
        "sulfone": "CS(C)(=O)=O",
        "borane": "CB(C)C",
    }
    assert examples.keys() == GROUPS.keys()
    for name, smiles in examples.items():
        assert group_counts(parse(smiles))[name] == 1, name
    assert counts(parse("CC"), "groups") == {}


def test_mode_collapse_shows_in_the_extras() -> None:
    metric = MoleculeSuccess()
    items = [item("atoms", carbon=1)] * 4
    toluquinone, same = "CC1=CC(=O)C=CC1=O", "O=C1C=CC(=O)C(C)=C1"  # the first of the NCI molecules
    assert metric.secondary(items, [toluquinone, same, toluquinone, "no molecule"]) == {
        "validity": 0.75,
        "uniqueness": pytest.approx(1 / 3),
        "novelty": 0.0,
    }
    assert metric.secondary(items, ["x"] * 4) == {"validity": 0.0, "uniqueness": 0.0, "novelty": 0.0}
    novel = metric.secondary(items[:1], ["CC(C)C(CCCN)C1CC1CCS"])
    assert novel["novelty"] == 1.0


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_answer_gets_a_score(answer: str) -> None:
    assert MoleculeSuccess().score_items([item("atoms", carbon=1)], [answer])[0] in (0.0, 1.0)
    assert isinstance(extract(answer), str)


def test_a_wrong_target_is_named() -> None:
    with pytest.raises(TrexError, match="must name counts"):
        MoleculeSuccess().score_items([item("atoms", unobtainium=1)], ["C"])
    with pytest.raises(TrexError, match="no column 'target'"):
        MoleculeSuccess().score_items([{"id": "7", "kind": "atoms"}], ["C"])


def test_labels_follow_the_rating() -> None:
    assert (label_of(0.1), label_of(-0.1)) == LABELS
