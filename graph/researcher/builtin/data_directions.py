"""Directions that change what is trained on."""

from __future__ import annotations

from ....training.data.expected_rows import expected_rows
from ....training.data.operators.balance import Balance
from ....training.data.operators.dedup import Dedup
from ....training.data.operators.filter import Filter
from ....training.data.operators.threshold import Threshold
from ....training.data.recipe import DataRecipe, Step, Stream
from ..protocol import SourceNotes
from .directions import Edit, data_direction
from .first_plan import in_domain
from .recipe_edits import (
    answer_column,
    edit_streams,
    example_columns,
    find,
    is_usable,
    margin,
    new_stream,
    with_mix,
    with_step,
    without_step,
)
from .situation import Situation

MIX_SHARES = (0.15, 0.3, 0.5)
SYNTHETIC_SHARES = (0.2, 0.4, 0.7)
DROPPED_SHARES = (0.0, 0.1, 0.2, 0.35, 0.5)
LENGTH_SHARES = (0.1, 0.25)


def _supply(situation: Situation, source: SourceNotes) -> int:
    known = next((stream for stream in situation.recipe.streams if stream.source == source.name), None)
    stream = known or new_stream(situation.task, source)
    return expected_rows(DataRecipe(streams=(stream,)), situation.notes)


def _mixed_in(situation: Situation, source: SourceNotes, share: float) -> tuple[DataRecipe, float] | None:
    """The recipe with `source` as that share of the rows, or as much of it as there is, and the share it got.

    None if that is next to nothing, or if the recipe has no other source.
    """
    supply = _supply(situation, source)
    share = min(share, 0.9, supply / situation.trial_examples)
    weights = {s.source: s.weight for s in situation.recipe.streams if s.source != source.name}
    if share < 0.02 or not weights:
        return None
    scale = 100 * (1 - share) / sum(weights.values())
    mix = {name: round(max(0.01, weight * scale), 2) for name, weight in weights.items()}
    mix[source.name] = round(100 * share, 2)
    return with_mix(situation.task, situation.notes, situation.recipe, mix), share


@data_direction(
    "refine_data",
    optimism=0.2,
    words=("source", "domain", "mix"),
    remedies=("too_little_data", "over_fitting", "mode_collapse"),
)
def source_mix(situation: Situation) -> list[Edit]:
    """Another collected source in, one out, or the in-domain ones alone."""
    task, notes, recipe = situation.task, situation.notes, situation.recipe
    used = {stream.source for stream in recipe.streams}
    found = []
    for source in notes.sources:
        if source.synthetic or not is_usable(task, source):
            continue
        for share in MIX_SHARES:
            if (mixed := _mixed_in(situation, source, share)) is not None:
                recipe_with, got = mixed
                because = "other texts make what is learnt less tied to one domain"
                change = f"{got:.0%} of the rows from {source.name}"
                found.append(Edit(recipe_with, change, because, 0.1 + source.closeness))
        if source.name in used and len(used) > 1:
            rest = {stream.source: stream.weight for stream in recipe.streams if stream.source != source.name}
            change = f"No rows from {source.name}"
            because = "rows that read less like the search items dilute the signal"
            found.append(Edit(with_mix(task, notes, recipe, rest), change, because, 1.1 - source.closeness))
    domain = {
        source.name: float(min(1000, max(1, _supply(situation, source)))) for source in in_domain(task, notes)
    }
    if set(domain) != used:
        because = "the closest rows carry the signal that is measured"
        found.append(
            Edit(with_mix(task, notes, recipe, domain), "Rows of the closest sources alone", because)
        )
    return found


@data_direction(
    "refine_data",
    optimism=0.35,
    words=("threshold", "rating", "margin", "neutral", "borderline"),
    remedies=("label_bias",),
)
def rating_margin(situation: Situation) -> list[Edit]:
    """How far from the middle a rating must be to count as a label, on both sides or on one."""
    if not any(find(stream.steps, Threshold) for stream in situation.recipe.streams):
        return []
    found = []
    for share in DROPPED_SHARES:
        change = f"The {share:.0%} of the rows rated nearest to the middle are left out"
        if share == 0.0:
            recipe = _with_margin(situation, 0.0, sides=(1, 1))
            found.append(
                Edit(recipe, "Every rated row counts", "borderline rows resemble the hard search items")
            )
            continue
        because = "labels derived from ratings near the middle are the least reliable"
        found.append(Edit(_with_margin(situation, share, sides=(1, 1)), change, because))
        for sides, name in (((1, 0), "lower"), ((0, 1), "upper")):
            one_sided = (
                f"On the {name} side, rows rated nearest to the middle (as many as {share:.0%}) are left out"
            )
            because_side = "borderline rows of one side pull the boundary towards the other"
            likely = 1.0 if "label_bias" in situation.symptoms else 0.2
            found.append(Edit(_with_margin(situation, share, sides), one_sided, because_side, likely))
    return found


def _with_margin(situation: Situation, share: float, sides: tuple[int, int]) -> DataRecipe:
    """Thresholds moved by what leaves out `share` of the rated rows, on the sides given as 1."""

    def moved(stream: Stream) -> tuple[Step, ...]:
        rating = situation.notes.source(stream.source).rating
        thresholds = find(stream.steps, Threshold)
        if rating is None or not thresholds:
            return stream.steps
        centre = (thresholds[0].below + thresholds[0].above) / 2
        fresh = new_stream(situation.task, situation.notes.source(stream.source))
        centre = next((t.below for t in find(fresh.steps, Threshold)), centre)
        width = margin(rating, centre, share)
        edges = {"below": round(centre - width * sides[0], 3), "above": round(centre + width * sides[1], 3)}
        return with_step(stream.steps, thresholds[0].model_copy(update=edges))

    return edit_streams(situation.recipe, moved)


