"""Clusters of failed inputs, refusals, and how both become causes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.places import TESTS
from trex.evaluation.failures.analysis import Failures, Prediction, prediction_row
from trex.evaluation.failures.clusters import FEWEST, clusters
from trex.evaluation.failures.refusals import is_refusal
from trex.evaluation.metrics import Measured
from trex.evaluation.metrics.accuracy import Accuracy
from trex.evaluation.results import Evaluation
from trex.evaluation.splits import search_items
from trex.evaluation.statistics.intervals import score_measured
from trex.evaluation.task import Prompt, Source, Task
from trex.files import write_jsonl

TOPICS = {
    "battery": ["battery", "charge", "hours", "power", "dead", "cable", "plug"],
    "film": ["film", "plot", "actor", "scene", "story", "boring", "director"],
    "parcel": ["parcel", "late", "courier", "box", "delivered", "street", "door"],
}
FILLER = ["the", "a", "is", "was", "and", "it", "of", "to", "in", "my", "very", "really", "not"]


def texts(count: int, seed: int = 0, length: int = 25) -> list[str]:
    """Reviews of three topics in turn, each a third topic and the rest filler."""
    rng = random.Random(seed)
    topics = list(TOPICS.values())
    return [
        "Review: "
        + " ".join(
            rng.choice(topics[n % 3]) if rng.random() < 0.3 else rng.choice(FILLER) for _ in range(length)
        )
        for n in range(count)
    ]


def test_topics_are_found_and_named_by_their_own_words() -> None:
    found = clusters(texts(120))
    assert len(found) == 3
    for cluster in found:
        [topic] = {place % 3 for place in cluster.members}
        assert set(cluster.terms) <= set(list(TOPICS.values())[topic])
    assert sorted(place for cluster in found for place in cluster.members) == list(range(120))


def test_texts_of_a_script_without_spaces_cluster() -> None:
    one = [f"被告人盗窃{thing}的行为" for thing in ("手机", "汽车", "电脑", "现金", "首饰")]
    other = [f"借款合同{thing}的利息" for thing in ("到期", "逾期", "约定", "计算", "支付")]
    found = clusters([text for pair in zip(one, other, strict=True) for text in pair])
    assert {cluster.members for cluster in found} == {(0, 2, 4, 6, 8), (1, 3, 5, 7, 9)}


def test_a_template_is_no_likeness() -> None:
    names = ["oak", "elm", "ash", "fir", "yew", "fig", "bay", "box"]
    assert clusters([f"Is this review positive? {name}" for name in names]) == ()


@given(st.lists(st.text(max_size=40), max_size=25), st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_any_texts_give_disjoint_clusters_large_enough(anything: list[str], fewest: int) -> None:
    found = clusters(anything, fewest)
    members = [place for cluster in found for place in cluster.members]
    assert len(members) == len(set(members))
    assert all(0 <= place < len(anything) for place in members)
    assert all(len(cluster.members) >= fewest and 1 <= len(cluster.terms) <= 3 for cluster in found)
    sizes = [len(cluster.members) for cluster in found]
    assert sizes == sorted(sizes, reverse=True)


def test_another_process_finds_the_same() -> None:
    code = "from test_clusters import texts, clusters; print(clusters(texts(60)))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(TESTS)]),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {f"{clusters(texts(60))}\n"}


def test_the_most_texts_take_little_time() -> None:
    clusters(texts(10))  # imports
    seconds = []
    for seed in range(1, 4):
        many = texts(450, seed)
        start = time.process_time()
        clusters(many)
        seconds.append(time.process_time() - start)
    print(f"clusters of 300 texts: {min(seconds) * 1e3:.0f} ms")
    assert min(seconds) < 0.3


@pytest.mark.parametrize(
    "answer",
    [
        "I’m sorry, but I can't help with that.",
        "Sorry, I cannot answer this.",
        "As an AI language model, I have no opinion.",
        "Je suis désolé, mais je ne peux pas.",
        "Es tut mir leid, aber das geht nicht.",
        "Lo siento, no puedo ayudar.",
        "Sinto muito, não posso responder.",
        "Mi dispiace, non posso aiutarti.",
        "Я не могу ответить на этот вопрос.",
        "很抱歉，我无法回答这个问题。",
        "申し訳ありませんが、お答えできません。",
        "죄송하지만 답변할 수 없습니다.",
    ],
)
def test_refusals_in_ten_languages(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "positive",
        "I can help.",
        "I can notify you.",
        "The accused said: I cannot pay.",
        "no",
        "我能回答。",
    ],
)
def test_answers_are_no_refusals(answer: str) -> None:
    assert not is_refusal(answer)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    rows = [{"text": text, "label": "yes"} for text in texts(150)]
    write_jsonl(tmp_path / "dev.jsonl", rows)
    return Task(
        name="films",
        requirement="Answer.",
        sources=[Source(name="train", path="train.jsonl")],
        dev=tmp_path / "dev.jsonl",
        test=tmp_path / "test.jsonl",
        prompt=Prompt(user="{text}", answer="{label}"),
    )


def evaluated(task: Task, run: Path, answers: dict[str, str]) -> Evaluation:
    """On `search`; items without an answer of their own are answered rightly."""
    said = {item["id"]: answers.get(item["id"], "yes") for item in search_items(task)}
    values = [float(answer == "yes") for answer in said.values()]
    rows = [prediction_row(Prediction(i, a, v)) for (i, a), v in zip(said.items(), values, strict=True)]
    write_jsonl(run / "predictions" / "a.jsonl", rows)
    found = score_measured(Accuracy(), Measured(values, {}))
    return Evaluation(
        id="a", split="search", scoring="generation", score=found, predictions="predictions/a.jsonl"
    )


def test_failed_inputs_that_are_alike_are_a_cause(task: Task, tmp_path: Path) -> None:
    about = {name: [i["id"] for i in search_items(task) if set(words) & set(i["text"].split())]
             for name, words in TOPICS.items()}  # fmt: skip
    wrong = about["parcel"] + about["film"]
    groups = Failures(evaluated(task, tmp_path, dict.fromkeys(wrong, "no")), task, tmp_path).groups
    found = [group for group in groups if group.kind == "cluster"]
    assert {frozenset(group.ids) for group in found} == {frozenset(about["parcel"]), frozenset(about["film"])}
    assert all(group.count >= FEWEST and f" {group.count}×" in group.cause for group in found)
    assert groups[-len(found) :] == found


def test_refusals_are_a_cause_of_their_own(task: Task, tmp_path: Path) -> None:
    ids = [item["id"] for item in search_items(task)]
    answers = {ids[0]: "", ids[1]: "I'm sorry, but I can't do that.", ids[2]: "很抱歉，我无法回答。"}
    groups = Failures(evaluated(task, tmp_path, answers), task, tmp_path).groups
    forms = {group.cause: group.ids for group in groups if group.kind in ("format", "refusal")}
    assert forms == {"empty answer 1×": [ids[0]], "answer refuses the request 2×": sorted(ids[1:3])}
