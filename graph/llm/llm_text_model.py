"""The chat model of a run as a `TextModel` of data recipes: each answer is a call in the run's ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from langchain_core.messages import convert_to_messages
from pydantic import BaseModel, Field

from ...evaluation.conversations import Message
from ...files import fingerprint
from ...training.data.models.text_model import Drawing, DrawnAnswer, Draws
from .call_ledger import CallLedger
from .model_settings import ModelSettings
from .protocol import Chat, ModelBudgetSpent, ModelError

AT_ONCE = 4
"""Calls at the same time."""


class WrittenText(BaseModel):
    """The text that the conversation asks for, and nothing else."""

    text: str = Field(description="The answer, complete")


class LLMTextModel:
    """See `TextModel`. Calls are reserved and recorded in the ledger; a budget that is spent ends the step."""

    calls_at_once = 4 * AT_ONCE

    def __init__(self, open_chat: Callable[[], Chat], settings: ModelSettings, ledger: CallLedger) -> None:
        self._open_chat, self._ledger = open_chat, ledger
        self.identity = settings.answers_identity
        self._chats = threading.local()

    def draw(self, conversations: Sequence[Sequence[Message]], numbers: range, draws: Draws) -> Drawing:
        """See `TextModel.draw`. A call that fails leaves its answer out; if all fail, the step stops."""
        before, faults, refused = self._ledger.spent, list[ModelError](), list[int]()
        wanted = [(place, number) for place in range(len(conversations)) for number in numbers]

        def one(index: int, alone: bool = False) -> DrawnAnswer | None:
            place, number = wanted[index]
            try:
                return self._answer(conversations[place], number, draws)
            except ModelError as error:
                if isinstance(error, ModelBudgetSpent) and not alone:
                    refused.append(index)  # asked below, when no other call holds a reservation
                else:
                    faults.append(error)
                return None

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(one, range(len(wanted))))
        for index in sorted(refused):
            found[index] = one(index, alone=True)
            if faults and isinstance(faults[-1], ModelBudgetSpent):
                break
        size = len(numbers)
        answers = [found[start : start + size] for start in range(0, len(found), size)]
        spent = [fault for fault in faults if isinstance(fault, ModelBudgetSpent)]
        stopped = spent or (faults if not any(found) else [])
        after = self._ledger.spent
        return Drawing(
            answers,
            after.tokens_in - before.tokens_in,
            after.tokens_out - before.tokens_out,
            f"the chat model: {stopped[0]}; use fewer rows or a lower n" if stopped else None,
        )

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, turns: Sequence[Message], number: int, draws: Draws) -> DrawnAnswer | None:
        if not hasattr(self._chats, "chat"):
            self._chats.chat = self._open_chat()
        chat: Chat = self._chats.chat
        purpose = f"rows {fingerprint([list(turns), draws.seed])} {number}"
        turn = chat.turn(convert_to_messages(list(turns)), WrittenText, purpose=purpose)
        return DrawnAnswer(turn.answer.text.strip()) if turn.answer is not None else None
