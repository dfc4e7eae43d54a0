"""The model card of a winner: scores, training data, training, limitations, and code that uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from ...evaluation.results import Evaluation
from ...evaluation.task import EMBEDDED_MODEL, TINY_MODEL, Prompt, Task
from ...files import write_atomic
from ...training.weights import weights_of
from ..report.formatting import bounds, interval, signed
from ..report.markdown import escape
from ..report.summary import Interval
from ..tree.experiment import DatasetCard, Experiment, TrialRecord
from .finish_record import FinishRecord
from .training_chain import Link

SNIPPET = """\
import torch
{peft}from transformers import AutoModelForCausalLM, AutoTokenizer
{imports}from trex.evaluation.rendering import Renderer
from trex.evaluation.task import {names}

base = {base}
tokenizer = AutoTokenizer.from_pretrained(base)
{load}  # run this in the folder of this file

{messages}
renderer = Renderer(tokenizer, RenderingOptions(**{rendering}))  # as in training and evaluation
[ids] = renderer.prompts([messages])
with torch.inference_mode():
    output = model.generate(
        torch.tensor([ids]), max_new_tokens={max_new_tokens}, do_sample=False, eos_token_id=sorted(renderer.ends)
    )
print(renderer.answers(output[:, len(ids) :].tolist())[0])
"""


_LOAD_ADAPTER = """\
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
model = PeftModel.from_pretrained(model, "adapter").eval()"""
_LOAD_MODEL = 'model = AutoModelForCausalLM.from_pretrained("adapter", dtype=torch.float32).eval()'


def write_model_card(path: Path, task: Task, chain: Sequence[Link], finish: FinishRecord) -> None:
    """Write the card as Markdown with the front matter that model hubs read."""
    write_atomic(path, model_card(task, chain, finish))


def model_card(task: Task, chain: Sequence[Link], finish: FinishRecord) -> str:
    """The card's text; `chain` as from `training_chain`.

    Paths in its snippet are relative to the card's folder, which holds `adapter/`.
    """
    experiment, trial = chain[0]
    parts = [
        _front_matter(task, trial),
        _opening(task, trial, finish),
        _scores(task, finish),
        ["## Use", "", "```python", *snippet(task, trial.training.weights.kind).splitlines(), "```", ""],
        _data(task, chain),
        _training(experiment, trial),
        _earlier(chain[1:]),
        _limitations(task, finish),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def snippet(task: Task, kind: str = "lora") -> str:
    """Python that loads trained weights of a kind and answers one prompt of the task.

    The columns of the row are filled with placeholders: no item of dev or test is shown.
    """
    local = Path(task.base_model).expanduser()
    plain = local.is_dir() or _is_hub_id(task.base_model)
    base = _literal(str(local.absolute()) if local.is_dir() else task.base_model)
    full = kind == "full"
    return SNIPPET.format(
        peft="" if full else "from peft import PeftModel\n",
        load=_LOAD_MODEL if full else _LOAD_ADAPTER,
        imports="" if plain else "from trex.evaluation.base_models import resolve_model\n",
        names="RenderingOptions" if task.prompt.messages else "Prompt, RenderingOptions",
        base=base if plain else f"resolve_model({base})",
        messages="\n".join(_messages(task.prompt)),
        rendering=ascii(task.rendering.model_dump(exclude_defaults=True)),
        max_new_tokens=task.generation.max_new_tokens,
    )


def _messages(prompt: Prompt) -> Iterator[str]:
    """Lines that make the turns before an answer."""
    if prompt.messages:
        yield 'messages = [{"role": "user", "content": "Put your question here."}]'
        return
    fields = prompt.model_dump(include={"user", "answer", "system"}, exclude_none=True)
    row = {field: f"Put the {field} here." for field in sorted(prompt.question_fields)}
    yield f"prompt = Prompt(**{fields!a})"
    yield f"row = {row!a}"
    yield "messages = prompt.turns(row)"


def _literal(text: str) -> str:
    # A JSON string is a Python string too, on one line and in ASCII: nothing in it can end the code block.
    return json.dumps(text)


def _is_hub_id(name: str) -> bool:
    return name not in (EMBEDDED_MODEL, TINY_MODEL) and "/" in name and "@" not in name


def _front_matter(task: Task, trial: TrialRecord) -> Iterator[str]:
    library = "transformers" if trial.training.weights.kind == "full" else "peft"
    fields: dict[str, object] = {"library_name": library, "pipeline_tag": "text-generation"}
    if _is_hub_id(task.base_model) and not Path(task.base_model).exists():
        fields["base_model"] = task.base_model
    methods = dict.fromkeys(stage.method for stage in trial.training.stages)
    fields["tags"] = [trial.training.weights.kind, *methods, "trex", task.name]
    fields["metrics"] = [task.metric]
    yield "---"
    yield yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).rstrip()
    yield "---"
    yield ""


def _opening(task: Task, trial: TrialRecord, finish: FinishRecord) -> Iterator[str]:
    yield f"# {escape(task.name)}: {escape(Path(task.base_model).name)}, fine-tuned"
    yield ""
    yield escape(task.requirement)
    yield ""
    yield (
        f"Found by TREX, trained with TRL and PEFT. Trial `{trial.id}` of experiment "
        f"`{finish.winner_experiment}`; base model {escape(task.base_model)}."
    )
    yield ""


def _scores(task: Task, finish: FinishRecord) -> Iterator[str]:
    rows: list[tuple[str, Evaluation | None]] = [
        ("test, sealed until the end", finish.test),
        ("test, the base model", finish.baseline_test),
        ("confirm, part of dev not used by the search", finish.confirm),
        ("search, part of dev that selected this model", finish.dev),
    ]
    yield "## Scores"
    yield ""
    yield f"| {escape(task.metric_label)} | value [95 % interval] | items | scored by |"
    yield "|---|---|---|---|"
    for name, evaluation in rows:
        if evaluation is not None:
            score = evaluation.score
            yield f"| {name} | {interval(Interval.of(score))} | {score.n} | {evaluation.scoring} |"
    yield ""
    gain = Interval.of(finish.test_gain)
    if gain is not None:
        yield f"Gain over the base model on the same test items: {signed(gain.value)} {bounds(gain)}."
        yield ""
    for check in finish.regression_checks:
        lost = ": significant loss" if check.broken else ""
        yield f"- {check.name}: {check.base:.2f} of {check.n} items before, {check.winner:.2f} after{lost}"
    if finish.regression_checks:
        yield ""
    secondary = finish.test.secondary if finish.test else {}
    if secondary:
        yield (
            "On test: " + ", ".join(f"{escape(name)} {value:.3f}" for name, value in secondary.items()) + "."
        )
        yield ""


def _data(task: Task, chain: Sequence[Link]) -> Iterator[str]:
    yield "## Training data"
    yield ""
    for depth, (experiment, trial) in enumerate(chain):
        dataset = experiment.datasets.get(trial.recipe)
        if dataset is not None:
            yield from _data_set(dataset, "start/" * depth)
    yield "| source the recipe may load | what it is | licence |"
    yield "|---|---|---|"
    for source in task.sources:
        made = " (made by a rule)" if source.synthetic else ""
        yield f"| {escape(source.name)} | {escape(source.description)}{made} | {escape(source.licence)} |"
    yield ""
    if task.citation:
        yield f"Source: {escape(task.citation)}"
        yield ""


def _data_set(dataset: DatasetCard, folder: str) -> Iterator[str]:
    before = "Before, " if folder else ""
    yield f"{before}{dataset.rows} rows: {escape(dataset.summary)} (fingerprint `{dataset.fingerprint}`)."
    yield f"The whole recipe is in `{folder}recipe.yaml`."
    yield ""
    if dataset.contamination is not None:
        report = dataset.contamination
        matches = f"{report.matches} rows matched and were removed" if report.matches else "no match"
        yield f"Compared with {report.against_items} dev and test items: {matches}."
        yield ""


def _training(experiment: Experiment, trial: TrialRecord) -> Iterator[str]:
    yield "## Training"
    yield ""
    if experiment.tried_plan is not None:
        yield f"Hypothesis: {escape(experiment.tried_plan.hypothesis)}"
        yield ""
    weights, stages = trial.training.weights, trial.training.stages
    yield f"{escape(weights_of(weights).describe(weights))}."
    methods = ", then ".join(f"`{stage.method}`" for stage in stages)
    yield f"Method {methods}, {trial.step} of {trial.total_steps} steps."
    yield ""
    for settings in (weights, *stages):
        for name, value in settings.model_dump(mode="json").items():
            if value is not None:
                yield f"- `{name}`: {escape(', '.join(value) if isinstance(value, list) else str(value))}"
    yield ""
    yield "Reproduce: `trex replay DIR`, where DIR is the run directory."
    yield ""


def _earlier(chain: Sequence[Link]) -> Iterator[str]:
    """What the training continues from."""
    for depth, (experiment, trial) in enumerate(chain, start=1):
        methods = ", then ".join(f"`{stage.method}`" for stage in trial.training.stages)
        yield (
            f"It continues from the weights of trial `{trial.id}` of experiment `{experiment.id}`: method {methods}, "
            f"{trial.step} of {trial.total_steps} steps; plan and recipe are in `{'start/' * depth}`."
        )
        yield ""


def _limitations(task: Task, finish: FinishRecord) -> Iterator[str]:
    yield "## Limitations"
    yield ""
    yield (
        "- The scores hold for the task's own prompt, items and metric; other inputs and languages were "
        "not evaluated; neither were safety and bias."
    )
    if finish.dev is not None and finish.dev.scoring == "choices":
        yield "- Scored by the likelihood of the allowed answers; free generation may give other answers."
    if finish.test_seen:
        yield "- A run that this one was forked from opened the test split: its score is not independent."
    yield f"- Licence of the data: {escape(task.licence)}. The base model's own licence applies too."
