"""What there is to know about the registered metrics, from their code: for `trex metrics` and docs/metrics.md.

`python -m trex.evaluation.metrics.catalogue > docs/metrics.md` writes the page again.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import yaml

from ...errors import InputError
from . import METRICS
from .metric_example import MetricExample
from .metric_options import MetricOption, options_of

_HEAD = """\
# Metrics

A task names its metric, with options if it has any; `trex metrics` lists them all.

```yaml
metric: accuracy
metric: {name: numeric, tolerance: 0.01}
```

A metric gives each answer a value, of which a larger one is better. The score of a model is the mean of the values, or
is computed from counts over all items where it is no mean (F1, BLEU, chrF). Each score has a 95 % interval. An item's
`reference` is the answer of the task's prompt; other columns of its row are available to a metric too. `secondary`
figures are reported beside the score, and the search does not use them.

With the training methods [`grpo` and `rloo`](methods.md) the value of an answer is also its reward, on training rows;
where a metric gives partial credit instead, its section says so.

Metrics of your own: `python` below for a function, [own_task.md](own_task.md#your-own-metric) for a class.

This page is made from the code: `python -m trex.evaluation.metrics.catalogue > docs/metrics.md`.
"""

_COMMON_HELP = {
    "subtask": "Only this subtask; also written NAME:SUBTASK",
    "upstream": "The official scorer, faults included; also written NAME/upstream",
}


@dataclass(frozen=True)
class MetricPage:
    """A metric as people read it. `text` is the docstring of its class."""

    name: str
    text: str
    options: list[MetricOption]
    examples: tuple[MetricExample, ...]
    reward: str = ""

    @property
    def paragraphs(self) -> list[str]:
        """The text, a line for each paragraph."""
        return [" ".join(part.split()) for part in self.text.split("\n\n")]

    @property
    def summary(self) -> str:
        """The first sentence of the text."""
        return self.paragraphs[0].partition(". ")[0].rstrip(".")


def pages() -> list[MetricPage]:
    """All registered metrics, in the order of the registry; of one that cannot be imported, the error."""
    found = []
    for name in METRICS.names():
        try:
            found.append(page(name))
        except InputError as error:
            found.append(MetricPage(name, str(error), [], ()))
    return found


def page(name: str) -> MetricPage:
    """A registered metric. Raises InputError for an unknown one."""
    make = METRICS.load(name)
    options = [replace(each, help=each.help or _COMMON_HELP.get(each.name, "")) for each in options_of(make)]
    credit = inspect.getdoc(getattr(make, "reward_items", None)) or ""
    return MetricPage(
        name,
        inspect.getdoc(make) or "",
        options,
        tuple(getattr(make, "examples", ())),
        " ".join(credit.split()),
    )


def in_task_file(name: str, example: MetricExample) -> str:
    """The line of a task file that chooses the metric of an example."""
    if not example.options:
        return f"metric: {name}"
    options = {"name": name, **example.options}
    flow = yaml.safe_dump(options, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return f"metric: {flow.strip()}"


def inputs(example: MetricExample) -> Iterator[tuple[str, str]]:
    """Name and text of what the metric is given: reference, columns and answer."""
    if example.reference is not None:
        yield "reference", _shown(example.reference)
    for name, value in example.columns.items():
        yield f"column {name}", _shown(value)
    yield "answer", _shown(example.answer)


def number(value: float) -> str:
    """A value with at most three decimals."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def markdown() -> str:
    """docs/metrics.md."""
    found = [page(name) for name in METRICS.own_names()]
    table = ["| metric | value of an answer |", "|---|---|"]
    table += [f"| [`{each.name}`](#{each.name}) | {each.summary} |" for each in found]
    return "\n".join([_HEAD, *table, "", *(line for each in found for line in _section(each))])


def _section(each: MetricPage) -> Iterator[str]:
    yield from (f"## {each.name}", "", each.text, "")
    if each.reward:
        yield from (f"As the reward of `grpo`: {each.reward}", "")
    if each.options:
        yield from ("| option | type | default | meaning |", "|---|---|---|---|")
        for option in each.options:
            default = "required" if option.default is None else f"`{option.default}`"
            yield f"| `{option.name}` | {option.type} | {default} | {option.help} |"
        yield ""
    for file, code in (pair for example in each.examples for pair in example.code.items()):
        yield from (f"`{file}`:", "", "```py", code.rstrip("\n"), "```", "")
    if each.examples:
        yield from ("| in the task file | given | value |", "|---|---|---|")
        for example in each.examples:
            given = ", ".join(f"{name} {_code(text)}" for name, text in inputs(example))
            yield f"| {_code(in_task_file(each.name, example))} | {given} | {number(example.value)} |"
        yield ""


def _code(text: str) -> str:
    """A text as code in a cell of a table."""
    fence, space = ("``", " ") if "`" in text else ("`", "")
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _shown(value: object) -> str:
    """A text on one line, anything else as JSON."""
    return value.replace("\n", "\\n") if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.write(markdown())
