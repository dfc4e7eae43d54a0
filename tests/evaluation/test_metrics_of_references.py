"""Metrics that compare an answer with a reference: exact match, token F1, contains, regex, JSON, a Python function."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trex.errors import InputError, TrexError
from trex.evaluation.grader.evaluator_version import evaluator_identity
from trex.evaluation.metric_name import located_metric
from trex.evaluation.metrics import is_ours, measure, metric
from trex.evaluation.metrics.exact_match import squad_form


def value(name: str, reference: object, answer: str, **columns: Any) -> float:
    [found] = metric(name).score_items([{"id": "7", "reference": reference, **columns}], [answer])
    return found


@pytest.mark.parametrize(
    ("name", "reference", "answer", "expected"),
    [
        ("exact_match", "a b", "A  B.", 1),
        ("exact_match", "one\ntwo", "one two", 1),
        ("exact_match", "one\ntwo", "one\ntwo\nthree", 0),
        ("exact_match", "one", "", 0),
        ("exact_match", "", "", 1),
        ("exact_match", "4", "<think>5? no</think>\n4", 1),
        ("exact_match", "4", "<think>4", 0),
        ("exact_match", "A", "a", 1),
        ("exact_match(normalise='none')", "A", "a", 0),
        ("exact_match(normalise='none')", "A", " A\n", 1),
        ("exact_match(normalise='squad')", "the U.S. army", "US Army", 1),
        ("exact_match(normalise='squad')", "army", "navy", 0),
        ("token_f1", "the cat sat", "a cat sat", 1),
        ("token_f1", "red green", "green blue", 0.5),
        ("token_f1", "a a b", "a b b", 2 * 1 / 3),  # 'a' is an article: b against b b
        ("token_f1", "", "the", 1),  # no word on either side
        ("token_f1", "cat", "", 0),
        ("token_f1", "北京市", "北京", 0.8),
        ("contains", "Paris", "It is paris!", 1),
        ("contains(ignore_case=False)", "Paris", "It is paris!", 0),
        ("contains", "new york", "New\nYork", 1),
        ("contains(whole_words=True)", "cat", "a concatenation", 0),
        ("contains(whole_words=True)", "C++", "in C++, of course", 1),
        ("contains", "", "anything", 0),
        ("contains", "", "", 1),
        ("regex", r"\bcats?\b", "two cats", 1),
        ("regex", r"^\d+$", "no\n17", 1),
        ("regex(ignore_case=True)", "yes", "YES", 1),
        ("regex(pattern='#### ([-0-9]+)')", "18", "#### 17\n#### 18", 1),
        ("regex(pattern='#### ([-0-9]+)')", "18", "18", 0),
        ("regex(pattern='^[a-z]+$')", "whatever", "word", 1),
        ("json_match", '{"a": {"b": 1, "c": "x"}}', '{"a": {"b": 1, "c": "y"}}', 0.5),
        ("json_match", '{"a": 1}', '{"a": 1, "b": 2}', 1),
        ("json_match(strict=True)", '{"a": 1}', '{"a": 1, "b": 2}', 0.5),
        ("json_match", '{"a": 1}', '{"a": 2} no, {"a": 1.0}', 1),
        ("json_match", '{"a": 1}', '{"a": "1"}', 0),
        ("json_match", '{"a": 1}', '{"a": true}', 0),
        ("json_match", '{"a": null}', "{}", 0),
        ("json_match", '{"a": null}', '{"a": null}', 1),
        ("json_match", '{"a": []}', '{"a": []}', 1),
        ("json_match", '{"a": NaN}', '{"a": NaN}', 1),
        ("json_match", '{"a": [1, {"b": "X"}]}', '{"a": [1, {"b": "x"}]}', 1),
        ("json_match", '{"a": [1, 2]}', '{"a": [1]}', 0),
        ("json_match(exact_text=True)", '{"a": "X"}', '{"a": "x"}', 0),
        ("json_match(fields=['a.b'])", '{"a": {"b": 1}, "c": 2}', '{"a": {"b": 1}}', 1),
        ("json_match(tolerance=0.5)", '{"a": 1}', '{"a": 1.4}', 1),
        ("json_match", "[1, 2]", "The list is [1, 2].", 1),
        ("json_match", '{"a": 1}', "{" * 3000, 0),
        ("json_match", '{"a": 1}', '{"a": ' + "9" * 5000 + "}", 0),
        ("json_match", '{"a": 1}', '{"a": 1e999}', 0),
    ],
)
def test_values(name: str, reference: str, answer: str, expected: float) -> None:
    assert value(name, reference, answer) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["exact_match", "token_f1", "contains", "rouge", "bleu", "chrf"])
def test_the_best_of_several_right_answers_counts(name: str) -> None:
    if name in ("bleu", "chrf"):
        pytest.importorskip("sacrebleu")
    text = f"{name}(alternatives='answers')"
    right = "it was the best of times"
    assert value(text, "nothing like this at all", right, answers=["worse", right]) == pytest.approx(1)
    assert value(text, right, right, answers=None) == pytest.approx(1)
    assert value(text, "nothing like this at all", right, answers=right) == pytest.approx(1)
    with pytest.raises(InputError, match="row 7 has no column 'answers'"):
        value(text, right, right)


SQUAD = [  # computed by hand from the rules of SQuAD's scorer: lower case, ASCII punctuation, a/an/the, white space
    ("The  quick, brown fox!", "quick brown fox"),
    ("an Apple-pie", "applepie"),
    ("theatre", "theatre"),
    ("A", ""),
    ("“quoted”", "“quoted”"),
]


@pytest.mark.parametrize(("text", "form"), SQUAD)
def test_squads_normal_form(text: str, form: str) -> None:
    assert squad_form(text) == form


def test_a_pattern_that_takes_exponential_time_is_no_match() -> None:
    bomb, item = r"regex(pattern='((?:a|aa)+)\\d$')", [{"reference": "x"}] * 2
    started = time.process_time()
    measured = measure(metric(bomb), item, ["a" * 60 + "!", "aaa1"])
    assert measured.values == [0, 0]  # the group is 'aaa', the reference 'x'
    assert measured.secondary == {"matched": 0.5, "timed_out": 0.5}
    assert time.process_time() - started < 30, "unlimited it takes years"


@pytest.mark.parametrize(
    ("name", "reference", "says"),
    [
        ("regex", "(", r"row 7: '\(' is no regular expression"),
        ("json_match", "no json", "row 7: the reference 'no json' is no JSON"),
        ("json_match(fields=['b'])", '{"a": 1}', "row 7: the reference has no field b"),
        ("json_match", "{}", "row 7: the reference has no field"),
    ],
)
def test_a_reference_that_cannot_be_compared_is_named(name: str, reference: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        value(name, reference, "answer")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("regex(pattern='[')", "metric regex: .* is no regular expression"),
        ("exact_match(normalise='hard')", "normalise: .*'light', 'squad' or 'none'"),
        ("json_match(tolerance=-1)", "tolerance: .*greater than or equal to 0"),
        ("json_match(fields=[])", "fields: .*at least 1 item"),
        ("rouge(kind='rouge9')", "kind: .*'rouge1'"),
        ("multilabel_f1(average='all')", "average: .*'macro', 'micro' or 'items'"),
        ("python", "function"),
        ("python(function='json:nothing')", "json:nothing"),
        ("python(function='operator:contains')", None),
        ("python(function='math:pi')", "must be a function of two arguments"),
        ("python(function='json:dumps')", "must be a function of two arguments"),
    ],
)
def test_options_are_checked(name: str, says: str | None) -> None:
    if says is None:
        metric(name)
        return
    with pytest.raises(InputError, match=says) as caught:
        metric(name)
    assert "\n" not in str(caught.value)


ANY = {
    name: metric(name)
    for name in ("accuracy", "exact_match", "token_f1", "contains", "multilabel_f1", "macro_f1", "json_match")
}


@given(st.text(max_size=60), st.text(max_size=60))
@settings(deadline=None)
def test_any_text_has_a_value(reference: str, answer: str) -> None:
    for name, made in ANY.items():
        wanted = '{"a": 1}' if name == "json_match" else reference
        assert all(0 <= found <= 1 for found in made.score_items([{"reference": wanted}], [answer]))
        assert made.score_items([{"reference": wanted}], [wanted]) == [1]


FUNCTION = """
def half(item, answer):
    if answer == "fail":
        raise KeyError("no\\nway")
    return len(answer) / len(item["reference"]) if item["reference"] else float("nan")
