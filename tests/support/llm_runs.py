"""Whole runs with a chat model behind a test server, on a runtime without torch. The model reads its prompts.

python llm_runs.py run DIR URL    start a run of two rounds with the model behind that URL
python llm_runs.py resume DIR     resume it
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trex.evaluation.grader.client import GraderClient
from trex.evaluation.task import Task
from trex.ftbench.tasks.sentiment import load
from trex.graph.api import Run, prepare_run, reopen
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.run.agents import open_judge, open_ledger
from trex.graph.run.directory import RunDirectory
from trex.graph.run.runtime import Runtime, RuntimeRegistry, assemble
from trex.graph.run.settings import Settings
from trex.training.jobs.job import Job, Resources
from trex.training.jobs.job_store import JobStore
from trex.training.jobs.trial_folder import TrialFolder
from trex.training.jobs.worker_session import WorkerSession
from trex.training.runners.job_runner import JobRunner
from trex.training.runners.protocol import JobState

from support.chat import Call
from support.fake_worker import train
from support.llm_model import Reply, answer_schema, answer_with, call_with, talk, tools_of
from support.llm_plans import next_step
from support.torch_free import HERE, fine


def planning_model(request: dict[str, Any]) -> Reply:
    """The model of `support.llm_plans` behind a server."""
    step = next_step(talk(request), answer_schema(request)["properties"].keys(), tools_of(request))
    if isinstance(step, Call):
        return call_with(request, step.name, step.arguments)
    return answer_with(request, step)


class HereLauncher:
    """Trains in the thread that submits, at once: see `trex.training.runners.protocol.Launcher`."""

    def start(self) -> None:
        """Nothing takes long."""

    def submit(self, job: Job, resources: Resources) -> str:
        folder = TrialFolder(job.folder)
        with WorkerSession(folder, job.rung, job.stop_step) as session:
            train(session, step_seconds=0.0, checkpoint_every=1000, misbehave="")
        return "here"

    def poll(self, job: Job) -> JobState:
        return "ended"

    def logs(self, job: Job) -> str:
        return ""

    def cancel(self, job: Job) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing is open."""


def open_runtime(settings: Settings) -> Runtime:
    """Real graph, agents, tools, gate and grader; training is arithmetic."""
    directory = RunDirectory.open(settings.path)
    task, model = directory.task(), settings.path / "model"
    model.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).write_text("{}")
    command = [sys.executable, str(HERE / "hash_grader.py"), "hash"]
    ledger = open_ledger(settings, directory)
    judge = open_judge(settings, task, ledger)
    grader = GraderClient(task, directory.path, model, command=command, judge=judge)
    grader.start()
    runner = JobRunner(HereLauncher(), JobStore())
    runtime = assemble(settings, directory, task, model, grader, runner, fine, ledger)
    if judge is not None:
        runtime.budget.judge_allows = judge.leaves_enough
    return runtime


def settings_for(url: str | None, **more: Any) -> ModelSettings | None:
    """Settings for the model behind a URL; None (the built-in policy) without one."""
    given = {"output": "tools", "timeout_s": 30.0, **more}
    return None if url is None else ModelSettings(researcher="openai:test", base_url=url, **given)


def begin(directory: Path, llm: ModelSettings | None, task: Task | str | None = None, **options: Any) -> Run:
    """A whole run without torch."""
    given = {"rounds": 2, "trials": 2, "trial_examples": 96, "rungs": (0.5, 1.0), **options}
    prepared = prepare_run(task or load(smoke=True), out=directory, smoke=True, llm=llm, **given)
    return prepared.go(runtimes=RuntimeRegistry(open_runtime))


if __name__ == "__main__":
    where = Path(sys.argv[2])
    if sys.argv[1] == "run":
        begin(where, settings_for(sys.argv[3]))
    else:
        reopen(where).go(runtimes=RuntimeRegistry(open_runtime))
