"""What the contamination gate finds, misses and costs, on real text with planted repeats.

    python benchmarks/contamination.py [--rows 100000] [--items 10000] [--half report] [--json]

Texts are made of the rated snippets behind the `sentiment` task (reviews of films and of goods, editorials,
tweets): clauses and sentences of one source, put together to lengths from one word to a hundred. A snippet
serves items or training rows, never both. Thresholds were chosen on one half of the snippets (`--half tune`);
figures are reported on the other. One row in ten repeats an item, after an edit or none. The others don't: a
row of an item's very words is drawn again, and rows that happen to hold all words of an item of eight or more,
because two snippets quote the same sentence, have a line of their own.

Texts of fewer than ten words get no edit that changes a word: one word turns 'not bad' into 'bad', so there
only verbatim repeats count, after normalisation. Rows come in three shapes: the task's own prompt with the
source row beside it, another prompt with other names of columns, and the bare text under another name.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trex.assets import vader_ratings
from trex.evaluation.decontamination.gate import ContaminationGate
from trex.evaluation.task import Prompt
from trex.files import fingerprint
from trex.ftbench.tasks.sentiment_data import read_domain

DOMAINS = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")
LENGTHS = {"1-4": (1, 4), "5-9": (5, 9), "10-19": (10, 19), "20-39": (20, 39), "40+": (40, 100)}
SHARES = {"1-4": 0.1, "5-9": 0.2, "10-19": 0.3, "20-39": 0.25, "40+": 0.15}
PLANTED = 0.1
CHANGED = 0.1
ITEM_SHARE = 0.6
"""Share of the snippets that make items: many different ones are needed, while rows may share sentences."""
PROMPT = Prompt(user="Is this review positive or negative?\n{text}", answer="{label}")

ALIKE = {
    **{"a": "аɑα", "c": "сϲᴄ", "d": "ԁ", "e": "еҽ", "g": "ɡց", "h": "һհ", "i": "іι", "j": "јϳ", "k": "кκ"},
    **{"l": "ӏ", "m": "м", "n": "ո", "o": "оοօ", "p": "рρ", "q": "ԛ", "r": "г", "s": "ѕ", "t": "т"},
    **{"u": "υս", "v": "νѵ", "w": "ԝ", "x": "хχ", "y": "уγ", "z": "ᴢ", "A": "АΑ", "B": "ВΒ", "C": "С"},
    **{"E": "ЕΕ", "H": "НΗ", "I": "ІΙ", "J": "Ј", "K": "КΚ", "M": "МΜ", "N": "Ν", "O": "ОΟ", "P": "РΡ"},
    **{"S": "Ѕ", "T": "ТΤ", "V": "Ѵ", "X": "ХΧ", "Y": "ҮΥ", "Z": "Ζ"},
}
"""Letters of the Cyrillic, Greek, Armenian and phonetic alphabets that look like Latin ones."""

Row = dict[str, Any]
Edit = Callable[[list[str], random.Random, Sequence[str]], str]


def positions(words: Sequence[str], chance: random.Random) -> list[int]:
    """Where to change a tenth of the words, at least one of them."""
    return sorted(chance.sample(range(len(words)), max(1, round(CHANGED * len(words)))), reverse=True)


def verbatim(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    return " ".join(words)


def case(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    return chance.choice([str.upper, str.lower, str.title, str.swapcase])(" ".join(words))


def punctuation(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    bare = [re.sub(r"[.,;:!?\"()-]", "", word) or word for word in words]
    return "".join(word + chance.choice([" ", " ", ", ", "... ", " - ", "! ", "; "]) for word in bare)


def spacing(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    return "".join(word + chance.choice([" ", "  ", "\n", "\t", "", "\u00a0", "\u200b"]) for word in words)


def alike(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    """Letters replaced by some of other scripts that look like them: a few, half of them, or all."""
    share = chance.choice([0.1, 0.5, 1.0])
    return "".join(
        chance.choice(ALIKE[letter]) if letter in ALIKE and chance.random() < share else letter
        for letter in " ".join(words)
    )


def half(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    """The first or the last half of the words, alone or before and behind others."""
    middle = (len(words) + chance.randint(0, 1)) // 2
    kept = words[:middle] if chance.random() < 0.5 else words[middle:]
    around = chance.choice([0, len(words) - len(kept)])
    before = chance.randint(0, around)
    other = [chance.choice(others) for _ in range(around)]
    return " ".join([*other[:before], *kept, *other[before:]])


def replaced(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    changed = list(words)
    for place in positions(words, chance):
        changed[place] = chance.choice(others)
    return " ".join(changed)


def dropped(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    changed = list(words)
    for place in positions(words, chance):
        del changed[place]
    return " ".join(changed)


def inserted(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    changed = list(words)
    for place in positions(words, chance):
        changed.insert(place, chance.choice(others))
    return " ".join(changed)


def mixed(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    """A tenth of the words changed in all ways, then case and punctuation."""
    changed = list(words)
    for place in positions(words, chance):
        changed[place : place + 1] = chance.choice(
            [[], [chance.choice(others)], [words[place], chance.choice(others)]]
        )
    return case(punctuation(changed, chance, others).split(), chance, others)


def quoted(words: list[str], chance: random.Random, others: Sequence[str]) -> str:
    """The text inside one of several hundred words."""
    around = [chance.choice(others) for _ in range(400)]
    cut = chance.randrange(len(around))
    return " ".join([*around[:cut], *words, *around[cut:]])


SAME_WORDS: dict[str, Edit] = {
    "verbatim": verbatim,
    "case": case,
    "punctuation": punctuation,
    "spacing": spacing,
    "look-alike letters": alike,
}
OTHER_WORDS: dict[str, Edit] = {
    "10% replaced": replaced,
    "10% dropped": dropped,
    "10% inserted": inserted,
    "10% mixed": mixed,
    "quoted": quoted,
    "half": half,
}
SPLIT = "split over turns"
SAME = "same words"
BY_CHANCE = "not planted, but so"
QUOTE = 8


@dataclass(frozen=True)
class Trained:
    """A training row; `edit` and `length` say what was planted, `edit` is None if nothing was."""

    row: Row
    length: str
    edit: str | None = None


class Snippets:
    """The clauses and sentences of each source, dealt in turn like cards, so that all are used about as often."""

    def __init__(self, texts: dict[str, list[str]], chance: random.Random) -> None:
        self._chance = chance
        self._sentences = {domain: own for domain, own in texts.items() if own}
        self._clauses = {
            domain: [
                clause for text in own for clause in re.split(r"(?<=[,.;:!?])\s+|\s+-+\s+", text) if clause
            ]
            for domain, own in self._sentences.items()
        }
        self._decks: dict[tuple[str, bool], list[str]] = {}

    def words(self) -> list[str]:
        """Every word there is, as often as it occurs."""
        return [word for own in self._sentences.values() for text in own for word in text.split()]

    def text(self, length: str) -> str:
        """A text of that many words, all from one source."""
        least, most = LENGTHS[length]
        domains = list(self._sentences)
        sizes = [len(self._sentences[domain]) for domain in domains]
        while True:
            domain = self._chance.choices(domains, sizes)[0]
            wanted = self._chance.randint(least, most)
            words: list[str] = []
            while len(words) < wanted:
                words += self._deal(domain, wanted - len(words) < 12).split()
            if least <= len(words) <= most:
                return " ".join(words)

    def _deal(self, domain: str, clause: bool) -> str:
        deck = self._decks.setdefault((domain, clause), [])
        if not deck:
            deck += (self._clauses if clause else self._sentences)[domain]
            self._chance.shuffle(deck)
        return deck.pop()


def read_halves(half: str, seed: int) -> tuple[Snippets, Snippets]:
    """The snippets for items and those for rows, of one half of the data; each text is in one place only."""
    chance = random.Random(seed)
    folder = vader_ratings()
    seen: set[str] = set()
    parts: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for domain in DOMAINS:
        for part in parts:
            part[domain] = []
        for row in read_domain(domain, folder / f"{domain}_GroundTruth.txt"):
            bare = plain(row["text"])
            if bare in seen:
                continue
            seen.add(bare)
            place = int(fingerprint(bare), 16)
            if (place % 2 == 0) == (half == "tune"):
                parts[place // 2 % 1000 >= ITEM_SHARE * 1000][domain].append(row["text"])
    return Snippets(parts[0], chance), Snippets(parts[1], chance)


def plain(text: str) -> str:
    """The words alone, by other means than the gate's."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


