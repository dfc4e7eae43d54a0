"""What a task is: the model to improve, the data allowed, the prompt, the metric, the four splits."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from .metric_name import metric_text

Split = Literal["search", "confirm", "test"]
Message = dict[str, str]
Item = dict[str, Any]

TINY_MODEL = "tiny"
EMBEDDED_MODEL = "smollm2-135m-instruct"


@lru_cache(maxsize=64)  # every item of every evaluation is rendered
def _pieces(template: str) -> tuple[tuple[str, str | None], ...]:
    """Literal texts, each with the field behind it: `str.format` reduced to plain `{field}`.

    No attributes, no indexing, no conversions, no widths: each is a ValueError.
    """
    pieces = []
    for literal, field, specification, conversion in string.Formatter().parse(template):
        if field is not None and not field.isidentifier():
            raise ValueError(f"only plain {{field}} names are allowed in a template, not {{{field}}}")
        if specification or conversion:
            found = specification or f"!{conversion}"
            raise ValueError(f"no format specification is allowed in a template, found {found!r}")
        pieces.append((literal, field))
    return tuple(pieces)


def _filled(template: str, row: Mapping[str, Any]) -> str:
    return "".join(
        literal if field is None else literal + str(row[field]) for literal, field in _pieces(template)
    )


class Prompt(BaseModel, frozen=True, extra="forbid"):
    """How a row becomes a conversation. `{field}` stands for a column of the row."""

    user: str = Field(description="The user's turn, e.g. 'Is this review positive or negative?\\n{text}'")
    answer: str = Field(description="The expected assistant turn, e.g. '{label}'")
    system: str | None = Field(default=None, description="System turn; None leaves it to the chat template")

    def messages(self, row: Mapping[str, Any]) -> list[Message]:
        """The conversation up to the assistant's turn. Raises KeyError for a column the row lacks."""
        turns = [("system", self.system), ("user", self.user)]
        return [{"role": role, "content": _filled(text, row)} for role, text in turns if text is not None]

    def reference(self, row: Mapping[str, Any]) -> str:
        """The answer the assistant should give."""
        return _filled(self.answer, row)

    @property
    def fields(self) -> set[str]:
        """The columns the prompt and the answer need."""
        texts = [self.user, self.answer, self.system or ""]
        return {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}


class GenerationSettings(BaseModel, frozen=True, extra="forbid"):
    """How answers are produced at evaluation. Part of the task: an agent cannot change it."""

    max_new_tokens: int = Field(default=32, ge=1, le=4096)
    max_prompt_tokens: int = Field(default=512, ge=8, description="Longer prompts are cut on the left")
    batch_size: int = Field(default=32, ge=1, le=1024)


class Source(BaseModel, frozen=True, extra="forbid"):
    """One data source that recipes may load, by its name. Nothing else can be loaded: denied by default."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")
    path: str = Field(description="A .jsonl, .csv or .parquet file, or 'hub:owner/name@revision#split'")
    description: str = ""
    licence: str = "unknown"
    synthetic: bool = Field(default=False, description="Made by a rule, not collected")


class Task(BaseModel, frozen=True, extra="forbid"):
    """What to improve and how success is measured.

    `dev` and `test` are JSON-lines files; rows there and in the sources are flat objects that carry the
    columns the prompt names (a source may lack the answer's column if a recipe can derive it).
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,60}$")
    requirement: str = Field(description="What the user wants, in a sentence or two")
    base_model: str = Field(
        default=EMBEDDED_MODEL,
        description="A directory, a hub id, 'smollm2-135m-instruct' (embedded) or 'tiny' (made on the fly)",
    )
    sources: list[Source] = Field(min_length=1)
    dev: Path
    test: Path
    prompt: Prompt
    metric: Annotated[str, BeforeValidator(metric_text)] = Field(
        default="accuracy",
        description="A metric's name, or a mapping of name and options, e.g. {name: numeric, tolerance: 0.01}; kept "
        "as text: numeric(tolerance=0.01)",
    )
    choices: list[str] | None = Field(
        default=None, description="With choices, the answer is the most likely one; without, it is generated"
    )
    generation: GenerationSettings = GenerationSettings()
    answer_column: str = Field(
        default="label", description="The column of dev and test rows that holds the reference"
    )
    rating_column: str | None = Field(
        default=None, description="A numeric column of raw sources that a recipe turns into the answer"
    )
    search_fraction: float = Field(default=0.6, gt=0, lt=1, description="Share of dev that the search sees")
    licence: str = "unknown"
    citation: str = ""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Task:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"source names must differ, got {names}")
        if self.choices is not None and len(self.choices) < 2:
            raise ValueError("choices needs at least two answers")
        return self

    def source(self, name: str) -> Source:
        """The source of that name. Raises KeyError with the names there are."""
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(sorted(s.name for s in self.sources))
        raise KeyError(f"no source named {name!r}; the task allows: {known}")
