from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trex.errors import IntegrityError
from trex.evaluation.decontamination.gate import ContaminationGate, training_rows
from trex.evaluation.decontamination.near_index import Known, NearIndex
from trex.evaluation.decontamination.normal_form import key, units, word_count
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
        "prompt": PROMPT.turns({"text": text}),
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
        (LONG, " ".join(LONG.split()[:9]) + " and then something else happens in another place", True),
        (LONG, " ".join(LONG.split()[:7]) + " and then something else happens in another place", False),
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
    assert gate.matches({"messages": PROMPT.turns({"text": "a film of rare warmth"})})
    assert not gate.matches({"source": {"rating": 1, "other": None}})


def test_the_tasks_own_wording_is_no_match() -> None:
    """A column that is the same in every item, and a sentence all prompts share, identify nothing."""
    prompt = Prompt(user="{instruction}\n{text}", answer="{label}")
    instruction = "Read the following review with care and say in one word whether it is good or bad"
    items = [{**item(f"film {i}"), "instruction": instruction} for i in range(20)]
    gate = ContaminationGate(items, prompt)
    trained = {"instruction": instruction, "text": "another film"}
    assert not gate.matches({"prompt": prompt.turns(trained), "source": trained})
    trained = {"instruction": instruction, "text": "film 7"}
    assert gate.matches({"prompt": prompt.turns(trained), "source": trained})


def test_small_fields_match_only_together() -> None:
    prompt = Prompt(user="Write a SMILES with {count} {group} groups", answer="{smiles}")
    gate = ContaminationGate([{"count": 2, "group": "carbonyl", "smiles": "O=CC=O"}], prompt)

    def trained(count: int, group: str) -> dict[str, object]:
        columns = {"count": str(count), "group": group, "smiles": "CC"}
        return {"prompt": prompt.turns(columns), "source": columns}

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
    with pytest.raises(IntegrityError, match="cannot be checked"):
        list(training_rows(tmp_path))
    write_jsonl(tmp_path / "train.jsonl", [row("a")])
    assert len(list(training_rows(tmp_path))) == 1
    (tmp_path / "train.jsonl").write_text("{")
    with pytest.raises(IntegrityError):
        list(training_rows(tmp_path))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "no rows"),
        ("\n\n", "no rows"),
        ("[1, 2]\n", "row 1"),
        ("{}\nnull\n", "row 2"),
        ("[" * 10**5, "cannot be checked"),
    ],
)
def test_a_set_without_rows_or_with_other_things_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(IntegrityError, match=why):
        list(training_rows(tmp_path))


def test_the_check_itself_fails_closed() -> None:
    gate = ContaminationGate([item(LONG)], PROMPT)
    with pytest.raises(IntegrityError, match="no rows"):
        gate.check([])
    with pytest.raises(IntegrityError, match="row 1 is not an object"):
        gate.check([row("a"), "b"])  # type: ignore[list-item]


def test_the_report_holds_numbers_only() -> None:
    gate = ContaminationGate([item(LONG)], PROMPT)
    report = gate.check([row(text) for text in ["other", LONG, LONG.upper()]])
    assert report.examples == [1, 2]
    assert "fox" not in report.model_dump_json()


OTHER = "no single sentence of this review says whether its author has seen the film to the end"


@pytest.mark.parametrize(
    "trained",
    [
        {"whatever": {"deep": [OTHER, [LONG]]}},
        {"text": f"Decide: {LONG} -> answer:"},
        {"text": LONG.replace(" ", "")},
        {"text": LONG.replace("over the lazy", "overthelazy").replace("brown", "bro wn") + " " + OTHER},
        {"text": "\n".join([OTHER] * 40 + [LONG] + [OTHER] * 40)},
        {"messages": [{"role": "user", "content": LONG[:31]}, {"role": "assistant", "content": LONG[31:]}]},
        {
            "messages": [
                {"role": "user", "content": OTHER + LONG[:40]},
                {"role": "assistant", "content": LONG[40:]},
            ]
        },
        {"tokens": LONG.split()},
        {"text": LONG.replace("quick", "slow").replace("nobody", "somebody")},
        {"text": "\u200b".join(LONG)},
    ],
    ids=[
        "deep",
        "rendered",
        "unspaced",
        "joined",
        "document",
        "turns",
        "within turns",
        "tokens",
        "edited",
        "unseen",
    ],
)
def test_disguises_of_a_long_item(trained: dict[str, object]) -> None:
    gate = ContaminationGate([item(LONG)], PROMPT)
    assert gate.matches(trained)
    assert not gate.matches({"text": OTHER, "more": [OTHER.title()]})


