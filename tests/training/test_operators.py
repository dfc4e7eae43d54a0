"""What the operators that clean, convert, score and mix rows make of them."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recipes import apply, dataset
from trex.errors import PlanError
from trex.training.data.minhash import FOUND, HASHES, rows_per_band
from trex.training.data.mix import mix, tempered
from trex.training.data.operators.clean import Clean
from trex.training.data.operators.convert import Convert
from trex.training.data.operators.explode import Explode
from trex.training.data.operators.filter import Filter
from trex.training.data.operators.near_dedup import NearDedup
from trex.training.data.operators.protocol import OperatorContext
from trex.training.data.operators.quality import Quality
from trex.training.data.operators.sample import Sample
from trex.training.data.operators.top import Top
from trex.training.data.operators.where import Where
from trex.training.data.row_layouts import Exchange, LayoutFault, exchanges, instruction, multiple_choice
from trex.training.data.row_table import KEY
from trex.training.data.text_cleaning import masked, normalised, single_spaced, without_html
from trex.training.data.text_quality import RULES, TextMeasures, failed_rule, repeated_share


def texts(*values: Any) -> Any:
    return dataset([{"text": value, "n": number} for number, value in enumerate(values)])


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<p>One &amp; two</p><script>x < 1</script><p>three", "\nOne & two\n\nthree"),
        ("a<br>b<b>c</b>", "a\nbc"),
        ("1 < 2", "1 < 2"),
        ("<style>p {}</style><li>x</li>", "\nx\n"),
        ("no tags", "no tags"),
    ],
)
def test_html(text: str, clean: str) -> None:
    assert without_html(text) == clean


@pytest.mark.parametrize(
    ("kind", "text", "clean"),
    [
        ("email", "to ann.b+c@mail.example.org, now", "to <email>, now"),
        ("email", "at 5 @ home", "at 5 @ home"),
        ("url", "see https://example.org/a?b=1 now", "see <url> now"),
        (
            "ip",
            "from 192.168.0.1, version 1.2.3.4.5 and 300.1.1.1",
            "from <ip>, version 1.2.3.4.5 and 300.1.1.1",
        ),
        ("card", "4111 1111 1111 1111 but not 4111 1111 1111 1112", "<card> but not 4111 1111 1111 1112"),
        (
            "iban",
            "DE89 3704 0044 0532 0130 00, DE89 3704 0044 0532 0130 01",
            "<iban>, DE89 3704 0044 0532 0130 01",
        ),
        ("phone", "+49 (30) 1234-5678, (212) 555-0100, 212-555-0100", "<phone>, <phone>, <phone>"),
        ("phone", "on 2024-01-02, 3.14159, 1 000 000", "on 2024-01-02, 3.14159, 1 000 000"),
    ],
)
def test_masks(kind: Any, text: str, clean: str) -> None:
    assert masked(text, kind) == clean


def test_a_long_text_is_masked_in_time() -> None:
    for kind in ("url", "email", "iban", "card", "ip", "phone"):
        for part in ("a", "1", "A1", "+1 ", "1.", "a.", "-", "(1) "):
            assert len(masked(part * 20_000, kind)) > 0


def test_clean_does_what_is_asked_and_no_more() -> None:
    rows = texts("  e\u0301 \u200b x\r\n\n\n\n y@z.org", None, "")
    assert apply(Clean(columns=("text",)), rows)["text"][:] == ["é x\n\ny@z.org", None, ""]
    assert apply(Clean(columns=("text",), mask=("email",)), rows)["text"][0].endswith("<email>")
    kept = Clean(columns=("text",), unicode=None, whitespace=False)
    assert apply(kept, rows)["text"][:] == rows["text"][:]
    with pytest.raises(PlanError, match="not text"):
        apply(Clean(columns=("n",)), rows)


@given(st.text(alphabet="aé\u0301 \t\n\r\u00a0\u200bﬁ<>&;", max_size=30))
@settings(max_examples=60, deadline=None)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = single_spaced(normalised(text, "NFC"))
    assert single_spaced(normalised(once, "NFC")) == once


PROSE = (
    "It is said that the old house by the river has been empty for many years. People of the village do not go "
    "there, and children are told to stay away. Nobody knows who built it, or why the lights can be seen in winter. "
    "My grandmother wrote a letter about it once, but that letter was lost with all of her other papers."
)
LINES = "\n".join(f"This is line number {n} of a page that has some text in it." for n in range(8))


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        ("gopher.words", "too few words"),
        ("gopher.word_length", "a b c d " * 20),
        ("gopher.symbols", "# tag # tag # tag"),
        ("gopher.bullets", "- a\n- b\n- c"),
        ("gopher.ellipses", "one...\ntwo…\nthree"),
        ("gopher.letters", "1 2 3 word"),
        ("gopher.stop_words", "words without grammar"),
        ("gopher_repetition.lines", "same line\nsame line\nother line"),
        ("gopher_repetition.paragraphs", "same\n\nsame\n\nother"),
        ("gopher_repetition.line_characters", "a long line\na long line\nb\nc\nd\ne\nf"),
        ("gopher_repetition.paragraph_characters", "a long one\n\na long one\n\nb\n\nc\n\nd\n\ne\n\nf"),
        ("gopher_repetition.top_ngrams", "buy now " * 9),
        ("gopher_repetition.ngrams", "one two three four five six " * 3),
        ("c4.sentences", "One. Two."),
        ("c4.lorem_ipsum", "Lorem ipsum dolor."),
        ("c4.curly_brackets", "if (x) { y }"),
        ("fineweb.line_ends", "\n".join(["no end"] * 9)),
        ("fineweb.repeated_lines", f"{LINES}\n{LINES[:59]}\n{LINES[:59]}"),
        ("fineweb.short_lines", "short\nshorter\nshort, too\nThis line is long enough for a page of prose."),
    ],
)
def test_every_quality_rule_fails_its_bad_text_and_passes_prose(rule: str, bad: str) -> None:
    assert failed_rule(bad, [rule]) == rule
    assert failed_rule(PROSE, [rule]) is None


def test_every_quality_rule_is_tried_above() -> None:
    marks = test_every_quality_rule_fails_its_bad_text_and_passes_prose.pytestmark[0]
    assert [rule for rule, _ in marks.args[1]] == list(RULES)


def test_shares_of_repetition() -> None:
    assert repeated_share(["aa", "aa", "b"]) == pytest.approx(1 / 3)
    assert repeated_share(["aa", "aa", "b"], characters=True) == pytest.approx(2 / 5)
    assert TextMeasures("a b a b c").top_ngram(2) == pytest.approx(4 / 5)
    assert TextMeasures("a b a b c").repeated_ngrams(2) == pytest.approx(2 / 5)
    assert TextMeasures("").top_ngram(2) == TextMeasures("").repeated_ngrams(5) == 0


def test_quality_counts_what_it_drops() -> None:
    context = OperatorContext("stream")
    step = Quality(column="text", rules=("c4", "gopher.symbols"), without=("c4.sentences",))
    kept = step.run(texts(PROSE, "Lorem ipsum", "a { b", "# # # a", None, "fine"), context)
    assert kept["n"][:] == [0, 5]
    reasons = ["c4.lorem_ipsum", "c4.curly_brackets", "gopher.symbols", "no text"]
    assert context.dropped.rows == dict.fromkeys(reasons, 1)
    with pytest.raises(ValueError, match="no quality rule 'gofer'; there are: gopher, gopher_repetition, c4"):
        Quality(column="text", rules=("gofer",))


def jaccard(one: str, other: str) -> float:
    grams = [set(zip(*(text.split()[k:] for k in range(3)), strict=False)) for text in (one, other)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def test_near_duplicates_are_found_and_nothing_else_is_dropped() -> None:
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefgh", k=6)) for _ in range(3000)]
    pages = [" ".join(chance.choices(words, k=chance.randint(30, 90))) for _ in range(300)]
    edited = []
    for page in pages:
        parts = page.split()
        for _ in range(chance.randint(0, 3)):
            parts[chance.randrange(len(parts))] = chance.choice(words)
        edited.append(" ".join(parts))
    alike = [n for n in range(300) if jaccard(pages[n], edited[n]) >= 0.8]
    assert 100 < len(alike) < 290
    kept = set(apply(NearDedup(columns=("text",)), texts(*pages, *edited))["n"])
    found = [n for n in alike if not {n, n + 300} <= kept]
    assert len(found) >= 0.98 * len(alike)
    assert len(kept) == 600 - len(found)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_the_bands_find_pairs_of_the_threshold(threshold: float) -> None:
    rows = rows_per_band(threshold)
    assert 1 - (1 - threshold**rows) ** (HASHES // rows) >= FOUND


def test_near_dedup_reads_signs_short_texts_and_other_scripts() -> None:
    different = [
        "C=O",
        "C#O",
        "c=o",
        "+",
        "-",
        "",
        "東京は日本の首都です",
        "大阪は日本の都市です",
        "a b",
        "b a",
    ]
    assert len(apply(NearDedup(columns=("text",)), texts(*different))) == len(different)
    same = ["東京は日本の首都です", "東京は日本の首都です", "A  b c", "A b c"]
    assert len(apply(NearDedup(columns=("text",)), texts(*same))) == 2
    assert len(apply(NearDedup(columns=("text",), ignore_case=True), texts("A b", "a B"))) == 1


TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "So long"},
]


def test_conversations() -> None:
    first, second = exchanges(TURNS)
    assert first == Exchange("Hi", "Hello", "Be kind.")
    assert second == Exchange("user: Hi\n\nassistant: Hello\n\nuser: Bye", "So long", "Be kind.")
    assert exchanges([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]) == [Exchange("a", "b")]
    parts = {
        "role": "assistant",
        "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}],
    }
    assert exchanges([TURNS[1], parts]) == [Exchange("Hi", "Hello")]


@pytest.mark.parametrize(
    ("turns", "fault"),
    [
        (None, "no list of turns"),
        ("text", "no list of turns"),
        ([1], "no turn"),
        ([{"role": "robot", "content": "x"}], "unknown role 'robot'"),
        ([{"role": "user", "content": "x"}], "no turn of an assistant"),
        ([{"role": "assistant", "content": "x"}], "no turn of an assistant"),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}],
            "no turn of an assistant",
        ),
    ],
)
def test_what_is_no_conversation(turns: Any, fault: str) -> None:
    with pytest.raises(LayoutFault, match=fault):
        exchanges(turns)


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"choices": ["x", "y"], "answer": 1}, "B"),
        ({"choices": ["x", "y"], "answer": "A"}, "A"),
        ({"options": ["x", "y"], "answer": "y"}, "B"),
        ({"choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}, "2"),
    ],
)
def test_multiple_choice(row: dict[str, Any], answer: str) -> None:
    read = multiple_choice({"question": "Which?", **row})
    assert read.answer == answer and read.question.splitlines()[1].endswith(". x")
    assert read.question.startswith("Which?\n")


def test_layouts_that_do_not_fit() -> None:
    for row in ({"choices": ["x", "y"], "answer": "z"}, {"choices": ["x"], "answer": 0}, {"choices": None}):
        with pytest.raises(LayoutFault):
            multiple_choice({"question": "Which?", **row})
    with pytest.raises(LayoutFault):
        instruction({"instruction": "Say", "output": ""})
    assert instruction({"instruction": "Add", "input": "1 2", "output": 3}) == Exchange("Add\n\n1 2", "3")


def test_convert_writes_columns_and_counts_what_does_not_fit() -> None:
    rows = dataset([{"messages": TURNS, "n": 0}, {"messages": [], "n": 1}])
    context = OperatorContext("stream")
    made = Convert(layout="openai", turns="every", system="s").run(rows, context)
    assert made["answer"][:] == ["Hello", "So long"] and made["s"][:] == ["Be kind."] * 2
    assert made[KEY][:] == [f"{rows[KEY][0]}/{place}" for place in (0, 1)]
    assert context.dropped.rows == {"not in the layout openai": 1}
    assert apply(Convert(layout="openai", turns="last"), rows)["answer"][:] == ["So long"]
    with pytest.raises(
        PlanError, match=r"no row is in the layout sharegpt; the first: .* is no list of turns"
    ):
        apply(Convert(layout="sharegpt", column="n"), rows)
    with pytest.raises(PlanError, match="no column 'conversations'; the rows have: messages, n"):
        apply(Convert(layout="sharegpt"), rows)
    alpaca = dataset([{"instruction": "Say", "input": None, "output": "x"}])
    assert apply(Convert(layout="alpaca"), alpaca)["question"][:] == ["Say"]
    choice = dataset([{"question": "Which?", "choices": ["x", "y"], "answer": 0}])
    assert apply(Convert(layout="multiple_choice"), choice)["answer"][:] == ["A"]


def test_explode_makes_a_row_for_each_value() -> None:
    rows = dataset([{"a": ["x", "y"], "n": 0}, {"a": [], "n": 1}, {"a": None, "n": 2}, {"a": ["z"], "n": 3}])
    made = apply(Explode(column="a", into="b"), rows)
    assert list(zip(made["n"], made["b"], strict=True)) == [(0, "x"), (0, "y"), (3, "z")]
    assert len(set(made[KEY])) == 3
    with pytest.raises(PlanError, match="column 'n' contains 0, no list"):
        apply(Explode(column="n"), rows)


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (Filter(column="text", min_chars=2, max_chars=3), [1, 2]),
        (Filter(column="text", matches="^[a-b]+$"), [0, 1]),
        (Where(test="len(text) > 2 or n == 0"), [0, 2, 3]),
        (Where(test="text[2] == 'c'"), [2, 3]),
        (Top(by="n % 3", n=1), [2]),
        (Top(by="n", n=2, lowest=True), [0, 1]),
        (Top(by="1 / n", n=9), [1, 2, 3, 4]),
    ],
    ids=str,
)
def test_selection(step: Any, kept: list[int]) -> None:
    assert apply(step, texts("a", "ab", "abc", "abcd", None))["n"][:] == kept


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Filter(column="text", matches="(?=a)"), "matches: Invalid regular expression"),
        (Where(test="text > 1"), "the test has no value for any row; the first: test: `>` needs"),
        (Where(test="txt == 1"), "no column 'txt'; the rows have: text, n; did you mean 'text'?"),
        (Top(by="text", n=1), "the score of row 1 is text 'a', not a number"),
    ],
    ids=str,
)
def test_a_selection_that_does_not_fit_is_one_clear_error(step: Any, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        apply(step, texts("a", "b"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_stratified_sample_keeps_shares() -> None:
    rows = dataset([{"text": str(n), "kind": "abbb"[n % 4]} for n in range(200)])
    for n, expected in ((40, {"a": 10, "b": 30}), (300, {"a": 50, "b": 150})):
        assert Counter(apply(Sample(n=n, by="kind"), rows)["kind"]) == expected
    small, large = (set(apply(Sample(n=n, by="kind"), rows)["text"]) for n in (40, 80))
    assert small < large


def test_a_weighted_sample_favours_heavy_rows() -> None:
    rows = dataset([{"text": str(n), "w": [0.0, 1.0, 9.0][n % 3]} for n in range(3000)])
    found = Counter(apply(Sample(n=400, weight="w"), rows)["w"])
    assert found[0.0] == 0 and 5 < found[9.0] / found[1.0] < 16
    small = set(apply(Sample(n=100, weight="w"), rows)["text"])
    assert small < set(apply(Sample(n=400, weight="w"), rows)["text"])


def test_caps_and_temperature() -> None:
    streams = [dataset([{"text": f"{n}{k}"} for k in range(size)], n) for n, size in (("a", 900), ("b", 100))]

    def sizes(**given: Any) -> Counter[str]:
        return Counter(text[0] for text in mix(streams, [1, 1], **given)["text"])

    assert sizes(rows=None, caps=[50, None]) == {"a": 50, "b": 100}
    assert sizes(rows=100) == {"a": 50, "b": 50}
    assert sizes(rows=100, temperature=1) == {"a": 90, "b": 10}
    assert sizes(rows=100, temperature=2) == {"a": 75, "b": 25}
    assert tempered([2, 1], [4, 16], 2) == [4, 4]
