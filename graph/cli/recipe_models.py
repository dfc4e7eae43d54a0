"""The models that `trex recipe preview` and `trex recipe build` may use."""

from __future__ import annotations

import time

from ...evaluation.task import Task
from ...home import home
from ...training.data.models.answer_cache import ANSWERS
from ...training.data.models.model_access import ModelAccess
from ...training.data.models.text_model import TextModel
from ...training.data.recipe import DataRecipe
from ..llm.model_settings import parse_model_settings
from ..run.machine import Machine

TRIAL_ROWS = 8


def models_for(
    recipe: DataRecipe,
    task: Task,
    llm: str | None = None,
    llm_budget: str | None = None,
    trial: bool = False,
) -> ModelAccess | None:
    """Models for a recipe that uses some; with `trial` on a few rows. Calls of a chat model are recorded in TREX_HOME.

    Raises InputError for invalid options of the chat model.
    """
    settings = parse_model_settings(llm, budget=llm_budget)
    if not recipe.uses_models:
        return None

    def open_llm() -> TextModel:
        from ..llm.call_ledger import CallLedger
        from ..llm.chat import open_chat
        from ..llm.llm_text_model import LLMTextModel

        assert settings is not None
        ledger = CallLedger(
            home() / "store" / "datasets" / f".calls-{time.time_ns()}.jsonl",
            settings.token_budget,
            settings.cost_budget_usd,
        )
        return LLMTextModel(lambda: open_chat("researcher", settings, ledger), settings, ledger)

    return ModelAccess(
        task,
        home() / "store" / "datasets" / ANSWERS,
        threads=Machine.here().cores,
        open_llm=open_llm if settings is not None else None,
        trial_rows=TRIAL_ROWS if trial else None,
    )