class Repeats:
    """Which texts repeat an item though nobody planted it there: some snippets quote the same sentence."""

    def __init__(self, items: Sequence[Row]) -> None:
        self._texts = {plain(item["text"]) for item in items}
        self._by_start: dict[str, list[str]] = {}
        for text in self._texts:
            words = text.split()
            if len(words) >= QUOTE:
                self._by_start.setdefault(" ".join(words[:QUOTE]), []).append(text)

    def kind(self, text: str) -> str | None:
        """`SAME` for an item's words, `BY_CHANCE` for words that hold an item of eight or more, in order."""
        own = plain(text)
        if own in self._texts:
            return SAME
        words = own.split()
        for start in range(len(words) - QUOTE + 1):
            for item in self._by_start.get(" ".join(words[start : start + QUOTE]), ()):
                if f" {item} " in f" {own} ":
                    return BY_CHANCE
        return None


def draw_lengths(count: int) -> Iterator[str]:
    for length, share in SHARES.items():
        yield from [length] * round(count * share)


def make_items(snippets: Snippets, count: int) -> list[Row]:
    """Items with different texts, lengths in the proportions of SHARES."""
    texts: dict[str, str] = {}
    for length in draw_lengths(count):
        for _ in range(50):  # few clauses of one to four words differ
            text = snippets.text(length)
            if plain(text) and plain(text) not in texts:
                texts[plain(text)] = text
                break
    return [
        {"id": str(number), "text": text, "label": "positive", "reference": "positive"}
        for number, text in enumerate(texts.values())
    ]


