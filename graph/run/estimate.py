"""Expected time and disk use of a run, from rates measured by earlier runs on this machine."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ...evaluation.base_models import resolve_model
from ...evaluation.causal_models import shapes_of
from ...evaluation.task import EMBEDDED_MODEL, TINY_MODEL, Task
from ...files import read_json, write_json
from ...home import home
from ...training.methods import method_of
from ...training.weights import weights_of
from ...training.weights.lora import LoraWeights
from ..llm.model_settings import plan_tokens
from ..llm.prices import price_of
from ..report.formatting import dollars
from ..report.summary import model_names
from ..tree.tree import Tree
from .machine import job_memory_mb
from .settings import Settings


class Rates(BaseModel):
    """How fast one job of a run is: measured, or typical figures where nothing was measured yet."""

    model_config = ConfigDict(frozen=True)

    examples_per_second: float = Field(gt=0, description="Training, one job with its threads")
    items_per_second: float = Field(gt=0, description="Evaluation")
    load_seconds: float = Field(default=2.0, ge=0, description="Of one job")
    measured: bool = False


# Two CPU cores with AVX512-BF16, one thread a job; another machine measures its own in its first run.
_TYPICAL = {
    EMBEDDED_MODEL: Rates(examples_per_second=3.0, items_per_second=12.0),
    TINY_MODEL: Rates(examples_per_second=60.0, items_per_second=100.0, load_seconds=0.5),
}
# The weights that a job of the first plan trains.
_WEIGHTS = LoraWeights(targets="all-linear", layers="upper_half")
_SMALL_JOB_DISK_MB = 40  # on the built-in models
_BASE_DISK_MB = 20


class RunEstimate(BaseModel):
    """Expected wall time in seconds, None if the model's speed is unknown; disk, and memory of a job, in MB."""

    model_config = ConfigDict(frozen=True)

    seconds: float | None
    disk_mb: int
    job_memory_mb: int
    measured: bool = False


def estimate_run(task: Task, settings: Settings) -> RunEstimate:
    """Upper estimate: all rounds, and as many trials on every rung as the rules allow."""
    jobs, examples, items = 0.0, 0.0, 0.0
    going, done = settings.trials, 0.0
    for fraction in settings.rungs:
        jobs += going
        examples += going * (fraction - done) * settings.trial_examples
        items += going * (settings.rung_items if fraction < 1 else _search_items(task))
        going, done = -(-going // settings.reduction), fraction
    job_disk, weights = _sizes(task)
    disk, memory = _BASE_DISK_MB + int(settings.rounds * jobs * job_disk / 4), job_memory_mb(weights)
    rates = _rates(task, settings)
    if rates is None:
        return RunEstimate(seconds=None, disk_mb=disk, job_memory_mb=memory)
    dev = _lines(task.dev)
    ends = _search_items(task) + settings.finalists * (dev - _search_items(task)) + 3 * _lines(task.test)
    seconds = settings.rounds * (
        (examples / rates.examples_per_second + jobs * rates.load_seconds) / settings.slots
        + items / rates.items_per_second
    )
    seconds += ends / rates.items_per_second
    return RunEstimate(seconds=seconds, disk_mb=disk, job_memory_mb=memory, measured=rates.measured)


def _sizes(task: Task) -> tuple[int, int]:
    """Disk of one job's checkpoints, and memory of the base model's weights, in MB."""
    if task.base_model in _TYPICAL:
        return _SMALL_JOB_DISK_MB, 0
    folder = resolve_model(task.base_model)
    return weights_of(_WEIGHTS).disk_bytes(_WEIGHTS, folder) >> 20, shapes_of(folder).weights_mb


def model_limits(settings: Settings) -> str | None:
    """The limits of chat models, which the estimate leaves out; None for the built-in policy."""
    models = settings.llm or settings.judge
    if models is None:
        return None
    limits = []
    if models.token_budget is not None:
        limits.append(f"{models.token_budget:,} tokens")
    if models.cost_budget_usd is not None:
        limits.append(dollars(models.cost_budget_usd))
    bound = f"at most {' and '.join(limits)}" if limits else "without a limit (--llm-budget sets one)"
    names = [model_names(settings)] if settings.llm else []
    names += [f"{settings.judge.researcher} as the judge"] if settings.judge else []
    return f"not included: calls of {' and '.join(names)}, {bound}"


def budget_notes(settings: Settings) -> list[str]:
    """A note if the budget of chat models cannot pay for one plan."""
    models = settings.llm
    if models is None:
        return []
    read, written = plan_tokens(models)
    price = price_of(models.researcher, models.base_url)
    cost, tokens = price.of(read, written) if price else 0.0, read + written
    notes = []
    if models.token_budget is not None and models.token_budget < tokens:
        notes.append(
            f"the budget of {models.token_budget:,} tokens may not pay for one plan (about {tokens:,})"
        )
    if models.cost_budget_usd is not None and models.cost_budget_usd < cost:
        notes.append(
            f"the budget of {dollars(models.cost_budget_usd)} may not pay for one plan (about {dollars(cost)})"
        )
    return [f"{note}: the built-in policy plans what it cannot pay" for note in notes]


def remember_rates(task: Task, settings: Settings, tree: Tree) -> None:
    """Save the rates of this run for the next estimate."""
    trained = [t for e in tree for t in e.trials if t.train_seconds > 1 and not t.reused]
    root = tree.root.evaluation
    if not trained or root is None or root.seconds <= 0:
        return
    trained = [t for t in trained if len(t.training.stages) == 1]
    if not trained:
        return
    examples = sum(t.step * method_of(t.training.stage).rows_per_step(t.training.stage) for t in trained)
    rates = Rates(
        examples_per_second=examples / sum(t.train_seconds for t in trained),
        items_per_second=root.score.n / root.seconds,
        load_seconds=sum(t.load_seconds for t in trained) / sum(t.rung + 1 for t in trained),
        measured=True,
    )
    write_json(_file(task, settings), rates.model_dump(mode="json"))


def _rates(task: Task, settings: Settings) -> Rates | None:
    path = _file(task, settings)
    return Rates.model_validate(read_json(path)) if path.exists() else _TYPICAL.get(task.base_model)


def _file(task: Task, settings: Settings) -> Path:
    return home() / "rates" / f"{task.name}-{settings.device}-{settings.threads}.json"


def _search_items(task: Task) -> float:
    return _lines(task.dev) * task.search_fraction


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
