"""Settings of the chat models of a run: which models, output mode, limits and budgets; and how options give them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from ...errors import InputError, explain
from ...files import fingerprint

_TOKENS = re.compile(r"(\d+(?:\.\d+)?)\s*([kM]?)(?:\s*tokens)?")
_DOLLARS = re.compile(r"\$\s*(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)\s*(?:usd|USD)")

_PROMPT_TOKENS, _ANSWER_TOKENS = 4000, 500  # of a planning prompt without memory; of a direction

_DECIDES = {"researcher", "base_url", "temperature", "max_tokens", "output"}

OutputMode = Literal["auto", "tools", "json_schema", "text"]


class ModelSettings(BaseModel, frozen=True, extra="forbid"):
    """Stored with the run's settings. API keys are not part of it: they stay in the environment or `.env`."""

    researcher: str = Field(description="provider:model, as in LangChain's init_chat_model")
    executor: str | None = Field(default=None, description="The Executor's model; None: the Researcher's")
    base_url: str | None = Field(
        default=None, description="Of an OpenAI-compatible server; None: the provider's (or OPENAI_BASE_URL)"
    )
    output: OutputMode = Field(default="auto", description="Form of answers; auto: what the model supports")
    max_tokens: int = Field(default=4096, ge=64, description="Longest answer of one call, in tokens")
    context_tokens: int = Field(
        default=32_000, ge=2048, description="The model's context window in tokens, answer included"
    )
    memory_tokens: int = Field(default=3000, ge=200, description="Longest memory text in a prompt, in tokens")
    timeout_s: float = Field(default=120.0, gt=0, description="Seconds for one call")
    attempts: int = Field(default=5, ge=1, le=10, description="Attempts at one call")
    requests_per_minute: float | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    token_budget: int | None = Field(default=None, ge=0, description="Tokens (in and out) of the whole run")
    cost_budget_usd: float | None = Field(default=None, ge=0, description="US dollars for the whole run")
    outside: bool = Field(
        default=True,
        description="Research may use web, papers and hubs; false: only model calls use a network",
    )
    reading_turns: int = Field(default=8, ge=1, le=40, description="Turns of open-domain research")
    planning_turns: int = Field(default=6, ge=1, le=40, description="Turns of one plan, corrections included")
    executor_turns: int = Field(default=6, ge=1, le=40, description="Turns of one preparation")

    @property
    def answers_identity(self) -> str:
        """A hash of what determines the Researcher's answers to a conversation."""
        return fingerprint(self.model_dump(mode="json", include=_DECIDES))


def plan_tokens(settings: ModelSettings) -> tuple[int, int]:
    """Tokens read and written that one plan needs: two calls, and the whole reservation of the second answer."""
    return 2 * (settings.memory_tokens + _PROMPT_TOKENS), settings.max_tokens + _ANSWER_TOKENS


def parse_model_settings(
    llm: str | None, executor: str | None = None, budget: str | None = None, more: Sequence[str] = ()
) -> ModelSettings | None:
    """Settings from 'provider:model' and the other options; None without a model.

    `budget` is '200k' (tokens) or '$2' (US dollars); `more` are 'name=value' for other fields of `ModelSettings`.
    Raises InputError for an invalid option, and for options without `llm`.
    """
    if llm is None:
        if executor or budget or more:
            raise InputError("options for a chat model need --llm PROVIDER:MODEL")
        return None
    given: dict[str, object] = {"researcher": llm}
    if executor is not None:
        given["executor"] = executor
    given |= parse_model_budget(budget) if budget is not None else {}
    for pair in more:
        name, equals, value = pair.partition("=")
        if not equals or name not in ModelSettings.model_fields:
            known = ", ".join(sorted(ModelSettings.model_fields))
            raise InputError(f"--llm-set {pair!r}: write NAME=VALUE with one of {known}")
        given[name] = value if name == "base_url" else yaml.safe_load(value)
    try:
        return ModelSettings.model_validate(given)
    except ValidationError as error:
        raise InputError(f"invalid settings of a chat model: {explain(error)}") from error


def parse_judge(
    judge: str | None, llm: str | None, executor: str | None, budget: str | None, more: Sequence[str] = ()
) -> tuple[ModelSettings | None, ModelSettings | None]:
    """Settings of the run's models, and of its judge where it has its own. The other options are for both.

    A server's address (`base_url`) is for judges of the same provider. Raises InputError as `parse_model_settings`.
    """
    if judge is None:
        return parse_model_settings(llm, executor, budget, more), None
    own = parse_model_settings(judge, None, budget, more)
    if llm is None:
        return parse_model_settings(None, executor), own
    models = parse_model_settings(llm, executor, budget, more)
    if own is not None and judge.partition(":")[0] != llm.partition(":")[0]:
        own = own.model_copy(update={"base_url": None})
    return models, own


def parse_model_budget(text: str) -> dict[str, float | int]:
    """'200k' or '2M' as tokens, '$2' or '2 usd' as US dollars. Raises InputError."""
    if match := _DOLLARS.fullmatch(text.strip()):
        return {"cost_budget_usd": float(match[1] or match[2])}
    if match := _TOKENS.fullmatch(text.strip()):
        return {"token_budget": round(float(match[1]) * {"": 1, "k": 1e3, "M": 1e6}[match[2]])}
    raise InputError(f"--llm-budget {text!r}: write tokens as 200k or 2M, or US dollars as $2")
