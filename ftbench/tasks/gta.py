"""GTA: take the next step of a tool-using assistant, text only.

Source: https://huggingface.co/datasets/Jize1/GTA, Apache-2.0: `dataset.json`, 229 queries by index, and
`toolmeta.json`, 14 tools by name. Test data only. (The data set is now called GTA-Atomic; GTA-Workflow is another.)
Citation: Wang et al., "GTA: A Benchmark for General Tool Agents", NeurIPS 2024, arXiv 2407.08713.

A query (made up here, `dialogs` cut short):
    {"tools": [{"name": "OCR"}, {"name": "Calculator"}],
     "files": [{"type": "image", "path": "image/menu.jpg"}],
     "dialogs": [{"role": "user", "content": "What do two soups cost?"},
                 {"role": "assistant", "tool_calls": [{"type": "function", "function":
                     {"name": "OCR", "arguments": {"image": "image/menu.jpg"}}}]},
                 {"role": "tool", "name": "OCR", "content": {"type": "text", "content": "soup 6.50"}},
                 …, {"role": "assistant", "content": "Two soups cost 13."}],
     "gt_answer": {"whitelist": [["13", "thirteen"]], "blacklist": null}}

Our unit is the step: a row is a query with `query` (its index) and `step` (which assistant turn, from 0), and tools
with their entry in toolmeta.json. The model sees the history that people wrote up to there, no image, and writes
one step in the ReAct format; no tool is run. This is GTA's step-by-step mode, 'every_with_gt'. Its end-to-end mode is
not scored: it needs a server that runs the fourteen tools, and images, which a text model cannot read. At the last
step the model is asked to answer, as there.

    gold of step 0: 'Action: OCR\\nAction Input: {"image": "image/menu.jpg"}'
    gold of the last: 'Final Answer: Two soups cost 13.'

Splits: all steps of a query stand in one part, dev (.4) or test (.6); there is no train pool. The last step of a
query without a gold answer (an image is the answer) is left out, as nothing of it is scored: by the official
leaderboard's fractions 557 calls and 172 answers should remain. Other public sources that may be trained on, to be
brought into the prompt's form by a recipe: Agent-FLAN (Apache-2.0), whose ReAct splits are listed below;
ToolACE, glaive-function-calling-v2, xLAM's function-calling-60k and hermes-function-calling-v1 call tools in JSON.

Scorer: `evaluation/metrics/gta`, after `GTABenchEvaluator` in
https://github.com/open-compass/GTA/blob/37c2b60/opencompass/opencompass/datasets/gta_bench.py. Score: the share of
steps that call the gold tool or give a right answer. What was corrected, and why this figure: see `tool_use.py` there.
Published (arXiv 2604.14116, 'accuracy', undefined there): base .582, reference .722, TREX .613 (open models) and
.652. On the official board Qwen3-8B has InstAcc .395, ToolAcc .262, ArgAcc .151, SummAcc .561.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...evaluation.metrics.gta.final_answers import hit
from ...evaluation.task import GenerationSettings, Source
from ..benchmark import Benchmark, GoldTurn, Licence, Published, Record, Row
from ..data_sources import HubHome

HOME = HubHome("Jize1/GTA")

SYSTEM = (
    "You help people with tools. Take one step, then stop. To call a tool, write three lines:\n"
    "Thought: why this tool is needed\n"
    "Action: the tool's name\n"
    "Action Input: its arguments as a JSON object\n"
    "Its response is shown to you next; never write it yourself. Once you know the answer, write instead:\n"
    "Thought: why this is the answer\n"
    "Final Answer: the answer"
)
ANSWER_NOW = "Sum up what was found and give the final answer now, without calling a tool."


def read() -> Iterator[Record]:
    """Every step that can be scored. Raises InputError if the data can't be had."""
    queries = _json(HOME.file("dataset.json"))
    known = _json(HOME.file("toolmeta.json"))
    for index, query in queries.items():
        tools = [_described(tool, known.get(tool["name"], {})) for tool in query["tools"]]
        for step, turn in enumerate(assistant_turns(query)):
            if query["gt_answer"] or turn.get("tool_calls"):
                row = {**query, "tools": tools, "query": index, "step": step}
                yield Record(part="cut", row=row, group=f"query {index}")


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _described(tool: Row, meta: Row) -> Row:
    return {**meta, **{name: value for name, value in tool.items() if value is not None}}