def dressed(text: str, chance: random.Random) -> Row:
    """A training row with that text, in one of three shapes."""
    label = chance.choice(["positive", "negative"])
    answer = [{"role": "assistant", "content": label}]
    return chance.choice(
        [
            {
                "prompt": PROMPT.turns({"text": text}),
                "completion": answer,
                "source": {"text": text, "rating": 3.2},
            },
            {
                "messages": [{"role": "user", "content": f"Review: {text}\nSentiment:"}, *answer],
                "meta": {"body": text, "stars": 4},
            },
            {"comment": text, "verdict": label},
        ]
    )


def split_over_turns(text: str, chance: random.Random) -> Row:
    words = text.split()
    cut = chance.randint(1, len(words) - 1)
    turns = [" ".join(words[:cut]), " ".join(words[cut:])]
    roles = ["user", "assistant"]
    return {"messages": [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=True)]}


def length_of(text: str) -> str:
    count = len(text.split())
    return next(name for name, (_, most) in LENGTHS.items() if count <= most or name == "40+")


def make_rows(snippets: Snippets, items: Sequence[Row], count: int, chance: random.Random) -> list[Trained]:
    """Rows in random order; a tenth of them planted, in equal shares of edits and lengths."""
    others = snippets.words()
    by_length: dict[str, list[str]] = {length: [] for length in LENGTHS}
    for item in items:
        by_length[length_of(item["text"])].append(item["text"])
    kinds = [(length, edit) for length in LENGTHS for edit in SAME_WORDS]
    kinds += [
        (length, edit) for length in LENGTHS if LENGTHS[length][0] >= 10 for edit in (*OTHER_WORDS, SPLIT)
    ]
    kinds.append(("5-9", SPLIT))
    rows = []
    for number in range(round(count * PLANTED)):
        length, edit = kinds[number % len(kinds)]
        text = chance.choice(by_length[length])
        if edit == SPLIT:
            rows.append(Trained(split_over_turns(text, chance), length, edit))
        else:
            changed = (SAME_WORDS | OTHER_WORDS)[edit](text.split(), chance, others)
            rows.append(Trained(dressed(changed, chance), length, edit))
    repeats = Repeats(items)
    for length in draw_lengths(count - len(rows)):
        text = snippets.text(length)
        while (edit := repeats.kind(text)) == SAME:
            text = snippets.text(length)
        rows.append(Trained(dressed(text, chance), length, edit))
    chance.shuffle(rows)
    return rows


