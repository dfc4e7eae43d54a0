"""Recipes: what their operators choose, and how they are read and written."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recipes import LABEL, WORDS, Rows, apply, dataset, reviews
from trex.errors import PlanError
from trex.training.data.mix import mix
from trex.training.data.operators.balance import Balance
from trex.training.data.operators.dedup import Dedup
from trex.training.data.operators.filter import Filter
from trex.training.data.operators.hash_split import HashSplit
from trex.training.data.operators.protocol import Flow
from trex.training.data.operators.rename import Rename
from trex.training.data.operators.sample import Sample
from trex.training.data.operators.shuffle import Shuffle
from trex.training.data.operators.threshold import Threshold
from trex.training.data.recipe import DataRecipe, Step, Stream
from trex.training.data.recipe_file import recipe_from_yaml, recipe_to_yaml
from trex.training.data.row_table import STREAM, apportion

row_lists = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 40),
            "rating": st.one_of(st.none(), st.integers(-4, 4).map(float)),
            "text": st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
            "domain": st.sampled_from(["film", "shop", "press"]),
        }
    ),
    min_size=1,
    max_size=40,
)
quick = settings(max_examples=12, deadline=None)


def counted(rows: Any) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True) for row in rows)


@pytest.mark.parametrize(
    "step",
    [
        Filter(column="rating", at_least=0),
        Filter(column="text", min_words=2),
        LABEL,
        Balance(column="domain"),
        Sample(n=7, seed=3),
        Dedup(columns=("text",)),
        HashSplit(stop=0.5),
        HashSplit(stop=0.5, columns=("text",)),
        Rename(columns={"text": "review"}),
        Shuffle(seed=1),
    ],
    ids=lambda step: step.op,
)
@given(rows=row_lists, order=st.randoms(use_true_random=False))
@quick
def test_the_order_of_a_file_does_not_matter(step: Step, rows: Rows, order: random.Random) -> None:
    shuffled = rows.copy()
    order.shuffle(shuffled)
    assert counted(apply(step, dataset(shuffled), "stream")) == counted(apply(step, dataset(rows), "stream"))


@given(rows=row_lists, small=st.integers(1, 40), more=st.integers(0, 20), seed=st.integers(0, 5))
@quick
def test_a_larger_sample_extends_a_smaller(rows: Rows, small: int, more: int, seed: int) -> None:
    fewer = apply(Sample(n=small, seed=seed), dataset(rows), "stream")
    larger = apply(Sample(n=small + more, seed=seed), dataset(rows), "stream")
    assert len(fewer) == min(small, len(rows))
    assert counted(fewer) <= counted(larger)


def test_another_seed_samples_other_rows() -> None:
    rows = dataset(reviews(200))
    chosen = [counted(apply(Sample(n=50, seed=seed), rows, "stream")) for seed in (0, 1)]
    assert chosen[0] != chosen[1]


def test_a_second_sample_is_fair_to_a_stream_that_was_sampled_before() -> None:
    sampled = apply(Sample(n=100), dataset(reviews(1000), "movies"), "stream")
    mixed = mix([sampled, dataset(reviews(100, seed=1), "shops")], [1, 1], None)
    shares = Counter(apply(Sample(n=60), mixed, "mix")[STREAM])
    assert 15 <= shares["movies"] <= 45


@given(rows=row_lists, cut=st.floats(0.01, 0.99))
@quick
def test_hash_splits_are_disjoint_and_cover_everything(rows: Rows, cut: float) -> None:
    left = counted(apply(HashSplit(stop=cut), dataset(rows), "stream"))
    right = counted(apply(HashSplit(start=cut), dataset(rows), "mix"))
    assert not left & right
    assert left + right == counted(dataset(rows))


def test_a_hash_split_takes_about_its_share() -> None:
    assert 220 <= len(apply(HashSplit(stop=0.25), dataset(reviews(1000)), "stream")) <= 280


@given(rows=row_lists)
@quick
def test_balance_with_a_ratio_of_one_is_exact(rows: Rows) -> None:
    before = Counter(row["domain"] for row in rows)
    exact = Balance(column="domain", max_ratio=1, floor=0, keep=0)
    after = Counter(apply(exact, dataset(rows), "stream")["domain"])
    assert after == dict.fromkeys(before, min(before.values()))


@pytest.mark.parametrize(
    ("fields", "before", "after"),
    [
        pytest.param({}, (200, 200, 200, 1), (200, 200, 200, 1), id="a misspelt label"),
        pytest.param({}, (300, 300, 2), (300, 300, 2), id="a rare label"),
        pytest.param({}, (2000, 1500, 30), (2000, 1500, 30), id="2 % of the most frequent"),
        pytest.param({}, (900, 100), (400, 100), id="the limit is raised to keep half of the rows"),
        pytest.param({}, (400, 100), (300, 100), id="the default ratio"),
        pytest.param({}, (290, 100), (290, 100), id="even enough"),
        pytest.param({"max_ratio": 1.5}, (200, 41, 3), (78, 41, 3), id="half of the rows, a rare label"),
        pytest.param({"max_ratio": 1.5}, (90, 41, 3), (61, 41, 3), id="a rounded limit"),
        pytest.param({"max_ratio": 1, "keep": 0}, (900, 100, 9), (100, 100, 9), id="nothing has to be kept"),
        pytest.param({"max_ratio": 1, "floor": 5, "keep": 0}, (900, 8, 4), (8, 8, 4), id="a floor"),
        pytest.param({"keep": 0, "max_ratio": 2}, (7, 2, 1), (7, 2, 1), id="all are rare"),
        pytest.param({"keep": 1}, (900, 100), (900, 100), id="all is kept"),
    ],
)
def test_balance_limits_the_ratio_and_spares_rare_values(
    fields: dict[str, Any], before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    rows = [
        {"text": f"{label} {i}", "label": f"l{label}"} for label, n in enumerate(before) for i in range(n)
    ]
    rows.append({"text": "no label", "label": None})
    step = Balance(column="label", **fields)
    found = Counter(apply(step, dataset(rows), "stream")["label"])
    assert found == {f"l{label}": n for label, n in enumerate(after)}
    total = sum(before)
    flow = Flow(total, total, tuple(n / total for n in before))
    assert step.estimate(flow).rows == pytest.approx(sum(after))
    assert step.estimate(flow).answers == pytest.approx([n / sum(after) for n in after])


def test_balance_reads_recipes_of_earlier_versions() -> None:
    known = recipe_from_yaml("streams: [{source: movies, steps: [{op: balance, column: label}]}]")
    assert known.streams[0].steps == (Balance(column="label", max_ratio=3),)


@given(rows=row_lists)
@quick
def test_dedup_leaves_each_text_once_and_loses_none(rows: Rows) -> None:
    texts = list(apply(Dedup(columns=("text",)), dataset(rows), "stream")["text"])
    assert sorted(texts) == sorted({row["text"] for row in rows})


def test_dedup_normalises_and_prefers_the_earlier_stream() -> None:
    first = dataset([{"text": "a  fine\nfilm"}, {"text": "C1CCCCC1"}], "movies")
    second = dataset(
        [{"text": "a fine film"}, {"text": "c1ccccc1"}, {"text": "cafe\u0301"}, {"text": "café"}], "shops"
    )
    both = mix([first, second], [1, 1], None)
    kept = apply(Dedup(columns=("text",)), both, "mix")
    assert list(kept["text"])[:3] == ["a  fine\nfilm", "C1CCCCC1", "c1ccccc1"] and len(kept) == 4
    assert len(apply(Dedup(columns=("text",), ignore_case=True), both, "mix")) == 3


def test_threshold_drops_the_middle_and_what_has_no_number() -> None:
    rows = dataset([{"rating": value} for value in (-3.0, -0.5, 0.0, 0.5, 0.6, None, float("nan"))])
    assert [(row["rating"], row["label"]) for row in apply(LABEL, rows, "stream")] == [
        (-3.0, "negative"),
        (0.6, "positive"),
    ]


def test_filter_joins_its_conditions_and_keeps_kinds_apart() -> None:
    rows = dataset([{"n": n, "yes": n > 1} for n in range(5)])
    assert list(apply(Filter(column="n", at_least=1, at_most=3, one_of=(1, 3, 4)), rows, "stream")["n"]) == [
        1,
        3,
    ]
    assert len(apply(Filter(column="n", equals=True), rows, "stream")) == 0
    assert len(apply(Filter(column="yes", equals=True), rows, "stream")) == 3


def test_rename_can_swap_columns() -> None:
    renamed = apply(Rename(columns={"a": "b", "b": "a"}), dataset([{"a": 1, "b": 2}]), "stream")
    assert (renamed[0]["a"], renamed[0]["b"]) == (2, 1)


@given(seats=st.integers(0, 300), weights=st.lists(st.floats(0.01, 1000), min_size=1, max_size=5))
@quick
def test_shares_of_a_mix_follow_the_weights_and_only_grow(seats: int, weights: list[float]) -> None:
    shares, more = apportion(seats, weights), apportion(seats + 7, weights)
    assert sum(shares) == seats
    assert all(share <= later for share, later in zip(shares, more, strict=True))
    ideal = [seats * weight / sum(weights) for weight in weights]
    assert all(abs(share - aim) < len(weights) for share, aim in zip(shares, ideal, strict=True))


def test_a_mix_keeps_to_weights_and_a_dry_stream_gives_what_it_has() -> None:
    streams = [
        dataset(reviews(200), "movies"),
        dataset(reviews(200, 1), "shops"),
        dataset(reviews(5, 2), "press"),
    ]
    assert Counter(mix(streams, [3, 1, 4], 80)[STREAM]) == {"movies": 30, "shops": 10, "press": 5}


def test_a_mix_unites_columns_of_different_kinds_as_text() -> None:
    mixed = mix([dataset([{"id": 7, "a": 1}]), dataset([{"id": "x", "b": 2.5}])], [1, 1], None)
    assert list(mixed["id"]) == ["7", "x"] and list(mixed["b"]) == [None, 2.5]


def test_yaml_keeps_rare_characters_and_common_ones_readable() -> None:
    odd = DataRecipe(streams=(Stream(source="m", steps=(Threshold(column="a\x85b\u2028", high="ü"),)),))
    assert recipe_from_yaml(recipe_to_yaml(odd)) == odd
    plain = DataRecipe(streams=(Stream(source="m", steps=(Threshold(column="größe"),)),))
    assert "größe" in recipe_to_yaml(plain)


labels = st.one_of(
    st.text(min_size=1, max_size=6), st.sampled_from(["yes", "no", "off", "2020-01-01", "~", "1e3"])
)
names = st.text(min_size=1, max_size=8).filter(lambda name: not name.startswith("__"))
steps = st.one_of(
    st.builds(Sample, n=st.integers(1, 100), seed=st.integers()),
    st.builds(
        Threshold, column=names, low=labels, high=labels, below=st.floats(-9, 0), above=st.floats(0, 9)
    ),
    st.builds(
        Filter, column=names, one_of=st.lists(st.one_of(labels, st.booleans(), st.integers()), min_size=1)
    ),
    st.builds(Rename, columns=st.dictionaries(names, names, min_size=1, max_size=2)),
    st.builds(Dedup, columns=st.lists(names, min_size=1, max_size=2), ignore_case=st.booleans()),
)
recipes = st.builds(
    DataRecipe,
    streams=st.lists(
        st.builds(Stream, source=names, steps=st.lists(steps, max_size=3)), min_size=1, max_size=3
    ),
    rows=st.one_of(st.none(), st.integers(1, 50_000)),
    steps=st.lists(steps, max_size=2),
)


@given(plan=recipes)
@quick
def test_yaml_gives_the_recipe_back(plan: DataRecipe) -> None:
    assert recipe_from_yaml(recipe_to_yaml(plan)) == plan


def test_yaml_written_by_hand_means_what_it_says() -> None:
    plan = recipe_from_yaml(
        "streams:\n  - source: movies\n    steps:\n"
        "      - {op: threshold, column: rating, low: no, high: yes}\n"
        "      - {op: filter, column: ok, equals: true}"
    )
    threshold, ok = plan.streams[0].steps
    assert isinstance(threshold, Threshold) and (threshold.low, threshold.high) == ("no", "yes")
    assert isinstance(ok, Filter) and ok.equals is True


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nstreams: *c\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "aliases"),
        ("streams: &a [*a]", "aliases"),
        ("[" * 5000, "nested too deeply"),
        ("streams: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("x" * 70_000, "longer than"),
        ("streams: [\n\n", "recipe:3: not valid YAML"),
        ("rows: 1\nrows: 2", "recipe:2: not valid YAML ('rows' is given twice)"),
        ("just text", "not a mapping"),
        ("", "not a mapping"),
        ("rows: 5", "streams: Field required"),
        ("streams: [{source: m, weigth: 2}]", "streams.0.weigth: "),
        ("streams: [{source: m, steps: [{op: exec}]}]", "streams.0.steps.0: "),
        ("streams: [{source: m, steps: [{op: filter, column: a}]}]", "give at least one of equals"),
        (
            "streams: [{source: m, steps: [{op: balance, column: __key}]}]",
            "must not be empty or begin with '__'",
        ),
        (
            "streams: [{source: m, steps: [{op: threshold, column: a, below: 1}]}]",
            "must not be higher than above",
        ),
        (
            "streams: [{source: m, steps: [{op: hash_split, start: 0.5, stop: 0.5}]}]",
            "must be lower than stop",
        ),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        recipe_from_yaml(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)