def assistant_turns(query: Row) -> list[Row]:
    """The turns that are steps."""
    return [turn for turn in query["dialogs"] if turn["role"] == "assistant"]


def turn(row: Row) -> GoldTurn:
    """The prompt of a step, and the gold step as a reply."""
    turns = assistant_turns(row)
    place = [index for index, content in enumerate(row["dialogs"]) if content["role"] == "assistant"][
        row["step"]
    ]
    parts = [
        "Tools:\n" + "\n".join(map(tool_line, row["tools"])),
        *(["Files: " + ", ".join(file["path"] for file in row["files"])] if row["files"] else []),
        *(content for part in row["dialogs"][:place] if (content := as_text(part))),
        *([ANSWER_NOW] if row["step"] == len(turns) - 1 else []),
    ]
    return GoldTurn("\n\n".join(parts), gold_reply(turns[row["step"]], row["gt_answer"]))


def tool_line(tool: Row) -> str:
    """A tool in one line: its name, its arguments with their types, what it does."""
    inputs = ", ".join(
        f"{given['name']}: {given.get('type') or 'text'}{' (optional)' if given.get('optional') else ''}"
        for given in tool.get("inputs") or ()
    )
    line = f"- {tool['name']}({inputs})"
    about = " ".join((tool.get("description") or "").split())
    notes = [f"{g['name']}: {g['description']}" for g in tool.get("inputs") or () if g.get("description")]
    return line + "".join(f" {text}" for text in (about, "; ".join(notes)) if text)


def as_text(turn: Row) -> str:
    """A turn of the history."""
    if turn["role"] == "user":
        return f"User: {turn['content']}"
    if turn["role"] == "tool":
        content = turn["content"]
        return f"Response: {content['content'] if isinstance(content, dict) else content}"
    return reply(turn)


def reply(turn: Row, answer: str | None = None) -> str:
    """An assistant's turn in the ReAct format."""
    thought = " ".join((turn.get("thought") or "").split())
    lines = [f"Thought: {thought}"] if thought else []
    if turn.get("tool_calls"):
        call = turn["tool_calls"][0]["function"]
        given = json.dumps(call["arguments"], ensure_ascii=False)
        lines += [f"Action: {call['name']}", f"Action Input: {given}"]
    else:
        lines.append(f"Final Answer: {turn.get('content') or '' if answer is None else answer}")
    return "\n".join(lines)


def gold_reply(turn: Row, reference: Any) -> str:
    """The gold step as a reply that scores in full: where a person's answer lacks an alias, the aliases."""
    content = turn.get("content") or ""
    if turn.get("tool_calls") or not reference:
        return reply(turn)
    if isinstance(reference, list):
        return reply(turn, str(reference[0]))
    aliases = ", ".join(str(group[0]) for group in reference["whitelist"])
    return reply(turn, content if hit(content, reference) else aliases)


BENCHMARK = Benchmark(
    name="gta",
    title="GTA, step by step",
    domain="tool use",
    requirement=(
        "Take the next step of an assistant that has tools: call the right one with the right arguments, or answer "
        "the user from what the tools said."
    ),
    metric="gta",
    licence=Licence("Apache-2.0", commercial=True),
    citation="Wang et al., GTA: A Benchmark for General Tool Agents, NeurIPS 2024",
    homes=(HOME,),
    read=read,
    turn=turn,
    generation=GenerationSettings(max_new_tokens=384, max_prompt_tokens=3072, batch_size=8),
    system=SYSTEM,
    public_sources=(
        Source(
            name="agent_flan_react",
            path="hub:internlm/Agent-FLAN#agent_instruct_react",
            description="Agents' conversations in the ReAct format: `conversation`, turns with `role` and `content`",
            licence="Apache-2.0",
            synthetic=True,
        ),
        Source(
            name="agent_flan_toolbench",
            path="hub:internlm/Agent-FLAN#toolbench_react_10p",
            description="Calls of web APIs in the ReAct format, a tenth of ToolBench: `conversation`, as above",
            licence="Apache-2.0",
            synthetic=True,
        ),
    ),
    published=Published(base=0.582, reference=0.722, trex_open=0.613, trex_best=0.652),
)
load = BENCHMARK.load