"""


def test_a_python_function(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FUNCTION)
    stated = located_metric({"name": "python", "function": "own.py:half"}, tmp_path)
    assert stated == {"name": "python", "function": f"{tmp_path}/own.py:half"}
    text = located_metric("python(function='own.py:half')", tmp_path)
    assert text == f"python(function='{tmp_path}/own.py:half')"
    made = metric(text)
    assert made.name == "half"
    assert not is_ours(text) and not is_ours(f"majority(metric={text!r})") and is_ours("exact_match")
    assert measure(made, [{"id": "7", "reference": "four"}], ["ab"]).values == [0.5]
    with pytest.raises(TrexError, match=r"metric 'half': score_items of item 7 raised KeyError: 'no.*way'"):
        measure(made, [{"id": "7", "reference": "four"}], ["fail"])
    with pytest.raises(TrexError, match="nan for item 7"):
        measure(made, [{"id": "7", "reference": ""}], ["x"])


def test_the_code_of_a_function_belongs_to_the_evaluators_version(tmp_path: Path) -> None:
    engine: Any = metric("accuracy")  # any object: only the metric's code is compared
    hashes = set()
    for number in (1, 2):
        path = tmp_path / f"own{number}.py"
        path.write_text(f"def score(item, answer):\n    return {number} / 2\n")
        made = metric(f"python(function='{path}:score')")
        hashes.add(evaluator_identity(made, engine)["metric_code"])
    assert len(hashes) == 2
