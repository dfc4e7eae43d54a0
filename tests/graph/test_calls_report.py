"""What a report, a summary and the terminal say of chat models: every token counted, every text harmless."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console
from support.calls import make_call, make_calls
from support.runs import SyntheticRun, make_run
from trex.graph.cli.console import RunConsole
from trex.graph.cli.outcome import print_summary
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.llm.protocol import CallRecord
from trex.graph.report.agent_turns import (
    A_ROUND,
    WHOLE,
    call_views,
    calls_by_experiment,
    first_lines,
    readable_answer,
)
from trex.graph.report.call_totals import by_role, by_round, event_of, experiment_of, round_of, totals
from trex.graph.report.formatting import clean
from trex.graph.report.html import html
from trex.graph.report.markdown import escape, markdown
from trex.graph.report.report_model import Report
from trex.graph.report.spend import Spend, spend_of_calls, spend_of_experiments
from trex.graph.report.summary import RunSummary, summarise
from trex.graph.report.verification import Verified
from trex.graph.researcher.protocol import Candidate, Note
from trex.graph.run.estimate import model_limits
from trex.graph.run.settings import Settings
from trex.graph.tree.tree import Tree
from trex.tools.untrusted import quoted

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</details></li></ol></article><h1>Ours</h1>",
    "[click](javascript:alert(3)) ![x](https://evil.example/p.png)",
    "<https://evil.example> https://evil.example www.evil.example you@evil.example",
    "# Heading\n\n- item\n> quote\n```\n</pre>",
    "{{ 7*7 }} {% for x in y %} ]]> <!-- & &lt;b&gt; &#60;i&#62;",
    "\u202egnp.exe\u202c \x00\x1b[31m \ud800",
    "| a | b |\n|---|---|\n~~gone~~ $x_1$ **bold** __init__",
    "' onmouseover=alert(4) style=position:fixed x='",
]
OURS = {"html", "head", "meta", "title", "style", "body", "main", "p", "h1", "h2", "h3", "div", "br", "span"}
OURS |= {"svg", "g", "line", "text", "circle", "polyline", "path", "rect", "ul", "ol", "li", "article", "a"}
OURS |= {"header", "b", "dl", "dt", "dd", "details", "summary", "table", "tr", "th", "td", "code", "pre"}


class Page(HTMLParser):
    """Every element and attribute that a browser would see, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def run(tmp_path: Path) -> SyntheticRun:
    made = make_run(tmp_path, rounds=6, trials=2, seed=3)
    models = ModelSettings(researcher="openai:gpt-5", executor="openai:gpt-5-mini", token_budget=200_000)
    made.info = made.info.model_copy(
        update={"settings": made.info.settings.model_copy(update={"llm": models, "memory": False})}
    )
    return made


def summary_of(run: SyntheticRun, calls: list[CallRecord]) -> RunSummary:
    spend = spend_of_experiments(run.experiments) + spend_of_calls(calls)
    spend += Spend(active_seconds=812.4, overhead_seconds=6.2)
    return summarise(Verified(run.info, Tree(run.experiments), run.finish), spend)


def report_of(run: SyntheticRun, calls: list[CallRecord]) -> Report:
    return Report(
        summary_of(run, calls), Tree(run.experiments), run.cases, ["movies: 7604 rows"], calls=calls
    )


def nasty_report(run: SyntheticRun, text: str) -> Report:
    """A report in which everything that a model, a page, a card or a person can put somewhere is `text`."""
    calls = [
        make_call(
            1, f"research {text}", text=text, problem=text, tools=[{"name": text, "arguments": {text: text}}]
        ),
        make_call(2, f"research {text}", messages=[{"role": "tool", "text": text}], text=text * 40),
        make_call(
            3, "plan e0001", text=text, tools=[{"name": "history", "arguments": text}], status="unknown"
        ),
        make_call(4, "plan e0001", text=text, messages=[{"role": text, "text": text}], problem=text * 30),
    ]
    calls = [replace(call, model=text) for call in calls]
    insight = SimpleNamespace(
        text=text, direction=text, expects="gain", status="open", origin=text,
        evidence_for=("e0001", text), evidence_against=(text,),
    )  # fmt: skip
    report = report_of(run, calls)
    return replace(
        report,
        summary=report.summary.model_copy(update={"llm": text, "command": f"trex run --llm {text}"}),
        notes=[text],
        findings=[Note(text=text, source=text)],
        candidates=[Candidate(name=text, licence=text, why=text)],
        insights=[insight],  # type: ignore[list-item]
        hints=[text],
    )


def test_purposes_name_experiment_and_round() -> None:
    known = {
        "plan e003": ("e003", 3),
        "research": (None, 0),
        "analyze": (None, 0),
        "diagnose e0012": ("e0012", 12),
    }
    known |= {"insights": (None, None), "plan the e-book": (None, None), "": (None, None)}
    for purpose, (experiment, number) in known.items():
        call = make_call(1, purpose)
        assert (experiment_of(call), round_of(call)) == (experiment, number), purpose