@data_direction(
    "refine_data", optimism=0.1, words=("balance", "class", "skew"), remedies=("label_bias", "mode_collapse")
)
def class_balance(situation: Situation) -> list[Edit]:
    """The same number of rows for every answer, or the answers as they come."""
    if situation.task.choices is None:
        return []
    column = answer_column(situation.task)
    if any(find(stream.steps, Balance) for stream in situation.recipe.streams):
        natural = edit_streams(situation.recipe, lambda stream: without_step(stream.steps, Balance))
        return [
            Edit(natural, "Answers as frequent as they come", "balancing throws rows away that could teach")
        ]
    even = edit_streams(situation.recipe, lambda stream: with_step(stream.steps, Balance(column=column)))
    return [
        Edit(even, "Every answer equally often", "a model that sees one answer more often leans towards it")
    ]


@data_direction(
    "refine_data", optimism=0.1, words=("length", "short", "long"), remedies=("long_inputs", "short_inputs")
)
def length_filter(situation: Situation) -> list[Edit]:
    """Without the shortest or the longest rows, or without such a filter."""
    found = []
    for share in LENGTH_SHARES:
        long_ones = 4.0 if "long_inputs" in situation.symptoms else 1.0
        because = (
            "the shortest rows say little, and what fails is longer" if long_ones > 1 else "they say little"
        )
        shortest = _with_words(situation, share, 1.0)
        found.append(Edit(shortest, f"The shortest {share:.0%} of the rows are left out", because, long_ones))
        short_ones = 4.0 if "short_inputs" in situation.symptoms else 1.0
        because = "what fails is shorter" if short_ones > 1 else "in long rows the signal is thin"
        longest = _with_words(situation, 0.0, 1 - share)
        found.append(Edit(longest, f"The longest {share:.0%} of the rows are left out", because, short_ones))
    if any(find(stream.steps, Filter) for stream in situation.recipe.streams):
        every = edit_streams(situation.recipe, lambda stream: _without_words(situation, stream))
        found.append(Edit(every, "Rows of every length", "search items come in every length"))
    return found


def _without_words(situation: Situation, stream: Stream) -> tuple[Step, ...]:
    column = situation.notes.source(stream.source).text_column
    return tuple(step for step in stream.steps if not (isinstance(step, Filter) and step.column == column))


def _with_words(situation: Situation, low: float, high: float) -> DataRecipe:
    def filtered(stream: Stream) -> tuple[Step, ...]:
        source = situation.notes.source(stream.source)
        if source.words is None or source.text_column is None:
            return stream.steps
        least = max(1, round(source.words.quantile(low))) if low > 0 else None
        most = max(1, round(source.words.quantile(high))) if high < 1 else None
        return with_step(stream.steps, Filter(column=source.text_column, min_words=least, max_words=most))

    return edit_streams(situation.recipe, filtered)


@data_direction(
    "refine_data", optimism=0.05, words=("dedup", "duplicate"), remedies=("over_fitting", "mode_collapse")
)
def deduplication(situation: Situation) -> list[Edit]:
    """Duplicates out, within a source and between sources, where that isn't done yet."""

    def cleaned(stream: Stream) -> tuple[Step, ...]:
        columns = example_columns(situation.task, situation.notes.source(stream.source).columns)
        if not columns or find(stream.steps, Dedup):
            return stream.steps
        return with_step(stream.steps, Dedup(columns=columns))

    recipe = edit_streams(situation.recipe, cleaned)
    if len(recipe.streams) > 1 and not find(recipe.steps, Dedup):
        shared = set.intersection(
            *(
                set(example_columns(situation.task, situation.notes.source(s.source).columns))
                for s in recipe.streams
            )
        )
        if shared:
            recipe = recipe.model_copy(
                update={"steps": with_step(recipe.steps, Dedup(columns=tuple(sorted(shared))))}
            )
    return [Edit(recipe, "Rows that say the same count once", "repeated rows are learnt by heart")]


@data_direction(
    "construct_synthetic_data",
    optimism=0.25,
    words=("synthetic", "generated", "made by a rule", "augment"),
    remedies=("mode_collapse", "format_errors", "too_little_data", "over_fitting"),
)
def synthetic_share(situation: Situation) -> list[Edit]:
    """Rows made by a rule, in some proportion, or none of them."""
    used = {stream.source for stream in situation.recipe.streams}
    found = []
    for source in situation.notes.sources:
        if not source.synthetic or not is_usable(situation.task, source):
            continue
        for share in SYNTHETIC_SHARES:
            if (mixed := _mixed_in(situation, source, share)) is not None:
                recipe, got = mixed
                because = "rows made by a rule add variety where collected ones are few"
                found.append(
                    Edit(recipe, f"{got:.0%} of the rows from {source.name}, made by a rule", because)
                )
        if source.name in used and len(used) > 1:
            rest = {s.source: s.weight for s in situation.recipe.streams if s.source != source.name}
            without = with_mix(situation.task, situation.notes, situation.recipe, rest)
            found.append(
                Edit(without, f"No rows from {source.name}", "rows made by a rule differ from real ones", 0.5)
            )
    return found
