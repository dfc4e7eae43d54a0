"""What a run says of a task's rendering before it begins, with the chat templates that cause trouble."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.own_task import tickets, write_task
from trex.errors import InputError
from trex.evaluation.base_models import resolve_model
from trex.evaluation.engines.protocol import Completion, Sampling
from trex.evaluation.engines.transformers_engine import TransformersEngine
from trex.evaluation.rendering import TokenRow, open_renderer
from trex.evaluation.rendering_check import check_rendering
from trex.evaluation.splits import dev_items
from trex.evaluation.task import GenerationSettings
from trex.evaluation.task_file import read_task_file
from trex.evaluation.usable_rows import answered
from trex.files import write_jsonl
from trex.graph.api import prepare_run

TURN = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
OPENED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TEMPLATES = {
    # 'ASSISTANT: positive' after the generation prompt 'ASSISTANT:'
    "space before the answer": "{% for m in messages %}{{ m['role'].upper() + ': ' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    "new line before the answer": TURN.replace("'\n' + m['content']", "'\n\n' + m['content']") + OPENED,
    "refuses a system turn": "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    + TURN
    + OPENED,
    "drops a system turn": TURN.replace(
        "{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"
    )
    + OPENED,
    "closes thoughts": TURN.replace(
        "+ m['content']", "+ ('<think>\n\n</think>\n\n' if m['role'] == 'assistant' else '') + m['content']"
    )
    + OPENED,
    "writes no end": TURN.replace("<|im_end|>", "") + OPENED,
}
NOTES = {
    "refuses a system turn": "takes no system turn",
    "drops a system turn": "takes no system turn",
    "closes thoughts": "they are closed before the answer",
}


def model(folder: Path, template: str | None, **settings: Any) -> Path:
    """The tiny model with another chat template and other settings of its tokenizer."""
    shutil.copytree(resolve_model("tiny"), folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings | {"chat_template": template}))
    return folder


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_model_is_asked_and_scored_with_the_tokens_it_is_taught(tmp_path: Path, name: str) -> None:
    """Also where a choice begins another ('1', '10'), and with control tokens in a row."""
    base = model(tmp_path / "model", TEMPLATES[name], eos_token="<|endoftext|>")
    path = write_task(
        tmp_path, base_model=str(base), choices=["1", "10", "2"],
        prompt={"system": "You route tickets.", "user": "{text}\nQueue:", "answer": "{team}"},
    )  # fmt: skip
    rows = [{"text": f"ticket {n} of the <|im_end|> kind", "team": (1, 10, 2)[n % 3]} for n in range(12)]
    write_jsonl(tmp_path / "dev.jsonl", rows)
    task = read_task_file(path)
    notes = check_rendering(task)
    wanted = NOTES.get(name)
    assert any(wanted in note for note in notes) if wanted else notes == []
    items = dev_items(task)
    asked = [task.prompt.turns(item.row) for item in items]
    engine = TransformersEngine(base, 1, task.rendering)
    engine.load()
    assert len(engine.choose(asked, task.choices or [], task.generation)) == 12
    renderer = open_renderer(base, task.rendering)
    taught = renderer.rows_or_errors([answered(task, item.row) for item in items])
    scored = renderer.choices(asked, task.choices or [])
    for item, row, prompt, generated_after in zip(
        items, taught, scored, renderer.prompts(asked), strict=True
    ):
        assert isinstance(row, TokenRow) and row.ids[: row.last] == prompt.ids == generated_after
        answer = prompt.choices[(task.choices or []).index(item["reference"])]
        assert tuple(row.ids[row.last :][: len(answer)]) == answer and answer[-1] == renderer.end
        text = renderer.text(row.ids)
        assert "You route tickets." in text and "of the <|im_end|> kind" in text
        assert row.ids[: row.last].count(renderer.end) <= 2  # those of the system turn and the user's


def long_answers(n: int) -> list[dict[str, str]]:
    return [{"text": f"story {k}", "team": " ".join(f"word{k}{j}" for j in range(60))} for k in range(n)]


def test_answers_that_cannot_be_generated_are_named_before_the_run(tmp_path: Path) -> None:
    path = write_task(tmp_path, base_model="tiny", choices=None)
    write_jsonl(tmp_path / "dev.jsonl", [*long_answers(8), *tickets(4)])
    said: list[str] = []
    prepare_run(path, out=tmp_path / "run", announce=lambda _, check, __: said.extend(check.notes))
    [note] = said
    assert note.startswith("8 of 12 answers of dev cannot be generated: generation.max_new_tokens is 32")
    longer = write_task(tmp_path, base_model="tiny", choices=None, generation={"max_new_tokens": 1024})
    assert check_rendering(read_task_file(longer)) == []


def test_prompts_that_lose_their_middle_are_named(tmp_path: Path) -> None:
    path = write_task(tmp_path, base_model="tiny", generation={"max_prompt_tokens": 64})
    write_jsonl(tmp_path / "dev.jsonl", [*tickets(9), {"text": "wifi " * 200, "team": "network"}])
    assert [
        "1 of 10 prompts of dev lose their middle" in note for note in check_rendering(read_task_file(path))
    ] == [True]


def test_a_base_model_without_a_template_gets_plain_text_and_says_so(tmp_path: Path) -> None:
    base = model(tmp_path / "model", None)
    task = read_task_file(write_task(tmp_path, base_model=str(base)))
    assert ["plain text" in note for note in check_rendering(task)] == [True]
    asked = task.prompt.model_copy(update={"plain": True})
    assert check_rendering(task.model_copy(update={"prompt": asked})) == []


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("no-such-model", "neither a directory nor a hub id"),
        ("{{ raise_exception('not today') }}", "not today"),
        ("{{ messages[0]['content'] }}", "does not write the assistant's turn"),
        ("{% for m in messages %}{{ m['content'][0] / 2 }}{% endfor %}", "cannot render the conversation"),
        ("{% if 'Ticket' in messages[0]['content'] %}{{ raise_exception('no tickets') }}{% endif %}" + TURN + OPENED,
         "15 of 15 rows cannot be rendered"),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_is_refused_before_there_is_a_run_directory(
    tmp_path: Path, base: str, says: str
) -> None:
    name = str(model(tmp_path / "model", base)) if "{" in base else base
    path = write_task(tmp_path, base_model=name)
    write_jsonl(tmp_path / "dev.jsonl", tickets(15))
    with pytest.raises(InputError) as refused:
        prepare_run(path, out=tmp_path / "run")
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_an_item_that_the_template_refuses_has_an_empty_answer(tmp_path: Path) -> None:
    """`trex check` names such items of test; at the end of a run they cost their points, not the score of all."""
    picky = "{% if 'odd' in messages[-1]['content'] %}{{ raise_exception('odd') }}{% endif %}" + TURN + OPENED
    base = model(tmp_path / "model", picky.replace("messages[-1]", "messages[0]"))
    engine = TransformersEngine(base, 1)
    usual = [[{"role": "user", "content": f"film {n}"}] for n in range(5)]
    mixed = [*usual[:2], [{"role": "user", "content": "an odd film"}], *usual[2:]]
    settings = GenerationSettings(max_new_tokens=4)
    for answer in (
        lambda asked: engine.choose(asked, ["positive", "negative"], settings),
        lambda asked: engine.generate(asked, settings),
    ):
        good = answer(usual)
        assert answer(mixed) == [*good[:2], Completion(""), *good[2:]]
    drawn = engine.sample(usual, settings, Sampling(n=2))
    assert engine.sample(mixed, settings, Sampling(n=2)) == [*drawn[:2], [Completion("")] * 2, *drawn[2:]]
    with pytest.raises(InputError, match="odd"):
        engine.generate(mixed[2:3], settings)
