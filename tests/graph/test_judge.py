"""A chat model as the judge, over real HTTP: verdicts, budgets, kills, what is recorded, what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import LangChainTracer, Run
from langsmith.utils import get_env_var
from support.cli import Trex, caller
from support.grader import films, films_task, model_folder
from support.llm_model import Reply, answer_with, talk
from support.llm_runs import begin, open_runtime
from support.llm_server import LLMServer
from support.places import SUPPORT
from trex.errors import InputError, TrexError
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.metrics.judging import JudgeQuestion, JudgeSpent
from trex.evaluation.results import Evaluation
from trex.evaluation.splits import confirm_items
from trex.files import write_jsonl
from trex.graph.api import prepare_run, reopen
from trex.graph.llm.call_ledger import CallLedger, read_calls
from trex.graph.llm.chat import open_chat
from trex.graph.llm.chat_judge import CALLS_AT_ONCE, ChatJudge
from trex.graph.llm.model_settings import ModelSettings, parse_judge
from trex.graph.llm.protocol import Chat
from trex.graph.run.agents import questions_at_end
from trex.graph.run.runtime import RuntimeRegistry

STATED = {"name": "judge", "rubric": "Names the feeling.", "repeats": 4}
PROGRAM = [sys.executable, str(SUPPORT / "grader.py")]


def four(request: dict[str, Any]) -> Reply:
    return answer_with(request, {"verdict": 4})


def judge_at(url: str, record: Path, budget: int | None = None, **more: Any) -> ChatJudge:
    given = {"max_tokens": 256, "timeout_s": 20.0, "attempts": 1} | more
    settings = ModelSettings(researcher="openai:test", base_url=url, **given)
    ledger = CallLedger(record, budget)
    return ChatJudge(
        "openai:test", lambda: open_chat("judge", settings, ledger, private=True), lambda: None, ledger
    )


def questions(count: int, repeat: int = 0) -> list[JudgeQuestion]:
    texts = [f"the secret item {number}" for number in range(count)]
    return [
        JudgeQuestion(system="Judge.", user=text, verdicts=tuple("12345"), repeat=repeat) for text in texts
    ]


@pytest.mark.parametrize("mode", ["auto", "json_schema", "text"])
def test_an_equal_question_is_paid_for_once_and_the_record_shows_none(tmp_path: Path, mode: str) -> None:
    record = tmp_path / "calls.jsonl"
    with LLMServer(four) as server:
        for _ in range(2):  # the second time from the record, as after a resume
            judge = judge_at(server.url, record, output=mode)
            replies = judge.ask([*questions(5), *questions(5)], 0)
            assert [reply.verdict for reply in replies] == ["4"] * 10
        assert len(server.requests) == 5
        judge.ask(questions(5, repeat=1), 0)  # asked again on purpose, with the same texts
        assert len(server.requests) == 10
    assert "secret" not in record.read_text()
    assert {call.role for call in read_calls(record)} == {"judge"}


def test_nonsense_is_asked_once_more(tmp_path: Path) -> None:
    """Also what is no verdict of the scale. What the model wrote instead is not recorded, and not replayed for ever."""
    record, seen = tmp_path / "calls.jsonl", Counter[str]()

    def model(request: dict[str, Any]) -> Reply:
        item = next(word for word in talk(request).split() if word.isdigit())
        seen[item] += 1
        if item == "0":
            return Reply("Your secret item is lovely, I give it a 9.")
        return answer_with(request, {"verdict": 9 if item == "1" and seen[item] == 1 else 3})

    with LLMServer(model) as server:
        replies = judge_at(server.url, record).ask(questions(3), 3)
        assert [reply.verdict for reply in replies] == [None, "3", "3"]
        assert replies[0].problem == "no verdict in 2 replies" and seen == {"0": 2, "1": 2, "2": 1}
        again = judge_at(server.url, record)
        assert again.ask(questions(3), 3) == replies and len(server.requests) == 8
        server.wire.model = four
        assert [reply.verdict for reply in again.ask(questions(3), 3)] == ["4", "3", "3"]
        assert len(server.requests) == 9
    assert "lovely" not in record.read_text()


class Seen(BaseCallbackHandler):
    """What callbacks are shown of calls."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:
        self.prompts.append(str(messages))


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("mode", ["auto", "json_schema", "text"])
def test_no_callback_and_no_tracer_sees_a_private_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, private: bool
) -> None:
    """Neither of the graph's own, nor LangSmith's; an ordinary call is shown to both."""
    graphs, traced = Seen(), list[str]()

    def post(tracer: LangChainTracer, run: Run) -> None:
        traced.append(str(run.inputs) if run.run_type == "llm" else "")

    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:1")
    get_env_var.cache_clear()
    monkeypatch.setattr(LangChainTracer, "_persist_run_single", post)
    monkeypatch.setattr(LangChainTracer, "_update_run_single", lambda run: None)
    with LLMServer(four) as server:
        settings = ModelSettings(researcher="openai:test", base_url=server.url, output=mode)
        ledger = CallLedger(tmp_path / "calls.jsonl")

        def open_one() -> Chat:
            return open_chat("judge", settings, ledger, private=private)

        judge = ChatJudge("openai:test", open_one, lambda: None, ledger)
        try:
            node = RunnableLambda(lambda asked: judge.ask(asked, 0))
            replies = node.invoke(questions(2), config={"callbacks": [graphs]})
        finally:
            monkeypatch.delenv("LANGSMITH_TRACING")
            get_env_var.cache_clear()
    assert [reply.verdict for reply in replies] == ["4", "4"]
    for seen in (graphs.prompts, traced):
        assert sum("the secret item" in prompt for prompt in seen) == (0 if private else 2)


