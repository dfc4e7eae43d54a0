"""A support-ticket file as people have it: Latin-1, semicolons, empty cells, typos, repeats, one rare class.

    python benchmarks/messy_tickets.py tickets.csv

The tickets are made up. The same command writes the same 1,000 rows.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

ROWS = 1_000
PROBLEMS = {
    "billing": [
        "invoice {number} lists a fee that nobody explained to me",
        "you took {amount} euro twice this month",
        "why is the sum for March higher than what we agreed",
        "the refund of {amount} euro has not arrived",
        "my card was declined although it is valid",
        "I need a receipt with the tax number of our firm",
        "the reminder is wrong, I paid on the {day}th",
        "please split the sum into {day} parts",
    ],
    "network": [
        "no signal since the storm on the {day}th",
        "the box in the hall blinks red and nothing loads",
        "it takes {amount} seconds to open a page",
        "the line drops every {day} minutes",
        "the évening speed is a tenth of what was promised",
        "calls break off as soon as I go upstairs",
        "the cable in the street was cut by builders",
        "packets get lost on the way to your gateway {number}",
    ],
    "accounts": [
        "I cannot log in, the code {number} is refused",
        "please change the e-mail address to a new one",
        "somebody else seems to use my profile",
        "locked out after {day} attempts",
        "the password link leads to an empty page",
        "my surname changed, how do I correct it",
        "delete everything that you store about me",
        "two users share one login, can they be separated",
    ],
    "devices": [
        "the set-top box {number} stays dark",
        "the display broke on the {day}th day",
        "the headset hisses on the left side",
        "battery empty after {amount} minutes",
        "the remote control does nothing, batteries are new",
        "an update left the phone in a loop",
        "a part is missing in the parcel, number {number}",
        "it gets hot when it charges",
    ],
    "sales": [
        "which offer do you have for students",
        "can I add a second card to contract {number}",
        "what does fibre cost in our street",
        "I want to move to {amount} GB a month",
        "is there a discount for {day} lines",
        "do you sell the new model already",
    ],
    "legal": [
        "I object to clause {day} of the terms",
        "our lawyer asks for the wording of contract {number}",
    ],
}
SHARES = (30, 25, 20, 15, 9, 1)
OPENINGS = [
    "Hello,",
    "Dear team,",
    "Hi!",
    "Good morning,",
    "URGENT:",
    "Bonjour, désolé,",
    "As said on the phone:",
    "",
]
ASIDES = [
    "I have been a customer since {year}.",
    "My neighbour has the same trouble.",
    "Last week it was the invoice, now this.",
    "The new router works well, by the way.",
    "My password is fine, I checked.",
    "I asked your shop first, they sent me here.",
    "",
    "",
]
ENDINGS = ["Thanks", "Please call back", "Regards, René", "This is the third time I write", ""]
TYPOS = {"billing": "biling", "network": "netwrok", "accounts": "acounts"}


def tickets(seed: int = 7) -> list[list[str]]:
    """The rows: id, customer, date, message, team."""
    chance = random.Random(seed)

    def filled(text: str) -> str:
        return text.format(
            number=chance.randint(1000, 9999),
            amount=chance.randint(13, 99),
            day=chance.randint(2, 12),
            year=chance.randint(1995, 2024),
        )

    rows = []
    for number in range(1, ROWS + 1):
        [team] = chance.choices(list(PROBLEMS), SHARES)
        parts = [chance.choice(part) for part in (OPENINGS, PROBLEMS[team], [". "], ASIDES, ENDINGS)]
        message = " ".join(filled(part) for part in parts if part).replace(" . ", ".")
        date = f"2024-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        rows.append([f"{number:05}", f"C{chance.randint(1, 300):04}", date, message, team])
    _damage(rows, chance)
    return rows


def _damage(rows: list[list[str]], chance: random.Random) -> None:
    """What happens to such files: cells are lost, teams are misspelt, tickets are pasted twice."""
    for row in chance.sample(rows, 12):
        row[4] = ""
    for row in chance.sample(rows, 8):
        row[3] = ""
    for row in chance.sample(rows, 12):
        row[4] = TYPOS.get(row[4], row[4])
    for row in chance.sample(rows, 40):
        row[4] = f" {row[4].capitalize()}"
    for row in chance.sample(rows, 5):
        row[4] = "N/A"
    for copy in chance.sample(range(500, ROWS), 60):
        rows[copy][1:] = rows[copy - 500][1:]


def write(path: Path) -> None:
    """Write the file."""
    with path.open("w", newline="", encoding="latin-1") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["id", "customer_id", "date", "message", "team"])
        writer.writerows(tickets())


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "tickets.csv"))
