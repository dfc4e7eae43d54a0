"""Models from their names: what is refused before anything starts, where keys come from, what tokens cost."""

from __future__ import annotations

import builtins
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage
from pydantic import BaseModel
from support.llm_model import call_with
from support.llm_wire import Wire
from support.places import REPOSITORY
from trex import keys
from trex.errors import InputError
from trex.graph.llm.call_ledger import CallLedger, read_calls
from trex.graph.llm.chat import open_chat
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.llm.prices import FREE, Price, is_local, price_of
from trex.graph.llm.protocol import ModelError
from trex.graph.llm.providers import NO_KEY, check_models, open_model
from trex.graph.llm.retries import CallFailed, CallFault, classify_error, with_retries
from trex.keys import keys_in_environment, redact

LOCAL = "http://localhost:8000/v1"
KEY = "sk-test-0123456789abcdefghij"


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_home: Path) -> None:
    """No keys but the test's own, and no .env but its own."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    keys._dotenv.cache_clear()


def of(researcher: str = "openai:gpt-5-mini", **fields: Any) -> ModelSettings:
    return ModelSettings(researcher=researcher, **fields)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (of("gpt-5-mini"), "write PROVIDER:MODEL"),
        (of("openai:"), "write PROVIDER:MODEL"),
        (of("nobody:model"), "provider='nobody'"),
        (of(), "OPENAI_API_KEY is not set"),
        (of(base_url="https://api.openai.com/v1"), "OPENAI_API_KEY is not set"),
        (of("openai:x", base_url=LOCAL, executor="y"), "model 'y'"),
        (of("openai:x", base_url="localhost:8000"), "write an address"),
        (of("openai:x", base_url="http://me:secret@host/v1"), "use OPENAI_API_KEY"),
        (
            of("openai:x", base_url="http://far.example/v1", cost_budget_usd=1.0),
            "the price of openai:x is unknown",
        ),
        (of("openai:x", base_url=LOCAL, max_tokens=4096, context_tokens=4096), "max_tokens=4096 leaves less"),
    ],
)
def test_what_cannot_be_is_refused(settings: ModelSettings, told: str) -> None:
    with pytest.raises(InputError) as refused:
        check_models(settings)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value) and "secret" not in str(refused.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_langchain(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("langchain."):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_langchain)
    with pytest.raises(InputError, match=r"pip install 'trex-finetune\[llm\]'"):
        check_models(of("openai:x", base_url=LOCAL))


def test_a_provider_without_its_package_is_named() -> None:
    with pytest.raises(InputError, match="langchain-anthropic"):
        check_models(of("anthropic:claude-sonnet-4"))


def test_a_model_that_can_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    client: Any = open_model(of(executor="openai:gpt-4.1"), "executor").client
    assert (client.model_name, client.max_tokens, client.max_retries) == ("gpt-4.1", 4096, 0)
    assert client.disable_streaming is True and client.cache is False
    assert client.openai_api_key.get_secret_value() == KEY
    assert KEY not in repr(client)


def test_a_server_of_ones_own_needs_no_key() -> None:
    client: Any = open_model(of("openai:x", base_url=LOCAL), "researcher").client
    assert client.openai_api_key.get_secret_value() == NO_KEY
    assert client.openai_api_base == LOCAL


def test_the_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", LOCAL)
    opened = open_model(of("openai:x"), "researcher")
    assert opened.client.openai_api_base == LOCAL  # type: ignore[attr-defined]
    assert opened.price == FREE


def test_keys_of_dotenv_stay_here(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\nOTHER_TOKEN='another-one-9'\n")
    client: Any = open_model(of(), "researcher").client
    assert client.openai_api_key.get_secret_value() == KEY
    with keys_in_environment():
        assert os.environ["OPENAI_API_KEY"] == KEY
    assert "OPENAI_API_KEY" not in os.environ
    code = "import os; print(os.environ.get('OPENAI_API_KEY'), os.environ.get('OTHER_TOKEN'))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.split() == ["None", "None"]


def test_the_environment_wins_over_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=of-the-file\n")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    client: Any = open_model(of(), "researcher").client
    assert client.openai_api_key.get_secret_value() == KEY


def test_keys_are_taken_out_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("MY_PASSWORD=correct-horse\nEMPTY_KEY=\nSHORT_TOKEN=on\n")
    monkeypatch.setenv("SOME_API_KEY", "a-plain-key")
    assert redact("with a-plain-key and correct-horse on") == "with [key] and [key] on"
    assert redact(f"Bearer {'x1' * 12} and {KEY}") == "[key] and [key]"
    assert redact("sk-learn and the bearer of news") == "sk-learn and the bearer of news"


class Word(BaseModel):
    word: str


def test_no_key_reaches_the_record_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if a server answers with it, in an error or in words."""
    monkeypatch.setenv("OPENAI_API_KEY", "the-secret-of-all")
    path = tmp_path / "run" / "calls.jsonl"
    seen: list[str] = []

    class Leaky(httpx.BaseTransport):
        wire = Wire(lambda request: call_with(request, "answer", {"word": "it is the-secret-of-all"}))

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request.headers["authorization"])
            if len(seen) == 1:
                return httpx.Response(500, json={"error": {"message": f"bad key {seen[0]}"}})
            if len(seen) == 3:
                return httpx.Response(401, json={"error": {"message": f"bad key {seen[0]}"}})
            return self.wire.transport().handle_request(request)

    settings = of("openai:x", base_url=LOCAL)
    chat = open_chat("researcher", settings, CallLedger(path), transport=Leaky(), sleep=lambda s: None)
    turn = chat.turn([HumanMessage("the-secret-of-all?")], Word, purpose="plan e001")
    assert turn.answer == Word(word="it is [key]")
    with pytest.raises(ModelError) as failed:
        chat.turn([HumanMessage("again")], Word, purpose="plan e001")
    assert seen[0] == "Bearer the-secret-of-all"
    assert "the-secret-of-all" not in str(failed.value)
    assert "the-secret-of-all" not in path.read_text()
    assert len(read_calls(path)) == 3