def test_scattered_words_of_an_item_are_no_repeat() -> None:
    """A long document holds most words of an item somewhere; only a stretch counts."""
    generator = random.Random(1)
    gate = ContaminationGate([item(LONG)], PROMPT)
    quarters = [LONG[:22], LONG[22:44], LONG[44:66], LONG[66:]]
    document = " ".join(part + " " + sentence(generator, 60) for part in quarters)
    assert not gate.matches({"text": document})
    assert gate.matches({"text": " ".join(quarters) + sentence(generator, 60)})


def test_short_items_count_verbatim_only() -> None:
    gate = ContaminationGate([item("not bad"), item("a film of rare and quiet warmth")], PROMPT)
    assert gate.matches({"review": "Not bad!", "stars": 4})
    assert not gate.matches({"review": "bad", "stars": 4})
    assert not gate.matches({"review": "not bad at all", "stars": 4})
    assert gate.matches({"review": "Review: A film of rare and quiet warmth.\nSentiment:"})
    assert not gate.matches({"review": "a film of rare and quiet coldness"})


def test_an_item_of_eight_words_counts_when_quoted_in_full() -> None:
    gate = ContaminationGate([item("one two three four five six seven eight")], PROMPT)
    assert gate.matches({"text": "they count one two three four five six seven eight and go on counting"})
    assert not gate.matches({"text": "they count one two three four five six seven nine and go on counting"})
    shorter = ContaminationGate([item("one two three four five six seven")], PROMPT)
    assert not shorter.matches({"text": "they count one two three four five six seven and go on counting"})


def test_a_label_that_reads_like_an_item_is_none() -> None:
    gate = ContaminationGate([item("good"), item("positive")], PROMPT)
    assert not gate.matches({"text": "a long review of a film that nobody here has seen", "label": "good"})
    assert not gate.matches({"text": "nice", "label": "positive"})
    assert gate.matches({"text": "Good.", "label": "positive"})
    assert gate.matches(row("positive"))


def test_items_without_letters_are_told_apart() -> None:
    gate = ContaminationGate([item(":)")], PROMPT)
    assert gate.matches(row(":)"))
    assert not gate.matches(row(":("))
    assert not gate.matches(row("great"))


def test_every_long_column_of_an_item_is_known_but_the_answer() -> None:
    prompt = Prompt(user="{question}", answer="{answer}")
    known = {
        "question": "Why?",
        "context": LONG,
        "answer": OTHER,
        "parts": {"hint": ["look at the third chapter"]},
    }
    gate = ContaminationGate([known], prompt)
    assert gate.matches({"passage": LONG})
    assert gate.matches({"note": "Look at the third chapter"})
    assert not gate.matches({"completion": OTHER})


def test_an_item_without_one_of_the_columns_is_compared_by_the_others() -> None:
    items = [
        {"a": "which of these came first of all", "b": "x", "label": "y"},
        {"a": "and the last one", "label": "y"},
    ]
    gate = ContaminationGate(items, Prompt(user="{a} {b}", answer="{label}"))
    rows = [{"text": "And the LAST one!"}, {"text": "None"}, {"text": "which of these came first of all x"}]
    assert gate.repeated_items(rows) == [{1}, set(), {0}]


def test_columns_together_are_an_item() -> None:
    prompt = Prompt(user="{question}\nA. {a}\nB. {b}", answer="{key}")
    gate = ContaminationGate([{"question": "Who wrote it?", "a": "Swift", "b": "Sterne", "key": "B"}], prompt)
    assert gate.matches({"q": "who wrote it", "options": ["Sterne", "Swift"]})
    assert not gate.matches({"q": "who wrote it", "options": ["Sterne", "Defoe"]})


