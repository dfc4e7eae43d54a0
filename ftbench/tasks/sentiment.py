"""Sentiment of movie-review snippets: similar to SST-2, without a hub.

Source: the ratings published with VADER, in the source distribution of `vaderSentiment` 3.3.2 (MIT). The
movie snippets are 10 605 sentences from rottentomatoes.com, collected by Pang & Lee, as those of the Stanford
Sentiment Treebank and SST-2 are; 15 to 29 people each rated them again from -4 to 4.
Citation: C.J. Hutto and E.E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
Social Media Text", ICWSM 2014.

A dev row (made up here):
    {"id": "movie-17", "text": "A feel good picture in the best sense.", "rating": 2.1, "label": "positive"}
A source row has no label, only `id`, `text` and `rating`: where positive begins is a choice of the recipe.

Dev (500) and test (600) are movie snippets only, half of each class, without ratings nearer to 0 than 0.8. No
row of a source repeats one of them, as the contamination gate compares texts. Sources: the other 9 500 movie
snippets, 3 700 Amazon, 5 200 New York Times, 4 200 tweets, and 3 000 reviews composed by rule from two of the
movie snippets.
Scorer: accuracy over the likelihoods of the two answers, as lm-evaluation-harness scores SST-2. The prompt is
part of the task: of six wordings, which scored between .56 and .72 with the embedded base model on 300 dev items,
this is the one that served the base model best.
"""

from __future__ import annotations

from pathlib import Path

from ... import assets
from ...evaluation.task import EMBEDDED_MODEL, TINY_MODEL, GenerationSettings, Prompt, Source, Task
from ...files import hash_file
from . import near_duplicates as overlap
from . import sentiment_data
from .materialise import materialise
from .sentiment_data import LABELS, SentimentSizes

DOMAINS = {
    "movie": ("movieReviewSnippets", "Movie-review snippets from the pool that dev and test were drawn from"),
    "amazon": ("amazonReviewSnippets", "Sentences of Amazon product reviews"),
    "nyt": ("nytEditorialSnippets", "Sentences of New York Times opinion articles"),
    "tweets": ("tweets", "Tweets"),
}
COMPOSED = "Two movie snippets joined by rule; in a contrast the last clause decides"
SMOKE_DATA = Path(__file__).parent / "smoke_data"


def load(smoke: bool = False) -> Task:
    """The task; with `smoke`, the same on some 170 rows written by hand, a tiny model and no download."""
    if smoke:
        ratings = {name: SMOKE_DATA / f"{name}.tsv" for name in ("movie", "tweets")}
        sizes, made_from = (
            SentimentSizes(dev=40, test=40, composed=60),
            "".join(map(hash_file, ratings.values())),
        )
    else:
        found = assets.vader_ratings()
        ratings = {name: found / f"{stem}_GroundTruth.txt" for name, (stem, _) in DOMAINS.items()}
        sizes, made_from = SentimentSizes(dev=500, test=600, composed=3000), assets.RATINGS.archive.sha256
    folder = materialise(
        "sentiment-smoke" if smoke else "sentiment",
        [sentiment_data, overlap],
        f"{sizes} {made_from}",
        lambda target: sentiment_data.build(ratings, sizes, target),
    )
    licence = "Apache-2.0 (written for TREX)" if smoke else "MIT"
    sources = [
        Source(name=name, path=str(folder / f"{name}.jsonl"), description=DOMAINS[name][1], licence=licence)
        for name in ratings
    ]
    composed = Source(
        name="composed",
        path=str(folder / "composed.jsonl"),
        description=COMPOSED,
        licence=licence,
        synthetic=True,
    )
    return Task(
        name="sentiment",
        requirement="Say whether a movie-review snippet is positive or negative.",
        base_model=TINY_MODEL if smoke else EMBEDDED_MODEL,
        sources=[*sources, composed],
        dev=folder / "dev.jsonl",
        test=folder / "test.jsonl",
        prompt=Prompt(
            system="Classify the sentiment.",
            user="Review: {text}\nSentiment (positive or negative):",
            answer="{label}",
        ),
        metric="accuracy",
        choices=list(LABELS),
        generation=GenerationSettings(max_new_tokens=4, max_prompt_tokens=128, batch_size=32),
        rating_column="rating",
        licence=licence,
        citation="" if smoke else "Hutto & Gilbert, VADER, ICWSM 2014",
    )
