"""A chat model as the judge of answers: it is asked by the grader's client, in this process, which holds the key.

Its questions show items of dev and test. The record of calls keeps their hashes, what they took and the verdicts; no
text of an item or an answer is written or shown anywhere.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Annotated, Any, Literal

from langchain_core.messages import HumanMessage, SystemMessage
from pydantic import BaseModel, BeforeValidator, create_model

from ...evaluation.metrics.judging import JudgeQuestion, JudgeReply, JudgeSpent
from .call_ledger import CallLedger
from .protocol import Chat, ModelBudgetSpent, ModelError
from .usage import Usage

CALLS_AT_ONCE = 4
_MARGIN = 1.3  # on what the end of the run is expected to take
_KEPT = "what is left of --llm-budget is kept for judging the end of the run"
NOT_ASKED = "not asked: too many questions before it got no verdict"


class ChatJudge:
    """See `evaluation.metrics.judging.Judge`. `open_chat` opens one chat for each thread; `interrupt` ends calls.

    `at_end` is the number of questions that the end of the run will ask, for which searching leaves enough.
    """

    def __init__(
        self,
        name: str,
        open_chat: Callable[[], Chat],
        interrupt: Callable[[], None],
        ledger: CallLedger,
        at_end: int = 0,
    ) -> None:
        self.name = name
        self._open_chat, self._interrupt = open_chat, interrupt
        self._ledger, self._at_end = ledger, at_end
        self._search_ended = False
        self._local = threading.local()

    def leaves_enough(self) -> bool:
        """Whether the budget, as far as can be told from the calls so far, is enough for the end of the run."""
        if self._search_ended:  # calls that were under way have taken less than was reserved for them
            return False
        spent = self._ledger.spent_by("judge")
        share = _MARGIN * self._at_end / max(1, spent.calls)
        return self._ledger.affords(
            Usage(0, round(spent.tokens_in * share), round(spent.tokens_out * share), spent.cost_usd * share)
        )

    def ask(
        self, questions: Sequence[JudgeQuestion], allowed: int, searching: bool = False
    ) -> list[JudgeReply]:
        """A reply for each question; equal questions are asked once. Raises JudgeSpent, Interrupted."""
        try:
            return self._ask(questions, allowed, searching)
        except ModelBudgetSpent as spent:
            raise JudgeSpent(f"the budget of the judge, --llm-budget, is used up: {spent}") from spent

    def _ask(self, questions: Sequence[JudgeQuestion], allowed: int, searching: bool) -> list[JudgeReply]:
        different = {question.key: question for question in questions}
        replies: dict[str, JudgeReply] = {}
        stop = threading.Event()

        def reply(question: JudgeQuestion) -> None:
            if stop.is_set() or sum(each.verdict is None for each in list(replies.values())) > allowed:
                replies[question.key] = JudgeReply(problem=NOT_ASKED)
                return
            try:
                if searching and not self.leaves_enough():
                    self._search_ended = True
                    raise JudgeSpent(_KEPT)
                replies[question.key] = self._verdict(question)
            except ModelBudgetSpent:
                pass  # asked below, when no other call holds a reservation
            except BaseException:
                stop.set()
                raise

        context = (
            contextvars.copy_context()
        )  # with the callbacks of the graph; a thread needs a copy of its own
        with ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="judge") as pool:
            for done in [pool.submit(context.copy().run, reply, each) for each in different.values()]:
                done.result()
        for key in [key for key in different if key not in replies]:
            replies[key] = self._verdict(different[key])
        return [replies[question.key] for question in questions]

    def close(self) -> None:
        """End the calls that are waiting."""
        self._interrupt()

    def _verdict(self, question: JudgeQuestion) -> JudgeReply:
        """The verdict of the first or the second attempt."""
        problem = ""
        again = f"Your last reply held no verdict. The verdict is one of: {', '.join(question.verdicts)}."
        for attempt, addition in enumerate(("", f"\n\n{again}")):
            try:
                turn = self._chat.turn(
                    [SystemMessage(question.system), HumanMessage(question.user + addition)],
                    _verdict_of(question.verdicts),
                    purpose="judge" if not question.repeat else f"judge, repeated {question.repeat}",
                )
            except ModelBudgetSpent:
                raise
            except ModelError as error:
                return JudgeReply(problem=str(error))
            if turn.answer is not None:
                return JudgeReply(verdict=turn.answer.verdict)  # type: ignore[attr-defined]
            problem = f"no verdict in {attempt + 1} replies"
        return JudgeReply(problem=problem)

    @property
    def _chat(self) -> Chat:
        if not hasattr(self._local, "chat"):
            self._local.chat = self._open_chat()
        chat: Chat = self._local.chat
        return chat


@cache
def _verdict_of(verdicts: tuple[str, ...]) -> type[BaseModel]:
    """The typed answer to a question with these verdicts."""
    one_of: Any = Literal[verdicts]
    return create_model(
        "Verdict", __doc__="Your verdict.", verdict=(Annotated[one_of, BeforeValidator(_as_text)], ...)
    )


def _as_text(value: Any) -> Any:
    """A number as text: models write 4 for "4"."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
