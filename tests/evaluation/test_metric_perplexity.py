"""Perplexity of the right answers, against the loss that transformers computes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from support.grader import films_task
from transformers import AutoModelForCausalLM
from trex.errors import InputError
from trex.evaluation.base_models import resolve_model
from trex.evaluation.engines import ENGINES
from trex.evaluation.grader.metric_trial import check_metric
from trex.evaluation.grader.model_scoring import score_model
from trex.evaluation.metrics import metric
from trex.evaluation.rendering import open_renderer
from trex.evaluation.splits import search_items
from trex.evaluation.usable_rows import answered


@pytest.fixture(scope="module")
def folder() -> Path:
    return resolve_model("tiny")


def test_it_is_the_loss_over_the_tokens_of_all_answers(tmp_path: Path, folder: Path) -> None:
    task = films_task(tmp_path, choices=None, metric="perplexity")
    items = search_items(task)
    engine = ENGINES.load("transformers")(folder, 1, task.rendering)
    scored = score_model(engine, metric(task.metric), task, items, "generation", None)
    rows = open_renderer(folder, task.rendering).rows([answered(task, item.row) for item in items])
    model, total, tokens = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), 0.0, 0
    for row in rows:
        count = sum(row.answer)
        with torch.inference_mode():
            loss = model(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss
        total, tokens = total + float(loss) * count, tokens + count
    assert scored.score.value == pytest.approx(math.exp(-total / tokens), rel=1e-4)
    assert scored.measured.secondary["perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-4)
    assert scored.score.ci_low <= scored.score.value <= scored.score.ci_high
    assert {answer.text for answer in scored.answers} == {str(item["reference"]) for item in items}


def test_batches_and_order_do_not_matter(tmp_path: Path, folder: Path) -> None:
    task = films_task(tmp_path, choices=None, metric="perplexity")
    conversations = [answered(task, item.row) for item in search_items(task)]
    engine = ENGINES.load("transformers")(folder, 1, task.rendering)
    together = engine.likelihoods(conversations)
    alone = [engine.likelihoods([each])[0] for each in reversed(conversations)]
    for one, other in zip(together, reversed(alone), strict=True):
        assert one.tokens == other.tokens > 0
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)


def test_with_choices_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="free text"):
        check_metric(films_task(tmp_path, metric="perplexity"))


def test_items_without_tokens_count_nothing() -> None:
    found = metric("perplexity")
    items = [{"reference": "a"}, {"reference": "b"}]
    assert found.score_items(items, [(0.0, 0), (-2.0, 2)]) == [0.0, pytest.approx(math.exp(-1))]  # type: ignore[list-item]