def test_spend_is_right_to_the_token(run: SyntheticRun) -> None:
    calls = make_calls(run.experiments)
    calls.append(make_call(99, "plan e0003", status="unknown", tokens=(5000, 4096)))
    shown = json.loads(summary_of(run, calls).model_dump_json())
    spend = shown["spend"]
    assert spend["calls"] == len(calls)
    assert spend["tokens_in"] == sum(call.tokens_in for call in calls)
    assert spend["tokens_out"] == sum(call.tokens_out for call in calls)
    assert spend["cost_usd"] == pytest.approx(sum(call.cost_usd for call in calls))
    assert (shown["llm"], shown["memory"]) == ("openai:gpt-5, Executor openai:gpt-5-mini", False)
    assert sum(sums.tokens for sums in by_round(calls).values()) == totals(calls).tokens
    assert sum(row.usage.tokens for row in by_role(calls)) == totals(calls).tokens
    assert {row.role: row.unanswered for row in by_role(calls)} == {"researcher": 2, "executor": 0}


def test_without_a_model_the_same_fields_are_zero(tmp_path: Path) -> None:
    run = make_run(tmp_path, rounds=2, trials=2)
    shown = summarise(Verified(run.info, Tree(run.experiments), run.finish), run.spend)
    assert {getattr(shown.spend, name) for name in ("calls", "tokens_in", "tokens_out", "cost_usd")} == {0}
    assert (shown.llm, shown.memory, shown.diagnosis) == ("built-in policy", True, True)
    page = html(Report(shown, Tree(run.experiments)))
    assert (
        "Model calls" not in page
        and "<h2>Chat models" not in page
        and "planned by the built-in policy" in page
    )
    assert "\nmodel:" not in printed(shown)


def test_the_command_repeats_the_model_and_its_switches(run: SyntheticRun) -> None:
    command = summary_of(run, []).command
    assert (
        "--llm openai:gpt-5 --llm-executor openai:gpt-5-mini --llm-set token_budget=200000 --no-memory"
        in command
    )


def test_each_round_shows_its_model_calls(run: SyntheticRun) -> None:
    calls = make_calls(run.experiments)
    page = html(report_of(run, calls))
    shown = " ".join(Page(page).text)
    for sums in calls_by_experiment(calls).values():
        assert f"{sums.totals.tokens_in:,} tokens in, {sums.totals.tokens_out:,} out" in shown
    assert page.count('<details class="model-calls">') == len(calls_by_experiment(calls)) == 7
    assert "search_papers" in shown and "query: sentiment contrast" in shown
    assert "Learning with noisy labels" in shown and "licence: cc-zero" in shown
    assert "Three trials that differ in one thing each." in shown
    assert "invalid answer" in shown and "trials 1 and 2 do not differ" in shown
    assert "no answer" in shown and "the server answered 503 five times" in shown
    text = markdown(report_of(run, calls))
    assert text.count("Model calls") == 7
    assert f"{totals(calls).tokens_in:,} tokens in" in text


def test_results_stand_with_the_tools_that_brought_them() -> None:
    asked = [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {}}]
    calls = [
        make_call(1, "plan e001", tools=asked),
        make_call(2, "research", messages=[{"role": "tool", "text": "of another conversation"}]),
        make_call(
            3,
            "plan e001",
            messages=[
                {"role": role, "text": t} for role, t in (("ai", "I ask"), ("tool", "A"), ("tool", "B"))
            ],
            tools=[{"name": "c", "arguments": {}}],
        ),
    ]
    shown = call_views(calls)
    assert [(tool.name, tool.arguments, tool.result) for tool in shown[0].tools] == [
        ("a", "x: 1", "A"),
        ("b", "", "B"),
    ]
    assert [(tool.name, tool.result) for tool in shown[2].tools] == [("c", "")]


def test_fences_around_quoted_text_become_its_source() -> None:
    shown = first_lines(quoted("line 1\n\nline 2", "https://example.org/page"))
    assert shown == "from https://example.org/page:\nline 1\nline 2"


@pytest.mark.parametrize("text", NASTY)
def test_nasty_texts_stay_texts(run: SyntheticRun, text: str) -> None:
    plain, page = Page(html(report_of(run, make_calls(run.experiments)))), Page(html(nasty_report(run, text)))
    assert set(page.tags) <= OURS
    assert {(tag, name) for tag, name, _ in page.attributes} <= {
        *((tag, name) for tag, name, _ in plain.attributes),
        *(("span", "class"), ("ul", "class"), ("a", "href")),
    }
    links = [
        value for _, name, value in page.attributes if name in ("href", "src", "action", "data", "xlink:href")
    ]
    assert links and all(re.fullmatch(r"#e\d+", link) for link in links)
    classes = {name for _, kind, value in page.attributes if kind == "class" for name in value.split()}
    assert not [name for name in classes if not re.fullmatch(r"[a-z][a-z0-9-]*", name)]
    assert page.tags.count("h1") == 1 and page.tags.count("article") == len(run.experiments)
    shown = " ".join("".join(page.text).split())
    assert " ".join(clean(text).split()) in shown
    assert not re.search("[\u202a-\u202e\x00\x1b\ud800]", "".join(page.text))


