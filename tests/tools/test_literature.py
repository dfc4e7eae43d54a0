"""The literature notes: each well-formed, sourced, and about settings that exist; and found by words."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from trex.errors import InputError, TrexError
from trex.tools.literature import NOTES, LiteratureNote, literature_tool, load_notes, search
from trex.training.data import recipe
from trex.training.data.operators import operators
from trex.training.methods.sft import SftStage
from trex.training.weights.lora import LoraWeights

SETTINGS = (SftStage.model_fields.keys() | LoraWeights.model_fields.keys()) - {"method", "recipe", "kind"}
OPERATORS = tuple(operators().values())
KNOWN = (
    SETTINGS
    | {name for kind in (*OPERATORS, recipe.Stream, recipe.DataRecipe) for name in kind.model_fields}
    | {kind.model_fields["op"].default for kind in OPERATORS}
)


@pytest.fixture(params=load_notes(), ids=lambda note: note.name)
def note(request: pytest.FixtureRequest) -> LiteratureNote:
    found: LiteratureNote = request.param
    return found


def test_a_note_is_short_and_has_a_source(note: LiteratureNote) -> None:
    assert 80 <= len(f"{note.text} {note.advice}".split()) <= 200
    assert re.search(r"\b(19|20)\d\d\b", note.source)
    for arxiv in re.findall(r"arXiv:(\S+)", note.source):
        assert re.fullmatch(r"\d{4}\.\d{4,5}[,;]?", arxiv)
    assert 3 <= len(note.topics) == len(set(note.topics))


def test_the_advice_names_settings_that_exist(note: LiteratureNote) -> None:
    named = re.findall(r"`([^`]+)`", note.advice)
    assert named
    assert set(named) <= KNOWN


def test_there_are_many_and_no_two_alike() -> None:
    notes = load_notes()
    assert len(notes) >= 30
    assert len({note.title for note in notes}) == len(notes)
    assert len({note.text for note in notes}) == len(notes)
    advised = {name for note in notes for name in re.findall(r"`([^`]+)`", note.advice)}
    free = {name for name, kind in operators().items() if not kind.needs_permission}
    assert free <= advised, "an operator that no note mentions"
    assert advised >= SETTINGS, "a setting that no note mentions"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("noisy labels in the training data", "label_noise"),
        ("LoRA alpha scaling at a high rank", "rslora"),
        ("NEFTune embedding noise", "neftune"),
        ("duplicate rows", "deduplicating"),
        ("the answers never stop, end of sequence token missing", "chat_template_eos"),
        ("class imbalance", "class_imbalance"),
        ("imbalanced classes", "class_imbalance"),
        ("2405.09673", "lora_learns_less"),
        ("forgetting what the parent solved", "ewc_forgetting"),
        ("warm-up steps divergence", "warmup"),
        ("How many epochs may I repeat a small data set?", "repeated_data"),
        ("batch size", "batch_size"),
        ("long inputs are cut", "short_and_long_inputs"),
        ("domain closeness of a source", "dont_stop_pretraining"),
        ("temperature mixing weights of sources", "t5_mixing"),
        ("random seeds variance", "seeds_variance"),
    ],
)
def test_a_question_finds_its_note(query: str, wanted: str) -> None:
    assert wanted in [note.name for note in search(query, 3)]


def test_every_note_is_found_by_its_title(note: LiteratureNote) -> None:
    assert note in search(note.title, 2)


def test_a_question_without_known_words_finds_nothing() -> None:
    assert search("xylophone zzz", 5) == []
    assert search("what should the model be?", 5) == []
    assert search("???", 5) == []
    assert "no note" in literature_tool().invoke({"query": "xylophone"})


def test_the_tool_gives_text_with_sources_within_bounds() -> None:
    tool = literature_tool()
    text = tool.invoke({"query": "learning rate LoRA data quality", "most": 6})
    assert 1000 < len(text) < 9000
    assert text.count("Try: ") >= 4
    assert "arXiv:" in text
    assert len(tool.invoke({"query": "learning rate", "most": 1})) < 2500
    assert str(tool.invoke({"query": "learning rate", "most": 99})).startswith("error: most: ")


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(InputError, match=r"pip install 'trex-finetune\[llm\]'"):
        literature_tool().invoke({"query": "learning rate"})


def test_a_malformed_or_missing_note_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrexError, match="no literature notes"):
        load_notes(tmp_path)
    (tmp_path / "odd.md").write_text("# A title\n\nno source\n", encoding="utf-8")
    with pytest.raises(InputError, match="note odd"):
        load_notes(tmp_path)


def test_all_files_of_the_folder_are_notes() -> None:
    assert {path.suffix for path in NOTES.iterdir()} == {".md"}
