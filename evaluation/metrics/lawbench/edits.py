"""The second half of ChERRANT: edits that belong together become one, and what changes nothing goes.

Follows evaluation/utils/modules/merger.py of LawBench (commit e30981b): two replacements around equal text that
exchange their contents, and a deletion and an insertion of the same text around it, are one transposition W;
replacements are trimmed of what both sides share at their ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import punctuation

from .alignment import TokenEdit, Tokens

_PUNCTUATION = punctuation + (
    "！？｡＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟–—‘'‛“”„‟…‧."
)

Correction = tuple[int, int, str]
"""Tokens start…end of the sentence are replaced by the text."""

NOTHING = "-NONE-"
"""The text of a deletion, as in M2 files."""


def corrections(edits: Sequence[TokenEdit], source: Tokens, target: Tokens) -> tuple[Correction, ...]:
    """What an alignment's edits amount to."""
    return tuple(
        (
            edit.start,
            edit.end,
            NOTHING if edit.operation == "D" else "".join(target[edit.to_start : edit.to_end]),
        )
        for edit in (_trimmed(e, source, target) for e in _rejoined(edits, source, target))
        if edit is not None
    )


def _rejoined(edits: Sequence[TokenEdit], source: Tokens, target: Tokens) -> list[TokenEdit]:
    """The edits without M, and triples that move text joined into a T."""
    joined: list[TokenEdit] = []
    at = 0
    while at < len(edits):
        triple = edits[at : at + 3]
        if len(triple) == 3 and _moves(triple, source, target):
            first, _, last = triple
            joined.append(TokenEdit("T", first.start, last.end, first.to_start, last.to_end))
            at += 3
            continue
        if edits[at].operation != "M":
            joined.append(edits[at])
        at += 1
    return joined


def _moves(triple: Sequence[TokenEdit], source: Tokens, target: Tokens) -> bool:
    first, middle, last = triple
    pattern = first.operation + middle.operation + last.operation
    if pattern == "SMS":
        before, after = _texts(first, source, target), _texts(last, source, target)
        if 1 in map(len, (*before, *after)):
            return before == after[::-1]
        return _nearly(before[0], after[1]) and _nearly(before[1], after[0])
    if pattern in ("DMI", "DTI", "IMD", "ITD"):
        gone, come = (first, last) if first.operation == "D" else (last, first)
        return _same_text(_texts(gone, source, target)[0], _texts(come, source, target)[1])
    return False


def _texts(edit: TokenEdit, source: Tokens, target: Tokens) -> tuple[str, str]:
    return "".join(source[edit.start : edit.end]), "".join(target[edit.to_start : edit.to_end])


def _same_text(gone: str, come: str) -> bool:
    """Whether what was deleted is what was inserted, give or take a character or a rotation."""
    longer, shorter = (gone, come) if len(gone) >= len(come) else (come, gone)
    if longer in _PUNCTUATION or shorter in _PUNCTUATION or len(longer) - len(shorter) > 1:
        return False
    if len(shorter) == 1:
        return longer == shorter
    return _nearly(longer, shorter) or (len(longer) == len(shorter) and shorter in longer * 2)


def _nearly(a: str, b: str) -> bool:
    """Whether one insertion, deletion or replacement of a character at most makes one the other."""
    if len(a) < len(b):
        a, b = b, a
    if len(a) - len(b) > 1:
        return False
    same = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(b))
    return a[same + 1 :] == b[same + (len(a) == len(b)) :] or a == b


def _trimmed(edit: TokenEdit, source: Tokens, target: Tokens) -> TokenEdit | None:
    """A replacement without what both sides begin and end with; None for an edit that changes nothing."""
    before, after = _texts(edit, source, target)
    if before == after:
        return None
    if edit.operation != "S":
        return edit
    start, to_start = _past_prefix(edit, source, target, after)
    end, to_end = _before_suffix(edit, source, target, after, start, to_start)
    if (start, to_start, end, to_end) == (edit.start, edit.to_start, edit.end, edit.to_end):
        return edit
    operation = "I" if start == end else "D" if to_start == to_end else "S"
    return TokenEdit(operation, start, end, to_start, to_end)


def _past_prefix(edit: TokenEdit, source: Tokens, target: Tokens, after: str) -> tuple[int, int]:
    """Where the sides begin to differ; where tokens don't meet at the common text, at their beginnings."""
    common, start = "", edit.start
    while start < edit.end and after.startswith(common + source[start]):
        common += source[start]
        start += 1
    text = ""
    for j in range(edit.to_start, edit.to_end):
        text += target[j]
        if common and text == common:
            return start, j + 1
    return edit.start, edit.to_start


def _before_suffix(
    edit: TokenEdit, source: Tokens, target: Tokens, after: str, start: int, to_start: int
) -> tuple[int, int]:
    """Where the sides end to differ, not before where they begin to."""
    common, end = "", edit.end
    while end > start and after.endswith(source[end - 1] + common):
        common = source[end - 1] + common
        end -= 1
    text = ""
    for j in reversed(range(to_start, edit.to_end)):
        text = target[j] + text
        if common and text == common:
            return end, j
    return edit.end, edit.to_end
