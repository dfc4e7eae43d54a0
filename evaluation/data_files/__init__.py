"""Data files of a user: one reader for sources, dev, test and `data`, whatever their format."""

from .arrow_tables import rows_to_table, table_rows
from .formats import FORMATS, Line, Row, data_suffix, read_lines
from .hub import HUB, HubReference, read_hub_lines
from .origins import file_name, keep_origin, line_name
from .text_files import printable
from .values import as_text, plain

__all__ = [
    "FORMATS",
    "HUB",
    "HubReference",
    "Line",
    "Row",
    "as_text",
    "data_suffix",
    "file_name",
    "keep_origin",
    "line_name",
    "plain",
    "printable",
    "read_hub_lines",
    "read_lines",
    "rows_to_table",
    "table_rows",
]