def test_pace(tmp_path: Path) -> None:
    import time

    settings = of("openai:paced", base_url=LOCAL, requests_per_minute=1200.0)
    wire = Wire()
    chat = open_chat("researcher", settings, CallLedger(tmp_path / "c.jsonl"), transport=wire.transport())
    began = time.monotonic()
    for number in range(4):
        chat.turn([HumanMessage(str(number))], Word, purpose="plan e001")
    assert time.monotonic() - began >= 3 * 0.05
    # Both roles are one customer of the provider.
    assert open_model(settings, "executor").pace is open_model(settings, "researcher").pace


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("openai:gpt-4.1", (2.0, 8.0)),
        ("openai:gpt-4.1-2025-04-14", (2.0, 8.0)),
        ("openai:gpt-4.1-mini", (0.4, 1.6)),
        ("openai:gpt-4.1-mini-2025-04-14", (0.4, 1.6)),
        ("openai:gpt-4.1-pro", None),
        ("openai:gpt-4.15", None),
        ("anthropic:claude-sonnet-4-5-20250929", (3.0, 15.0)),
        ("mistralai:mistral-small-latest", (0.1, 0.3)),
        ("together:gpt-4.1", None),
    ],
)
def test_the_table_of_prices(model: str, price: tuple[float, float] | None) -> None:
    found = price_of(model)
    assert (found and (found.input, found.output)) == price


def test_a_table_of_ones_own(fresh_home: Path) -> None:
    assert price_of("openai:x", LOCAL) == FREE
    assert price_of("openai:gpt-4.1", "http://elsewhere.example/v1") is None
    fresh_home.mkdir()
    own = fresh_home / "prices.yaml"
    own.write_text(
        "openai:x: {in: 1, out: 2}\nopenai:gpt-*: {in: 3, out: 4}\nopenai:gpt-4.1: {in: 5, out: 6}\n"
    )
    assert price_of("openai:x", LOCAL) == Price.model_validate({"in": 1, "out": 2})
    assert price_of("openai:gpt-9").output == 4  # type: ignore[union-attr]
    assert price_of("openai:gpt-4.1", "http://elsewhere.example/v1").output == 6  # type: ignore[union-attr]
    assert Price.model_validate({"in": 1, "out": 2}).of(1_000_000, 500_000) == 2.0
    for wrong in ("openai:x: 3", "openai:x: {in: -1, out: 2}", "- a", "openai:x: {in: .inf, out: 2}"):
        own.write_text(wrong)
        with pytest.raises(InputError, match=r"prices\.yaml"):
            price_of("openai:x")


