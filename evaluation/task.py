"""What a task is: the model to improve, the data allowed, the prompt, the metric, the four splits."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from .conversations import Message, answer_text, read_conversation, read_tools
from .data_files.values import as_text
from .metric_name import metric_label, metric_text

Split = Literal["search", "confirm", "test"]
Item = dict[str, Any]


class SplitItem(Item):
    """A row of dev or test for metrics: its columns, `id` (a hash of its content) and `reference` (the right answer).

    `row` has the columns as the file has them, for the prompt: a file may have columns of these names too.
    """

    def __init__(self, row: Mapping[str, Any], **ours: Any) -> None:
        super().__init__({**row, **ours})
        self.row = row

    def as_asked(self) -> SplitItem:
        """The item with the file's own columns where they share a name with ours."""
        return SplitItem(self.row, **{name: value for name, value in self.items() if name not in self.row})


TINY_MODEL = "tiny"
EMBEDDED_MODEL = "smollm2-135m-instruct"


@lru_cache(maxsize=64)  # every item of every evaluation is rendered
def _pieces(template: str) -> tuple[tuple[str, str | None], ...]:
    """Literal texts, each with the field behind it: `str.format` reduced to plain `{column}`.

    A column's name may hold spaces and any other sign but braces, ':' and '!'. Raises ValueError with the mend.
    """
    pieces = []
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError:
        raise ValueError(
            f"a brace without its partner in {_shown(template)}: write {{{{ or }}}} for a literal brace, "
            "{name} for a column"
        ) from None
    for literal, field, specification, conversion in parsed:
        if field is not None and (specification or conversion):
            ending = f":{specification}" if specification else f"!{conversion}"
            raise ValueError(
                f"{{{field}{ending}}}: a template takes plain columns, so write {{{field}}}; for literal braces "
                f"write {{{{{field}{ending}}}}}"
            )
        if field is not None and (not field.strip() or "{" in field):
            raise ValueError(
                f"{{{field}}} in {_shown(template)} names no column: write {{column}}, or {{{{}}}} for literal braces"
            )
        pieces.append((literal, field))
    return tuple(pieces)


def _shown(template: str) -> str:
    return repr(template if len(template) <= 60 else f"{template[:60]}…")


def _filled(template: str, row: Mapping[str, Any]) -> str:
    return "".join(
        literal if field is None else literal + as_text(row.get(field))
        for literal, field in _pieces(template)
    )


@lru_cache(maxsize=100)
def _fields(*templates: str | None) -> frozenset[str]:
    return frozenset(field for text in templates for _, field in _pieces(text or "") if field is not None)


def _columns(names: Any) -> Any:
    return (names,) if isinstance(names, str) else names or ()


class Prompt(BaseModel, frozen=True, extra="forbid"):
    """How a row becomes a conversation. `{column}` stands for a column of the row, `{{` and `}}` for braces.

    Either `user` and `answer` make it, or `messages` names the column that holds it.
    """

    user: str = Field(
        default="", description="The user's turn, e.g. 'Is this review positive or negative?\\n{text}'"
    )
    answer: str = Field(default="", description="The expected assistant turn, e.g. '{label}'")
    system: str | None = Field(
        default=None,
        description="System turn, for conversations without one; None leaves it to the chat template",
    )
    messages: Annotated[tuple[str, ...], BeforeValidator(_columns)] = Field(
        default=(),
        description="The column that holds whole conversations, or several that are joined, e.g. [prompt, completion]; "
        "the last assistant turn is the answer",
    )
    tools: str | None = Field(default=None, description="The column that holds the definitions of tools")
    plain: bool = Field(
        default=False, description="Plain text instead of the chat template; always for a model without one"
    )
    thoughts: bool = Field(
        default=False, description="Answers begin with the model's thoughts, e.g. <think>…</think>"
    )
    loss_on: Literal["last", "all"] = Field(
        default="last", description="Train on the last turn of the assistant, or on all of its turns"
    )

    @field_validator("user", "answer", "system")
    @classmethod
    def _is_a_template(cls, template: str | None) -> str | None:
        _pieces(template or "")
        return template

    @model_validator(mode="after")
    def _has_one_form(self) -> Prompt:
        if self.messages and (self.user or self.answer):
            raise ValueError("a prompt has either messages, or user and answer")
        if not self.messages and not (self.user and self.answer):
            raise ValueError("a prompt has user and answer, or messages: the column that holds conversations")
        return self

    def conversation(self, row: Mapping[str, Any]) -> list[Message]:
        """All turns, the answer last. A column that the row lacks is empty. Raises BadConversation."""
        if self.messages:
            turns = read_conversation([row.get(name) for name in self.messages])
            if self.system is not None and turns[0]["role"] != "system":
                turns = [{"role": "system", "content": _filled(self.system, row)}, *turns]
        else:
            texts = [("system", self.system), ("user", self.user), ("assistant", self.answer)]
            turns = [
                {"role": role, "content": _filled(text, row)} for role, text in texts if text is not None
            ]
        if self.tools is not None and (tools := read_tools(row.get(self.tools))):
            first = int(turns[0]["role"] == "system")  # a system turn may be folded into the next
            turns[first] = turns[first] | {"tools": tools}
        return turns

    def turns(self, row: Mapping[str, Any]) -> list[Message]:
        """The conversation up to the answer. Raises BadConversation."""
        return self.conversation(row)[:-1]

    def reference(self, row: Mapping[str, Any]) -> str:
        """The answer the assistant should give. Raises BadConversation."""
        return answer_text(self.conversation(row)[-1]) if self.messages else _filled(self.answer, row)

    @property
    def fields(self) -> frozenset[str]:
        """The columns the prompt and the answer need."""
        return self.question_fields | self.answer_fields

    @property
    def question_fields(self) -> frozenset[str]:
        """The columns that the question shows."""
        return _fields(self.user, self.system) | set(self.messages)

    @property
    def answer_fields(self) -> frozenset[str]:
        """The columns that the answer is made of."""
        return _fields(self.answer) | set(self.messages)

    @property
    def answer_column(self) -> str | None:
        """The column that is the answer, if nothing else is in it."""
        pieces = _pieces(self.answer)
        return pieces[0][1] if len(pieces) == 1 and not pieces[0][0] else None


