"""Hallmarks of cancer: the samples validate themselves; documents keep their published parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from trex.errors import InputError
from trex.evaluation.metrics.macro_f1 import LABELS, gold_labels
from trex.files import read_jsonl
from trex.ftbench.benchmark import Record
from trex.ftbench.tasks import hoc
from trex.ftbench.tasks.hoc import BENCHMARK, COLUMNS, FOLDER
from trex.ftbench.validation import problems

TEXTS = {
    "train": 'Vessels grew towards the "hypoxic core" of every graft within a fortnight .',
    "dev": "Division went on without serum once the receptor had mutated in our line .",
    "test": "Breaks in both strands were left unrepaired after the second exposure .",
}

# So many that what all prompts share is known for wording.
OTHERS = (
    "Glucose uptake doubled while oxygen stayed plentiful .",
    "Lymphocytes passed the nodules by without a trace .",
    "Telomeres kept their length through eighty passages .",
    "A fibrous stroma full of cytokines fed the nests .",
    "Cells left the epithelium one at a time .",
    "Neither ligand slowed the cycle any more .",
    "Caspases stayed silent under the drug .",
    "Two arms of a chromosome had changed places .",
)


def publish(root: Path, head: str = "pmid\ttext\tlabels") -> Path:
    folder = root / "BIDS-Xu-Lab" / "Biomedical-NLP-Benchmarks" / FOLDER
    folder.mkdir(parents=True)
    for number, (part, text) in enumerate(TEXTS.items()):
        lines = [head, f"{number}\t{text}\t{LABELS[number]};{LABELS[9]}"]
        if part == "train":
            lines.append(f"9\t{TEXTS['test']}\t{LABELS[2]}")  # a test document once more
        (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_smoke_task_validates_itself(fresh_home: Path) -> None:
    task = hoc.load(smoke=True)
    assert problems(task) == []
    assert (len(list(read_jsonl(task.dev))), len(list(read_jsonl(task.test)))) == (7, 7)
    assert len(list(read_jsonl(Path(task.sources[0].path)))) == 11


def test_samples_look_like_the_published_rows() -> None:
    records = BENCHMARK.samples()
    assert len(records) >= 20
    assert all(list(record.row) == COLUMNS for record in records)
    for part in ("train", "dev", "test"):
        named = [label for record in records if record.part == part for label in gold_labels(record.row)]
        assert set(named) == set(LABELS), part  # or macro-F1 could not be 1


def test_documents_keep_their_parts_and_none_is_in_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_home: Path
) -> None:
    publish(tmp_path)
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    records = list(BENCHMARK.read())
    assert [(record.part, record.row["pmid"]) for record in records] == [
        ("train", "0"),
        ("train", "9"),
        ("dev", "1"),
        ("test", "2"),
    ]
    assert records[0].row["text"] == TEXTS["train"]  # quotes are text, not quoting
    more = [Record("test", records[0].row | {"pmid": str(20 + n), "text": t}) for n, t in enumerate(OTHERS)]
    parts = BENCHMARK.parts([*records, *more])
    assert [row["pmid"] for row in parts["train"]] == ["0"]
    assert [row["pmid"] for row in parts["dev"]] == ["1"]
    assert sorted(int(row["pmid"]) for row in parts["test"]) == [2, *range(20, 20 + len(OTHERS))]


def test_tables_of_another_form_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish(tmp_path)
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    (folder / "train.tsv").write_text("pmid\ttext\tlabels\n1\ttwo cells\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.tsv, line 2: 2 columns, not 3"):
        list(BENCHMARK.read())
    (folder / "train.tsv").write_text("id\ttext\tlabels\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.tsv: its columns must be pmid, text, labels"):
        list(BENCHMARK.read())


def test_prompt_and_gold() -> None:
    turn = BENCHMARK.turn({"pmid": "1", "text": "A {text} .", "labels": f"{LABELS[4]};{LABELS[0]}"})
    assert "\n\nA {text} .\n\n" in turn.prompt
    assert all(label in turn.prompt for label in LABELS)
    assert turn.gold == f"{LABELS[4]};{LABELS[0]}"
