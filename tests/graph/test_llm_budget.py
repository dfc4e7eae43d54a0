"""Budgets: whatever goes wrong, whatever it costs, no more is spent than was allowed; kills pay nothing twice."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from pydantic import BaseModel
from support.llm_model import Reply, answer_by_schema, answer_with, call_with
from support.llm_server import LLMServer
from support.llm_wire import Fault, Kind, Sent, Wire
from trex.graph.llm.call_ledger import CallLedger, CallRequest, read_calls
from trex.graph.llm.call_limits import CallLimits
from trex.graph.llm.chat import LLMChat, open_chat
from trex.graph.llm.llm_text_model import LLMTextModel
from trex.graph.llm.model_settings import ModelSettings, plan_tokens
from trex.graph.llm.prices import Price
from trex.graph.llm.protocol import CallRecord, ModelBudgetSpent, ModelError, ModelTurn
from trex.graph.llm.providers import OpenedModel, open_model
from trex.graph.llm.usage import Usage
from trex.training.data.models.text_model import Drawing, Draws

MODES = ["auto", "tools", "json_schema", "text"]
UNBOUNDED = ("huge", "overcounted")
KINDS = [kind for kind in get_args(Kind) if kind not in UNBOUNDED]
MAX_TOKENS = 128


class Word(BaseModel):
    """A word."""

    word: str


class Exchange(httpx.BaseTransport):
    """Puts the wire of the moment under a client that is made once."""

    wire: Wire

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.wire.transport().handle_request(request)


EXCHANGE = Exchange()
SETTINGS = ModelSettings(
    researcher="openai:test", base_url="http://localhost:1/v1", max_tokens=MAX_TOKENS, context_tokens=16_000
)
CLIENT = open_model(SETTINGS, "researcher", EXCHANGE).client


def a_chat(wire: Wire, ledger: CallLedger, mode: str = "auto", price: Price | None = None) -> LLMChat:
    EXCHANGE.wire = wire
    model = OpenedModel("openai:test", CLIENT, price, True)
    return LLMChat(
        "researcher",
        SETTINGS.model_copy(update={"output": mode}),
        ledger,
        model,
        CallLimits(sleep=lambda s: None),
    )


def talk(chat: LLMChat, questions: int, length: int = 40) -> list[str | None]:
    """Ask so many questions; words, None for a question without an answer. Ends when the budget does."""
    words: list[str | None] = []
    for number in range(questions):
        try:
            turn: ModelTurn[Word] = chat.turn(
                [HumanMessage(f"{number} {'x' * length}")], Word, purpose=f"plan e{number:03d}"
            )
        except ModelBudgetSpent:
            break
        except ModelError:
            words.append(None)
        else:
            words.append(turn.answer.word if turn.answer else None)
    return words


def verbose(request: dict[str, Any]) -> Reply:
    """Writes more than it may, so that each answer takes all of max_tokens."""
    return call_with(request, "answer", {"word": "w" * 10_000})


PRICES = st.builds(
    lambda read, written: Price.model_validate({"in": read, "out": written}),
    st.floats(0, 1000, allow_nan=False),
    st.floats(0, 1000, allow_nan=False),
)
FAULTS = st.lists(
    st.builds(
        Fault, st.sampled_from([*KINDS, "slow", "slow", "no_usage"]), st.sampled_from([None, "0", "1"])
    ),
    max_size=7,
)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    faults=FAULTS,
    price=PRICES,
    tokens=st.none() | st.integers(0, 9_000),
    money=st.none() | st.floats(0, 2, allow_nan=False),
    mode=st.sampled_from(MODES),
    wordy=st.booleans(),
    length=st.integers(0, 3000),
)
def test_no_more_is_spent_than_was_allowed(
    faults: list[Fault],
    price: Price,
    tokens: int | None,
    money: float | None,
    mode: str,
    wordy: bool,
    length: int,
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "calls.jsonl"
        ledger = CallLedger(path, tokens, money)
        wire = Wire(verbose if wordy else answer_by_schema, faults)
        talk(a_chat(wire, ledger, mode, price), 3, length)
        spent, records = ledger.spent, read_calls(path)
        # What is booked stays under the caps, and is no less than what the server has truly used.
        assert tokens is None or spent.tokens <= tokens
        assert money is None or spent.cost_usd <= money
        assert spent.tokens_in >= sum(used.tokens_in for used in wire.used)
        assert spent.tokens_out >= sum(used.tokens_out for used in wire.used)
        true = sum(price.of(used.tokens_in, used.tokens_out) for used in wire.used)
        assert spent.cost_usd >= true - 1e-9
        # The record says the same as the sum, and another process reads the same from it.
        assert len(records) == spent.calls == len(wire.requests)
        assert spent.tokens_in == sum(record.tokens_in for record in records)
        assert spent.cost_usd == pytest.approx(sum(record.cost_usd for record in records))
        assert CallLedger(path, tokens, money).spent == spent


@settings(max_examples=60, deadline=None)
@given(faults=FAULTS, mode=st.sampled_from(MODES), kill=st.integers(0, 6))
def test_a_killed_run_goes_on_as_if_it_had_not_been(faults: list[Fault], mode: str, kill: int) -> None:
    """What was answered before the kill is not asked again, and what is answered is the same."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "calls.jsonl"
        wire = Wire(faults=faults)
        before = talk(a_chat(wire, CallLedger(path), mode), kill)
        answered = sum(record.status == "answered" for record in read_calls(path))
        made, spent = len(wire.requests), CallLedger(path).spent
        wire.faults.clear()
        again = talk(a_chat(wire, CallLedger(path), mode), kill)
        assert all(now == then for now, then in zip(again, before, strict=True) if then is not None)
        lost = max(kill - answered, before.count(None))
        assert len(wire.requests) - made <= lost * 3  # with a change of mode or two
        if before.count(None) == 0:
            assert len(wire.requests) == made
            assert CallLedger(path).spent == spent


