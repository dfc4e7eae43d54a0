"""The operator `generate`: rows from a model's answers, checked by the task's metric if wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ....errors import InputError, PlanError
from ....evaluation.task import Task
from ..models.text_model import DrawnAnswer
from ..row_table import KEY, SYNTHETIC, column, take, with_column
from .model_step import ModelStep, Template, row_values
from .protocol import Column, Flow, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

    from ..models.answer_reward import AnswerReward


class Generate(ModelStep):
    """Make rows from a model's answers, by default answers to the task's own question; rows become synthetic.

    With `verify: metric` the task's metric scores each answer, as reinforcement learning does, and those below
    `threshold` are left out: rejection sampling. Empty, cut and repeated answers are left out. A row without an answer
    that is kept is dropped.
    """

    op: Literal["generate"] = "generate"
    prompt: Template | None = Field(
        default=None,
        description="What is asked; may name columns as {column}; null: the task's own prompt, as in the evaluation",
    )
    into: Column | None = Field(
        default=None, description="The column the answer goes into; null: the task's answer column"
    )
    temperature: float = Field(
        default=1.0, ge=0, le=2, description="Of sampling; a chat model of the run has its own"
    )
    max_new_tokens: int | None = Field(
        default=None, ge=1, le=4096, description="Longer answers are left out; null: as in the evaluation"
    )
    verify: Literal["metric"] | None = Field(default=None, description="metric: score each answer by it")
    answer_after: str | None = Field(
        default=None,
        min_length=1,
        description="What is scored begins behind the last one of these texts, e.g. `Answer:`",
    )
    threshold: float = Field(
        default=1.0, description="With `verify`: the lowest score that is kept; scores are 0 to 1, 1 is right"
    )
    score: Column | None = Field(
        default=None, description="With `verify`: the column that the score goes into"
    )
    per_row: int | None = Field(
        default=None, ge=1, description="Answers kept for each row, the highest scores first; null: all"
    )

    examples: ClassVar = (
        {"op": "generate", "prompt": "Write a sentence with these words: {text}", "into": "text"},
        {"op": "generate", "verify": "metric", "n": 4, "threshold": 0, "score": "reward", "per_row": 2},
    )
    kind: ClassVar = "expands"
    position: ClassVar = 30

    @model_validator(mode="after")
    def _is_verified(self) -> Generate:
        if self.verify is None and (self.score is not None or self.answer_after is not None):
            raise ValueError("`score` and `answer_after` belong to `verify: metric`")
        return self

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        drawn = self.asked(rows, context, self.prompt, self.temperature, self.max_new_tokens)
        assert context.task is not None
        into = self.into or context.task.prompt.answer_column
        if into is None:
            raise PlanError("the task's answer is not one column: name the column by `into`")
        reward = self._reward(context.task)
        counts: Counter[str] = Counter()
        indices: list[int] = []
        answers: list[_Scored] = []
        for index, (row, found) in enumerate(zip(row_values(rows), drawn, strict=True)):
            scored = self._scored(found, row, context.task, reward, counts)
            kept = self._kept(scored, counts)
            if not kept and scored and context.trial:
                kept = scored[:1]
                counts["kept for the preview although not right"] += 1
            if not kept:
                context.dropped.add("no right answer" if scored else "no answer")
            indices += [index] * len(kept)
            answers += kept
        told = ", ".join(f"{n:,} {what}" for what, n in counts.items())
        if len(rows) and not indices:
            raise PlanError(f"no answer can be kept ({told}): {_mend(counts)}")
        if told:
            context.notes.append(told)
        made = take(rows, indices)
        keys = [f"{key}/{each.number}" for key, each in zip(column(made, KEY), answers, strict=True)]
        made = with_column(with_column(made, into, [each.text for each in answers]), KEY, keys)
        if self.score is not None:
            made = with_column(made, self.score, [each.score for each in answers])
        return with_column(made, SYNTHETIC, [True] * len(indices))

    def estimate(self, flow: Flow) -> Flow:
        most = min(self.n, self.per_row or self.n)
        return replace(flow, rows=flow.rows * (1 if self.verify else most))

    def _reward(self, task: Task) -> AnswerReward | None:
        if self.verify is None:
            return None
        from ..models.answer_reward import open_answer_reward  # metrics load numpy

        try:
            return open_answer_reward(task.metric, "generate without `verify`")
        except InputError as error:
            raise PlanError(str(error)) from error

    def _scored(
        self,
        drawn: Sequence[DrawnAnswer | None],
        row: Mapping[str, Any],
        task: Task,
        reward: AnswerReward | None,
        counts: Counter[str],
    ) -> list[_Scored]:
        """The different answers that are whole, the highest score first."""
        item = {**row, "reference": task.prompt.reference(row)} if reward is not None else {}
        found: dict[str, _Scored] = {}
        for number, answer in enumerate(drawn):
            counts["answers"] += 1
            if answer is None or answer.cut or not answer.text:
                counts["missing" if answer is None else "cut" if answer.cut else "empty"] += 1
            elif answer.text in found:
                counts["repeated"] += 1
            else:
                checked = answer.text
                if self.answer_after is not None:
                    checked = checked.rpartition(self.answer_after)[2].strip()
                value = reward.of(item, checked) if reward is not None else 0.0
                found[answer.text] = _Scored(answer.text, value, number)
        return sorted(found.values(), key=lambda each: (-each.score, each.number))

    def _kept(self, scored: list[_Scored], counts: Counter[str]) -> list[_Scored]:
        kept = scored
        if self.verify is not None:
            kept = [each for each in scored if each.score >= self.threshold]
            counts[f"of {self.threshold:g} or more" if self.threshold != 1 else "right"] += len(kept)
        return kept[: self.per_row]


def _mend(counts: Mapping[str, int]) -> str:
    if counts.get("cut", 0) * 2 > counts["answers"]:
        return "raise max_new_tokens, or ask for shorter answers"
    return "draw more answers (n), lower the threshold, or start from better weights"


@dataclass(frozen=True)
class _Scored:
    text: str
    score: float
    number: int
