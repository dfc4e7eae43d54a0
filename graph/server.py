"""The graph as a LangGraph server runs it: the server owns the checkpoint, each run has its own runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph_sdk.runtime import ServerRuntime

from ..errors import TrexError
from .app import Graph, build_graph, graph
from .nodes import Nodes
from .run.directory import RunDirectory
from .run.runtime import Runtime, RuntimeRegistry, open_runtime
from .run.settings import Settings
from .run.setup import refuse_unknown_fields
from .state import RunInput, RunState


@asynccontextmanager
async def served_graph(runtime: ServerRuntime[None]) -> AsyncIterator[Graph]:
    """The graph for one request to the server; `langgraph.json` names it.

    A run's processes end with the run: when it is done, has failed, was cancelled, or waits, for a person or
    for its next step. What it then goes on from lies in its directory. Reading a thread needs no runtime.
    """
    if runtime.execution_runtime is None:
        yield graph
        return
    runtimes = RuntimeRegistry(open_served_runtime)
    try:
        yield ServedGraph(**vars(build_graph(Nodes(runtimes))))
    except (TrexError, OSError) as error:
        await asyncio.to_thread(runtimes.record_failure, error)
        # Of errors that are not Python's own a server shows its clients no message.
        raise RuntimeError(str(error)) from error
    finally:
        # A node that was cancelled is still at work in its thread: it waits for what is stopped here.
        await asyncio.shield(asyncio.to_thread(_stop, runtimes))


class ServedGraph(CompiledStateGraph[RunState, None, RunInput, RunState]):
    """The graph, which refuses a form with unknown fields."""

    async def astream(self, input: Any, *given: Any, **more: Any) -> AsyncIterator[Any]:
        """See `Pregel.astream`. Raises InputError."""
        refuse_unknown_fields(input)
        async for part in super().astream(input, *given, **more):
            yield part


def open_served_runtime(settings: Settings) -> Runtime:
    """The runtime of a run, and the run itself held. Raises InputError if another process holds it."""
    directory = RunDirectory.open(settings.path)
    held = directory.lock()
    try:
        directory.failure.unlink(missing_ok=True)
        return replace(open_runtime(settings), held=held)
    except BaseException:
        held.close()
        raise


def _stop(runtimes: RuntimeRegistry) -> None:
    runtimes.interrupt()
    runtimes.close()
