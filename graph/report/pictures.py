"""Pictures as SVG, by the macros of templates/pictures.svg.jinja, which escape every text."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def template_environment() -> Environment:
    """The templates of reports; every value is escaped, and one that is missing is an error."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _macros() -> Any:
    environment = template_environment()
    environment.filters["px"] = "{:.1f}".format
    return environment.get_template("pictures.svg.jinja").module


def draw(picture: str, **values: object) -> str:
    """The picture of that name, with the values that its macro takes."""
    return str(getattr(_macros(), picture)(**values)).strip()
