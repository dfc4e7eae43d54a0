"""How a task names its metric: a name, or a name with options.

    metric: accuracy
    metric: {name: numeric, tolerance: 0.01}
    metric: numeric(tolerance=0.01)

The last two are the same. The third form is the canonical one: tables show it, hashes contain it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LONGEST_SHOWN = 60  # characters of an option
_WITH_OPTIONS = re.compile(r"(?P<name>.*?)\((?P<options>\s*[A-Za-z_]\w*\s*=.*)\)\s*", re.DOTALL)


def metric_text(metric: Any) -> Any:
    """The canonical text of a metric: options in alphabetical order, values as Python literals.

    What is neither text nor a mapping is returned as it is. Raises ValueError for a mapping without a name, and
    for options that cannot be written as text.
    """
    if isinstance(metric, str):
        name, options = split_metric(metric)
    elif isinstance(metric, Mapping):
        options = dict(metric)
        name = options.pop("name", None)
        if not isinstance(name, str) or not name:
            raise ValueError("a metric with options needs a `name`, e.g. {name: numeric, tolerance: 0.01}")
    else:
        return metric
    if not options:
        return name
    text = f"{name}({', '.join(f'{option}={options[option]!r}' for option in sorted(options))})"
    try:
        same = split_metric(text) == (name, options)
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            f"metric {name!r}: options must be numbers, texts, true, false, null or lists of these"
        )
    return text


def metric_label(text: str) -> str:
    """The metric in sentences and tables: without long options, such as a rubric."""
    name, options = split_metric(text)
    short = [f"{option}={value!r}" for option, value in options.items() if len(repr(value)) <= _LONGEST_SHOWN]
    return f"{name}({', '.join(short)})" if short else name


def is_file(name: str) -> bool:
    """Whether a metric or a function is named by the file that defines it: 'file.py:Name', with options or without."""
    return split_metric(name)[0].rpartition(":")[0].endswith(".py")


def located_metric(metric: Any, folder: Path) -> Any:
    """A metric as a task file in `folder` names it, with full paths of the files that it or its options name.

    Options with files are `function`, and `metric`, a metric itself. What cannot be read is returned as it is.
    """
    try:
        name, options = split_metric(metric) if isinstance(metric, str) else (None, dict(metric))
    except (TypeError, ValueError):
        return metric
    parts: dict[str, Any] = options if name is None else {"name": name, **options}
    for key in ("name", "function"):
        if isinstance(parts.get(key), str) and is_file(parts[key]):
            parts[key] = str(folder / Path(parts[key]).expanduser())
    if "metric" in parts:
        parts["metric"] = located_metric(parts["metric"], folder)
    return metric_text(parts) if isinstance(metric, str) else parts


def split_metric(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a metric's text. Raises ValueError for options that are no `name=value` pairs."""
    found = _WITH_OPTIONS.fullmatch(text)
    if found is None:
        return text, {}
    try:
        call = ast.parse(f"f({found['options']})", mode="eval").body
        assert isinstance(call, ast.Call)
        options = {str(given.arg): ast.literal_eval(given.value) for given in call.keywords}
    except (SyntaxError, ValueError, AssertionError) as error:
        raise ValueError(f"metric {text!r}: options are written as (name=value, name=value)") from error
    if call.args or None in (given.arg for given in call.keywords):
        raise ValueError(f"metric {text!r}: options are written as (name=value, name=value)")
    return found["name"], options
