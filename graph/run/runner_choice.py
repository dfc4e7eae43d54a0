"""Which launcher a run uses: `--runner NAME[:setting=value,…]`, or the section `[runner]` of trex.toml.

[runner]
name = "slurm"

[runner.slurm]
partition = "gpu"
slots = 8
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...errors import InputError, explain
from ...training.jobs.resource_class import device_of
from ...training.runners import DEFAULT_LAUNCHER, LAUNCHERS
from ...training.runners.protocol import ClusterSettings, RunnerSettings, settings_class

CONFIG = Path("trex.toml")


def choose_runner(text: str | None, config: Path = CONFIG) -> dict[str, Any]:
    """Fields of `Settings` for a launcher named on the command line, by default in the file `config`.

    Settings of the command line come before those of the file. Raises InputError.
    """
    section = _section(config)
    name, _, listed = (text or str(section.get("name", DEFAULT_LAUNCHER))).partition(":")
    LAUNCHERS.check(name)
    given = section.get(name, {})
    if not isinstance(given, dict):
        raise InputError(f"{config}: [runner.{name}] must be a table of settings")
    settings = launcher_settings(name, {**given, **_parse(listed)})
    chosen: dict[str, Any] = {
        "launcher": name,
        "launcher_settings": settings.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }
    if isinstance(settings, ClusterSettings):
        chosen |= {
            "slots": settings.slots,
            "threads": settings.threads,
            "memory_limit_mb": settings.memory_mb,
            "devices": settings.devices,
            "resource_class": settings.resource_class,
        }
        if settings.resource_class:
            chosen["device"] = device_of(settings.resource_class)
    return chosen


def launcher_settings(name: str, given: Mapping[str, Any]) -> RunnerSettings:
    """A launcher's settings, validated. Raises InputError, with the settings that there are."""
    model = settings_class(LAUNCHERS.load(name))
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        known = ", ".join(field.alias or key for key, field in model.model_fields.items()) or "none"
        raise InputError(f"launcher {name!r}: {explain(error)}; its settings: {known}") from error


def is_cluster(name: str) -> bool:
    """Whether a launcher starts jobs on other machines, so that this one's cores do not limit their number."""
    return issubclass(settings_class(LAUNCHERS.load(name)), ClusterSettings)


def _parse(listed: str) -> dict[str, str]:
    """'a=1,b=2' as a dictionary."""
    pairs = [part.partition("=") for part in listed.split(",") if part.strip()]
    wrong = next((key for key, sign, _ in pairs if not sign or not key.strip()), None)
    if wrong is not None:
        raise InputError(f"--runner: {wrong!r} is no setting: write NAME:setting=value,setting=value")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _section(config: Path) -> dict[str, Any]:
    """The table `[runner]` of the file; empty without the file."""
    if not config.is_file():
        return {}
    try:
        section = tomllib.loads(config.read_text(encoding="utf-8")).get("runner", {})
    except (ValueError, OSError) as error:
        raise InputError(f"{config} is not valid TOML ({error})") from error
    if not isinstance(section, dict):
        raise InputError(f"{config}: write [runner] as a table with `name`")
    return section
