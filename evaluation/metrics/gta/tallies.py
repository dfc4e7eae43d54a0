"""What one row adds to the counts of which GTA's figures are quotients.

Official (`GTABenchEvaluator.score`, mode 'every_with_gt', in the file named in `answers`): predicted and gold
steps are paired until the shorter list ends. A step that the official code breaks down over takes the row's
hits, and leaves what they are divided by. Corrected: every gold step counts, predicted or not; a call in error hits
nothing; the answer is judged at the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from ....errors import InputError
from .arguments import same_arguments
from .final_answers import Similarity, hit, most_similar, official_hit
from .gold_steps import GoldSteps, predicted_steps, recorded_gold
from .react import NOTHING, AgentStep, Tool, lagent_step, read_step


@dataclass(frozen=True)
class Tally:
    """Hits, and what they are out of."""

    instructions: float = 0
    tools: float = 0
    arguments: float = 0
    answers: float = 0
    of_instructions: float = 0
    of_tools: float = 0
    of_answers: float = 0
    calls: float = 0
    call_errors: float = 0

    def counts(self) -> tuple[float, ...]:
        """The nine numbers in order."""
        return astuple(self)

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(self.counts(), other.counts(), strict=True)))


def official_tally(gold: GoldSteps, prediction: Any, similarity: Similarity) -> Tally:
    """The official counts. Raises InputError, naming the row, if `similarity` has no model."""
    if gold.is_step:
        reply = lagent_step(prediction, gold.tools) if isinstance(prediction, str) else prediction
        predicted: Sequence[Any] = reply if isinstance(reply, list) else [reply]
        pairs = list(zip(predicted, gold.steps, strict=False))
    else:
        steps = recorded_gold(prediction) or gold.steps
        pairs = list(zip(predicted_steps(prediction), steps, strict=False))
    of_tools = sum("tool_calls" in step for _, step in pairs)
    of_answers = int(bool(gold.reference))
    total = Tally(of_instructions=of_tools + of_answers, of_tools=of_tools, of_answers=of_answers)
    try:
        hits = [_official_hits(ours, step, gold.reference, similarity) for ours, step in pairs]
    except InputError as error:
        raise InputError(f"{gold.label}: {error}") from error
    except (KeyError, TypeError, IndexError, AttributeError):
        return total
    return sum(hits, total)


def _official_hits(ours: Any, gold: dict[str, Any], reference: Any, similarity: Similarity) -> Tally:
    """The hits of one pair of steps. Raises what the official code raises."""
    our_kind, given = _official_kind(ours)
    gold_kind, wanted = _official_kind(gold)
    error, same_kind = "error" in ours, our_kind == gold_kind
    tool = same_kind and our_kind == "tool" and given["name"] == wanted["name"]
    answer = 0.0
    if same_kind and our_kind == "answer":
        if isinstance(reference, dict):
            answer = float(official_hit(given, reference))
        elif isinstance(reference, list) and reference:
            if not isinstance(given, str):
                raise TypeError("only text can be embedded")
            answer = most_similar(given, reference, similarity)
    return Tally(
        instructions=same_kind and not error,
        tools=tool,
        arguments=tool and given["arguments"] == wanted["arguments"],
        answers=answer,
        calls=our_kind == "tool",
        call_errors=our_kind == "tool" and error,
    )


def _official_kind(step: Any) -> tuple[str, Any]:
    if "tool_calls" in step:
        return "tool", step["tool_calls"][0]["function"]
    return ("answer" if step["role"] == "assistant" else "tool_return"), step["content"]


def corrected_tally(gold: GoldSteps, prediction: Any, similarity: Similarity) -> Tally:
    """Our counts. Raises InputError, naming the row, for gold steps that are none."""
    if gold.is_step:
        predicted: Sequence[Any] = prediction if isinstance(prediction, list) else [prediction]
    else:
        predicted = predicted_steps(prediction)
    wanted = [_gold_step(gold, step) for step in gold.steps]
    tools = _allowing(gold.tools, wanted)
    ours = [read_step(step, tools) for step in predicted[: len(wanted)]]
    ours += [NOTHING] * (len(wanted) - len(ours))
    pairs = list(zip(ours, wanted, strict=True))
    right = [(o, w) for o, w in pairs if o.kind == w.kind and not o.error]
    named = [(o, w) for o, w in right if w.kind == "call" and o.tool == w.tool]
    arguments = [same_arguments(dict(o.arguments or {}), dict(w.arguments or {})) for o, w in named]
    judged = bool(gold.reference) and bool(wanted) and wanted[-1].kind == "answer"
    return Tally(
        len(right),
        len(named),
        sum(arguments),
        _answer_score(gold, ours[-1], similarity) if judged else 0,
        len(wanted),
        sum(step.kind == "call" for step in wanted),
        judged,
        sum(step.kind == "call" for step in ours),
        sum(step.kind == "call" and step.error for step in ours),
    )


def _allowing(tools: Sequence[Tool], wanted: Sequence[AgentStep]) -> tuple[Tool, ...]:
    """The tools such that gold calls are none in error, whatever is stated of them."""
    if not tools:
        return ()
    known = {tool.name: tool for tool in tools}
    for step in wanted:
        if step.tool is not None:
            known[step.tool] = known.get(step.tool, Tool(step.tool)).allowing(set(step.arguments or ()))
    return tuple(known.values())


def _gold_step(gold: GoldSteps, step: dict[str, Any]) -> AgentStep:
    found = read_step(step, ())
    if found is NOTHING or found.error:
        raise InputError(
            f"{gold.label}: `dialogs` has an assistant turn with neither a tool call nor content"
        )
    return found


def _answer_score(gold: GoldSteps, ours: AgentStep, similarity: Similarity) -> float:
    if ours.answer is None or ours.error:
        return 0.0
    try:
        if isinstance(gold.reference, dict):
            return float(hit(ours.answer, gold.reference))
        if isinstance(gold.reference, list):
            return most_similar(ours.answer, gold.reference, similarity)
        raise TypeError
    except InputError as error:
        raise InputError(f"{gold.label}: {error}") from error
    except (KeyError, TypeError) as error:
        raise InputError(f"{gold.label}: `gt_answer` must be null, a list, or hold a whitelist") from error
