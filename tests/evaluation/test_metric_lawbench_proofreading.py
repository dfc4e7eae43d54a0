"""LawBench 2-1: alignments, corrections, the lexicon, and what is put around a corrected sentence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trex.evaluation.metrics import PooledMetric, measure, metric
from trex.evaluation.metrics.lawbench import LawBench, alignment, lexicon
from trex.evaluation.metrics.lawbench.edits import NOTHING, corrections
from trex.evaluation.metrics.lawbench.proofreading import corrected_sentence, f_score
from trex.evaluation.statistics.intervals import score_measured

pytestmark = pytest.mark.filterwarnings("ignore:LawBench 2-1 in its official form")

RIGHT = "被告应当返还原物。"
ROW = {"origin_prompt": "改正。句子：\n被告应当返原还物。", "refr": RIGHT}
ROWS = [ROW] * 3


@pytest.fixture(autouse=True)
def fresh_lexicon() -> Iterator[None]:
    lexicon.official.cache_clear()
    yield
    lexicon.official.cache_clear()


def score(name: str, answers: list[str]) -> float:
    scorer = metric(name)
    return score_measured(scorer, measure(scorer, ROWS, answers)).value


def test_proofreading_is_pooled_and_not_a_mean() -> None:
    right, wrong = RIGHT, "被告应当返原还物吗。"
    scorer = LawBench("2-1")
    assert isinstance(scorer, PooledMetric)
    totals = scorer.counts(ROWS, [right, wrong, right]).sum(axis=0)
    assert totals.tolist() == [2, 1, 1, 3]
    assert score("lawbench:2-1", [right, wrong, right]) == pytest.approx(1.25 * 2 / 3 / (0.25 + 1))
    official = score("lawbench:2-1/upstream", [right, wrong, right])
    assert official == 0.6667
    assert f_score(0, 0, 0) == 1.0
    assert f_score(0, 1, 1) == 0.0
    assert f_score(3, 1, 2) == pytest.approx(1.25 * 0.75 * 0.6 / (0.25 * 0.75 + 0.6))


@pytest.mark.parametrize(
    "answer",
    [
        "修改后的句子：“被告应当返还原物。”",
        "句子有错。\n\n改正后的句子：\n被告应当返还原物。",
        "被告应当返还原物。<eoa>",
    ],
)
def test_what_is_put_around_a_corrected_sentence_does_no_harm(answer: str) -> None:
    assert corrected_sentence(answer, "被告应当返原还物。") == RIGHT
    assert LawBench("2-1").score_items([ROW], [answer]) == [1.0]


TOKENS = st.lists(st.sampled_from("甲乙丙，"), min_size=1, max_size=6)


def cost(a: str, b: str) -> float:
    return alignment.substitution(a, b, 2 / 3, 0.0 if {a, b} == {"甲", "乙"} else 0.5)


def walked(table: alignment.Table, i: int, j: int) -> Iterator[list[alignment.TokenEdit]]:
    """Every cheapest way, operation by operation, as the official code walks them."""
    if not (i or j):
        yield []
        return
    for letter_, size in table[i][j]:
        di, dj = (0 if letter_ == "I" else size), (0 if letter_ == "D" else size)
        for way in walked(table, i - di, j - dj):
            yield [*way, alignment.TokenEdit(letter_, i - di, i, j - dj, j)]


def joined(way: list[alignment.TokenEdit]) -> tuple[alignment.TokenEdit, ...]:
    """A way's neighbouring operations as edits."""
    edits: list[alignment.TokenEdit] = []
    for kind, run in groupby(way, lambda edit: edit.operation if edit.operation in "MT" else ""):
        group = list(run)
        letters = {edit.operation for edit in group}
        if kind == "T" or letters == {"D", "I"}:
            edits += group
            continue
        first, last = group[0], group[-1]
        name = letters.pop() if len(letters) == 1 else "S"
        edits.append(alignment.TokenEdit(name, first.start, last.end, first.to_start, last.to_end))
    return tuple(edits)


@settings(max_examples=300, deadline=None)
@given(TOKENS, TOKENS)
def test_alignments_are_those_of_every_way_walked(source: list[str], target: list[str]) -> None:
    table = alignment.operations(source, target, cost)
    every = list(walked(table, len(source), len(target)))
    assert alignment.ways(table) == len(every)
    lists = alignment.edit_lists(table)
    assert len(lists) == len(set(lists))
    assert set(lists) == {joined(way) for way in every}
    assert alignment.edit_lists(table, every=False)[0] in lists
    for edits in lists:
        text, at = "", 0
        for start, end, new in sorted(corrections(edits, source, target)):
            text += "".join(source[at:start]) + ("" if new == NOTHING else new)
            at = end
        assert text + "".join(source[at:]) == "".join(target)


def test_words_that_moved_are_one_correction() -> None:
    source, target = list("所以对他没有说服"), list("所以没有说服对他")
    (edits,) = alignment.edit_lists(alignment.operations(source, target, cost), every=False)
    assert corrections(edits, source, target) == ((2, 8, "没有说服对他"),)
    neighbours = alignment.edit_lists(alignment.operations(list("返原还"), list("返还原"), cost))
    assert neighbours == [(alignment.TokenEdit("M", 0, 1, 0, 1), alignment.TokenEdit("T", 1, 3, 1, 3))]


def test_the_tables_are_read_from_a_mirror_and_missing_parts_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TREX_DATA", raising=False)
    with pytest.warns(UserWarning, match=r"cilin\.txt, .*confusion_dict\.txt.* missing"):
        without = lexicon.official()
    assert without.meaning("人", "民") == 4 / 6
    folder = tmp_path / "mirror" / lexicon.REPOSITORY
    for path, text in (
        (lexicon.THESAURUS, "Aa01A01= 人 士\nAa02B01= 民\nBb02A01= 物 士\n"),
        (lexicon.CONFUSIONS, "拆 折 析\n"),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="gbk" if path == lexicon.THESAURUS else "utf-8")
    monkeypatch.setenv("TREX_DATA", str(tmp_path / "mirror"))
    lexicon.official.cache_clear()
    known = lexicon.official()
    assert known.parts == without.parts + 2
    assert [known.meaning("人", other) for other in ("民", "士", "兽")] == [
        2 / 6,
        1.0,
        4 / 6,
    ]  # a later line wins
    assert known.sound("折", "拆") == 0.0
    assert known.sound("人", "物") == 0.5