@pytest.mark.parametrize("text", NASTY)
def test_nasty_texts_stay_texts_in_markdown(run: SyntheticRun, text: str) -> None:
    report = nasty_report(run, text)
    report = replace(report, summary=report.summary.model_copy(update={"command": "trex run"}))
    rendered = Page(
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown(report))
    )
    assert set(rendered.tags) <= {"h1", "h2", "h3", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr"} | {
        "th", "td", "pre", "code",
    }  # fmt: skip
    assert [name for _, name, _ in rendered.attributes if name != "style"] == []
    assert rendered.tags.count("h1") == 1
    assert not re.search(r"(?<!\\)://|www(?<!\\)\.|\w@\w", escape(text))


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text_is_shown_as_it_is_or_replaced(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode()
    rendered = Page(MarkdownIt("commonmark").render(f"- x: {escape(once)}"))
    assert set(rendered.tags) == {"ul", "li"}


@settings(max_examples=20, deadline=None)
@given(
    rounds=st.integers(1, 300),
    length=st.integers(0, 20_000),
    calls=st.integers(1, 12),
)
def test_calls_stay_within_their_room(rounds: int, length: int, calls: int) -> None:
    record = [
        make_call(n, f"plan e{number:03d}", text="x" * length, problem="y" * length)
        for number in range(rounds)
        for n in range(calls)
    ]
    shown = calls_by_experiment(record)
    assert len(shown) == rounds
    largest = max(sum(t.length for t in behind.views) for behind in shown.values())
    assert largest <= max(A_ROUND, 4200)
    assert sum(t.length for behind in shown.values() for t in behind.views) <= WHOLE + rounds * 4200
    for behind in shown.values():
        assert len(behind.views) + behind.left_out == calls == behind.totals.calls


def printed(summary: RunSummary) -> str:
    text = io.StringIO()
    print_summary(Console(file=text, width=140), summary)
    return text.getvalue()


def test_the_terminal_says_what_the_model_took(run: SyntheticRun) -> None:
    calls = make_calls(run.experiments)
    sums = totals(calls)
    shown = printed(summary_of(run, calls))
    assert "model: openai:gpt-5, Executor openai:gpt-5-mini:" in shown
    assert (
        f"{sums.calls} calls, {sums.tokens_in:,} tokens in, {sums.tokens_out:,} out, ${sums.cost_usd:.2f}"
        in shown
    )


def test_the_live_console_counts_every_call(run: SyntheticRun, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = make_calls(run.experiments)
    monkeypatch.setattr("trex.graph.cli.console.read_run_calls", lambda path: calls[:3])
    text = io.StringIO()
    console = RunConsole(run.info.settings, Console(file=text, width=140, highlight=False))
    for call in calls[3:]:
        console({"event": "called", **event_of(call)})
    shown = text.getvalue()
    assert shown.count("\n") == len(calls) - 3
    assert "prepare e0001 → look_at_rows" in shown and "no answer" in shown
    last = io.StringIO()
    Console(file=last, width=200).print(console._display())
    assert f"{totals(calls).tokens:,} of 200,000 tokens" in last.getvalue()


def test_an_event_carries_no_texts() -> None:
    call = make_call(
        1, "plan e001", text="secret thought", tools=[{"name": "history", "arguments": {"sql": "secret"}}]
    )
    event = event_of(call)
    assert event["tools"] == ["history"] and "secret" not in json.dumps(event)


def models(**limits: Any) -> Settings:
    return Settings(
        task="sentiment", directory="/tmp/run", thread_id="run", slots=1, threads=1, grader_threads=1,
        memory_limit_mb=1024, llm=ModelSettings(researcher="openai:gpt-5", **limits),
    )  # fmt: skip


def test_the_estimate_says_what_comes_on_top() -> None:
    assert model_limits(models().model_copy(update={"llm": None})) is None
    said = model_limits(models(token_budget=200_000, cost_budget_usd=2.0))
    assert said == "not included: calls of openai:gpt-5, at most 200,000 tokens and $2.00"
    assert "without a limit" in (model_limits(models()) or "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"direction": "layers", "why": "the loss\\nstill falls"}', "direction: layers\nwhy: "),
        ('```json\n{"a": [1, 2]}\n```', "a:\n- 1\n- 2"),
        ("{not json", "{not json"),
        ("{" + '"a":{' * 5000, "{" + '"a":{' * 5000),
        ("plain words", "plain words"),
    ],
)
def test_answers_without_tools_are_shown_by_field(text: str, shown: str) -> None:
    assert readable_answer(text).startswith(shown)