@pytest.mark.parametrize("torn", range(2, 60, 7))
def test_a_torn_line_books_the_reservation(torn: int, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    wire = Wire()
    talk(a_chat(wire, CallLedger(path)), 2)
    whole = path.read_bytes()
    reserved = [json.loads(line) for line in whole.splitlines()][2]
    first = read_calls(path)[0]
    path.write_bytes(whole[:-torn])
    ledger = CallLedger(path)
    assert ledger.spent.tokens_in == first.tokens_in + reserved["tokens_in"]
    assert ledger.spent.tokens_out == first.tokens_out + MAX_TOKENS
    assert [record.status for record in read_calls(path)] == ["answered", "unknown"]
    talk(a_chat(wire, ledger), 2)
    assert len(wire.requests) == 3  # the first is replayed, the second asked again
    assert [record.status for record in read_calls(path)] == ["answered", "unknown", "answered"]
    assert CallLedger(path).spent == ledger.spent


def test_a_call_that_does_not_fit_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    wire = Wire()
    chat = a_chat(wire, CallLedger(path, token_budget=200))
    with pytest.raises(
        ModelBudgetSpent, match=r"0 of 200 tokens .* the next call may take [\d,]+: it was not made"
    ):
        chat.turn([HumanMessage("go")], Word, purpose="plan e001")
    assert wire.requests == [] and read_calls(path) == []


def test_research_leaves_enough_for_a_plan(tmp_path: Path) -> None:
    wire = Wire()
    budget = sum(plan_tokens(SETTINGS)) + 1000
    chat = a_chat(wire, CallLedger(tmp_path / "calls.jsonl", token_budget=budget))
    asked = [HumanMessage("x" * 1500)]
    with pytest.raises(ModelBudgetSpent, match="are kept for a plan"):
        chat.turn(asked, Word, purpose="research")
    assert wire.requests == []
    assert chat.turn(asked, Word, purpose="plan e001").answer is not None


def test_a_reservation_follows_the_counts_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    talk(a_chat(Wire(), CallLedger(path), "tools"), 3, 2000)
    reserved = [json.loads(line) for line in path.read_text().splitlines() if '"reserved"' in line]
    counted = [record.tokens_in for record in read_calls(path)]
    first, second, third = (line["tokens_in"] / count for line, count in zip(reserved, counted, strict=True))
    assert first > 3.5, "one token a byte before the first count"
    assert 1 < second < 1.6 and 1 < third < 1.6


@pytest.mark.parametrize("reported", [10**12, 10**6])
def test_a_count_that_the_bytes_cannot_bear_is_bounded(reported: int, tmp_path: Path) -> None:
    class Counts(Wire):
        def answer(self, request: dict[str, Any]) -> Any:
            body = json.loads(super().answer(request).body)
            body["usage"] = {"prompt_tokens": reported, "completion_tokens": reported}
            return Sent(json.dumps(body).encode())

    ledger = CallLedger(tmp_path / "calls.jsonl", token_budget=20_000)
    assert talk(a_chat(Counts(), ledger), 2) == ["an example of a text"] * 2
    assert ledger.spent.tokens < 10_000


def test_what_cannot_be_read_is_asked_for_once_more(tmp_path: Path) -> None:
    wire = Wire(faults=[Fault("no_json")] * 9)
    assert talk(a_chat(wire, CallLedger(tmp_path / "calls.jsonl")), 1) == [None]
    assert len(wire.requests) == 2


def test_money_ends_too(tmp_path: Path) -> None:
    wire = Wire(verbose)
    price = Price.model_validate({"in": 0, "out": 1_000_000 / MAX_TOKENS})  # a dollar a call
    ledger = CallLedger(tmp_path / "calls.jsonl", cost_budget_usd=3.5)
    assert len(talk(a_chat(wire, ledger, price=price), 8)) == 3
    assert ledger.spent.cost_usd == pytest.approx(3.0)


def test_an_interrupted_call_is_booked_whole(tmp_path: Path) -> None:
    class Interrupted(Wire):
        def answer(self, request: dict[str, Any]) -> Any:
            raise KeyboardInterrupt

    path = tmp_path / "calls.jsonl"
    ledger = CallLedger(path)
    with pytest.raises(KeyboardInterrupt):
        talk(a_chat(Interrupted(), ledger), 1)
    (record,) = read_calls(path)
    assert (record.status, record.tokens_out) == ("unknown", MAX_TOKENS)
    assert ledger.spent.tokens_out == MAX_TOKENS


def test_what_is_set_aside_counts(tmp_path: Path) -> None:
    """Threads that ask at once share one budget."""
    ledger = CallLedger(tmp_path / "calls.jsonl", token_budget=1000)
    granted: list[bool] = []

    def ask(number: int) -> None:
        request = CallRequest(f"k{number}", "researcher", "plan e001", "m", "text")
        try:
            reservation = ledger.reserve(request, Usage(1, 60, 40))
        except ModelBudgetSpent:
            granted.append(False)
        else:
            granted.append(True)
            ledger.settle(reservation, "answered", Usage(1, 60, 40), {"text": ""})

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert granted.count(True) == 10
    assert replace(ledger.spent, seconds=0.0) == Usage(10, 600, 400)
    assert len({record.id for record in read_calls(tmp_path / "calls.jsonl")}) == 10


def test_another_question_is_another_call(tmp_path: Path) -> None:
    wire = Wire()
    chat = a_chat(wire, CallLedger(tmp_path / "calls.jsonl"))
    for purpose in ("plan e001", "plan e002", "plan e001"):
        chat.turn([HumanMessage("go")], Word, purpose=purpose)
    chat.turn([HumanMessage("go on")], Word, purpose="plan e001")
    assert len(wire.requests) == 3


def test_whoever_listens_hears_of_each_call(tmp_path: Path) -> None:
    heard: list[CallRecord] = []
    path = tmp_path / "calls.jsonl"
    ledger = CallLedger(path, on_call=heard.append)
    talk(a_chat(Wire(faults=[Fault("error"), Fault("dropped")]), ledger), 2)
    assert [record.status for record in heard] == ["failed", "unknown", "answered", "answered"]
    assert heard == read_calls(path)


def test_strange_characters_keep_nothing_from_being_booked(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    wire = Wire(lambda request: call_with(request, "answer", {"word": "half \ud83d a pair \x00"}))
    ledger = CallLedger(path)
    first = talk(a_chat(wire, ledger), 1)
    assert ledger.spent.calls == 1 and len(read_calls(path)) == 1
    assert talk(a_chat(wire, CallLedger(path)), 1) == first
    assert len(wire.requests) == 1


def test_text_for_rows_is_written_as_long_as_what_calls_take_fits(tmp_path: Path) -> None:
    """Four reservations at once do not fit; a call that was refused for that is made when the others have ended."""
    settings = SETTINGS.model_copy(update={"max_tokens": 2_000, "output": "json_schema"})
    conversations = [[{"role": "user", "content": f"row {number}"}] for number in range(8)]
    draws = Draws(temperature=0.0, top_p=1.0, max_new_tokens=8, max_prompt_tokens=64, seed=1)

    def slow(request: dict[str, Any]) -> Reply:
        time.sleep(0.1)  # the calls overlap
        return answer_with(request, {"text": "done"})

    def drawn(name: str, budget: int) -> Drawing:
        ledger = CallLedger(tmp_path / name, budget)
        own = settings.model_copy(update={"base_url": server.url})
        return LLMTextModel(lambda: open_chat("researcher", own, ledger), own, ledger).draw(
            conversations, range(1), draws
        )

    with LLMServer(slow) as server:
        enough, little = drawn("enough.jsonl", 7_000), drawn("little.jsonl", 1_000)
    assert enough.stopped is None and [answer.text for [answer] in enough.answers if answer] == ["done"] * 8
    assert little.stopped is not None and "it was not made; use fewer rows or a lower n" in little.stopped