def test_a_long_instruction_in_many_prompts_identifies_none() -> None:
    """Also where it stands in the same column as the text, so that no template tells it apart."""
    generator = random.Random(2)
    instruction = (
        "Read the following case with care, name the article that applies, and give no reasons for it: "
    )
    prompt = Prompt(user="{prompt}", answer="{label}")
    texts = [sentence(generator, 12) for _ in range(60)]
    gate = ContaminationGate([{"prompt": instruction + text, "label": "x"} for text in texts], prompt)
    assert not gate.matches({"prompt": instruction + sentence(generator, 12)})
    assert not gate.matches({"prompt": instruction})
    assert gate.matches({"prompt": instruction + texts[7].replace(texts[7].split()[4], "changed")})
    assert gate.matches({"question": "Say this: " + texts[7]})


def test_chinese_is_read_without_spaces() -> None:
    held_out = "被告人于二零一九年三月在北京市海淀区盗窃他人财物，价值人民币五千元，后主动投案自首。"
    gate = ContaminationGate([item(held_out)], PROMPT)
    assert gate.matches({"案情": held_out.replace("，", " ").rstrip("。")})
    assert gate.matches({"案情": "请分析下列案件。" + held_out.replace("海淀", "朝阳") + "应当如何处理？"})
    assert not gate.matches(
        {"案情": "原告与被告于二零一五年登记结婚，婚后育有一子，现原告请求离婚并抚养孩子。"}
    )


def test_a_sentence_about_another_molecule_is_another_question() -> None:
    asked = (
        "Please modify the molecule {} by adding one hydroxyl group to it and return the new SMILES string."
    )
    gate = ContaminationGate([item(asked.format("CC(C)c1ccccc1C=O"))], PROMPT)
    assert gate.matches({"q": asked.format("CC(C)c1ccccc1C=O").replace("Please", "Kindly")})
    assert not gate.matches({"q": asked.format("CC(C)c1ccccc1C#N")})
    assert not gate.matches({"q": asked.format("CCCc1ccccc1C=O")})


def test_the_same_words_with_other_numbers_are_another_question() -> None:
    asked = "number {}: my invoice is wrong, and the refund of the deposit too"
    gate = ContaminationGate([item(asked.format(12))], PROMPT)
    assert gate.matches({"q": asked.format(12).replace("wrong", "late")})
    assert not gate.matches({"q": asked.format(13)})
    counts = "A molecule with {} carbon, {} oxygen, {} nitrogen and {} sulfur atoms"
    gate = ContaminationGate([item(counts.format(17, 2, 1, 1))], PROMPT)
    assert gate.matches({"q": "Please: " + counts.format(17, 2, 1, 1).upper()})
    assert not gate.matches({"q": counts.format(16, 2, 1, 1)})
    assert not gate.matches({"q": counts.format(2, 17, 1, 1)})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("CC(C)O", "CCCO", False),
        ("Name CC(C)O.", "name CC(C)O", True),
        ("2 + 2", "2 * 2", False),
        ("2 + 2 = 4", "2+2=4!", True),
        ("50% of it", "50 of it", False),
        ("C++ code", "C code", False),
        ("good/bad", "good bad", True),
        ("*really* good", "really good", True),
        ("every one", "every-one", True),
        ("straße", "STRASSE", True),
        ("ılık", "ILIK", True),
        ("किताब", "कतब", False),
        ("cafe\u0301", "CAFÉ", True),
        ("👍", "👎", False),
    ],
)
def test_what_is_the_same_text(one: str, other: str, same: bool) -> None:
    assert (key(one) == key(other)) is same


def test_words_are_counted_in_any_script() -> None:
    assert word_count("it's a well-made film") == 6
    assert word_count("好电影，值得一看") == 3  # three ideographs are nine units, four twelve
    assert word_count("") == 0


