"""The operator `clean`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ..row_table import texts, with_column
from ..text_cleaning import Mask, masked, normalised, single_spaced, without_html
from .protocol import Column, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Clean(Operator):
    """Clean the texts of columns: HTML, Unicode, white space, and masks such as `<email>` for personal data."""

    op: Literal["clean"] = "clean"
    columns: tuple[Column, ...] = Field(min_length=1, description="The text columns")
    html: bool = Field(default=False, description="Keep the text of HTML alone; wrong for texts with `<`")
    unicode: Literal["NFC", "NFKC"] | None = Field(
        default="NFC", description="Normal form; invisible characters go, too. NFKC is wrong for formulas"
    )
    whitespace: bool = Field(
        default=True, description="Single spaces, at most one empty line; wrong for code with indents"
    )
    mask: tuple[Mask, ...] = Field(
        default=(), description="Personal data to mask: url, email, iban, card, ip, phone"
    )

    examples: ClassVar = (
        {"op": "clean", "columns": ["text"]},
        {
            "op": "clean",
            "columns": ["text", "label"],
            "html": True,
            "unicode": "NFKC",
            "mask": ["email", "phone"],
        },
    )
    kind: ClassVar = "row-wise"
    position: ClassVar = 5
    cleaning: ClassVar = "clean"

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        for name in self.columns:
            values = [None if text is None else self._cleaned(text) for text in texts(rows, name)]
            rows = with_column(rows, name, values)
        return rows

    def replaces(self, other: Operator) -> bool:
        """Steps for different columns stand side by side."""
        return isinstance(other, Clean) and other.columns == self.columns

    def _cleaned(self, text: str) -> str:
        if self.html:
            text = without_html(text)
        if self.unicode is not None:
            text = normalised(text, self.unicode)
        for kind in self.mask:
            text = masked(text, kind)
        return single_spaced(text) if self.whitespace else text
