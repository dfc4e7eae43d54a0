"""The graph on a LangGraph server, `langgraph dev` in a folder of its own, for tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from support.places import REPOSITORY


@dataclass(frozen=True)
class Server:
    """`langgraph dev` in a folder of its own."""

    client: SyncLangGraphClient
    process: subprocess.Popen[bytes]
    folder: Path
    log: Path

    def stream(self, thread: str, form: dict[str, Any] | None, **more: Any) -> Iterator[tuple[str, Any]]:
        """What a run on the thread says, as (kind, data)."""
        for part in self.client.runs.stream(
            thread, "trex", input=form, stream_mode=["updates", "custom"], **more
        ):
            yield part.event, part.data

    def thread(self) -> str:
        return str(self.client.threads.create()["thread_id"])

    def state(self, thread: str) -> dict[str, Any]:
        values: Any = self.client.threads.get_state(thread)["values"]
        return dict(values)

    def run_of(self, thread: str) -> Path:
        [folder] = self.folder.glob(f"runs/*-{thread[-12:]}")
        return folder

    def workers(self) -> list[psutil.Process]:
        """The graders, fork servers and jobs of its runs."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "trex." in _command(child)]


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server in a folder, which becomes its working directory and holds its TREX_HOME."""
    shutil.copy(REPOSITORY / "langgraph.json", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "server.log"
    program = Path(sys.executable).with_name("langgraph")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "dev", "--no-browser", "--no-reload", "--port", str(port)],
            cwd=folder,
            env=os.environ | {"TREX_HOME": str(folder / "home"), "LANGSMITH_TRACING": "false"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started = Server(get_sync_client(url=f"http://127.0.0.1:{port}"), process, folder, log)
    try:
        until(lambda: answers(started), 60)
        yield started
    finally:
        left = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for child in left:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def answers(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()[-2000:]
    try:
        return bool(server.client.assistants.search())
    except httpx.TransportError:
        return False


def _command(process: psutil.Process) -> str:
    """Its command line; empty for one that has ended in the meantime."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def until(happens: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def nodes(parts: list[tuple[str, Any]]) -> list[str]:
    """The nodes that ran, in order."""
    return [node for kind, data in parts if kind == "updates" for node in data if node != "__interrupt__"]
