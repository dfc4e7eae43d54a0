"""The state machine of TREX: nodes and edges, nothing else.

analyze → baseline → research →
 ┌→ select → direction → plan (→ approve) → prepare ─Send→ run_rung ×K → promote ─┬→ diagnose → record ─┐→ finish
 │                        ↑______revise_____|       └───── Send survivors ────────┘                     │
 └──────────────────────────────────── while budget ────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import os
from functools import partial

# Checkpoints revive plain data only; set before LangGraph's serialiser is first imported.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from .llm.agent_loop import build_agent, with_agent
from .nodes import Nodes
from .state import RungTask, RunInput, RunState

Graph = CompiledStateGraph[RunState, None, RunInput, RunState]


def build_graph(
    nodes: Nodes | None = None,
    checkpointer: BaseCheckpointSaver[str] | None = None,
    *,
    kept: bool = True,
) -> Graph:
    """Compile the graph. A server that brings its own checkpointer (LangGraph Studio) needs no argument.

    `kept`: the agents' turns are checkpointed too, so that a person can step through them.
    """
    do = nodes or Nodes()
    # With a chat model these are at work inside of nodes: LangGraph draws, streams and checkpoints their turns.
    researcher = partial(with_agent, build_agent("researcher", kept=kept))
    executor = partial(with_agent, build_agent("executor", kept=kept))
    graph = StateGraph(RunState, input_schema=RunInput)

    graph.add_node(
        "analyze", researcher(do.analyze)
    )  # Researcher: requirement → goal, metric, constraints, data allowed
    graph.add_node("baseline", do.baseline)  # Executor: the base model on dev, the root of the tree
    graph.add_node(
        "research", researcher(do.research)
    )  # Researcher: notes with sources, candidate data sets looked at
    graph.add_node("select", do.select)  # search policy: the experiment to refine
    graph.add_node("direction", researcher(do.direction))  # Researcher: memory → a coarse direction
    graph.add_node("plan", researcher(do.plan))  # Researcher: direction → one experiment plan
    graph.add_node("approve", do.approve, destinations=("direction", "prepare"))  # a reviewer, if switched on
    graph.add_node(
        "prepare", executor(do.prepare)
    )  # Executor: data set, contamination gate, preflight, repairs
    graph.add_node(
        "run_rung", executor(do.run_rung), input_schema=RungTask
    )  # Executor: train one rung, evaluate
    graph.add_node("promote", do.promote)  # the better trials go on, the others end here
    graph.add_node("diagnose", researcher(do.diagnose))  # Researcher: what failed, what was fixed, why
    graph.add_node("record", do.record)  # reward, key nodes, projection to the experiment store
    graph.add_node("finish", do.finish)  # freeze the winner, open the sealed test split once, report

    graph.add_edge(START, "analyze")
    graph.add_edge("analyze", "baseline")
    graph.add_edge("baseline", "research")
    graph.add_conditional_edges("research", do.go_on, ["select", "finish"])
    graph.add_edge("select", "direction")
    graph.add_edge("direction", "plan")
    graph.add_conditional_edges("plan", do.ask, ["approve", "prepare", "diagnose"])
    graph.add_conditional_edges(
        "prepare", do.carry_out, {"revise": "plan", "run_rung": "run_rung", "diagnose": "diagnose"}
    )
    graph.add_edge("run_rung", "promote")
    graph.add_conditional_edges("promote", do.fan_out, ["run_rung", "diagnose"])
    graph.add_edge("diagnose", "record")
    graph.add_conditional_edges("record", do.go_on, ["select", "finish"])
    graph.add_edge("finish", END)

    return graph.compile(checkpointer=checkpointer, name="TREX")


graph = build_graph()
