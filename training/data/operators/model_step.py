"""What operators that use a model share: the settings that choose it, prompts from templates, drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from ....errors import PlanError
from ....evaluation.conversations import BadConversation, Message
from ....evaluation.task import Prompt, Task
from ..models.text_model import LLM, POLICY, DrawnAnswer, Draws, ModelChoice
from ..row_table import arrow, require, visible
from .protocol import Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

LONGEST_PROMPT = 2048  # tokens of a prompt from a template


def _template(text: str) -> str:
    Prompt(user=text, answer="-")  # raises ValueError for a brace without its partner
    return text


Template = Annotated[str, AfterValidator(_template)]


class ModelStep(Operator):
    """A step that asks a model about each row."""

    model: str = Field(
        default=POLICY,
        min_length=1,
        description="policy: the task's base model; llm: the run's chat model; or the directory of another model",
    )
    weights: str | None = Field(
        default=None,
        description="A folder of trained weights of the policy; null: the base model",
    )
    system: Template | None = Field(default=None, description="The system turn; may name columns as {column}")
    n: int = Field(default=1, ge=1, le=64, description="Answers drawn for each row")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Share of the likeliest tokens that are drawn from"
    )
    seed: int = Field(default=0, ge=0, description="Another seed draws other answers")

    @model_validator(mode="after")
    def _is_possible(self) -> ModelStep:
        if self.weights is not None and self.model != POLICY:
            raise ValueError(
                "`weights` are trained weights of the policy: leave them out, or use model: policy"
            )
        if self.n > 1 and getattr(self, "temperature", 1) == 0 and self.model != LLM:
            raise ValueError(
                "with temperature 0 all answers are the same: set n to 1 or a higher temperature"
            )
        return self

    def model_choice(self) -> ModelChoice:
        return ModelChoice(self.model, self.weights)

    def replaces(self, other: Operator) -> bool:
        """Several stand side by side."""
        return other == self

    def asked(
        self,
        rows: Dataset,
        context: OperatorContext,
        template: str | None,
        temperature: float,
        max_new_tokens: int | None,
    ) -> list[list[DrawnAnswer | None]]:
        """The answers to each row. Without a template the task's prompt is asked. Raises PlanError."""
        task, models = context.task, context.models
        if task is None or models is None:
            raise PlanError("no model can be used here: build or preview the recipe")
        generation = task.generation
        draws = Draws(
            temperature,
            self.top_p,
            max_new_tokens or generation.max_new_tokens,
            generation.max_prompt_tokens if template is None else LONGEST_PROMPT,
            self.seed,
        )
        if not len(rows):
            return []
        conversations = _conversations(rows, task, template, self.system)
        return models.draw(self.model_choice(), conversations, self.n, draws)


def row_values(rows: Dataset) -> list[dict[str, Any]]:
    """The rows with their own columns."""
    found: list[dict[str, Any]] = arrow(rows.select_columns(visible(rows.column_names))).to_pylist()
    return found


def _conversations(
    rows: Dataset, task: Task, template: str | None, system: str | None
) -> Sequence[list[Message]]:
    prompt = task.prompt if template is None else Prompt(user=template, answer="-")
    if system is not None:
        prompt = prompt.model_copy(update={"system": system})
    for name in sorted(prompt.question_fields):
        require(rows, name)
    try:
        return [prompt.turns(row) for row in row_values(rows)]
    except BadConversation as error:
        raise PlanError(f"a row's conversation cannot be read: {error}") from error