PROSE = st.lists(st.text("abcdefghijklmnopqrstuvwxyzäéñß", min_size=1, max_size=9), min_size=1, max_size=40)
MARKS = st.lists(
    st.sampled_from([" ", "  ", "\n", "\t", ", ", ". ", " - ", "... ", "! ", "\u00a0", " (", "; "]),
    min_size=1,
)
CASES = st.sampled_from([str.lower, str.upper, str.title, str.swapcase, str.capitalize])


@settings(max_examples=150, deadline=None)
@given(PROSE, MARKS, CASES, st.sampled_from(["text", "other"]))
def test_a_repeat_is_found_in_any_case_punctuation_and_spacing(
    words: list[str], marks: list[str], case: Callable[[str], str], name: str
) -> None:
    gate = ContaminationGate([item(" ".join(words)), item(OTHER)], PROMPT)
    parts = [word + marks[place % len(marks)] for place, word in enumerate(words)]
    assert gate.matches({name: case("".join(parts))})
    assert gate.matches(row(case("".join(parts))))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 999), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_items_does_not_matter(seeds: list[int], generator: random.Random) -> None:
    items = [item(sentence(random.Random(seed), 5 + seed % 20)) for seed in range(0, 500, 25)]
    rows = [row(sentence(random.Random(seed), 5 + seed % 20)) for seed in seeds]
    gate = ContaminationGate(items, PROMPT)
    matches = [gate.matches(one) for one in rows]
    order = list(range(len(rows)))
    generator.shuffle(order)
    generator.shuffle(items)
    report = ContaminationGate(items, PROMPT).check([rows[index] for index in order])
    assert report.matches == sum(matches)
    assert report.examples == [place for place, index in enumerate(order) if matches[index]]
    assert all(found == (seed % 25 == 0 and seed < 500) for found, seed in zip(matches, seeds, strict=True))


