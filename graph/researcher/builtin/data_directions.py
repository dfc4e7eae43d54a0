"""Directions that change the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    removed_share,
    with_step,
    without_step,
)
from .situation import Situation

MIX_SHARES = (0.15, 0.3, 0.5)
SYNTHETIC_SHARES = (0.2, 0.4, 0.7)
DROPPED_SHARES = (0.1, 0.2, 0.35, 0.5)
LENGTH_SHARES = (0.1, 0.25)
BALANCE_RATIOS = (1.0, 3.0)
UNEVEN_SHARE = 0.05
"""A source is balanced if that removes at least this share of its rows."""


def _supply(situation: Situation, source: SourceNotes) -> int:
    """Estimated rows of the source after the steps of its stream."""
    known = next((stream for stream in situation.recipe.streams if stream.source == source.name), None)
    stream = known or new_stream(situation.task, source)
    return expected_rows(DataRecipe(streams=(stream,)), situation.notes)


def _with_sources(situation: Situation, weights: Mapping[str, float]) -> DataRecipe:
    """The recipe over exactly these sources and weights.

    A new source gets its standard steps, with the threshold of the other streams, and is balanced as they are.
    """
    recipe = situation.recipe
    known = {stream.source: stream for stream in recipe.streams}
    threshold = next((step for stream in recipe.streams for step in find(stream.steps, Threshold)), None)
    balance = next((step for stream in recipe.streams for step in find(stream.steps, Balance)), None)
    streams = []
    for name, weight in weights.items():
        stream = known.get(name) or new_stream(situation.task, situation.notes.source(name))
        steps = stream.steps
        if name not in known and threshold is not None and find(steps, Threshold):
            steps = with_step(steps, threshold)
        if name not in known:
            steps = without_step(steps, Balance) if balance is None else with_step(steps, balance)
        streams.append(stream.model_copy(update={"weight": weight, "steps": steps}))
    return recipe.model_copy(update={"streams": tuple(streams)})


def _shares(
    situation: Situation, source: SourceNotes, shares: Sequence[float], because: str, preference: float = 1.0
) -> list[Edit]:
    """The recipe with `source` as each of these shares of the rows, limited by the rows that it has.

    Shares below 2 % are left out. Empty if the recipe has no other source.
    """
    weights = _others(situation, source)
    edits = []
    for wanted in shares:
        share = min(wanted, 0.9, _supply(situation, source) / situation.trial_examples)
        if share < 0.02 or not weights:
            continue
        scale = 100 * (1 - share) / sum(weights.values())
        mix = {name: round(max(0.01, weight * scale), 2) for name, weight in weights.items()}
        mix[source.name] = round(100 * share, 2)
        kind = " (synthetic)" if source.synthetic else ""
        change = f"{share:.0%} of the rows from {source.name}{kind}"
        edits.append(Edit(_with_sources(situation, mix), change, because, preference))
    return edits


def _without(situation: Situation, source: SourceNotes, because: str, preference: float) -> list[Edit]:
    """The recipe without a source; empty if the recipe does not use it or has no other."""
    rest = _others(situation, source)
    if not rest or len(rest) == len(situation.recipe.streams):
        return []
    return [Edit(_with_sources(situation, rest), f"No rows from {source.name}", because, preference)]


def _others(situation: Situation, source: SourceNotes) -> dict[str, float]:
    """The weights of the recipe's other sources."""
    return {s.source: s.weight for s in situation.recipe.streams if s.source != source.name}


@data_direction(
    "refine_data",
    optimism=0.2,
    words=("source", "domain", "mix"),
    remedies=("too_little_data", "over_fitting", "mode_collapse"),
)
def source_mix(situation: Situation) -> list[Edit]:
    """One more collected source, one fewer, or only the in-domain sources."""
    edits = []
    for source in situation.notes.sources:
        if source.synthetic or not is_usable(situation.task, source):
            continue
        because = "texts of other domains improve generalisation"
        edits += _shares(situation, source, MIX_SHARES, because, 0.1 + source.closeness)
        because = "rows that are less similar to the search items add noise"
        edits += _without(situation, source, because, 1.1 - source.closeness)
    domain = {
        source.name: float(min(1000, max(1, _supply(situation, source))))
        for source in in_domain(situation.task, situation.notes)
    }
    if domain.keys() != {stream.source for stream in situation.recipe.streams}:
        because = "these rows are the most similar to the search items"
        edits.append(Edit(_with_sources(situation, domain), "Only rows of the closest sources", because))
    return edits


