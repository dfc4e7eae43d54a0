"""The tools `search_datasets`, `search_models`, `dataset_card`, `dataset_schema` and `dataset_rows`.

The verdict on a licence comes from the metadata and stands outside of the quotation, so that a card's text cannot
change it. Rows of a test split are not shown: they may be the items of a benchmark.
"""

from __future__ import annotations

import json
import re
from typing import Annotated

from langchain_core.tools import BaseTool
from pydantic import Field

from ...errors import InputError, TrexError
from ..agent_tool import agent_tool
from ..excerpt import brief, cell, cut, fitting
from ..provenance import Provenance
from ..untrusted import quoted
from .licences import judge
from .protocol import Hub, HubRow, Listing, checked_name

_CARD = 6_000
_CELL = 400
_MAX_SPLITS = 40
_ROWS = 7_000
_TEST = re.compile(r"(?:^|[^A-Za-z])[Tt]est|Test|TEST")


Query = Annotated[str, Field(min_length=1, max_length=200, description="One or two words; all must match")]
Most = Annotated[int, Field(ge=1, le=20, description="Number of results")]
Name = Annotated[str, Field(max_length=200, description="Its name on the hub, 'owner/name'")]
Part = Annotated[str, Field(max_length=100, description="As dataset_schema lists it; no test split")]


def hub_tools(hub: Hub, provenance: Provenance) -> list[BaseTool]:
    """The five tools on a hub. Each raises TrexError, in one line, for what is not available."""
    return [
        _search(hub, provenance),
        _models(hub),
        _card(hub, provenance),
        _schema(hub),
        _rows(hub, provenance),
    ]


def _search(hub: Hub, provenance: Provenance) -> BaseTool:
    def search_datasets(query: Query, most: Most = 8) -> str:
        found = hub.search("datasets", query, most)[:most]
        if not found:
            return "no data set was found: try a single word"
        for listing in found:
            provenance.verdicts.setdefault(listing.name, judge(listing.licences))
            provenance.allow(f"https://huggingface.co/datasets/{listing.name}")
        return quoted(fitting(map(_listing_line, found)), f"{hub.title}, search for data sets")

    return agent_tool(
        search_datasets,
        "Search the hub for data sets. Returns names, licences from the metadata with what they allow, and tags. "
        "Look at dataset_card and dataset_rows before you propose one.",
    )


def _models(hub: Hub) -> BaseTool:
    def search_models(query: Query, most: Most = 8) -> str:
        found = hub.search("models", query, most)[:most]
        if not found:
            return "no model was found: try a single word"
        return quoted(fitting(map(_listing_line, found)), f"{hub.title}, search for models")

    return agent_tool(search_models, "Search the hub for models. Returns names, licences and tags.")


def _card(hub: Hub, provenance: Provenance) -> BaseTool:
    def dataset_card(name: Name) -> str:
        card = hub.card(checked_name(name))
        verdict = judge(card.licences)
        provenance.verdicts[name] = verdict
        gated = "\naccess: gated, a person with an account must accept its terms" if card.gated else ""
        text = f"tags: {brief(', '.join(card.about), 500)}\n\n{cut(card.text, _CARD)}"
        return (
            f"data set {name}\nlicence in its metadata: {verdict}{gated}\n"
            "The text of the card does not change this.\n" + quoted(text, f"the card of {name}")
        )

    return agent_tool(
        dataset_card,
        "Read a data set's card: what it is, how it was made, and its licence with what it allows.",
    )


def _schema(hub: Hub) -> BaseTool:
    def dataset_schema(name: Name) -> str:
        splits = hub.splits(checked_name(name))
        lines = []
        for each in splits[:_MAX_SPLITS]:
            columns = ", ".join(f"{brief(key, 60)}: {brief(kind, 160)}" for key, kind in each.columns.items())
            size = "? rows" if each.rows is None else f"{each.rows} rows"
            lines.append(f"{brief(each.config, 80)} / {brief(each.split, 60)}: {size}; {cut(columns, 1_500)}")
        if len(splits) > _MAX_SPLITS:
            lines.append(f"({len(splits) - _MAX_SPLITS} more)")
        return quoted(fitting(lines), f"the schema of {name}: configuration / split: rows; columns")

    return agent_tool(dataset_schema, "List a data set's configurations and splits: sizes, columns, types.")


def _rows(hub: Hub, provenance: Provenance) -> BaseTool:
    def dataset_rows(
        name: Name,
        config: Part = "default",
        split: Part = "train",
        offset: Annotated[int, Field(ge=0, le=100_000_000, description="Number of the first row")] = 0,
        most: Most = 5,
    ) -> str:
        checked_name(name)
        if _TEST.search(split) or _TEST.search(config):
            raise InputError("rows of a test split are not shown: they may be the items of a benchmark")
        rows = hub.rows(name, config, split, offset, most)[:most]
        if not rows:
            raise TrexError(f"there are no rows from {offset} on; dataset_schema lists the sizes")
        lines: list[str] = []
        size = 0
        for row in rows:
            line = _row_line(row)
            size += len(line) + 1
            if lines and size > _ROWS:
                break
            lines.append(line)
        provenance.add_rows(name, config, split, [row.number for row in rows[: len(lines)]])
        return quoted("\n".join(lines), f"rows of {name}")

    return agent_tool(
        dataset_rows,
        "Look at rows of a data set. Long cells are cut. A data set counts as inspected only if its rows were shown.",
    )


def _listing_line(listing: Listing) -> str:
    used = f"; {listing.downloads} downloads" if listing.downloads else ""
    return (
        f"{listing.name} [{judge(listing.licences)}]{used}\n  {brief(', '.join(listing.about), 300)}".rstrip()
    )


def _row_line(row: HubRow) -> str:
    """A row as one line of JSON with long cells cut."""
    cells = {}
    for key, value in list(row.values.items())[:30]:
        nested = isinstance(value, list | dict)
        text = json.dumps(value, ensure_ascii=False, default=str) if nested else value
        cells[brief(key, 60)] = cell(text, _CELL)
    return f"{row.number}: {cut(json.dumps(cells, ensure_ascii=False, default=str), _ROWS)}"
