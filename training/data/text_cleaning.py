"""Cleans texts: Unicode, white space, HTML, and masks for personal data."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser
from typing import Literal, TypeAlias

Mask: TypeAlias = Literal["url", "email", "iban", "card", "ip", "phone"]

_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2060\ufeff]")
"""Control characters besides tab and line break, soft hyphens, zero-width spaces (joiners carry meaning)."""
_BLANKS = re.compile(r"[^\S\n]+")
_EMPTY_LINES = re.compile(r"\n{3,}")
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "td",
        "th",
        "tr",
        "ul",
    ]
)
_UNREAD = frozenset({"script", "style", "template", "noscript"})

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_PATTERNS: dict[Mask, re.Pattern[str]] = {
    "url": re.compile(r"(?:https?://|\bwww\.)[^\s<>\"']{1,2000}"),
    "email": re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),
    "iban": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b"),
    "card": re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)"),
    "ip": re.compile(rf"(?<![\d.])(?:{_OCTET}\.){{3}}{_OCTET}(?![\d.])"),
    "phone": re.compile(
        r"(?<![\w+])(?:\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,6}|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?!\d)"
    ),
}


def normalised(text: str, form: Literal["NFC", "NFKC"]) -> str:
    """In a Unicode normal form, with `\\n` as line break and without invisible characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize(form, _INVISIBLE.sub("", text))


def single_spaced(text: str) -> str:
    """With single spaces in lines, none at their ends, and at most one empty line together."""
    lines = (_BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()


def without_html(text: str) -> str:
    """The text of an HTML fragment: without tags, scripts and styles, with character references resolved."""
    if "<" not in text and "&" not in text:
        return text
    reader = _TextOfHtml()
    reader.feed(text)
    reader.close()
    return "".join(reader.parts)


def masked(text: str, kind: Mask) -> str:
    """With personal data of one kind replaced by its name, such as `<email>`.

    Card numbers must have a right check digit (Luhn), IBANs a right checksum (ISO 13616).
    """
    test = {"card": _is_card, "iban": _is_iban}.get(kind)
    return _PATTERNS[kind].sub(
        lambda found: f"<{kind}>" if test is None or test(found.group()) else found.group(), text
    )


def _is_card(text: str) -> bool:
    digits = [int(each) for each in text if each.isdigit()][::-1]
    doubled = (digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    return int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


class _TextOfHtml(HTMLParser):
    """Collects text; block elements are on lines of their own."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unread = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unread += tag in _UNREAD
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unread = max(0, self._unread - (tag in _UNREAD))
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self.parts.append(data)