@dataclass(frozen=True)
class Rate:
    """How many of how many."""

    found: int
    of: int

    def __str__(self) -> str:
        return f"{self.found / self.of:8.4f} of {self.of}" if self.of else "       -"


def measure(
    rows: int, items: int, half: str, seed: int
) -> tuple[dict[str, Any], dict[tuple[str, str], Rate]]:
    """CPU time and memory, and the share of rows found by edit ('none' for rows not planted) and length."""
    for_items, for_rows = read_halves(half, seed)
    held_out = make_items(for_items, items)
    trained = make_rows(for_rows, held_out, rows, random.Random(seed + 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    gate = ContaminationGate(held_out, PROMPT)
    built = time.process_time()
    report = gate.check(row.row for row in trained)
    ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The report names its first rows only, so the rows found are asked for once more.
    matches = [gate.matches(row.row) for row in trained]
    assert sum(matches) == report.matches
    total: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    for row, match in zip(trained, matches, strict=True):
        total[row.edit or "none", row.length] += 1
        found[row.edit or "none", row.length] += match
    figures = {
        "rows": len(trained),
        "items": len(held_out),
        "half": half,
        "index_s": built - started,
        "check_s": ended - built,
        "peak_mb": peak >> 10,
        "peak_before_mb": before >> 10,
    }
    return figures, {kind: Rate(found[kind], total[kind]) for kind in total}


def pooled(rates: dict[tuple[str, str], Rate], edits: Sequence[str], lengths: Sequence[str]) -> Rate:
    own = [rate for (edit, length), rate in rates.items() if edit in edits and length in lengths]
    return Rate(sum(rate.found for rate in own), sum(rate.of for rate in own))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--half", choices=["tune", "report"], default="report")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures, rates = measure(given.rows, given.items, given.half, given.seed)
    edits = [*SAME_WORDS, *OTHER_WORDS, SPLIT, BY_CHANCE]
    lengths = list(LENGTHS)
    if given.json:
        table = {
            edit: {n: vars(rates[edit, n]) for n in lengths if (edit, n) in rates}
            for edit in [*edits, "none"]
        }
        print(json.dumps({**figures, "found": table}))
        return
    print(
        "  ".join(
            f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in figures.items()
        )
    )
    print("\nShare found, by words of the item (below 10 only verbatim after normalisation counts)")
    print(f"{'planted':20}" + "".join(f"{length:>20}" for length in [*lengths, "all"]))
    for edit in edits:
        cells = [pooled(rates, [edit], [length]) for length in lengths] + [pooled(rates, [edit], lengths)]
        print(f"{edit:20}" + "".join(f"{cell!s:>20}" for cell in cells))
    cells = [pooled(rates, ["none"], [length]) for length in lengths] + [pooled(rates, ["none"], lengths)]
    print(f"{'not planted':20}" + "".join(f"{cell!s:>20}" for cell in cells))


if __name__ == "__main__":
    main()