def test_after_too_many_failures_no_more_is_asked(tmp_path: Path) -> None:
    with LLMServer(lambda request: Reply("Hm.")) as server:
        replies = judge_at(server.url, tmp_path / "calls.jsonl").ask(questions(60), 3)
        assert len(server.requests) <= 2 * (4 + CALLS_AT_ONCE)
    assert all(reply.verdict is None and reply.problem for reply in replies)


class Scene:
    """A grader whose model answers 'positive', or with a good adapter what is right."""

    def __init__(self, folder: Path, **stated: Any) -> None:
        self.folder, self.run = folder, folder / "run"
        self.task = films_task(folder, metric=STATED | stated, choices=None)
        self.model = folder / "model"
        if not self.model.exists():
            model_folder(folder)

    def evaluate(self, judge: ChatJudge, split: str = "search") -> Evaluation:
        with GraderClient(self.task, self.run, self.model, judge=judge, command=PROGRAM) as grader:
            return grader.evaluate(None, split)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    return Scene(tmp_path)


def test_a_dead_server_is_one_line(scene: Scene) -> None:
    with LLMServer(four) as server:
        url = server.url
    with pytest.raises(
        TrexError, match=r"no verdict on \d+ of \d+ items, more than 5%: judge: openai:test: "
    ):
        scene.evaluate(judge_at(url, scene.folder / "calls.jsonl"))