@settings(max_examples=100, deadline=None)
@given(st.lists(PROSE, min_size=1, max_size=8), PROSE)
def test_unrelated_rows_are_not_found(held_out: list[list[str]], trained: list[str]) -> None:
    """Words of the row have a letter that no item has, so that they share no word."""
    gate = ContaminationGate([item(" ".join(words)) for words in held_out], PROMPT)
    assert not gate.matches(row(" ".join("ж" + word for word in trained)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(10, 60), st.sampled_from(["replace", "drop", "insert"]))
def test_a_tenth_of_the_words_may_change(seed: int, length: int, edit: str) -> None:
    generator = random.Random(seed)
    items = [item(sentence(generator, length)) for _ in range(20)]
    words = items[3]["text"].split()
    for place in sorted(generator.sample(range(length), length // 10), reverse=True):
        new = [] if edit == "drop" else ["otherwise"]
        words[place : place + (edit != "insert")] = new
    assert ContaminationGate(items, PROMPT).matches({"body": " ".join(words)})


LOOK_ALIKES = {
    "Cyrillic": str.maketrans("aceopxyisjhkmtb", "асеорхуіѕјһкмтв"),
    "Greek": str.maketrans("aeiouvkptxy", "αειουνκρτχγ"),
    "Armenian and others": str.maketrans("onuhgqwdazl", "օոսհցզաԁɑᴢӏ"),
    "marked": {code: chr(code) + "\u0336" for code in range(97, 123)},
    "squared": {code: chr(0x1F170 + code - 97) for code in range(97, 123)},
    "mathematical": {code: chr(0x1D4EA + code - 97) for code in range(97, 123)},
}


@pytest.mark.parametrize("alphabet", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
@pytest.mark.parametrize("text", [LONG, "a film of rare warmth", "not bad", OTHER])
def test_letters_that_look_alike_are_the_same(alphabet: dict[int, str], text: str) -> None:
    gate = ContaminationGate([item(text), item("something else")], PROMPT)
    disguised = text.translate(alphabet)
    assert disguised != text
    assert gate.matches({"comment": disguised})
    assert gate.matches({"comment": text[: len(text) // 2].translate(alphabet) + text[len(text) // 2 :]})
    assert not gate.matches({"comment": "the printer is out of paper".translate(alphabet)})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("хорошо", "ХОРОШО", True),
        ("нос", "пос", False),
        ("ΜΟΥΣΙΚΗ", "μουσικη", True),
        ("за́мок", "замок", True),
        ("résumé", "resume", False),
        ("10", "lO", False),
        ("c1ccccc1", "clcccccl", False),
        ("२०१५", "२०१६", False),
        ("🇫🇷", "🇩🇪", False),
    ],
)
def test_other_scripts_keep_their_distinctions(one: str, other: str, same: bool) -> None:
    assert (key(one) == key(other)) is same


@pytest.mark.parametrize("length", [20, 30, 60])
@pytest.mark.parametrize("part", ["first", "middle", "last"])
def test_half_of_an_item_is_found_alone_and_among_others(length: int, part: str) -> None:
    generator = random.Random(length)
    items = [item(sentence(generator, length)) for _ in range(50)]
    start = {"first": 0, "middle": length // 4, "last": length - length // 2}[part]
    half = " ".join(items[7]["text"].split()[start : start + length // 2])
    gate = ContaminationGate(items, PROMPT)
    assert gate.matches({"text": half})
    assert gate.matches(row(f"{sentence(generator, 30)} {half.upper()} {sentence(generator, 30)}"))
    words = half.split()
    apart = " ".join(f"{word} {generator.choice(WORDS)}" for word in words)
    assert not gate.matches({"text": apart})


def test_a_phrase_of_a_long_item_is_no_repeat() -> None:
    """Neither a saying of seven words nor a third of an item, and no half without the numbers of the question."""
    generator = random.Random(3)
    long = sentence(generator, 60)
    gate = ContaminationGate([item(long), item(LONG)], PROMPT)
    assert not gate.matches({"text": " ".join(long.split()[:19])})
    assert not gate.matches({"text": LONG[:38] + " " + sentence(generator, 20)})
    asked = "a train leaves at {} and arrives at {}: how long is it under way on an ordinary working day"
    gate = ContaminationGate([item(asked.format(9, 11))], PROMPT)
    assert not gate.matches({"text": asked.format(7, 12)})


def test_the_items_that_a_row_repeats_are_named() -> None:
    others = [f"another film, number {number}" for number in range(8)]
    items = [item(text) for text in (LONG, OTHER, LONG.upper(), "not bad", *others)]
    gate = ContaminationGate(items, PROMPT)
    rows: list[dict[str, object]] = [{"t": LONG}, {"t": "Not bad!"}, {"t": [OTHER, LONG]}, {"t": "neither"}]
    assert gate.repeated_items(rows) == [{0, 2}, {3}, {0, 1, 2}, set()]
    assert [len(found) for found in gate.repeated_items(rows, every=False)] == [1, 1, 1, 0]


def test_texts_of_any_length_and_number_are_looked_up() -> None:
    empty = NearIndex([], 0, 5)
    assert empty.find_items([units("anything")]) == [set()]
    index = NearIndex([Known(0, units("abcdefghijklmnopqrstuvwxyz"))], 1, 5)
    assert index.find_items([]) == []
    texts = ["", "a", "zabcdefghijklmnopqrstuvwxyz", "", "abcdefghijklm", "x" * 30]
    found = index.find_items([units(text) for text in texts])
    assert found == [set(), set(), {0}, set(), set(), set()]


def test_the_boundary_of_containment() -> None:
    """40 units are 35 grams, of which 55 % are 19.25: 20 are enough, 19 are not."""
    text = "".join(chr(0x4E00 - 0x3000 + 97 * place) for place in range(40))
    index = NearIndex([Known(0, units(text))], 1, 5)
    assert units(text).size == 40
    assert index.find_items([units(text[:25]), units(text[:24])]) == [{0}, set()]


def test_the_boundary_of_a_run() -> None:
    """Of 100 units, a run needs 35 of 95 grams; 39 units have 34. Of 60 units it needs 32 units in any case."""
    for size, enough in ((100, 39), (60, 32)):
        text = units("".join(chr(0x0C00 + place) for place in range(size)))
        index = NearIndex([Known(0, text)], 1, 5)
        assert index.find_items([text[20 : 20 + enough], text[20 : 19 + enough]]) == [{0}, set()]