class RenderingOptions(BaseModel, frozen=True, extra="forbid"):
    """How conversations become tokens; see `Prompt` and `GenerationSettings`. A data set carries it to the trainer."""

    plain: bool = False
    thoughts: bool = False
    loss_on: Literal["last", "all"] = "last"
    max_prompt_tokens: int | None = Field(default=None, ge=8, description="None: prompts are never cut")


_RENDERING = {"plain", "thoughts", "loss_on"}


class GenerationSettings(BaseModel, frozen=True, extra="forbid"):
    """How answers are produced at evaluation. Part of the task: an agent cannot change it."""

    max_new_tokens: int = Field(default=32, ge=1, le=4096)
    max_prompt_tokens: int = Field(
        default=512, ge=8, description="Longer prompts are cut behind their system turn"
    )
    batch_size: int = Field(default=32, ge=1, le=1024)


class Source(BaseModel, frozen=True, extra="forbid"):
    """One data source that recipes may load, by its name. Nothing else can be loaded: denied by default."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")
    path: str = Field(description="A .jsonl, .csv or .parquet file, or 'hub:owner/name@revision#split'")
    description: str = ""
    licence: str = "unknown"
    synthetic: bool = Field(default=False, description="Made by a rule, not collected")


class RowRules(BaseModel, frozen=True, extra="forbid"):
    """Which rows of sources, dev and test are left out, and how many may be.

    Rows that cannot be read, rows without a question and answers that are none of the choices are always left out.
    """

    max_dropped: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of a file's rows; if more are left out, the task is refused",
    )
    unanswered: Literal["drop", "keep"] = Field(
        default="drop",
        description="Rows of dev and test without an answer; benchmarks with such items keep them",
    )
    longest: float = Field(
        default=4.0,
        ge=1,
        description="Training rows longer than so many times the 99.5th percentile of the lengths are left out",
    )


def _choice_texts(choices: Any) -> Any:
    """Numbers and booleans as their texts."""
    if not isinstance(choices, list | tuple):
        return choices
    return [as_text(choice) if isinstance(choice, bool | int | float) else choice for choice in choices]


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
    choices: Annotated[list[str] | None, BeforeValidator(_choice_texts)] = Field(
        default=None, description="With choices, the answer is the most likely one; without, it is generated"
    )
    rows: RowRules = Field(default=RowRules(), description="Which rows are left out")
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
    def _is_possible(self) -> Task:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"source names must differ, got {names}")
        if self.choices is not None:
            if len(self.choices) < 2:
                raise ValueError("choices needs at least two answers")
            if twice := [choice for choice in self.choices if self.choices.count(choice) > 1]:
                raise ValueError(f"choices names {twice[0]!r} twice")
        asked = self.prompt.question_fields
        if not asked:
            raise ValueError("the prompt shows no column of the row: put one in prompt.user, e.g. {text}")
        if not self.prompt.messages and (self.answer_column in asked or self.prompt.answer_fields <= asked):
            shown = sorted(asked & {self.answer_column, *self.prompt.answer_fields} or asked)
            raise ValueError(
                f"the prompt shows the answer: take {{{shown[0]}}} out of prompt.user and prompt.system"
            )
        return self

    @classmethod
    def from_data(cls, data: Any, **given: Any) -> Task:
        """A task proposed from data, as `trex init` proposes it.

        `data` is a path, a list of paths, rows as dictionaries, a data frame, a `datasets.Dataset`, or a mapping of
        'train', 'dev' and 'test' to any of these. `given` are fields of a task file, and `answer` and `question`: the
        names of columns. Raises InputError if no column can be the answer or the question.
        """
        # By name: the proposal's modules are built on this one.
        task: Task = import_module(".proposal", __package__).task_from_data(data, given)
        return task

    @property
    def metric_label(self) -> str:
        """The metric in sentences and tables."""
        return metric_label(self.metric)

    @property
    def rendering(self) -> RenderingOptions:
        """How conversations of this task become tokens, in training and evaluation."""
        limit = self.generation.max_prompt_tokens
        return RenderingOptions(max_prompt_tokens=limit, **self.prompt.model_dump(include=_RENDERING))

    def source(self, name: str) -> Source:
        """The source of that name. Raises KeyError with the names there are."""
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(sorted(s.name for s in self.sources))
        raise KeyError(f"no source named {name!r}; the task allows: {known}")
