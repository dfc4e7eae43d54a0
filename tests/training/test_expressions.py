"""The row language computes what it says, and nothing that is written in it runs long or reaches further."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recipes import apply, dataset
from trex.errors import PlanError
from trex.training.data.expressions.expression import parse
from trex.training.data.expressions.row_functions import OWN, row_function, row_functions
from trex.training.data.expressions.row_values import MAX_ITEMS, MAX_TEXT, ROW_WORK, RowError, Work
from trex.training.data.operators.compute import Compute
from trex.training.data.row_table import SYNTHETIC, visible


def value(source: str, /, **row: Any) -> Any:
    return parse(source)(row, Work())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * 2 - 1", 8),
        ("7 // 2 + 7 % 2 + 6 / 4", 5.5),
        ("-a", -3),
        ("'x' if a > b else 'y'", "y"),
        ("1 < a <= 3 and not b == 4", True),
        ("null or 'other'", "other"),
        ("missing is None", True),
        ("f'{a} of {number}: {names}'", '3 of 2: ["ann", "bob"]'),
        ("names[0] + names[-1]", "annbob"),
        ("text[1:3]", "Th"),
        ("row['odd name']", "odd"),
        ("[n.upper() for n in names if 'o' in n]", ["BOB"]),
        ("[f'{k}={v}' for k, v in items({'x': 1, 'y': null})]", ["x=1"]),
        ("sum(len(n) for n in names)", 6),
        ("', '.join(names)", "ann, bob"),
        ("text.strip().lower().split()", ["the", "end."]),
        ("replace(text, 'end', 'start').strip()", "The start."),
        ("sub(text.strip(), '(T)he', '\\\\1o')", "To end."),
        ("search(text, '[a-z]+d')", "end"),
        ("search(text, 'zz')", None),
        ("matches(text, '(?i)THE')", True),
        ("int('7') + float('.5')", 7.5),
        ("str(2.0) + str(true)", "2true"),
        ("round(2.345, 2) + round(2.4)", 4.35),
        ("min(a, b) + max([1, 9])", 12),
        ("sorted(['b', 'a']) + reversed([1, 2])", ["a", "b", 2, 1]),
        ("unique([1, 2, 1]) == [1, 2]", True),
        ("first([], 'none') + last(names)", "nonebob"),
        ("zip([1, 2], range(5, 9))", [[1, 5], [2, 6]]),
        ("[i * x for i, x in enumerate([5, 6])]", [0, 6]),
        ("parse_json('{\"x\": [1]}')['x'][0]", 1),
        ("get({'x': 1}, 'y', 2)", 2),
        ("repeat('ab', 2) + 'ab'.count('b').str()", "abab1"),
        ("flatten([[1], [2, 3]])", [1, 2, 3]),
        ("interleave([1, 2, 3], [9])", [1, 9, 2, 3]),
        ("hash('x', 10) == hash('x', 10) and hash('x', 10) < 10", True),
        ("text.removeprefix(' ').startswith('The') and text.endswith(' ')", True),
        ("find(text, 'end')", 5),
        ("to_json({'x': [1, null]})", '{"x": [1, null]}'),
        ("any([false, 1]) and all([1, 'x'])", True),
        ("abs(-2) + floor(2.7) + ceil(2.1) + sqrt(4) + log(1)", 9),
        ("is_number('1e3') and not is_number('x')", True),
        ("'straße'.title() + 'x y'.capitalize() + lines('a\\nb')[1]", "StraßeX yb"),
        ("normalize('ﬁ', 'NFKC') + 'xyx'.strip('x') + 'ab'.removesuffix('b')", "fiya"),
    ],
)
def test_values(text: str, expected: Any) -> None:
    row = {"a": 3, "b": 3, "number": 2.0, "text": " The end. ", "names": ["ann", "bob"], "missing": None}
    assert value(text, **row, **{"odd name": "odd"}) == expected


def test_every_function_is_used_above() -> None:
    marks = test_values.pytestmark[0].args[1]  # type: ignore[attr-defined]
    used = {function.name for text, _ in marks for function in parse(text).functions}
    assert used == set(OWN)
    for function in row_functions():
        assert function.summary.endswith(".") and function.signature.startswith(f"{function.name}(")


ESCAPES = [
    "().__class__.__bases__[0].__subclasses__()",
    "text.__class__",
    "text.__class__()",
    "__import__('os')",
    "open('/etc/passwd')",
    "eval('1')",
    "globals()",
    "(lambda: 1)()",
    "[x := 1]",
    "getattr(text, 'upper')",
    "text.format(text)",
    "f'{1:999999999}'",
    "f'{text!r}'",
    "__builtins__",
    "(await x)",
    "[*text]",
    "{**row}",
    "{x: 1 for x in text}",
    "{1, 2}",
    "len(text, key=1)",
    "b'bytes'",
    "1j",
    "2 ** 99",
    "1 << 99",
    "text @ text",
    "...",
    "[x for x in [1] for y in [2]]",
    "[x async for x in [1]]",
    "[row for row in [1]]",
    "[y for x[0] in [1]]",
    "text.join",
    "upper()(1)",
    "len(1)(2)",
    "",
    "a b",
    "a = 1",
    "import os",
    "\0",
    "9" * 1990,
    "(" * 900 + ")" * 900,
    "-" * 1900 + "1",
    "[" * 100 + "]" * 100,
    "1" + "+1" * 200,
    "x" * 2001,
]


@pytest.mark.parametrize("text", ESCAPES, ids=lambda text: text[:24])
def test_what_is_not_in_the_language_is_refused_before_a_row_is_read(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800


BOMBS = [
    "text * 9",
    "'%999999999d' % 1",
    "repeat('a', 1000000000)",
    "range(1000000000)",
    "[[[z for z in range(99)] for y in range(99)] for x in range(99)]",
    "len([1 for x in range(9999) if len([1 for y in range(9999)])])",
    "sub(repeat('a', 90000), '', repeat('b', 90000))",
    "sub(repeat('a', 90000), '(.*)', '\\\\1\\\\1\\\\1')",
    "replace(repeat('a', 90000), 'a', 'bbbbbbbb')",
    "join(repeat('a', 9000), range(999))",
    "9000000000000000000 * 9000000000000000000",
    "1e308 * 10",
    "parse_json('[1e999]')",
    "parse_json(repeat('[', 50000) + repeat(']', 50000))",
    "parse_json('123456789012345678901')",
    "search(text, '(a{1000}){1000}')",
    "search(text, repeat('(a|b)*', 99))",
    "search(text, '(?=a)')",
    "len(a) < 1 / 0 if a else 1 / 0",
    "1 // 0",
    "round(1.5, 999)",
    "[a, a, a, a, a, a, a, a, a, a, a]",
    "floor(1e300)",
    "'x' < 1",
    "text[0.5]",
    "text[99]",
    "{'a': 1}['b']",
    "1 in text",
    "[x for x in 5]",
    "[x for x, y in [[1]]]",
    "normalize(text, 'XYZ')",
    "sqrt(0 - 1)",
    "log(0)",
    "min([])",
    "sorted([1, 'a'])",
    "split(text, '')",
    "int('x')",
    "upper(1)",
    "upper(null)",
    "true.upper()",
    "hash(1, 0)",
]


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: text[:24])
def test_a_bomb_or_a_wrong_value_is_an_error_of_the_row(text: str) -> None:
    work = Work()
    with pytest.raises(RowError) as caught:
        parse(text)({"text": "some text", "a": "x" * 20_000}, work)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_pattern_that_stops_others_takes_linear_time() -> None:
    assert value("matches(text, '^(a+)+$')", text="a" * 50_000 + "!") is False


def test_a_value_that_grows_from_column_to_column_is_stopped() -> None:
    columns = (
        {"_x0": "[text, text]"} | {f"_x{n}": f"[_x{n - 1}, _x{n - 1}]" for n in range(1, 39)} | {"x": "1"}
    )
    with pytest.raises(PlanError, match="no row has a value; the first, row 1: _x12: a list is too long"):
        apply(Compute(columns=columns), dataset([{"text": "ab"}]))


def size(found: Any) -> int:
    if isinstance(found, dict):
        found = list(found.values())
    return (
        1 + sum(map(size, found)) if isinstance(found, list) else len(found) if isinstance(found, str) else 1
    )


SIGNS = ["+", "-", "*", "/", "//", "%", "<", "<=", "==", "!=", "and", "or", "in"]
numbers = st.integers(-9, 99).map(str) | st.sampled_from(["a", "b", "0.5"])
texts = st.sampled_from(["text", "'x'", "''", "'été'"])


def calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        pair.flatmap(lambda p: st.sampled_from(SIGNS).map(
            lambda sign: f"({p[0]} {sign} {p[1]})")),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        pair.map(lambda p: f"[{p[0]}, {p[1]}]"),
        inner.map(lambda p: f"[[x, {p}] for x in [1, 2] if x]"),
        inner.map(lambda p: f"(not {p})"),
        pair.map(lambda p: f"{p[0]}[{p[1]}]"),
        st.tuples(st.sampled_from(["len", "str", "upper", "reversed", "range", "first", "sum"]), inner).map(
            lambda p: f"{p[0]}({p[1]})"),
        pair.map(lambda p: f"repeat({p[0]}, {p[1]})"),
    )  # fmt: skip


expressions = st.recursive(numbers | texts, calls, max_leaves=8)


@given(text=expressions)
@settings(max_examples=150, deadline=None)
def test_every_expression_has_a_value_within_the_limits_or_one_clear_error(text: str) -> None:
    work = Work()
    try:
        found = parse(text)({"a": 3, "b": -2, "text": "some text"}, work)
    except (RowError, PlanError) as error:
        assert "\n" not in str(error)
        return
    assert size(found) <= MAX_TEXT + MAX_ITEMS and work.left <= ROW_WORK


arithmetic = st.recursive(
    st.integers(-9, 9).map(str) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "<", "==", "and", "or"]), inner).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        )
        | st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})")
    ),
    max_leaves=12,
)


@given(text=arithmetic, a=st.integers(-5, 5), b=st.sampled_from([-2.5, -1.0, 0.0, 0.5, 3.0]))
@settings(max_examples=150, deadline=None)
def test_arithmetic_agrees_with_python(text: str, a: int, b: float) -> None:
    try:
        found = value(text, a=a, b=b)
    except RowError as error:  # Python also adds true and false
        assert "division by zero" in str(error) or "needs" in str(error)
        return
    assert found == eval(text, {}, {"a": a, "b": b})


def test_compute_makes_columns_in_order_and_marks_its_rows() -> None:
    step = Compute(columns={"_n": "len(words)", "long": "_n > 1", "text": "text + '!'"})
    rows = apply(step, dataset([{"text": "a b", "words": ["a", "b"]}, {"text": "c", "words": ["c"]}]))
    assert visible(rows.column_names) == ["text", "words", "long"]
    assert rows["text"][:] == ["a b!", "c!"] and rows["long"][:] == [True, False]
    assert rows[SYNTHETIC][:] == [True, True]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": "txt"}, "x: no column 'txt'; the rows have: text, n; did you mean 'text'?"),
        ({"x": "1", "y": "z"}, "y: no column 'z'"),
        ({"x": "n / 0"}, "no row has a value; the first, row 1: x: division by zero"),
        ({"x": "n if n > 1 else text"}, "column 'x' cannot have the value 2 of row 1"),
    ],
)
def test_a_program_that_does_not_fit_the_rows_is_one_clear_error(
    columns: dict[str, str], message: str
) -> None:
    with pytest.raises(PlanError) as caught:
        apply(Compute(columns=columns), dataset([{"text": "a", "n": 1}, {"text": "b", "n": 2}]))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": "uper(text)"}, r"`uper\(text\)`: no function 'uper'; did you mean upper\(\)\?"),
        ({"x": "replace(text)"}, r"the function is replace\(text, old, new\)"),
        ({"_x": "1"}, "no column would be kept"),
        ({"__key": "1"}, "must not be empty or begin with '__'"),
        ({}, "at least 1"),
    ],
)
def test_an_invalid_program_is_refused_with_its_mend(columns: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Compute(columns=columns)


def test_the_identity_of_a_function_holds_its_source(tmp_path: Path) -> None:
    assert row_function("upper").identity != row_function("len").identity
