from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from trex.errors import IntegrityError
from trex.evaluation.contamination import ContaminationGate, training_rows
from trex.evaluation.task import Prompt
from trex.files import write_jsonl

PROMPT = Prompt(user="Is this review positive or negative?\n{text}", answer="{label}")
WORDS = [f"{a}{b}" for a in "bcdfghjklmnp" for b in ("ax", "em", "is", "on", "ur", "ail", "eep", "ight")]


def sentence(generator: random.Random, length: int) -> str:
    return " ".join(generator.choice(WORDS) for _ in range(length))


def item(text: str) -> dict[str, str]:
    return {"id": "x", "text": text, "label": "positive", "reference": "positive"}


def row(text: str) -> dict[str, object]:
    """What a built data set holds: the conversation, and the columns it came from."""
    return {
        "prompt": PROMPT.messages({"text": text}),
        "completion": [{"role": "assistant", "content": "positive"}],
        "source": {"text": text, "rating": 3.2},
    }


LONG = "the quick brown fox jumps over the lazy dog while nobody in the quiet village looks up"


@pytest.mark.parametrize(
    ("held_out", "trained", "found"),
    [
        ("A great movie.", "a GREAT movie", True),
        ("A great movie.", "a great film", False),
        ("Great!", "great", True),
        ("a film of rare warmth", "A film, of rare warmth!!", True),
        ("ｆｕｌｌ width letters here now", "full width letters here now", True),
        (LONG, "And so: " + LONG + ", as they say.", True),
        (LONG, " ".join(LONG.split()[:14]), True),
        (LONG, " ".join(LONG.split()[:9]) + " and then something else happens in another place", False),
        (LONG, "the lazy fox looks up", False),
    ],
)
def test_what_counts_as_repeating_an_item(held_out: str, trained: str, found: bool) -> None:
    gate = ContaminationGate([item(held_out)], PROMPT)
    assert gate.matches(row(trained)) is found


def test_planted_rows_are_found_and_no_others() -> None:
    generator = random.Random(0)
    items = [item(sentence(generator, generator.randint(1, 40))) for _ in range(500)]
    clean = [row(sentence(generator, generator.randint(5, 40))) for _ in range(1000)]
    planted = {}
    for _ in range(100):
        words = generator.choice(items)["text"].split()
        if len(words) >= 12:
            start = generator.randint(0, len(words) // 10)
            words = words[start : start + max(12, int(len(words) * 0.9))]
        planted[generator.randrange(1000)] = row(" ".join(words).upper() + " !")
    rows = [planted.get(index, other) for index, other in enumerate(clean)]
    report = ContaminationGate(items, PROMPT).check(rows)
    assert report.matches == len(planted)
    assert report.examples == sorted(planted)[:20]
    assert (report.checked_rows, report.against_items, report.clean) == (1000, 500, False)


def test_a_string_at_any_depth_counts() -> None:
    gate = ContaminationGate([item("a film of rare warmth")], PROMPT)
    assert gate.matches({"source": {"notes": [{"deep": "a film of rare warmth"}]}})
    assert gate.matches({"messages": PROMPT.messages({"text": "a film of rare warmth"})})
    assert not gate.matches({"source": {"rating": 1, "other": None}})


def test_the_tasks_own_wording_is_no_match() -> None:
    """A column that is the same in every item, and a sentence all prompts share, identify nothing."""
    prompt = Prompt(user="{instruction}\n{text}", answer="{label}")
    instruction = "Read the following review with care and say in one word whether it is good or bad"
    items = [{**item(f"film {i}"), "instruction": instruction} for i in range(20)]
    gate = ContaminationGate(items, prompt)
    trained = {"instruction": instruction, "text": "another film"}
    assert not gate.matches({"prompt": prompt.messages(trained), "source": trained})
    trained = {"instruction": instruction, "text": "film 7"}
    assert gate.matches({"prompt": prompt.messages(trained), "source": trained})


def test_small_fields_match_only_together() -> None:
    prompt = Prompt(user="Write a SMILES with {count} {group} groups", answer="{smiles}")
    gate = ContaminationGate([{"count": 2, "group": "carbonyl", "smiles": "O=CC=O"}], prompt)

    def trained(count: int, group: str) -> dict[str, object]:
        columns = {"count": str(count), "group": group, "smiles": "CC"}
        return {"prompt": prompt.messages(columns), "source": columns}

    assert gate.matches(trained(2, "carbonyl"))
    assert not gate.matches(trained(3, "carbonyl"))
    assert not gate.matches(trained(2, "ester"))


def test_symbols_that_carry_meaning_are_compared() -> None:
    prompt = Prompt(user="Name {smiles}", answer="{name}")
    gate = ContaminationGate([{"smiles": "CC=O", "name": "ethanal"}], prompt)
    assert gate.matches({"text": "Name CC=O"})
    assert not gate.matches({"text": "Name CCO"})


def test_ten_thousand_rows_against_ten_thousand_items_take_seconds() -> None:
    generator = random.Random(0)
    items = [item(sentence(generator, 20)) for _ in range(10_000)]
    rows = [row(sentence(generator, 20)) for _ in range(10_000)]
    started = time.process_time()
    report = ContaminationGate(items, PROMPT).check(rows)
    assert report.clean
    assert time.process_time() - started < 10


def test_a_set_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="can't be checked"):
        list(training_rows(tmp_path))
    write_jsonl(tmp_path / "train.jsonl", [row("a")])
    assert len(list(training_rows(tmp_path))) == 1
    (tmp_path / "train.jsonl").write_text("{")
    with pytest.raises(IntegrityError):
        list(training_rows(tmp_path))
