"""Calls end at the run's deadline, when a person asks, and soon where the server has failed before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from pydantic import BaseModel
from support.llm_server import LLMServer
from support.llm_wire import Fault
from trex.errors import InputError, Interrupted
from trex.graph.llm.call_ledger import CallLedger, read_calls
from trex.graph.llm.call_limits import CallLimits
from trex.graph.llm.chat import LLMChat, open_chat
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.llm.protocol import ModelError, ModelRefused, ModelTurn


class Word(BaseModel):
    """A word."""

    word: str


def open_with(server: LLMServer, path: Path, limits: CallLimits, **settings: Any) -> LLMChat:
    given = {"max_tokens": 64, "timeout_s": 30.0, **settings}
    chosen = ModelSettings(researcher="openai:test", base_url=server.url, **given)
    return open_chat("researcher", chosen, CallLedger(path / "calls.jsonl"), limits=limits)


def ask(chat: LLMChat, number: int = 0) -> ModelTurn[Word]:
    return chat.turn([HumanMessage(f"go {number}")], Word, purpose=f"plan e{number:03d}")


def once(condition: Callable[[], bool], act: Callable[[], None]) -> None:
    """Act in another thread as soon as the condition holds."""

    def watch() -> None:
        while not condition():
            time.sleep(0.02)
        act()

    threading.Thread(target=watch, daemon=True).start()


def test_a_wait_beyond_the_deadline_is_not_begun(tmp_path: Path) -> None:
    ends = time.time() + 30
    with LLMServer(faults=[Fault("rate_limit", wait="60")] * 9) as server:
        chat = open_with(server, tmp_path, CallLimits(deadline=lambda: ends))
        with pytest.raises(ModelError, match="429"):
            ask(chat)
        assert len(server.requests) == 1
        ends = time.time() - 1
        with pytest.raises(ModelError, match="time budget"):
            ask(chat, 1)
        assert len(server.requests) == 1 == len(read_calls(tmp_path / "calls.jsonl"))


def test_after_an_exhausted_task_each_other_probes_once(tmp_path: Path) -> None:
    waits: list[float] = []
    limits = CallLimits(sleep=waits.append)
    with LLMServer(faults=[Fault("error", status=503)] * 6) as server:
        chat = open_with(server, tmp_path, limits, attempts=4)
        counts = []
        for number in range(3):
            with pytest.raises(ModelError, match="503"):
                ask(chat, number)
            counts.append(len(server.requests))
        assert counts == [4, 5, 6] and len(waits) == 3
        assert ask(chat, 3).answer is not None and limits.failing == set()
        server.wire.faults.append(Fault("error"))
        assert ask(chat, 4).answer is not None, "after an answer there are several attempts again"


@pytest.mark.parametrize(
    "faults", [[Fault("timeout")], [Fault("rate_limit", wait="100")]], ids=["call", "wait"]
)
def test_a_person_who_asks_for_the_end_is_heard(faults: list[Fault], tmp_path: Path) -> None:
    asked, path = threading.Event(), tmp_path / "calls.jsonl"
    path.touch()
    with LLMServer(faults=faults) as server:
        chat = open_with(server, tmp_path, CallLimits(stopping=asked.is_set))
        waiting = faults[0].kind == "rate_limit"
        once(lambda: '"settled"' in path.read_text() if waiting else bool(server.requests), asked.set)
        with pytest.raises(ModelError, match="asked for the end"):
            ask(chat)
        assert len(server.requests) == 1
        records = read_calls(path)
        assert [r.status for r in records] == (["failed"] if waiting else ["unknown"])
        with pytest.raises(ModelError, match="asked for the end"):
            ask(chat, 1)
        assert len(read_calls(path)) == 1


def test_an_interruption_ends_a_call_and_books_it(tmp_path: Path) -> None:
    limits = CallLimits()
    with LLMServer(faults=[Fault("timeout")]) as server:
        chat = open_with(server, tmp_path, limits)
        once(lambda: bool(server.requests), limits.interrupt)
        with pytest.raises(Interrupted):
            ask(chat)
        (record,) = read_calls(tmp_path / "calls.jsonl")
        assert (record.status, record.tokens_out) == ("unknown", 64)


def test_a_client_that_never_ends_is_left_behind() -> None:
    stuck = threading.Event()
    with pytest.raises(TimeoutError):
        CallLimits().run(stuck.wait, -1.8)
    stuck.set()

    def fail() -> None:
        raise TimeoutError("of the client")

    with pytest.raises(TimeoutError, match="of the client"):
        CallLimits().run(fail, 30)


@pytest.mark.parametrize(
    ("status", "mend"),
    [(400, "400"), (401, "check the key"), (403, "check the key"), (404, "name and base_url")],
)
def test_a_first_call_that_is_refused(status: int, mend: str, tmp_path: Path) -> None:
    with LLMServer(faults=[Fault("error", status=status)] * 9) as server:
        chat = open_with(server, tmp_path, CallLimits(), output="text")
        with pytest.raises(ModelRefused, match=mend) as refused:
            ask(chat)
        assert isinstance(refused.value, InputError) and len(server.requests) == 1
        server.wire.faults.clear()
        ask(chat)
        server.wire.faults.append(Fault("error", status=status))
        with pytest.raises(ModelError) as later:
            ask(chat, 1)
        assert not isinstance(later.value, ModelRefused)