@pytest.mark.parametrize(
    ("url", "local"),
    [
        (LOCAL, True),
        ("http://127.0.0.1:1/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://127.0.0.1.example/v1", False),
        ("http://192.168.0.9/v1", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_what_is_local(url: str, local: bool) -> None:
    assert is_local(url) is local


NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
NOW_S = NOW.timestamp()


def status_error(status: int, text: str = "no", code: str | None = None, **headers: str) -> Exception:
    request = httpx.Request("POST", "http://x")
    response = httpx.Response(status, headers=headers, request=request)
    error = httpx.HTTPStatusError(text, request=request, response=response)
    if code:
        error.code = code  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("given", "wait"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("Tue, 01 Jan 2030 12:00:30 GMT", 30.0),
        ("Tue, 01 Jan 2030 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", 0.0),
    ],
)
def test_retry_after(given: str, wait: float | None) -> None:
    fault = classify_error(status_error(429, **{"retry-after": given}), redact, NOW_S)
    assert (fault.status, fault.wait, fault.billed) == (429, wait, False)


@pytest.mark.parametrize(
    ("error", "passes", "billed"),
    [
        (status_error(429), True, False),
        (status_error(429, code="insufficient_quota"), False, False),
        (status_error(429, **{"retry-after": "3600"}), False, False),
        (status_error(500), True, False),
        (status_error(529), True, False),
        (status_error(400), False, False),
        (status_error(401), False, False),
        (status_error(403), False, False),
        (status_error(404), False, False),
        (status_error(500, "tools param requires --jinja flag"), True, False),
        (httpx.ReadTimeout("slow"), True, True),
        (httpx.ConnectTimeout("slow"), True, False),
        (httpx.ConnectError("refused"), True, False),
        (httpx.RemoteProtocolError("gone"), True, True),
        (ConnectionResetError("gone"), True, True),
        (TimeoutError(), True, True),
        (ValueError("no JSON"), True, True),
        (openai.APITimeoutError(request=None), True, True),  # type: ignore[arg-type]
    ],
    ids=lambda value: repr(value)[:40],
)
def test_faults(error: Exception, passes: bool, billed: bool) -> None:
    fault = classify_error(error, redact, NOW_S)
    assert (fault.retryable, fault.billed) == (passes, billed)
    assert "\n" not in str(fault)


@pytest.mark.parametrize(
    ("text", "too_long", "form"),
    [
        ("This model's maximum context length is 8192 tokens", True, False),
        ("the request exceeds the available context size", True, False),
        ("prompt is too long: 210000 tokens > 200000 maximum", True, False),
        ("input is too long for requested model", True, False),
        ("registry.ollama.ai/library/x does not support tools", False, True),
        ('"auto" tool choice requires --enable-auto-tool-choice', False, True),
        ("Invalid parameter: 'response_format' of type 'json_schema' is not supported", False, True),
        ("temperature is not supported", False, False),
    ],
)
def test_what_a_server_refuses(text: str, too_long: bool, form: bool) -> None:
    fault = classify_error(status_error(400, text), redact, NOW_S)
    assert (fault.context_exceeded, fault.format_refused) == (too_long, form)


def test_back_off_grows_and_ends() -> None:
    waits: list[float] = []

    def fail() -> None:
        raise CallFailed(CallFault("gone"))

    with pytest.raises(CallFailed):
        with_retries(fail, 8, waits.append)
    assert len(waits) == 7 and all(0 <= wait <= 30 for wait in waits)
    waits.clear()

    def other() -> None:
        raise InputError("not a fault of a call")

    with pytest.raises(InputError):
        with_retries(other, 8, waits.append)
    assert waits == []


def test_the_built_in_policy_needs_none_of_it() -> None:
    code = (
        "import sys, trex.graph.app, trex.graph.run.settings, trex.graph.llm.agent_loop\n"
        "print([m for m in ('langchain', 'langchain_openai', 'openai', 'dotenv', 'tiktoken') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_docs_name_every_setting_and_their_prices_can_be_read(fresh_home: Path) -> None:
    page = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
    table = page.split("## Settings")[1].split("## How")[0]
    named = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert named == set(ModelSettings.model_fields)
    (block,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    fresh_home.mkdir()
    (fresh_home / "prices.yaml").write_text(block)
    assert price_of("openai:my-team/small") == Price.model_validate({"in": 0.5, "out": 0.5})
