"""How chat models are used in a run: which, in which way, and how much they may spend."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

OutputMode = Literal["auto", "tools", "json_schema", "text"]


class ModelSettings(BaseModel):
    """Frozen with the run's settings. Keys are not here: they stay in the environment (or `.env`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    researcher: str = Field(description="provider:model, as LangChain's init_chat_model takes it")
    executor: str | None = Field(default=None, description="The Executor's; None takes the Researcher's")
    base_url: str | None = Field(
        default=None,
        description="Of an OpenAI-compatible server; None takes the provider's (or OPENAI_BASE_URL)",
    )
    output: OutputMode = Field(
        default="auto", description="How typed answers are asked for; auto takes what the model can do"
    )
    max_tokens: int = Field(default=4096, ge=64, description="Longest answer of one call")
    context_tokens: int = Field(
        default=32_000, ge=2048, description="The model's context window, answer included"
    )
    memory_tokens: int = Field(default=3000, ge=200, description="Budget of the memory text in a prompt")
    timeout_s: float = Field(default=120.0, gt=0, description="Of one call")
    attempts: int = Field(default=5, ge=1, le=10, description="Tries of one call before it counts as failed")
    requests_per_minute: float | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    token_budget: int | None = Field(
        default=None, ge=0, description="Input and output tokens of the run, in all"
    )
    cost_budget_usd: float | None = Field(default=None, ge=0, description="US dollars of the run, in all")
    outside: bool = Field(
        default=True,
        description="Research may ask the web, papers and hubs; off, nothing of a task leaves but calls",
    )
    reading_turns: int = Field(default=8, ge=1, le=40, description="Turns of open-domain research")
    planning_turns: int = Field(default=6, ge=1, le=40, description="Turns of one plan, corrections included")
    executor_turns: int = Field(default=6, ge=1, le=40, description="Turns of one preparation")