def test_a_budget_that_ends_midway(scene: Scene) -> None:
    """Nothing is spent beyond it, and with a larger one what was paid for is not asked again."""
    record = scene.folder / "calls.jsonl"
    with LLMServer(four) as server:
        with pytest.raises(JudgeSpent, match="tokens are spent or reserved"):
            scene.evaluate(judge_at(server.url, record, budget=6_000))
        first = len(server.requests)
        assert first > 0 and sum(used.tokens_in + used.tokens_out for used in server.used) <= 6_000
        found = scene.evaluate(judge_at(server.url, record))
        assert found.score.value == 0.75
        assert len(server.requests) == found.score.n + 4
    assert found.secondary["judge_agreement"] == 1 and found.secondary["judge_error"] == 0


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from test_judge import Scene, judge_at
folder = Path(sys.argv[3])
Scene(folder).evaluate(judge_at(sys.argv[4], folder / "calls.jsonl"))
"""


@pytest.mark.parametrize("after", [3, 20])
def test_a_kill_pays_for_nothing_twice(scene: Scene, after: int) -> None:
    """But for the calls that were under way: nobody knows what became of them."""
    record = scene.folder / "calls.jsonl"

    def slow(request: dict[str, Any]) -> Reply:
        time.sleep(0.02)
        return four(request)

    with LLMServer(slow) as server:
        program = [sys.executable, "-c", KILLED, str(SUPPORT.parent), str(Path(__file__).parent)]
        process = subprocess.Popen([*program, str(scene.folder), server.url])
        while len(server.requests) < after:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.wait()
        found = scene.evaluate(judge_at(server.url, record))
        wanted = found.score.n + 4
        assert wanted <= len(server.requests) <= wanted + CALLS_AT_ONCE
    answered = Counter(
        line["key"]
        for line in map(json.loads, record.read_text().splitlines())
        if line["event"] == "reserved"
    )
    assert len(answered) == wanted and sum(answered.values()) <= wanted + CALLS_AT_ONCE


@pytest.fixture
def judged_task(tmp_path: Path) -> Path:
    for name, first in (("train", 0), ("dev", 100), ("test", 200)):
        write_jsonl(tmp_path / f"{name}.jsonl", films(first, first + 40))
    fields = {
        "name": "films",
        "requirement": "Name the feeling.",
        "base_model": "tiny",
        "sources": [{"name": "train", "path": "train.jsonl"}],
        "dev": "dev.jsonl",
        "test": "test.jsonl",
        "prompt": {"user": "{text}", "answer": "{label}"},
        "metric": STATED,
    }
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(fields))
    return tmp_path / "task.yaml"


@pytest.fixture
def trex(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fresh_home: Path) -> Trex:
    return caller(monkeypatch, capfd)


def test_a_task_that_needs_a_judge_is_refused_without_one(
    judged_task: Path, tmp_path: Path, trex: Trex
) -> None:
    for words in (("check", judged_task), ("run", judged_task, "--out", tmp_path / "out")):
        trex(*words).complains(2, "its metric is judged by a chat model", "give --judge PROVIDER:MODEL")
    assert not (tmp_path / "out").exists()


def test_a_task_is_checked_with_its_judge(judged_task: Path, trex: Trex) -> None:
    said = trex("check", judged_task, "--judge", "openai:m", "--llm-set", "base_url=http://localhost:1/v1")
    assert said.code == 0, said


def test_a_judge_without_its_key_is_refused(
    judged_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        prepare_run(judged_task, out=tmp_path / "out", judge="openai:gpt-5-mini")
    assert not (tmp_path / "out").exists()


def test_the_options_of_a_judge() -> None:
    models, own = parse_judge("openai:j", None, None, "200k", ["base_url=http://h/v1"])
    assert models is None and own is not None
    assert (own.researcher, own.token_budget, own.base_url) == ("openai:j", 200_000, "http://h/v1")
    models, own = parse_judge("anthropic:j", "openai:m", None, None, ["base_url=http://h/v1"])
    assert models is not None and own is not None and (models.base_url, own.base_url) == ("http://h/v1", None)
    models, own = parse_judge(None, "openai:m", None, None)
    assert models is not None and own is None


def test_a_whole_run_with_a_judge(judged_task: Path, tmp_path: Path) -> None:
    """With the built-in policy: every score comes from the judge, and no file but predictions holds an answer."""
    with LLMServer(four) as server:
        judge = ModelSettings(researcher="openai:test", base_url=server.url, token_budget=2_000_000)
        run = begin(tmp_path / "out", None, str(judged_task), judge=judge)
    summary = run.summary
    assert summary.best is not None and summary.best.test is not None
    assert summary.best.test.value == 0.75
    report = (tmp_path / "out" / "report.md").read_text()
    assert (
        "The judge on test: equal values for 100% of the items judged twice; its noise alone is a" in report
    )
    assert "0 items without a verdict" in report
    assert {call.role for call in read_calls(tmp_path / "out" / "calls.jsonl")} == {"judge"}
    assert "film numbered" not in (tmp_path / "out" / "calls.jsonl").read_text()
    assert "--judge openai:test" in report


def test_a_run_ends_in_good_order_when_the_judge_is_paid_out(judged_task: Path, tmp_path: Path) -> None:
    """The search leaves what finalists and the test split will take: there is a test score within the budget."""
    with LLMServer(four) as server:
        settings = ModelSettings(researcher="openai:test", base_url=server.url, max_tokens=256)
        whole = begin(tmp_path / "whole", None, str(judged_task), judge=settings, rounds=3)
        needed = sum(call.usage.tokens for call in read_calls(tmp_path / "whole" / "calls.jsonl"))
        less = settings.model_copy(update={"token_budget": int(needed * 0.7)})
        run = begin(tmp_path / "out", None, str(judged_task), judge=less, rounds=3)
    spent = sum(call.usage.tokens for call in read_calls(tmp_path / "out" / "calls.jsonl"))
    assert spent <= needed * 0.7
    assert run.summary.reason == "budget" and whole.summary.reason == "rounds"
    assert run.summary.best is None or run.summary.best.test is not None
    assert len(list(run.tree)) < len(list(whole.tree)) or any(
        "judging the end" in m for m in run.trials["message"]
    )


def test_a_budget_too_small_for_the_end_ends_the_run_at_its_baseline(
    judged_task: Path, tmp_path: Path
) -> None:
    with LLMServer(four) as server:
        judge = ModelSettings(
            researcher="openai:test", base_url=server.url, max_tokens=256, token_budget=15_000
        )
        with pytest.raises(JudgeSpent, match="kept for judging the end of the run"):
            begin(tmp_path / "out", None, str(judged_task), judge=judge)
    assert sum(call.usage.tokens for call in read_calls(tmp_path / "out" / "calls.jsonl")) <= 15_000


class PartialJudge:
    """Gives no verdict on the second answer that it reads to an item, and while it is `broken` none on test items."""

    def __init__(self) -> None:
        self.broken = True
        self._read: dict[int, list[str]] = {}

    def __call__(self, request: dict[str, Any]) -> Reply:
        text = talk(request).split("\n\nYour last reply")[0]
        item = int(re.findall(r"film numbered (\d+)", text)[0])
        read = self._read.setdefault(item, [])
        if text not in read:
            read.append(text)
        unread = self.broken if item >= 200 else read.index(text) == 1
        return Reply("Hm.") if unread else four(request)


def test_answers_without_verdicts_cost_the_trial_and_not_the_run(judged_task: Path, tmp_path: Path) -> None:
    """Where the end of the run has no score without them, it can be resumed, and the judge is asked again."""
    stated = yaml.safe_load(judged_task.read_text())
    judged_task.write_text(yaml.safe_dump(stated | {"metric": STATED | {"max_unjudged": 0.5}}))
    out, model = tmp_path / "out", PartialJudge()
    with LLMServer(model) as server:
        judge = ModelSettings(researcher="openai:test", base_url=server.url, max_tokens=256)
        with pytest.raises(TrexError) as stopped:
            begin(out, None, str(judged_task), judge=judge, rounds=1, rungs=(1.0,))
        model.broken = False
        run = reopen(out).go(runtimes=RuntimeRegistry(open_runtime))
    assert re.fullmatch(
        r"the judge gave no verdict on \d+ of 40 items, more than 50%: no verdict in 2 replies: `trex resume .*/out` "
        r"asks the judge again; if it fails again, start a run with another --judge or a larger max_unjudged",
        str(stopped.value),
    )
    failed, done = sorted(run.trials.to_dict("records"), key=lambda trial: str(trial["status"] == "done"))
    assert failed["status"] == "failed" and failed["message"].startswith(
        "not eligible: the judge gave no verdict on"
    )
    assert done["status"] == "done"
    assert run.summary.best is not None and run.summary.best.test is not None


def test_the_size_of_the_test_split_is_known_without_opening_it(judged_task: Path, tmp_path: Path) -> None:
    """Also of a file that holds all its items in one line."""
    rows = films(200, 240)
    (tmp_path / "test.json").write_text(json.dumps(rows))
    stated = yaml.safe_load(judged_task.read_text()) | {"test": "test.json"}
    judged_task.write_text(yaml.safe_dump(stated))
    judge = ModelSettings(researcher="openai:test", base_url="http://localhost:1/v1")
    prepared = prepare_run(judged_task, out=tmp_path / "out", smoke=True, judge=judge)
    settings, task = prepared.settings, prepared.directory.task()
    (tmp_path / "test.json").unlink()
    assert questions_at_end(settings, task) == settings.finalists * len(confirm_items(task)) + 2 * len(rows)
