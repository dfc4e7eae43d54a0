"""The molecule in an answer to TOMG-Bench: as the official script reads it, and corrected.

`official` follows `correct.py` of https://github.com/phenixace/TOMG-Bench (692f6b1) and the files it reads and
writes. Upstream's `--json_check` acts while answers are generated (it asks again until there is JSON), so that
no given answer can be scored by it, and the script reads both forms anyway.

`corrected` repairs what costs a right molecule its point there:

    'Molecule: CCO'                     the label that upstream's own prompt asks for was never taken off
    'The answer is **CCO**.'            chatter before a molecule and marks around it were fatal
    'So {as asked} CCO'                 braces before the answer gave up; JSON is now found anywhere
    '[NH3+]CC(=O)[O-]'                  brackets of the first and the last atom were taken off
    'N->[Cu]'                           a dative bond was taken for the arrow of a reaction
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .smiles import parse

NOTHING = "None"
"""What upstream writes where it finds nothing; no SMILES."""
LONGEST = 2000
"""Characters of the longest word that is tried as a molecule, so that no answer takes minutes."""

_KEYS = ("molecule", "smiles")
_LABEL = re.compile(r"\b(?:molecule|smiles(?: string)?|answer)(?:\s+is)?[\s*_`\"']*[:=：]", re.IGNORECASE)
# What JSON's grammar refuses: a SMILES' backslash, single quotes, and the doubled ones of upstream's files.
_LOOSE = re.compile(r"\{\s*[\"']+(?:molecule|smiles)[\"']+\s*:\s*[\"']+([^\"']*)[\"']+\s*[,}]", re.IGNORECASE)
_ARROW = re.compile(r"=>|→|⇒|>>|(?:^|(?<=\s))->")
_WORD = re.compile(r"[!-~]+")
"""SMILES are ASCII; RDKit passes over other characters around them."""
_MARKS = "\"'`*_$,;:.!?"
_PAIRS = (("[", "]"), ("(", ")"), ("<", ">"), ("{", "}"))


def official(answer: str) -> Any:
    """What upstream scores of an answer; rarely no text, which is no molecule either.

    `NOTHING` for what is empty in the end, which comes out of the file between the two programs as a missing value,
    and for a carriage return, which breaks that file.
    """
    # as the programs that ask models write it down
    text = answer.replace('""', '"').replace("\n", " ").strip()
    found = re.search(r"\{.*?\}", text)
    try:
        read = _of_braces(found.group()) if found else _after_arrows(text)
    except IndexError:  # braces without a colon
        return NOTHING
    if not found and read[:1] == "[" and read[-1] == "]":
        read = read[1:-1]
    return NOTHING if not read or "\r" in text else read


def _of_braces(braced: str) -> Any:
    try:
        value = _after_arrows(json.loads(braced)["molecule"])
        str(value).encode()  # upstream prints it, which fails for half a surrogate pair
        return value
    except Exception:  # as upstream: whatever is wrong, what follows the first colon is tried
        return _after_arrows(braced.split(":")[1].strip().strip("}").strip().strip('"').strip())


def _after_arrows(text: Any) -> Any:
    for arrow in ("=>", "->"):
        if arrow in text:
            text = text.split(arrow)[-1].strip()
    return text


def corrected(answer: str) -> str:
    """The SMILES an answer gives, '' if it gives none.

    The last JSON object with a key `molecule` (or `smiles`) decides; else what follows the last label, else
    the text. Reasoning up to `</think>`, or from a `<think>` that never ends, is passed over.
    """
    text = answer.rpartition("</think>")[2].partition("<think>")[0]
    stated = list(_json_values(text))
    if stated:
        return _smiles_in(stated[-1])
    labels = list(_LABEL.finditer(text))
    labelled = _first_line(text[labels[-1].end() :]) if labels else ""
    return _smiles_in(labelled, first=True) or _smiles_in(text)


def _json_values(text: str) -> Iterator[str]:
    """The molecules that JSON objects in a text state, in order; '' for one that isn't text."""
    decoder, start = json.JSONDecoder(), text.find("{")
    while start >= 0:
        end = start + 1  # an object without the key may hold one that has it
        try:
            found, stop = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            loose = _LOOSE.match(text, start)
            if loose:
                yield loose.group(1)
                end = loose.end()
        else:
            named = {str(key).casefold(): value for key, value in found.items()}
            value = next((named[key] for key in _KEYS if key in named), None)
            if value is not None:
                yield value if isinstance(value, str) else ""
                end = stop
        start = text.find("{", end)


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip(_MARKS + " \t")), "")


def _smiles_in(text: str, first: bool = False) -> str:
    """The SMILES in a text: of a lone word, of the first word, of a line of its own, or of the last word.

    A lone word may be any molecule. Within prose a molecule of one atom counts only if there is none of more,
    and 'I' never does: it is a pronoun, not iodine. With `first`, the first word that counts is taken.
    """
    after = _ARROW.split(text)[-1]
    lines = [[_molecule_of(word) for word in _WORD.findall(line)] for line in after.splitlines()]
    words = [word for line in lines for word in line]
    if len(words) == 1:
        return words[0][0]
    for least in (2, 1):
        good = [smiles for smiles, atoms in words if atoms >= least and smiles != "I"]
        if not good:
            continue
        alone = [line[0][0] for line in lines if len(line) == 1 and line[0][1] >= least]
        if first or words[0][0] == good[0]:
            return good[0]
        return alone[-1] if alone else good[-1]
    return ""


def _molecule_of(word: str) -> tuple[str, int]:
    """A word as SMILES and its number of atoms; ('', 0) for one that is no molecule, or nothing but '*'.

    Marks around it are taken off only if it is no molecule with them; so is what leads up to an arrow.
    """
    if len(word) > LONGEST:
        return "", 0
    for form in _forms(word):
        molecule = parse(form)
        atoms = sum(atom.GetAtomicNum() > 0 for atom in molecule.GetAtoms()) if molecule is not None else 0
        if atoms:
            return form, atoms
    return "", 0


def _forms(word: str) -> Iterator[str]:
    """A word as it stands, then with fewer and fewer marks, then what follows its last arrow."""
    bare = word.strip("*")  # Markdown's emphasis; in SMILES it is an atom of no element
    yield bare
    for _ in range(4):  # '"[**CCO**]".' has four layers
        shorter = bare.strip(_MARKS)
        pair = next((p for p in _PAIRS if shorter.startswith(p[0]) and shorter.endswith(p[1])), None)
        if pair:
            yield shorter
            shorter = shorter[1:-1].strip("*")
        yield shorter
        bare = shorter
    yield bare.strip("".join(left + right for left, right in _PAIRS))
    if "->" in bare:
        yield from _forms(bare.rpartition("->")[2])