@data_direction(
    "refine_data",
    optimism=0.35,
    words=("threshold", "rating", "margin", "neutral", "borderline"),
    remedies=("label_bias",),
)
def rating_margin(situation: Situation) -> list[Edit]:
    """Other distances from the middle at which a rating becomes a label, on both sides or on one."""
    if not any(find(stream.steps, Threshold) for stream in situation.recipe.streams):
        return []
    because = "borderline rows are similar to the difficult search items"
    edits = [Edit(_with_margin(situation, 0.0, (1, 1)), "All rated rows are used", because)]
    preference = 1.0 if "label_bias" in situation.symptoms else 0.2
    for share in DROPPED_SHARES:
        change = f"The {share:.0%} of the rows with ratings nearest to the middle are left out"
        because = "labels derived from ratings near the middle are the least reliable"
        edits.append(Edit(_with_margin(situation, share, (1, 1)), change, because))
        for sides, name in (((1, 0), "lower"), ((0, 1), "upper")):
            change = f"Rows rated nearest to the middle are left out on the {name} side ({share:.0%})"
            because = "borderline rows on one side shift the decision boundary"
            edits.append(Edit(_with_margin(situation, share, sides), change, because, preference))
    return edits


def _with_margin(situation: Situation, share: float, sides: tuple[int, int]) -> DataRecipe:
    """Thresholds moved by the margin that leaves out `share` of the rated rows, on the sides given as 1."""

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
    """Other limits on the ratio of the answers' frequencies where they are uneven, or none."""
    if situation.task.choices is None:
        return []
    natural = edit_streams(situation.recipe, lambda stream: without_step(stream.steps, Balance))
    edits = []
    if natural != situation.recipe:
        because = "balancing removes useful rows"
        edits.append(Edit(natural, "Answers as frequent as in the sources", because))
    because = "frequent answers in the training data bias the model"
    for ratio in BALANCE_RATIOS:
        step = Balance(column=answer_column(situation.task), max_ratio=ratio)
        removed = [
            removed_share(step, stream, situation.notes.source(stream.source)) for stream in natural.streams
        ]
        if max(removed) >= UNEVEN_SHARE:
            change = f"No answer more than {ratio:g} times as frequent as another"
            edits.append(Edit(_with_balance(natural, step), change, because))
    return edits


def _with_balance(recipe: DataRecipe, step: Balance) -> DataRecipe:
    return edit_streams(recipe, lambda stream: with_step(stream.steps, step))


@data_direction(
    "refine_data", optimism=0.1, words=("length", "short", "long"), remedies=("long_inputs", "short_inputs")
)
def length_filter(situation: Situation) -> list[Edit]:
    """Remove the shortest or the longest rows, or remove this filter."""
    edits = []
    short, long = (f"{name}_inputs" in situation.symptoms for name in ("short", "long"))
    for share in LENGTH_SHARES:
        because = "they contain little evidence" + (", and the failures are on longer inputs" if long else "")
        change = f"The shortest {share:.0%} of the rows are left out"
        edits.append(Edit(_with_words(situation, share, 1.0), change, because, 4.0 if long else 1.0))
        because = "the failures are on shorter inputs" if short else "evidence is sparse in long rows"
        change = f"The longest {share:.0%} of the rows are left out"
        edits.append(Edit(_with_words(situation, 0.0, 1 - share), change, because, 4.0 if short else 1.0))
    if any(find(stream.steps, Filter) for stream in situation.recipe.streams):
        every = edit_streams(situation.recipe, lambda stream: _without_words(situation, stream))
        edits.append(Edit(every, "Rows of all lengths", "search items have all lengths"))
    return edits


def _without_words(situation: Situation, stream: Stream) -> tuple[Step, ...]:
    """The steps of a stream without filters of its text column."""
    column = situation.notes.source(stream.source).text_column
    return tuple(step for step in stream.steps if not (isinstance(step, Filter) and step.column == column))


def _with_words(situation: Situation, low: float, high: float) -> DataRecipe:
    """Each stream with only rows whose number of words is between these two quantiles."""

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
    """Remove duplicates within each source and between sources."""

    def cleaned(stream: Stream) -> tuple[Step, ...]:
        columns = example_columns(situation.task, situation.notes.source(stream.source).columns)
        if not columns or find(stream.steps, Dedup):
            return stream.steps
        return with_step(stream.steps, Dedup(columns=columns))

    recipe = edit_streams(situation.recipe, cleaned)
    if len(recipe.streams) > 1 and not find(recipe.steps, Dedup):
        sources = [situation.notes.source(stream.source) for stream in recipe.streams]
        shared = set.intersection(*(set(example_columns(situation.task, s.columns)) for s in sources))
        if shared:
            steps = with_step(recipe.steps, Dedup(columns=tuple(sorted(shared))))
            recipe = recipe.model_copy(update={"steps": steps})
    return [Edit(recipe, "Duplicate rows are removed", "the model memorises repeated rows")]


@data_direction(
    "construct_synthetic_data",
    optimism=0.25,
    words=("synthetic", "generated", "made by a rule", "augment"),
    remedies=("mode_collapse", "format_errors", "too_little_data", "over_fitting"),
)
def synthetic_share(situation: Situation) -> list[Edit]:
    """Other shares of synthetic rows, or none."""
    edits = []
    for source in situation.notes.sources:
        if source.synthetic and is_usable(situation.task, source):
            because = "synthetic rows add variety if there are few collected rows"
            edits += _shares(situation, source, SYNTHETIC_SHARES, because)
            edits += _without(situation, source, "synthetic rows differ from collected rows", 0.5)
    return edits
