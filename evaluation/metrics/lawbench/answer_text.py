"""Finding the final answer in what a model wrote, for the corrected rules.

The prompts ask for `[标签]答案<eoa>`. Models reason before it, repeat the example of the instruction, write 【】
or full-width letters, leave the closing mark out. So the corrected rules read what follows the last mark, up to
`<eoa>` or the end of the line, and the whole text only where there is no mark.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_END = re.compile(r"<\s*eoa\s*>|\n", re.IGNORECASE)
_AFTER_MARK = r"\s*[\])】》]?\s*(?:应该|应当|应)?\s*(?:选择|选|是|为)?\s*[:：]?\s*"


def fold(text: str) -> str:
    """Unicode NFKC: full-width letters, digits and punctuation become plain ones (；→ ;, but 、 and 。 stay)."""
    return unicodedata.normalize("NFKC", text)


def final(text: str, marks: Sequence[str], several: bool = False) -> str | None:
    """What follows the last of the marks that is followed by anything; None where no mark has an answer.

    With `several` what follows any mark of that line, because an answer may be a list of marked parts.
    """
    mark = re.compile(f"(?:[\\[(【《]\\s*)?(?:{'|'.join(map(re.escape, marks))}){_AFTER_MARK}")
    found: list[str] = []
    for part in reversed(mark.split(text)[1:]):
        if found and ("\n" in part or not several):
            break
        found += filter(None, [_END.split(part, maxsplit=1)[0].strip()])
    return " ".join(reversed(found)) or None


def labels(text: str, known: Sequence[str]) -> list[str]:
    """The known labels in a text, each once; a longer one hides those inside it (单位受贿 is no 受贿)."""
    pattern = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))))
    return list(dict.fromkeys(match.group() for match in pattern.finditer(text)))


def without_label(text: str, *names: str) -> str:
    """A text without a leading `回答:` or the like."""
    return re.sub(rf"^\s*[\[【]?(?:{'|'.join(names)})[\]】]?\s*[:：]\s*", "", text)
